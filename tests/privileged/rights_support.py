"""What each verb is asked in a container, and agents that are confined to certain capabilities."""

from __future__ import annotations

import errno
import json
import os
import select
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.conftest import NOBODY
from tests.kernel.agent_support import connect, send, state
from tests.kernel.cli_support import ENVIRON
from tests.kernel.perform_support import PYTHON
from tests.kernel.targets import PATIENCE, until
from tests.privileged.handlers_support import _HEAD, FIRST
from tests.unit.handlers.images import image
from unotify import Supervisor
from unotify.abi import tables
from unotify.handlers import ADDONS
from unotify.kernel._libc import NATIVE
from unotify.policy.loader import load

PLAIN: Final = 0x66020000
"""Namespaces of a container of root's: mounts, cgroup, UTS, IPC, processes, network."""
KINDS: Final = {
    "plain": (PLAIN, 0),
    "mapped": (PLAIN | 0x10000000, 0),
    "rootless": (PLAIN | 0x10000000, NOBODY),
}
"""Containers: which namespaces, and who has made the one of users."""
DENY: Final = "b7000000000000009500000000000000"  # a program for devices: r0 = 0; exit

_NAMES: Final = (
    *("creat", "mkdirat", "open", "mknod", "mknodat", "mount", "umount2", "pivot_root"),
    *("fsetxattr", "setxattr", "sysinfo", "sethostname", "keyctl", "swapon", "quotactl"),
    *("perf_event_open", "clock_adjtime", "reboot", "sched_setscheduler", "bpf", "fchownat"),
    *("lchown", "lstat", "fchmodat", "finit_module", "sendto", "sendmsg", "bind", "connect"),
)

_HELP: Final = (
    f"NR = { ({name: tables.number(name, NATIVE) for name in _NAMES})!r}\n"
    + """
place, port, group = sys.argv[1], int(sys.argv[2]), sys.argv[4] + '/sub'
open(sys.argv[4] + "/cgroup.procs", "w").write("0")
contain(int(sys.argv[3]), maker=int(sys.argv[5]))
drop(2)  # CAP_DAC_READ_SEARCH, which containers do not have
print("ready", flush=True)
os.chdir(place)
mapped = int(sys.argv[3]) & 0x10000000
def call(name, *args):
    return called(NR[name], *(os.fsencode(a) if isinstance(a, str) else a for a in args))
def alone(what, uid=None, capable=False):
    "What comes of something in a process of its own, perhaps another user's."
    here, there = os.pipe()
    if not os.fork():
        if uid is not None:
            libc.prctl(8, capable)  # PR_SET_KEEPCAPS
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            if capable:
                drop()
            libc.prctl(4, 1)
        try:
            said = what()
        except BaseException as error:
            said = repr(error)
        os.write(there, json.dumps(said).encode())
        os._exit(0)
    os.wait()
    os.close(there)
    return json.loads(os.read(here, 65536))
def owner(path):
    found = os.lstat(path)
    return [found.st_uid, found.st_gid, oct(found.st_mode & 0o7777)]
AT = -100
def put(place):
    "Mount a small file system, by calls that no rule is about."
    context = called(430, b"ramfs", 0)
    assert called(431, context, 6, 0, 0, 0) == 0
    made = called(432, context, 0, 0)
    assert called(429, made, b"", -100, os.fsencode(place), 4) == 0
"""
)

STORIES: Final[dict[str, tuple[str, str, str, Any]]] = {}
"""By name: the verb, its rules, what the container does, and what it is to see."""


def _story(name: str, verb: str, rules: str, code: str, expected: Any) -> None:
    STORIES[name] = verb, rules, code, expected


_story(
    "perform",
    "perform",
    'mkdirat: "perform"',
    """
def story():
    made = call("mkdirat", AT, "made", 0o755)
    return [made, owner("made"), alone(lambda: [call("mkdirat", AT, "open/by-5", 0o755),
            owner("open/by-5"), call("mkdirat", AT, "by-5", 0o755)], 5)]
""",
    [0, [0, 0, "0o755"], [0, [5, 5, "0o755"], "EACCES"]],
)
_story(
    "perform: chown",
    "perform",
    'fchownat: "perform"',
    """
def story():
    return [call("fchownat", AT, "file", 7, 8, 0), owner("file")[:2]]
""",
    [0, [7, 8]],
)
_story(
    "perform: what is another's",
    "perform",
    'mkdirat fchmodat: "perform"',
    """
def story():
    return [call("mkdirat", AT, "closed/made", 0o755), call("fchmodat", AT, "of-7", 0o600),
            call("fchmodat", AT, "of-9", 0o2755), owner("of-9")[2]]
""",
    [0, 0, 0, "0o2755"],
)
_story(
    "perform: mknod",
    "perform",
    'mknodat: "perform"',
    """
def story():
    return call("mknodat", AT, "node", stat.S_IFCHR | 0o600, os.makedev(1, 3))
""",
    {"plain": 0, "mapped": "EPERM", "rootless": "EPERM"},
)
_story(
    "perform: file capabilities",
    "perform",
    'fsetxattr: "perform"',
    """
def story():
    fd = os.open("file", os.O_RDONLY)
    value = struct.pack("<5I", 0x02000000, 1 << 10, 0, 0, 0)
    return call("fsetxattr", fd, "security.capability", value, len(value), 0)
""",
    0,
)
_story(
    "perform: bind",
    "perform",
    'bind: "perform"',
    """
def story():
    return tried(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind, ("0.0.0.0", 80))
""",
    0,
)
_story(
    "perform: bind to a path",
    "perform",
    'bind: "perform"',
    """
def story():
    os.chroot(".")
    sock = socket.socket(socket.AF_UNIX)
    return [tried(sock.bind, "/socket"), sock.getsockname()]
""",
    [0, "/socket"],
)
_story(
    "perform: who sends",
    "perform",
    'sendto: "perform"',
    """
def story():
    def send():
        left, right = socket.socketpair()
        right.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sent = call("sendto", left.fileno(), b"x", 1, 0, 0, 0)
        found = right.recvmsg(9, 99)[1] if sent == 1 else [[0, 0, bytes(12)]]
        return [sent, struct.unpack("3i", found[0][2]) == (os.getpid(), 5, 5)]
    return alone(send, 5)
""",
    [1, True],
)
_story(
    "perform: options of a packet",
    "perform",
    'sendmsg: "perform"',
    """
def story():
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    hops = [(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, bytes([59, 0, 1, 4, 0, 0, 0, 0]))]
    return tried(sock.sendmsg, [b"x"], hops, 0, ("::1", 9))
""",
    "EADDRNOTAVAIL",
)
_story(
    "perform: a line for the audit log",
    "perform",
    'sendto: "perform"',
    """
def story():
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)
    line = struct.pack("IHHII", 16 + 8, 1107, 5, 1, 0) + b"op=test\\0"
    sent = call("sendto", sock.fileno(), line, len(line), 0, struct.pack("HHII", 16, 0, 0, 0), 12)
    return [sent, struct.unpack_from("i", sock.recv(99), 16)[0]] if sent == 24 else sent
""",
    {"plain": [24, 0], "mapped": [24, -errno.ECONNREFUSED], "rootless": [24, -errno.ECONNREFUSED]},
)
_story(
    "perform: a broken pipe",
    "perform",
    'sendto: "perform"',
    """
def story():
    def write():
        heard = []
        signal.signal(signal.SIGPIPE, lambda *_: heard.append(1))
        left, right = socket.socketpair()
        right.close()
        return [call("sendto", left.fileno(), b"x", 1, 0, 0, 0), heard]
    return alone(write, 5)
""",
    ["EPIPE", [1]],
)
_story(
    "redirect",
    "redirect",
    'creat: { redirect = { path = "to" } } if path == "from"',
    """
def story():
    made = call("creat", "from", 0o640)
    return [isinstance(made, int) or made, owner("to"), os.path.exists("from")]
""",
    [True, [0, 0, "0o640"], False],
)
_story(
    "inject",
    "inject",
    'open: { inject = "said\\n" } if flags & O_NOCTTY and path == "/injected"',
    """
def story():
    fd = call("open", "/injected", os.O_NOCTTY, 0)
    return os.read(fd, 100).decode() if isinstance(fd, int) else fd
""",
    "said\n",
)
_story(
    "emulate-mknod",
    "emulate-mknod",
    'mknod: { emulate-mknod = ["c:1:3"] }',
    """
def story():
    made = call("mknod", "null", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    fd = tried(os.open, "null", os.O_WRONLY)
    other = call("mknod", "mem", stat.S_IFCHR | 0o640, os.makedev(1, 1))
    put("dev")
    bound = [call("mknod", f"{place}/null", stat.S_IFCHR | 0o640, os.makedev(1, 3))
             for place in ("dev", "closed")]
    return [made, owner("null"), fd if isinstance(fd, str) else "opened", other, bound]
""",
    [0, [0, 0, "0o640"], "opened", "EPERM", [0, 0]],
)
_story(
    "emulate-mount",
    "emulate-mount",
    'mount: { emulate-mount = { file-systems = ["tmpfs"], size = "64k", binds = true } }',
    """
def story():
    done = [alone(lambda: mount("none", "closed/mnt", "tmpfs", 0, "size=32k"), 5, True)]
    done.append(owner("closed/mnt")[2])
    os.mkdir("closed/mnt/a")
    os.mkdir("closed/mnt/b")
    return [*done, 0 if mapped else mount("closed/mnt/a", "closed/mnt/b", None, 0x1000)]
""",
    [0, "0o1777", 0],
)
_story(
    "emulate-umount",
    "emulate-umount",
    'umount2: { emulate-umount = ["PLACE/plain/closed/keep",'
    ' "PLACE/mapped/closed/keep", "PLACE/rootless/closed/keep"] }',
    """
def story():
    for name in ("closed/keep", "closed/free"):
        put(name)
    return alone(lambda: [umount("closed/keep", 2), umount("closed/free", 2)], 5, True)
""",
    ["EPERM", 0],
)
_story(
    "emulate-pivot-root",
    "emulate-pivot-root",
    'pivot_root: "emulate-pivot-root"',
    """
def story():
    def pivot():
        assert libc.unshare(0x20000) == 0
        put("closed/root")
        os.mkdir("closed/root/old")
        return [call("pivot_root", "closed/root", "closed/root/old"), os.listdir("/")]
    return alone(pivot, 5, True)
""",
    [0, ["old"]],
)
_story(
    "emulate-xattr",
    "emulate-xattr",
    'setxattr: { emulate-xattr = ["trusted.mine"] }',
    """
def story():
    return [call("setxattr", "file", "trusted.mine", b"1", 1, 0),
            call("setxattr", "file", "user.mine", b"1", 1, 0)]
""",
    [0, 0],
)
_story(
    "emulate-sysinfo",
    "emulate-sysinfo",
    # The C library asks too, for itself, before the container has begun.
    'sysinfo: "emulate-sysinfo" if info == 0x20000000',
    """
def story():
    libc.mmap.restype = ctypes.c_void_p
    room = libc.mmap(ctypes.c_void_p(0x20000000), 4096, 3, 0x32, -1, 0)
    done = call("sysinfo", room)
    return [done, struct.unpack_from("Q", ctypes.string_at(room, 112), 32)[0] > 0]
""",
    [0, True],
)
_story(
    "emulate-hostname",
    "emulate-hostname",
    'sethostname: { emulate-hostname = { names = ["box"] } }',
    """
def story():
    return [call("sethostname", "box", 3), socket.gethostname(), call("sethostname", "other", 5)]
""",
    [0, "box", "EPERM"],
)
_story(
    "emulate-keyring",
    "emulate-keyring",
    'keyctl: { emulate-keyring = "session" }',
    """
def story():
    room = ctypes.create_string_buffer(200)
    return [call("keyctl", 6, -3, room, 200, 0) > 0, room.value.decode()[:8]]
""",
    [True, "keyring;"],
)
_story(
    "emulate-swap",
    "emulate-swap",
    'swapon: { emulate-swap = "fake" }',
    """
def story():
    return alone(lambda: [call("swapon", "closed/file", 0), call("swapon", "none", 0)], 5, True)
""",
    [0, "ENOENT"],
)
_story(
    "emulate-quota",
    "emulate-quota",
    'quotactl: { emulate-quota = "fake" }',
    """
def story():
    return call("quotactl", 0x80000800, "file", 0, bytes(100))
""",
    0,
)
_story(
    "emulate-perf",
    "emulate-perf",
    'perf_event_open: "emulate-perf"',
    """
def story():
    attr = struct.pack("IIQQQQQIIQ", 1, 64, 1, 0, 0, 0, 1, 0, 0, 0)
    def opened():
        found = call("perf_event_open", attr, 0, -1, -1, 0)
        return found if isinstance(found, str) else "opened"
    return [opened(), alone(opened, 5)]
""",
    ["opened", "opened"],
)
_story(
    "emulate-clock",
    "emulate-clock",
    'clock_adjtime: { emulate-clock = "host" }',
    """
def story():
    room = ctypes.create_string_buffer(208)
    read = call("clock_adjtime", 0, room)
    tick = struct.unpack_from("q", room, 88)[0]
    struct.pack_into("I", room, 0, 0x4000)  # ADJ_TICK, to what it is
    return [read == 0 or read == 5, 9000 <= tick <= 11000,
            call("clock_adjtime", 0, room) in (0, 5)]
""",
    [True, True, True],
)
_story(
    "emulate-reboot",
    "emulate-reboot",
    'reboot: { emulate-reboot = "fake" }',
    """
def story():
    return call("reboot", 0xfee1dead, 672274793, 0x4321fedc, 0)
""",
    0,
)
_story(
    "emulate-sched",
    "emulate-sched",
    'sched_setscheduler: { emulate-sched = { policies = ["other", "rr"], priority = 5 } }',
    """
def story():
    def other():
        return tried(os.sched_setscheduler, 0, 2, os.sched_param(3))
    return [tried(os.sched_setscheduler, 0, 2, os.sched_param(5)),
            tried(os.sched_setscheduler, 0, 0, os.sched_param(0)), alone(other)]
""",
    [0, 0, 0],
)
_story(
    "emulate-device-programs",
    "emulate-device-programs",
    'bpf: "emulate-device-programs"',
    """
def story(group=group):
    code = ctypes.create_string_buffer(bytes.fromhex("DENY"), 16)
    words = ctypes.create_string_buffer(b"GPL")
    attr = struct.pack("IIQQIIQII16sII", 15, 2, ctypes.addressof(code),
                       ctypes.addressof(words), 0, 0, 0, 0, 0, b"x", 0, 6)
    found = call("bpf", 5, attr, len(attr))
    if isinstance(found, str):
        return found
    group += os.path.basename(place)  # there may be several kinds at a time
    os.mkdir(group)
    fd = os.open(group, os.O_RDONLY)
    attr = struct.pack("IIIII", fd, found, 6, 2, 0)
    done = call("bpf", 8, attr, len(attr))
    os.rmdir(group)
    return done
""".replace("DENY", DENY),
    0,
)
_story(
    "host-socket",
    "host-socket",
    'connect: { host-socket = { to = ["127.0.0.1:PORT"] } }',
    """
def story():
    sock = socket.socket()
    done = tried(sock.connect, ("127.0.0.1", port))
    return [done, sock.recv(10).decode() if done == 0 else ""]
""",
    [0, "host"],
)
_story(
    "host-socket: a low port",
    "host-socket",
    'bind: { host-socket = { ports = ["8080=127.0.0.1:1"] } } if address.port == 8080',
    """
def story():
    return tried(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind, ("127.0.0.1", 8080))
""",
    0,
)
_story(
    "fake-ownership",
    "fake-ownership",
    'lchown lstat: "fake-ownership"',
    """
def story():
    room = ctypes.create_string_buffer(144)
    return [call("lchown", "fake", 7, 8), call("lstat", "fake", room),
            struct.unpack_from("II", room, 28)]
""",
    [0, 0, [7, 8]],
)
_story(
    "load-module",
    "load-module",
    # There need not be modules here: the loader tells whether it may load any.
    'finit_module: { load-module = { modules = ["some"], command = ["PYTHON", "-I", "-S", "-c",'
    ' "LOADER"] } }',
    """
def story():
    return call("finit_module", os.open("module", os.O_RDONLY), b"", 0)
""",
    0,
)
LOADER: Final = (
    "import sys; told = open('/proc/self/status').read().partition('CapEff:')[2]; "
    "int(told.split()[0], 16) >> 16 & 1 or sys.exit('Operation not permitted')"
)


class Agents:
    """Agents in forks of one process, and containers that each of them serves.

    Args:
        place: A directory for all of it, which anybody may enter.
        group: A control group for containers, of version 2.
        port: Of a server of the host's, at 127.0.0.1.
    """

    def __init__(self, place: Path, group: Path, port: int) -> None:
        self._place, self._group, self._port = place, group, port
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("confined_agents.py"))],
            env=ENVIRON,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End all agents."""
        self._process.communicate(timeout=PATIENCE)

    def rules(self, home: Path, names: list[str]) -> str:
        """A policy with the rules of some stories, for what is in *home*."""
        loader = json.dumps(LOADER)[1:-1]
        text = 'version = 1\ndefault = "allow"\n'
        for name in names:
            rule = STORIES[name][1].replace("PLACE", str(home)).replace("LOADER", loader)
            rule = rule.replace("PORT", str(self._port)).replace('"PYTHON"', json.dumps(PYTHON))
            calls, _, rest = rule.partition(": ")
            do, _, where = rest.partition(" if ")
            text += f"[[rule]]\ncalls = {json.dumps(calls.split())}\ndo = {do}\n"
            text += f"where = {json.dumps(where)}\n" if where else ""
        # What looked into memory and did not match is not let go. An open without O_NOCTTY is the
        # interpreter's: of 3.13 on it makes some while it starts, when nobody serves it yet.
        text += '[[rule]]\ncalls = ["open"]\nwhere = "flags & O_NOCTTY"\ndo = "deny"\n'
        return text + '[[rule]]\ncalls = ["creat", "bind"]\ndo = "deny"\n'

    def agent(self, names: list[str], lacking: int = 0, *, bundle: bool = False) -> Agent:
        """One more, for the rules of some stories.

        Args:
            names: Which.
            lacking: Capabilities that it never had.
            bundle: Whether it has to look into bundles to know of WAIT_KILLABLE_RECV.
        """
        self._count += 1
        home = self._place / f"agent-{self._count}"
        (home / "policies").mkdir(parents=True)
        (home / "policies" / "default.toml").write_text(self.rules(home, names))
        (home / "policies" / "containers.toml").write_text(
            'version = 1\n[[container]]\nid = "*"\npolicy = "default"\n'
            + ("" if bundle else "wait-killable = true\n")
        )
        arguments = [f"--socket={home}/s", f"--policies={home}/policies"]
        asked = {"lacking": lacking, "log": str(home / "log"), "arguments": arguments}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        return Agent(self, home, pid, names)

    def told(self, agent: Agent, kind: str) -> dict[str, Any]:
        """What each story of *agent* sees in a container of a kind."""
        with Supervisor(policy=load(self.rules(agent.home, agent.names))) as supervisor:
            supervisor.add(*ADDONS)
            program = supervisor.program().encode()
            code = _HEAD + _HELP + "said = {}\n"
            for name in agent.names:
                code += STORIES[name][2] + f"said[{name!r}] = alone(story)\n"
            place = agent.home / kind
            flags, maker = KINDS[kind]
            furnish(place, 0 if kind == "plain" else FIRST)
            spawned = supervisor.kernel.spawn(
                program,
                [
                    *(PYTHON, "-I", "-S", "-c", code + "say(said)"),
                    *(str(place), str(self._port), str(flags), str(self._group), str(maker)),
                ],
                popen_options={"stdout": subprocess.PIPE, "cwd": "/"},
            )
            assert spawned.backlog == []
        # A call before it is ready would wait for ever: nobody serves it yet.
        assert select.select([spawned.process.stdout], [], [], 60)[0], agent.said
        assert spawned.process.stdout.readline() == b"ready\n"
        with connect(agent.home / "s") as runtime:
            said = state(kind, bundle=str(place / "closed"))
            said["pid"] = _innermost(spawned.process.pid)
            send(runtime, json.dumps(said).encode(), spawned.listener.fileno())
            spawned.listener.close()
            assert runtime.recv(1) == b""
        out, _ = spawned.process.communicate(timeout=60)
        assert spawned.process.returncode == 0, agent.said
        found: dict[str, Any] = json.loads(out)
        return found


class Agent:
    """One of `Agents`."""

    def __init__(self, agents: Agents, home: Path, pid: int, names: list[str]) -> None:
        self.home, self.pid, self.names = home, pid, names
        self._agents = agents
        until(lambda: "listening at" in self.said or "error:" in self.said)
        assert "listening at" in self.said, self.said

    @property
    def said(self) -> str:
        """Its log so far."""
        log = self.home / "log"
        return log.read_text() if log.exists() else ""

    def failing(self) -> dict[str, dict[str, Any]]:
        """By kind of container and name of story: what is seen instead of the right answer."""
        found: dict[str, dict[str, Any]] = {}
        with ThreadPoolExecutor() as pool:
            told = dict(zip(KINDS, pool.map(partial(self._agents.told, self), KINDS), strict=True))
        for kind, seen_by_name in told.items():
            for name, seen in seen_by_name.items():
                expected = STORIES[name][3]
                if isinstance(expected, dict):
                    expected = expected[kind]
                if seen != expected:
                    found.setdefault(name, {})[kind] = seen
        return found


def _innermost(pid: int) -> int:
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(children[0])
    return pid


def furnish(place: Path, root: int) -> None:
    """Lay out what stories work on, as belongs to a container whose root is *root*."""
    place.mkdir()
    owners = {"file": 0, "fake": 0, "module": 0, "of-7": 7, "of-9": 0}
    for name, owner in owners.items():
        (place / name).write_bytes(image(b"name=some\0") if name == "module" else b"")
        os.chown(place / name, root + owner, root + (9 if name == "of-9" else owner))
    (place / "open").mkdir()
    (place / "dev").mkdir()
    (place / "closed").mkdir()
    for name in ("mnt", "keep", "free", "root"):
        (place / "closed" / name).mkdir()
    (place / "closed" / "file").touch()
    flags = {"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}
    (place / "closed" / "config.json").write_text(json.dumps({"linux": {"seccomp": flags}}))
    for path in (place / "open", place / "dev", *(place / "closed").iterdir()):
        os.chown(path, root, root)
    os.chown(place / "closed", root + 7, root)
    os.chmod(place / "open", 0o777)
    os.chmod(place / "closed", 0o700)
    os.chown(place, root, root)
    place.chmod(0o755)
