"""Each verb of `unotify.handlers` in real containers, where runtimes have made all the rest."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.containers.container_support import Bundle, Place, as_text, program
from tests.unit.handlers.images import image
from unotify.abi.tables import number
from unotify.kernel._libc import NATIVE

POLICY = """
version = 1
default = "allow"

[[rule]]
calls = ["mount", "@mount-api"]
do = { emulate-mount = { file-systems = { tmpfs = ["mode=*"] }, size = "16m", others = "refuse" } }

[[rule]]
calls = ["umount2"]
do = { emulate-umount = ["/proc", "/dev/shm"] }

[[rule]]
calls = ["pivot_root"]
where = 'resolved(new_root) == "/mnt/new"'
do = "emulate-pivot-root"

[[rule]]
calls = ["pivot_root"]
do = { fail = "ENOTDIR" }

[[rule]]
calls = ["init_module", "finit_module", "delete_module"]
do = { load-module = { modules = ["some", "br_*"], command = ["LOADER"] } }

[[rule]]
calls = ["setxattr", "getxattr"]
do = { emulate-xattr = ["trusted.overlay.opaque=y"] }

[[rule]]
calls = ["sched_setscheduler", "setpriority"]
do = { emulate-sched = { policies = ["other", "rr"], priority = 5, nice = -5 } }

[[rule]]
calls = ["sysinfo"]
do = "emulate-sysinfo"

[[rule]]
calls = ["sethostname"]
do = { emulate-hostname = { names = ["box-*"] } }

[[rule]]
calls = ["swapon"]
do = { emulate-swap = "fake" }

[[rule]]
calls = ["quotactl"]
do = "emulate-quota"

[[rule]]
calls = ["clock_settime", "settimeofday", "clock_adjtime"]
do = "emulate-clock"

[[rule]]
calls = ["keyctl"]
do = { emulate-keyring = "session" }

[[rule]]
calls = ["perf_event_open"]
do = "emulate-perf"

[[rule]]
calls = ["connect", "bind", "listen", "sendto", "sendmsg", "sendmmsg", "getpeername", "getsockname"]
do = { host-socket = { to = ["127.0.0.1:PORT"], map = ["192.0.2.1:80=127.0.0.1:PORT"] } }

[[rule]]
calls = ["reboot"]
do = { emulate-reboot = "container" }
"""
# What is asked, by a name for it, and the answer.
INSIDE = """
import ctypes, errno, json, os, socket, stat, struct
libc = ctypes.CDLL(None, use_errno=True)
NAMES = NUMBERS
said = {}
def call(name, *args):
    done = libc.syscall(NAMES[name], *(os.fsencode(a) if isinstance(a, str) else a for a in args))
    return errno.errorcode[ctypes.get_errno()] if done < 0 else done
def tried(what, *args):
    try:
        return what(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
def ok(found):
    return found if isinstance(found, str) else "ok"
AT = -100
# The mount API, as programs make their mounts now.
def stepwise(kind, place, size):
    context = call("fsopen", kind, 0)
    if isinstance(context, str):
        return context
    steps = [call("fsconfig", context, 1, "size", size, 0), call("fsconfig", context, 6, 0, 0, 0)]
    made = call("fsmount", context, 0, 0)
    return [*steps, call("move_mount", made, "", AT, place, 4)]
said["steps"] = [stepwise("tmpfs", "/mnt", "1g"), stepwise("ext4", "/tmp", "1g")]
found = os.statvfs("/mnt")
said["size"] = found.f_blocks * found.f_frsize >> 20
said["mount"] = [call("mount", "none", "/tmp", "tmpfs", 0, "size=4m,mode=750"),
                 call("mount", "none", "/tmp", "tmpfs", 0, "huge=always"),
                 call("mount", "none", "/tmp", "proc", 0, 0)]
said["mode"] = oct(os.stat("/tmp").st_mode)
places = ("/tmp", "/proc", "/dev/../dev/shm", "/etc")
said["umount"] = [call("umount2", place, 2) for place in places]
os.mkdir("/mnt/new")
said["pivot"] = [call("pivot_root", "/tmp", "/tmp")]
def patient(*args):
    # Where the machine is busy, a look at a module may take longer than it is given.
    for _ in range(4):
        if (found := call(*args)) != "ETIMEDOUT":
            break
    return found
def module(name, flags=0, params=""):
    fd = os.open(name, os.O_RDONLY)
    found = patient("finit_module", fd, params, flags)
    os.close(fd)
    return found
data = open("/module", "rb").read()
said["modules"] = [module("/module"), module("/module.gz", 4), module("/module.gz"),
                   module("/module", 1), module("/other"), module("/etc/group"),
                   module("/module", 0, "debug=1"), patient("init_module", data, len(data), ""),
                   call("delete_module", "some", 0)]
said["xattr"] = [call("setxattr", "/file", "trusted.overlay.opaque", b"y", 1, 0),
                 call("setxattr", "/file", "trusted.overlay.opaque", b"n", 1, 0),
                 tried(os.getxattr, "/file", "trusted.overlay.opaque") == b"y",
                 call("setxattr", "/nowhere", "trusted.overlay.opaque", b"y", 1, 0)]
def scheduled(policy, priority):
    return call("sched_setscheduler", 0, policy, struct.pack("i", priority))
said["sched"] = [scheduled(2, 5), scheduled(2, 6), scheduled(1, 1), scheduled(0, 0),
                 call("setpriority", 0, 0, -5), call("setpriority", 0, 0, -6)]
room = ctypes.create_string_buffer(112)
said["sysinfo"] = call("sysinfo", room)
unit = struct.unpack_from("I", room, 104)[0]
said["total"] = struct.unpack_from("Q", room, 32)[0] * unit >> 20 if not said["sysinfo"] else 0
said["hostname"] = [call("sethostname", "box-1", 5), socket.gethostname(),
                    call("sethostname", "other", 5)]
said["swap"] = [call("swapon", "/file", 0), call("swapon", "/nowhere", 0)]
said["quota"] = call("quotactl", 0x80000800, "/file", 0, bytes(100))
said["clock"] = [call("clock_settime", 0, bytes(16)), call("settimeofday", bytes(16), 0)]
keys = call("keyctl", 0, -3, 1)
said["keys"] = keys if isinstance(keys, str) else keys > 0
attr = struct.pack("IIQQQQQIIQ", 1, 64, 1, 0, 0, 0, 1, 0, 0, 0)
said["perf"] = [ok(call("perf_event_open", attr, 0, -1, -1, 0)),
                ok(call("perf_event_open", attr, -1, 0, -1, 0))]
def heard(address):
    with socket.socket() as sock:
        sock.settimeout(10)
        found = tried(sock.connect, address)
        if found is not None:
            return found
        peer = tried(sock.getpeername)
        return [sock.recv(10).decode(), peer if isinstance(peer, str) else peer[1]]
said["network"] = [heard(("127.0.0.1", PORT)), heard(("192.0.2.1", 80)), heard(("192.0.2.2", 80))]
print(json.dumps(said), flush=True)
call("reboot", 0xfee1dead, 672274793, 0x4321fedc, 0)
print("not the end", flush=True)
"""
CALLS = (
    *("fsopen", "fsconfig", "fsmount", "move_mount", "mount", "umount2", "pivot_root"),
    *("finit_module", "init_module", "delete_module", "setxattr", "sched_setscheduler"),
    *("setpriority", "sysinfo", "sethostname", "swapon", "quotactl", "clock_settime"),
    *("settimeofday", "keyctl", "perf_event_open", "reboot"),
)
ANSWERS: dict[str, Any] = {
    "steps": [[0, 0, 0], "EPERM"],
    "size": 16,
    "mount": [0, "EPERM", "EPERM"],
    "mode": "0o40750",
    "umount": [0, "EPERM", "EPERM", "EINVAL"],
    "pivot": ["ENOTDIR"],
    "modules": [0, 0, "ENOEXEC", "EPERM", "EPERM", "ENOEXEC", "EPERM", 0, "EPERM"],
    "xattr": [0, "EPERM", True, "ENOENT"],
    "sched": [0, "EPERM", "EPERM", 0, 0, "EPERM"],
    "sysinfo": 0,
    "total": 256,
    "hostname": [0, "box-1", "EPERM"],
    "swap": [0, "ENOENT"],
    "quota": "ESRCH",
    "clock": ["EPERM", "EPERM"],
    "keys": True,
    "perf": ["ok", "EACCES"],
}
ROOTFUL = {
    # Root of the host has what it has.
    "xattr": [0, 0, False, "ENOENT"],
    # What is written to memory takes WAIT_KILLABLE_RECV, which runc has since 1.5.
    "sysinfo": "EPERM",
    "total": 0,
}
"""What root without a user namespace, in a container of an old runc, is answered instead."""


@pytest.fixture(name="port", scope="module")
def _port() -> Iterator[int]:
    """A server on the host's network that says its name."""
    with socket.create_server(("127.0.0.1", 0)) as host:

        def serve() -> None:
            while True:
                try:
                    accepted, _ = host.accept()
                except OSError:
                    return
                with accepted:
                    accepted.sendall(b"host")

        thread = threading.Thread(target=serve)
        thread.start()
        yield host.getsockname()[1]
        host.shutdown(socket.SHUT_RDWR)
        thread.join()


def furnished(bundle: Bundle) -> None:
    """Give it an interpreter, files to work on, and what root of a system container has."""
    config = bundle.config
    # All of Debian's is below /usr.
    if not os.path.exists(python := "/usr/bin/python3"):
        missing("there is no /usr/bin/python3: apt-get install python3")
    for name in ("lib", "lib64"):
        if (host := Path("/", name)).is_symlink():
            (bundle.rootfs / name).symlink_to(host.readlink())
    (bundle.rootfs / "usr").mkdir()
    config["mounts"].append(
        {"destination": "/usr", "source": "/usr", "type": "bind", "options": ["rbind", "ro"]}
    )
    files = {
        "module": image(b"name=some\0"),
        "module.gz": gzip.compress(image(b"name=some\0")),
        "other": image(b"name=other\0"),
        "file": b"",
        "etc/group": b"root:x:0:\n",
    }
    for name, data in files.items():
        (bundle.rootfs / name).write_bytes(data)
        owner = os.stat(bundle.rootfs / "tmp")
        os.chown(bundle.rootfs / name, owner.st_uid, owner.st_gid)
    for capabilities in config["process"]["capabilities"].values():
        capabilities += [f"CAP_SYS_{name}" for name in ("ADMIN", "NICE", "BOOT", "TIME")]
        capabilities += ["CAP_PERFMON"]
    resources = config["linux"]["resources"]
    resources["memory"] = {"limit": 256 << 20}
    if os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"):
        # Where groups share out real-time time, a container has none unless it is told so.
        resources["cpu"] = {"realtimePeriod": 1_000_000, "realtimeRuntime": 1_000}
    config["process"]["args"] = [python, "-I", "-S", "/inside"]


@pytest.mark.parametrize(("name", "mode"), [("crun", "userns"), ("runc", "rootful")])
def test_verbs(name: str, mode: str, port: int, place: Place) -> None:
    """Each is answered by its rule, with the right errno, and the last one ends the container."""
    policy = POLICY.replace("PORT", str(port)).replace("LOADER", program("true"))
    runtime, agent = place.runtime(name, mode), place.agent(place.policies(default=policy))
    bundle = runtime.bundle().supervised(policy, agent, wait_killable=name == "crun")
    furnished(bundle)
    inside = INSIDE.replace("NUMBERS", repr({call: number(call, NATIVE) for call in CALLS}))
    (bundle.rootfs / "inside").write_text(inside.replace("PORT", str(port)))
    done = runtime.runs(bundle)
    assert done.stdout.count("\n") == 1, as_text(done) + agent.said
    old = name == "runc"
    answers = ANSWERS | (ROOTFUL if old else {})
    answers["network"] = [["host", port], ["host", "EPERM" if old else 80], "ENETUNREACH"]
    assert json.loads(done.stdout) == answers, agent.said
    # The kernel ended it, as it ends a pid namespace whose machine would be switched off.
    assert done.returncode == 128 + signal.SIGINT
