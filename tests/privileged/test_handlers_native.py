"""Device nodes that are made without Python are the same nodes, and only the plain ones."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import signal
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.kernel.perform_support import PYTHON
from tests.kernel.targets import until
from tests.privileged.handlers_support import _HEAD, numbers_of, open_to_all, told
from tests.privileged.loop_support import image, loop
from unotify import Supervisor
from unotify.abi.seccomp import FilterFlag
from unotify.handlers import ADDONS, emulate_mknod
from unotify.kernel import native
from unotify.kernel.acts import number
from unotify.kernel.linux import LinuxKernel
from unotify.kernel.nodes import Node
from unotify.kernel.rights import mine
from unotify.kernel.surroundings import user_namespace_of
from unotify.policy.loader import load

pytestmark = pytest.mark.usefixtures("native_backend")

POLICY = """
version = 1
default = "allow"
[[rule]]
calls = ["mknod", "mknodat"]
do = { emulate-mknod = ["c:1:3", "b:7:0-3"] }
"""

_MADE = """
null, char = os.makedev(1, 3), stat.S_IFCHR | 0o666
def attempt(name, mode=char, device=null, **more):
    "Try to make it; and let it be told whether that took Python."
    found = tried(os.mknod, name, mode, device, **more)
    os.getppid()
    return found
"""


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    return _new(tmp_path / "place")


def _new(place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return open_to_all(place)


@pytest.fixture(name="umask", autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


class Nodes:
    """A supervisor that makes nodes, and how many of them without Python at each getppid()."""

    def __init__(
        self, policy: str = POLICY, *, add: bool = True, deadline: float | None = None
    ) -> None:
        # One of its own: the usual one remembers which backend it began with.
        self.supervisor = Supervisor(policy=load(policy), kernel=LinuxKernel(), deadline=deadline)
        self.counts: list[int] = [0]
        if add:
            self.supervisor.add(*ADDONS)

        @self.supervisor.on("getppid")
        def count(call: Any) -> None:
            # Whoever has answered the call before may not have counted that yet.
            until(lambda: self.supervisor.statistics().in_flight <= 1)
            self.counts.append(self.native)

    @property
    def native(self) -> int:
        """How many calls were answered without Python."""
        return self.supervisor.statistics().native

    @property
    def quick(self) -> list[bool]:
        """Of each attempt, whether it took no Python."""
        found = [
            later - earlier for earlier, later in zip(self.counts, self.counts[1:], strict=False)
        ]
        assert set(found) <= {0, 1}
        return [bool(each) for each in found]

    def start(
        self,
        code: str,
        *args: object,
        container: str | None = None,
        preferred: FilterFlag = FilterFlag.WAIT_KILLABLE_RECV,
        **more: Any,
    ) -> Any:
        """Start a program; *container* is what is told of it, or it is the supervisor's own."""
        command = [PYTHON, "-I", "-S", "-c", _HEAD + _MADE + code, *map(str, args)]
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "cwd": "/", **more}
        if container is None:
            return self.supervisor.popen(command, **options)
        spawned = self.supervisor.kernel.spawn(
            self.supervisor.program().encode(), command, preferred=preferred, popen_options=options
        )
        quiet = bool(preferred)
        self.supervisor.attach(spawned.listener, wait_killable=quiet, container=container)
        return spawned.process

    def run(self, code: str, *args: object, **more: Any) -> Any:
        """Run one to its end; what it says."""
        return told(self.start(code, *args, **more))


@contextmanager
def nodes(*args: Any, faults: int = 0, **more: Any) -> Iterator[Nodes]:
    """One that is stopped at the end, and had no other faults."""
    made = Nodes(*args, **more)
    with made.supervisor:
        yield made
    assert made.supervisor.statistics().faults == faults


_CASES = """
os.chdir(sys.argv[1])
place, here = sys.argv[1], os.path.basename(sys.argv[1])
found = {}
def make(key, *args, **more):
    found[key] = attempt(key, *args, **more)
os.mkdir("dir"); os.mkdir("gone"); os.mkdir("set")
os.chown("set", 0, 65533); os.chmod("set", 0o2777)
os.symlink("dir", "link"); os.symlink("none", "astray")
start, gone = os.open("dir", os.O_RDONLY), os.open("gone", os.O_RDONLY)
file = os.open("file", os.O_CREAT | os.O_WRONLY)
os.rmdir("gone")
make("first")
make("plain")
make("./plain")
make("dir/deep")
make("set/inherited")
make("below", dir_fd=start)
make(place + "/whole")
make("/.." + place + "/rooted")
make("special", stat.S_IFCHR | 0o4644)
make("block", stat.S_IFBLK | 0o660, os.makedev(7, 3))
make("unlisted block", stat.S_IFBLK | 0o660, os.makedev(7, 4))
make("unlisted", char, os.makedev(1, 1))
make("other kind", stat.S_IFBLK | 0o660, null)
make("whiteout", stat.S_IFCHR, 0)
make("fifo", stat.S_IFIFO | 0o600, 0)
make("in nothing", dir_fd=gone)
make("in a file", dir_fd=file)
make("in none", dir_fd=99)
make("x" * 255)
make("x" * 256)
make("astray")
make("link/through")
make("astray/x")
make("../" + here + "/up")
make("none/x")
make("plain/x")
make("slash/")
make("")
make("/")
make("dir/..")
make("dir/.")
os.umask(0o077)
make("masked")
os.umask(0o022)
libc.prctl(8, 1)  # PR_SET_KEEPCAPS
os.setgroups([7, 8])
os.setresgid(65533, 65533, 65533)
os.setresuid(65534, 65534, 65534)
drop(*(c for c in range(41) if c != 27))
make("theirs")
make("set/theirs")
make("dir/closed")
drop(*range(41))
make("incapable")
say(found)
"""

_PLAIN = {
    *("plain", "./plain", "dir/deep", "set/inherited", "below", "special", "block", "in nothing"),
    *("x" * 255, "x" * 256, "astray", "theirs", "set/theirs", "dir/closed"),
}


def test_both_backends_make_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers and the same files, with owners and modes; the plain ones natively."""
    ours, found = mine(), {}
    for backend in ("python", "native"):
        monkeypatch.setenv("UNOTIFY_BACKEND", backend)
        with nodes() as made:
            answers = made.run(_CASES, _new(place))
        found[backend] = answers, numbers_of(place)
        quick = {key for key, plain in zip(answers, made.quick, strict=True) if plain}
        quick -= {"first"}  # the first on this mount, unless another test was there
        assert quick == (
            {*_PLAIN, f"{place}/whole", f"/..{place}/rooted"} if backend == "native" else set()
        )
    assert found["native"] == found["python"]
    assert mine() == ours
    answers, tree = found["native"]
    assert answers["plain"] == answers["theirs"] == answers["block"] == answers["whiteout"] == 0
    assert answers["./plain"] == answers["astray"] == "EEXIST"
    assert answers["dir/closed"] == "EACCES"
    assert answers["in nothing"] == "ENOENT"
    assert answers["incapable"] == answers["unlisted"] == answers["other kind"] == "EPERM"
    assert tree["theirs"] == (stat.S_IFCHR | 0o644, os.makedev(1, 3), 65534, 65533)
    assert tree["set/inherited"][2:] == (0, 65533)
    assert tree["masked"][0] & 0o777 == 0o600


def test_the_first_on_each_mount(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether devices are of use on a mount Python finds out; where they are not it acts."""
    code = """
assert libc.unshare(0x20000) == 0
assert libc.mount(None, b"/", None, ctypes.c_ulong(0x44000), None) == 0
os.chdir(sys.argv[1])
found = []
for name, flags in (("plain", 0), ("nodev", 4)):
    os.mkdir(name)
    assert mount("none", name, "tmpfs", flags) == 0
    for n in range(3):
        found.append([attempt(f"{name}/{n}"), stat.S_ISCHR(os.stat(f"{name}/{n}").st_mode)])
mount(None, "plain", None, 0x20 | 4)  # it becomes nodev as well
found.append([attempt("plain/3"), stat.S_ISCHR(os.stat("plain/3").st_mode)])
for name in ("layers", "over"): os.mkdir(name)
assert mount("none", "layers", "tmpfs") == 0
for name in ("lower", "lower/below", "upper", "work"): os.mkdir("layers/" + name)
layers = "lowerdir=layers/lower,upperdir=layers/upper,workdir=layers/work"
assert mount("none", "over", "overlay", 0, layers) == 0
for name in ("over/1", "over/2", "over/below/1", "over/below/2"):
    found.append([attempt(name), stat.S_ISCHR(os.stat(name).st_mode)])
say(found)
"""
    found = {}
    for backend in ("python", "native"):
        monkeypatch.setenv("UNOTIFY_BACKEND", backend)
        with nodes() as made:
            found[backend] = made.run(code, _new(place))
    assert found["python"] == found["native"] == [[0, True]] * 11
    assert made.quick[:9] == [False, True, True, False, False, False, False, False, True]
    # A directory that nobody has looked up yet is looked up by Python.
    assert made.quick[10]


def test_a_mount_that_was_forgotten(place: Path) -> None:
    """There is room for so many mounts; one that had to go is told again by Python."""
    directory = os.open(place, os.O_RDONLY)
    with nodes() as made:
        made.run(_TWICE, place)
        known = made.native
        assert known >= 2
        mount = Node.found(directory, b".").mount
        native.tell_usable(mount + 4096)
        made.run(_TWICE, place)
        assert made.native == known + 2
    assert made.quick[-3:] == [False, True, True]
    os.close(directory)


def test_another_root(place: Path) -> None:
    """A path begins at the root of the target, also one that leads above it."""
    code = """
os.chdir(sys.argv[1])
os.mkdir("below")
os.chroot(".")
say([attempt(name) for name in ("/first", "/second", "/../../third", "/below/fourth", "fifth")])
"""
    with nodes() as made:
        assert made.run(code, place) == [0, 0, 0, 0, 0]
    assert made.quick[1:] == [True, True, True, True]
    assert sorted(numbers_of(place)) == [
        "below",
        "below/fourth",
        "fifth",
        "first",
        "second",
        "third",
    ]


def test_another_user_namespace(place: Path) -> None:
    """Who has left for one of its own is acted for step by step, with what it may in there."""
    code = """
os.chdir(sys.argv[1])
attempt("first"), attempt("ours")
contain()
say([attempt("theirs"), attempt("more")])
"""
    with nodes() as made:
        made.run(code, place)
    assert made.quick[1:] == [True, False, False]


_TWICE = 'os.chdir(sys.argv[1])\nsay([attempt(f"{n}{os.getpid()}") for n in range(3)])\n'


def test_a_container_of_another_user_namespace(place: Path) -> None:
    """A capability counts in the container's: natively only if that is known to be ours."""
    ours = user_namespace_of(os.getpid())
    found = {}
    for container in (None, ours, "user:[1]", ""):
        with nodes() as made:
            answers = made.run(_TWICE, place, container=container)
        found[container] = answers, made.quick[1:]
    assert found == {
        None: ([0, 0, 0], [True, True]),
        ours: ([0, 0, 0], [True, True]),
        "user:[1]": (["EPERM"] * 3, [False, False]),
        "": ([0, 0, 0], [False, False]),
    }


def test_a_verb_of_somebody_else(place: Path) -> None:
    """What carries the verb out instead is asked, also if it wraps the one that is shipped."""
    asked = []
    shipped = next(vars(addon)["_emulate_mknod"] for addon in ADDONS if "devices" in addon.__name__)

    @functools.wraps(shipped)
    def wrapping(call: Any, parameters: Mapping[str, Any]) -> Any:
        asked.append(parameters["devices"])
        return shipped(call, parameters)

    def of_its_own(call: Any, parameters: Mapping[str, Any]) -> Any:
        asked.append(parameters["devices"])
        return emulate_mknod(call, devices=parameters["devices"])

    for verb in (wrapping, of_its_own):
        with nodes(add=False) as made:
            made.supervisor.add_verb("emulate-mknod", verb)
            assert made.run(_TWICE, place) == [0, 0, 0]
            assert made.native == 0
    assert len(asked) == 6


def test_rules_before_it(place: Path) -> None:
    """Other rules for the same call keep their place, also those about its path."""
    policy = POLICY.replace(
        "[[rule]]",
        f"""
[[rule]]
calls = ["mknod", "mknodat"]
where = 'path in ("{place}/refused", "other")'
do = {{ fail = "EROFS" }}
[[rule]]""",
    )
    policy += '[[rule]]\ncalls = ["mknod", "mknodat"]\ndo = "deny"\n'
    code = """
os.chdir(sys.argv[1])
say([attempt(name) for name in ("first", "other", sys.argv[1] + "/refused", "taken")])
"""
    with nodes(policy) as made:
        assert made.run(code, place) == [0, "EROFS", "EROFS", 0]
    assert made.quick[1:] == [True, True, True]


def test_our_umask_changes(place: Path) -> None:
    """A node that was made with another umask than the target's is not left so."""
    code = """
os.chdir(sys.argv[1])
attempt("first"); attempt("second")
print(flush=True); sys.stdin.readline()
attempt("third")
say(0)
"""
    with nodes() as made:
        process = made.start(code, place, stdin=subprocess.PIPE)
        process.stdout.readline()
        os.umask(0o077)
        assert process.communicate(b"\n", timeout=60) == (b"0\n", None)
    assert made.quick[1:] == [True, False]
    assert {each[0] & 0o777 for each in numbers_of(place).values()} == {0o644}


def test_a_default_acl(place: Path) -> None:
    """In a directory that has one no umask counts (acl(5))."""
    entries = ((1, 7), (4, 6), (0x20, 6))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *each, -1) for each in entries)
    try:
        os.setxattr(place, "system.posix_acl_default", acl)
    except OSError:
        missing(f"the file system of {place} has no ACLs")
    with nodes() as made:
        assert made.run(_TWICE, place) == [0, 0, 0]
    assert made.quick[1:] == [True, True]
    assert {each[0] & 0o777 for each in numbers_of(place).values()} == {0o666}


# -- targets that are killed, or hostile

_KILLED = """
os.chdir(sys.argv[1])
attempt("first")
for round in range(250):
    child = os.fork()
    if not child:
        n = 0
        while True:
            n += 1
            os.mknod(f"{round}.{n}", char, null)
    spins = 9000 + round * 1597 % 40000
    while spins: spins -= 1
    os.kill(child, 9)
    os.waitpid(child, 0)
say(0)
"""


def test_killed_targets_leave_no_node(place: Path) -> None:
    """There are as many nodes as calls that were answered, whenever a target dies."""
    with nodes() as made:
        made.run(_KILLED, place)
        until(lambda: made.supervisor.statistics().in_flight == 0)
        found = made.supervisor.statistics()
        # What Python has made for the dead is removed after it was told that they are.
        until(lambda: len(os.listdir(place)) == found.answered - len(made.counts) + 1)
    assert found.native > 20


_INTERRUPTED = """
os.chdir(sys.argv[1])
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, False)
attempt("first")
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
found = [tried(os.mknod, str(n), char, null) for n in range(800)]
signal.setitimer(signal.ITIMER_REAL, 0)
say([len(found), sorted(map(str, set(found)))])
"""


def test_interrupted_targets(place: Path) -> None:
    """Without WAIT_KILLABLE_RECV a call begins anew after a signal, and each node is made once.

    It may find itself: a signal can come between an answer that was taken and who waits for it.
    """
    with nodes() as made:
        ours = user_namespace_of(os.getpid())
        none = FilterFlag(0)
        count, found = made.run(_INTERRUPTED, place, container=ours, preferred=none)
        assert count == 800
        assert "0" in found
        assert {*found} <= {"0", "EEXIST"}
        assert made.native > 100
        assert made.supervisor.statistics().gone > 0
    assert len(os.listdir(place)) == 801


_HOSTILE = """
os.chdir(sys.argv[1])
for name in ("a", "b", "c"): os.mkdir(name)
os.symlink("c", "way")
fds = [os.open(name, os.O_RDONLY) for name in ("a", "b")]
os.dup2(fds[0], 50)
attempt("first"); os.unlink("first")
buffer = ctypes.create_string_buffer(b"a/xxxx\\0")
over = threading.Event()
def disturb():
    n = 0
    while not over.is_set():
        n += 1
        buffer[0] = b"ab"[n & 1]
        os.dup2(fds[n & 1], 50)
        libc.renameat2(-100, b"c", -100, b"way", 2)
        if n & 1: os.rename(sys.argv[1], sys.argv[1] + "2")
        else: os.rename(sys.argv[1] + "2", sys.argv[1])
    if n & 1: os.rename(sys.argv[1] + "2", sys.argv[1])
thread = threading.Thread(target=disturb)
thread.start()
made, odd = 0, set()
def count(found):
    global made
    if found == 0: made += 1
    else: odd.add(found)
for n in range(700):
    buffer[2:6] = b"%04d" % n
    count(called(133, buffer, char, null))
    count(tried(os.mknod, f"d{n}", char, null, dir_fd=50))
    count(tried(os.mknod, f"c/{n}", char, null))
    count(tried(os.mknod, f"r{n}", char, null))
over.set()
thread.join()
say([made, sorted(odd)])
"""


def test_a_target_that_moves_things(place: Path) -> None:
    """Paths, descriptors and directories that change: each success is one node in there."""
    with nodes() as made:
        count, odd = made.run(_HOSTILE, place)
        assert made.native > 100
    found = [each for each in numbers_of(place).values() if stat.S_ISCHR(each[0])]
    assert count == len(found)
    assert set(odd) <= {"ENOENT", "ELOOP", "EEXIST"}
    assert {each[0] & 0o7777 for each in found} == {0o644}


_FREEZE, _THAW = 0xC0045877, 0xC0045878


@contextmanager
def _frozen(mount: Path) -> Iterator[Callable[[], None]]:
    """A file system that nobody can change until it is thawed."""
    fd = os.open(mount, os.O_RDONLY)
    frozen = True

    def thaw() -> None:
        nonlocal frozen
        if frozen:
            frozen = False
            fcntl.ioctl(fd, _THAW, 0)

    fcntl.ioctl(fd, _FREEZE, 0)
    try:
        yield thaw
    finally:
        thaw()
        os.close(fd)


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    with loop(image(tmp_path)) as device:
        subprocess.run(["mount", device, disk], check=True)
        try:
            yield disk
        finally:
            subprocess.run(["umount", disk], check=True)


def _is_blocked() -> bool:
    """Whether a thread of ours is in the midst of making a node."""
    calls = [(task / "syscall").read_text() for task in Path("/proc/self/task").iterdir()]
    return any(call.split()[0] == str(number("mknodat")) for call in calls)


_BLOCKED = """
os.chdir(sys.argv[1])
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, False)
attempt("first"); attempt("second")
print(flush=True); sys.stdin.readline()
say(tried(os.mknod, "third", char, null))
"""


@contextmanager
def _blocked(made: Nodes, disk: Path, **options: Any) -> Iterator[tuple[Any, Callable[[], None]]]:
    """A target whose third node the disk does not let be made, until it is thawed."""
    process = made.start(_BLOCKED, disk, stdin=subprocess.PIPE, **options)
    process.stdout.readline()
    assert made.native == 1
    with _frozen(disk) as thaw:
        process.stdin.write(b"\n")
        process.stdin.flush()
        until(_is_blocked)
        yield process, thaw
        thaw()
        until(lambda: made.supervisor.statistics().in_flight == 0)
        # What a deadline has answered is in flight no more.
        until(lambda: made.supervisor._readers.quick.stuck == 0)


def _lead(made: Nodes) -> None:
    """Somebody else calls, so somebody else leads."""
    assert made.run('say(tried(os.mknod, "/proc/x", char, null))') == "ENOENT"


def _names(disk: Path) -> set[str]:
    return {*os.listdir(disk)} - {"hello", "lost+found", "first", "second"}


@pytest.mark.parametrize("led", [False, True], ids=["leads", "stuck"])
def test_a_file_system_that_blocks(disk: Path, led: bool) -> None:
    """Others are served meanwhile, and the node is made once."""
    with nodes() as made, _blocked(made, disk) as (process, thaw):
        if led:
            _lead(made)
        assert process.poll() is None
        thaw()
        assert told(process) == 0
        assert _names(disk) == {"third"}
        until(lambda: made.native == 2)
        assert made.supervisor.statistics().gone == 0


@pytest.mark.parametrize("led", [False, True], ids=["leads", "stuck"])
def test_killed_while_it_blocks(disk: Path, led: bool) -> None:
    """Nothing is left of the node, and it is told once that nobody waited for it."""
    with nodes() as made:
        with _blocked(made, disk) as (process, thaw):
            if led:
                _lead(made)
            process.kill()
            process.communicate()
            thaw()
            until(lambda: made.supervisor.statistics().gone)
        assert _names(disk) == set()
        assert (made.native, made.supervisor.statistics().gone) == (1, 1)


def test_a_deadline_while_it_blocks(disk: Path) -> None:
    """The target gets the fault reply in time, and the node that is made later is removed."""
    with nodes(deadline=0.3, faults=1) as made:
        with _blocked(made, disk) as (process, thaw):
            assert told(process) == "EPERM"
            assert _is_blocked()
            thaw()
        assert _names(disk) == set()
        found = made.supervisor.statistics()
        assert (found.expired, found.gone, made.native) == (1, 0, 1)


def test_interrupted_while_it_blocks(disk: Path) -> None:
    """A target that calls again waits until its first call is over: the node is not there then."""
    with nodes() as made:
        ours, none = user_namespace_of(os.getpid()), FilterFlag(0)
        with _blocked(made, disk, container=ours, preferred=none) as (process, thaw):
            _lead(made)
            process.send_signal(signal.SIGALRM)
            until(lambda: made.supervisor.statistics().in_flight == 2)
            thaw()
            assert told(process) == 0
        assert _names(disk) == {"third"}
        assert made.supervisor.statistics().gone == 1


_GETFLAGS, _SETFLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10


@contextmanager
def _immutable(directory: Path) -> Iterator[None]:
    fd = os.open(directory, os.O_RDONLY)
    (flags,) = struct.unpack("=Q", fcntl.ioctl(fd, _GETFLAGS, bytes(8)))
    try:
        fcntl.ioctl(fd, _SETFLAGS, struct.pack("=Q", flags | _IMMUTABLE))
    except PermissionError:
        os.close(fd)
        missing("it takes CAP_LINUX_IMMUTABLE to make a directory immutable")
    try:
        yield
    finally:
        fcntl.ioctl(fd, _SETFLAGS, struct.pack("=Q", flags))
        os.close(fd)


@pytest.mark.parametrize("blocks", [False, True], ids=["at once", "late"])
def test_what_the_kernel_does_not_permit(disk: Path, blocks: bool) -> None:
    """Python may know another way; also if somebody else has the lead by then."""
    code = """
os.chdir(sys.argv[1])
attempt("first"); attempt("second")
print(flush=True); sys.stdin.readline()
say(tried(os.mknod, "fixed/third", char, null))
"""
    fixed = disk / "fixed"
    fixed.mkdir()
    with nodes() as made, _immutable(fixed):
        process = made.start(code, disk, stdin=subprocess.PIPE)
        process.stdout.readline()
        with _frozen(disk) as thaw:
            if not blocks:
                thaw()
            process.stdin.write(b"\n")
            process.stdin.flush()
            if blocks:
                until(_is_blocked)
                _lead(made)
                thaw()
        assert told(process) == "EPERM"
        assert made.native == 1
        found = made.supervisor.statistics()
    assert (found.in_flight, found.received - found.answered) == (0, 0)
    assert os.listdir(fixed) == []
