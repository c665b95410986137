"""Answers without Python are the same answers: `unotify.kernel.native`, and who uses it."""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import mmap
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.supervised import KEEPING
from tests.kernel.perform_support import PYTHON, attempt, descriptors, start, told
from tests.kernel.targets import until
from unotify import Fail, Instrument, Supervisor
from unotify.abi.structs import NotifSizes
from unotify.abi.types import Address, Tid
from unotify.calls import Call
from unotify.errors import BadAddress, PathTooLong, Unsupported
from unotify.kernel import memory, native, rights
from unotify.kernel.interface import Came
from unotify.kernel.memory import LinuxMemory

pytestmark = pytest.mark.usefixtures("needs_native")

RULES = """
version = 1
default = "allow"

[[rule]]
calls = ["open", "openat"]
where = "flags & O_PATH"
do = "allow"

[[rule]]
calls = ["openat", "unlink"]
where = 'under(path, "/nowhere/closed") or path in ("/nowhere/one", "two")'
do = { fail = "EXDEV" }

[[rule]]
calls = ["openat", "unlink"]
do = "perform"
"""


both = pytest.mark.parametrize("more", ["", KEEPING], ids=["free", "kept"])
"""With targets that may go elsewhere, and with such that cannot."""


def no_descriptor() -> bytes:
    """What an open says when there are too many."""
    raise OSError(errno.EMFILE, "too many open files")


def supervised(tmp_path: Path, more: str = "") -> Supervisor:
    """A supervisor with the rules above, and *more* of them."""
    policy = tmp_path / "policy.toml"
    policy.write_text(RULES + more)
    return Supervisor(policy=str(policy))


EVERYTHING = r"""
import fcntl, stat
os.chdir(sys.argv[1])
os.mkdir("d")
for name in ("d/file", "d/other", "..."):
    with open(name, "w") as made:
        made.write(name)
os.mkdir("far")
with open("far/passwd", "w") as made: made.write("far")
os.symlink("d/file", "link"); os.symlink("d", "way"); os.symlink(os.path.realpath("far"), "etc")
os.symlink("none", "astray"); os.symlink("astray", "d/astray")
os.mkfifo("fifo")
held = os.open("d", os.O_RDONLY)
there, gone = os.path.realpath("."), os.open("d", os.O_RDONLY); os.close(gone)
PATHS = ["d/file", "./d//file", "d/../d/file", "d/./other", "...", "d", "d/", "d/file/", "d/none",
    "none/none", "d/file/none", "link", "way/file", "etc/passwd", "astray",
    "astray/", "d/astray", "way/astray", "fifo", "", ".", "..", "/",
    there + "/d/file", "/" + there + "/d/other", there + "/./d/../d/file", there + "/link",
    "/proc/self/status", "/proc/self/fd/0", "/proc/1/none", "/dev/null", "/dev/none", "/sys/none",
    "/nowhere/one", "/nowhere/closed", "//nowhere//closed/x", "/nowhere/closed/../x", "two",
    "/nowhere/./closed", "/nowhere/closedx", "x" * 255, "x" * 256, "d/" * 2047 + "x", "y/" * 3000]
FLAGS = [0, os.O_CLOEXEC, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_NONBLOCK, os.O_DIRECTORY,
    os.O_NOFOLLOW, os.O_NOFOLLOW | os.O_DIRECTORY, os.O_RDONLY | os.O_TRUNC,
    os.O_CREAT | os.O_WRONLY, os.O_ACCMODE, 1 << 30]
seen = []
for at in (-100, held, 9999, -5):
    for path in PATHS:
        for flags in FLAGS:
            changes = flags & (os.O_CREAT | os.O_TRUNC)
            if changes and path.startswith("/") and not path.startswith(there):
                continue  # nothing of the machine's is to be changed
            if path == "fifo" and not flags & os.O_NONBLOCK and flags & os.O_ACCMODE != os.O_RDWR:
                continue  # would wait
            fd = called(257, at, path.encode() + b"\0", flags, 0o640)
            if isinstance(fd, str):
                seen.append(fd)
                continue
            about = os.fstat(fd)
            named = os.stat(path, dir_fd=at).st_ino if at in (-100, held) else about.st_ino
            seen.append([fd, stat.S_IFMT(about.st_mode), about.st_size, about.st_ino == named,
                fcntl.fcntl(fd, fcntl.F_GETFL), fcntl.fcntl(fd, fcntl.F_GETFD)])
            os.close(fd)
            for made in ("none", "x" * 255, "d/none"):
                try:
                    os.remove(made)
                except OSError:
                    pass
for wild in (0, 1, 1 << 63, (1 << 64) - 1):
    seen.append(called(257, -100, wild, 0, 0))
say(seen)
"""


def everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, more: str = ""
) -> Any:
    """What all these opens give."""
    monkeypatch.setenv("UNOTIFY_BACKEND", backend)
    work = tmp_path / f"{backend}{len(more)}"
    work.mkdir()
    with supervised(tmp_path, more) as supervisor:
        found = attempt(supervisor, EVERYTHING, work)
        assert supervisor.statistics().faults == 0
        assert (supervisor.statistics().native > 300) is (backend == "native")
    return found


def test_both_backends_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of opens, ordinary and odd ones, come out alike whoever answers them."""
    python = everything(tmp_path, monkeypatch, "python")
    assert everything(tmp_path, monkeypatch, "native") == python
    assert everything(tmp_path, monkeypatch, "native", KEEPING) == python


_MEMORY = """
import fcntl, stat
os.symlink("/dev/null", sys.argv[1])
PATHS = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/null/",
    "/dev/./null", sys.argv[1]]
MORE = [0, os.O_CREAT, os.O_TRUNC, os.O_CREAT | os.O_TRUNC, os.O_CREAT | os.O_EXCL,
    os.O_CREAT | os.O_DIRECTORY, os.O_NOFOLLOW | os.O_CREAT, os.O_NONBLOCK | os.O_APPEND]
seen = []
for path in PATHS:
    for more in MORE:
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CLOEXEC):
            fd = called(257, -100, path.encode() + b"\\0", flags | more, 0o600)
            if isinstance(fd, str):
                seen.append(fd)
                continue
            about = os.fstat(fd)
            seen.append([fd, stat.S_IFMT(about.st_mode), about.st_rdev,
                fcntl.fcntl(fd, fcntl.F_GETFL), fcntl.fcntl(fd, fcntl.F_GETFD)])
            os.close(fd)
say(seen)
"""


def test_devices_that_are_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/null and its like are opened without Python, however shells ask for it."""
    found = []
    for backend in ("python", "native"):
        monkeypatch.setenv("UNOTIFY_BACKEND", backend)
        with supervised(tmp_path) as supervisor:
            found.append(attempt(supervisor, _MEMORY, tmp_path / backend))
            answered = supervisor.statistics()
    assert found[0] == found[1]
    assert len({name for name in found[0] if isinstance(name, str)}) > 2
    assert answered.native > 90


@both
def test_one_call_is_one_answer(tmp_path: Path, more: str) -> None:
    """Statistics count what is answered without Python, as answers and by itself."""
    (tmp_path / "file").write_text("x")
    with supervised(tmp_path, more) as supervisor:
        before = supervisor.statistics()
        attempt(
            supervisor,
            "for _ in range(500): os.close(os.open(sys.argv[1], 0))\nsay(0)",
            tmp_path / "file",
        )
        after = supervisor.statistics()
    assert before.native == 0
    assert after.native >= 500
    assert after.answered >= after.native
    assert (after.received, after.gone, after.in_flight) == (after.answered, 0, 0)
    assert sum(count for _, count in after.latency) == after.answered


def test_what_goes_on_is_counted_as_racy(tmp_path: Path) -> None:
    """A call that goes on after its path was read is one more racy reply, without Python too."""
    policy = tmp_path / "policy.toml"
    policy.write_text(
        """
version = 1
default = "allow"

[[rule]]
calls = ["openat"]
where = 'under(path, "/nowhere")'
do = "deny"
racy = true
because = "only the careless are to be stopped"
"""
    )
    code = """
for _ in range(100): os.close(os.open("/usr", 0))
say(tried(os.open, "/nowhere/x", 0))
"""
    with Supervisor(policy=str(policy)) as supervisor:
        assert attempt(supervisor, code) == "EACCES"
        found = supervisor.statistics()
    assert found.native >= 101
    assert found.racy == found.answered - 1


def test_whoever_watches_sees_all(tmp_path: Path) -> None:
    """While there is an instrument nothing is answered without it."""

    class Watch(Instrument):
        def __init__(self) -> None:
            self.paths: list[str] = []

        def received(self, call: Call) -> None:
            self.paths.append(str(call.describe()["path"]))

    watch, code = Watch(), "os.open(sys.argv[1], 0)\nsay(0)"
    with supervised(tmp_path) as supervisor:
        attempt(supervisor, code, "/etc/passwd")
        quietly = supervisor.statistics().native
        supervisor.add_instrument(watch)
        attempt(supervisor, code, "/etc/passwd")
        assert supervisor.statistics().native == quietly > 0
        assert "/etc/passwd" in watch.paths
        supervisor.remove_instrument(watch)
        attempt(supervisor, code, "/etc/passwd")
        assert supervisor.statistics().native > quietly


def test_handlers_are_asked(tmp_path: Path) -> None:
    """What no rule matches is the handler's, also if it is registered later; the rest is not."""
    asked = []
    rules = """
[[rule]]
calls = ["mkdir"]
where = 'path == "/nowhere/one"'
do = { fail = "EXDEV" }
racy = true
because = "it is a test"
"""
    code = 'say([tried(os.mkdir, "/nowhere/" + name) for name in ("one", "one", "one", "two")])'
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\ndefault = "allow"\n' + rules)
    with Supervisor(policy=str(policy)) as supervisor:
        assert attempt(supervisor, code) == ["EXDEV"] * 3 + ["ENOENT"]
        before = supervisor.statistics().native
        assert before > 0

        @supervisor.on("mkdir")
        def handler(call: Call) -> Fail:
            asked.append(bytes(call.path))
            return Fail(errno.ENOSPC)

        assert attempt(supervisor, code) == ["EXDEV"] * 3 + ["ENOSPC"]
        assert asked == [b"/nowhere/two"]
        assert supervisor.statistics().native > before


def test_one_look_at_those_who_stay(tmp_path: Path) -> None:
    """Where no target can go elsewhere, only the first one's user namespace is looked at."""
    code = """
def child():
    for _ in range(3): os.close(os.open(sys.argv[1], 0))
    os._exit(0)
for _ in range(8):
    pid = os.fork()
    pid or child()
    os.waitpid(pid, 0)
print(flush=True)
input()
"""
    kept = {}
    for more in ("", KEEPING):
        with supervised(tmp_path, more) as supervisor:
            with start(supervisor, code, "/usr", stdin=subprocess.PIPE) as process:
                process.stdout.readline()
                kept[more] = sum("/ns/user" in name for name in descriptors().values())
                process.communicate(b"\n")
            assert supervisor.statistics().native > 16
    assert kept[""] > 8
    assert kept[KEEPING] == 1


@both
def test_a_target_with_other_rights(tmp_path: Path, more: str) -> None:
    """Who has given up what we may is acted for as what it is."""
    if os.geteuid():
        pytest.skip("only root has something to give up")
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    code = """
before = tried(os.open, sys.argv[1], 0)
os.setresuid(65534, 65534, 65534)
say([before > 2, tried(os.open, sys.argv[1], 0)])
"""
    for path in (tmp_path, *tmp_path.parents[:3]):
        path.chmod(path.stat().st_mode | 0o011)
    with supervised(tmp_path, more) as supervisor:
        assert attempt(supervisor, code, secret) == [True, "EACCES"]


def test_a_target_with_ids_but_no_capability(tmp_path: Path) -> None:
    """Root without capabilities, or in a user namespace of its own, is not what we are."""
    if os.geteuid():
        pytest.skip("only root has something to give up")
    foreign = tmp_path / "foreign"
    foreign.write_text("x")
    os.chown(foreign, 12345, 12345)
    foreign.chmod(0o600)
    dropped = """
class Header(ctypes.Structure): _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
header, none = Header(0x20080522, 0), (ctypes.c_uint32 * 6)()
before = tried(os.open, sys.argv[1], 0)
assert libc.capset(ctypes.byref(header), none) == 0
say([before > 2, tried(os.open, sys.argv[1], 0)])
"""
    inside = """
before = tried(os.open, sys.argv[1], 0)
assert libc.unshare(0x10000000) == 0
say([before > 2, tried(os.open, sys.argv[1], 0)])
"""
    with supervised(tmp_path, KEEPING) as supervisor:
        assert attempt(supervisor, dropped, foreign) == [True, "EACCES"]
    with supervised(tmp_path) as supervisor:
        assert attempt(supervisor, dropped, foreign) == [True, "EACCES"]
        assert attempt(supervisor, inside, foreign) == [True, "EACCES"]


def test_a_target_in_another_root(tmp_path: Path) -> None:
    """A path is looked up from the target's root, also if both roots have it."""
    if os.geteuid():
        pytest.skip("an ordinary user has no chroot")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("mine")
    code = """
before = os.read(os.open("/etc/passwd", 0), 9)
os.chroot(sys.argv[1])
say([before != b"mine", os.read(os.open("/etc/passwd", 0), 9).decode(),
    tried(os.open, "/usr", 0), tried(os.open, "/none", 0)])
"""
    with supervised(tmp_path) as supervisor:
        assert attempt(supervisor, code, tmp_path) == [True, "mine", "ENOENT", "ENOENT"]
        assert supervisor.statistics().native > 0


_SWAPPED = """
os.chdir(sys.argv[1])
os.mkdir("real"); os.symlink("/proc/self", "way")
with open("real/status", "w") as made: made.write("good")
over = threading.Event()
def swap():
    while not over.is_set():
        for _ in range(50): libc.renameat2(-100, b"real", -100, b"way", 2)
thread = threading.Thread(target=swap); thread.start()
seen = set()
for _ in range(1500):
    try: fd = os.open("real/status", 0)
    except FileNotFoundError: continue
    text = os.read(fd, 4096); os.close(fd)
    pids = [line.split()[1] for line in text.splitlines() if line.startswith(b"Pid:")]
    seen.add("good" if text == b"good" else "own" if pids == [b"%d" % os.getpid()] else repr(text))
over.set(); thread.join()
say(sorted(seen))
"""


@both
def test_a_directory_that_becomes_a_link_into_proc(tmp_path: Path, more: str) -> None:
    """What is opened is the file, or what the target itself has in /proc, and never ours."""
    with supervised(tmp_path, more) as supervisor:
        assert set(attempt(supervisor, _SWAPPED, tmp_path)) <= {"good", "own"}
        assert supervisor.statistics().native > 0
        assert supervisor.statistics().faults == 0


_FIFO = """
os.chdir(sys.argv[1])
os.mkfifo("fifo")
with open("file", "w") as made: made.write("x")
over = threading.Event()
def swap():
    while not over.is_set(): libc.renameat2(-100, b"file", -100, b"fifo", 2)
thread = threading.Thread(target=swap); thread.start()
for _ in range(1500):
    os.close(os.open("file", os.O_RDWR))
over.set(); thread.join()
say(0)
"""


def test_a_file_that_becomes_a_fifo(tmp_path: Path) -> None:
    """Whatever it is in the moment of the call, the call comes back."""
    with supervised(tmp_path) as supervisor:
        assert attempt(supervisor, _FIFO, tmp_path) == 0
        assert supervisor.statistics().native > 0


_TERMINAL = """
import signal
os.chdir(sys.argv[1])
_, terminal = os.openpty()
os.symlink(os.ttyname(terminal), "terminal")
with open("file", "w") as made: made.write("x")
swapping = os.fork()
if not swapping:
    while True: libc.renameat2(-100, b"file", -100, b"terminal", 2)
for _ in range(1500):
    os.close(os.open("file", os.O_RDWR))
os.kill(swapping, signal.SIGKILL)
os.waitpid(swapping, 0)
say(0)
"""

_LEADER = """
import os, sys
from pathlib import Path
from tests.kernel.perform_support import attempt
from unotify import Supervisor
assert os.getsid(0) == os.getpid()
with Supervisor(policy=sys.argv[1]) as supervisor:
    assert attempt(supervisor, sys.argv[3], sys.argv[2]) == 0
    assert supervisor.statistics().native > 0
print(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[4])
"""


def test_a_file_that_becomes_a_terminal(tmp_path: Path) -> None:
    """Whatever is opened for a target, a supervisor that leads a session gets no terminal by it."""
    policy = tmp_path / "policy.toml"
    policy.write_text(RULES)
    done = subprocess.run(
        [sys.executable, "-c", _LEADER, policy, tmp_path, _TERMINAL],
        start_new_session=True,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout == b"0\n"


_ALONE = """
import fcntl
assert len(sys.argv) < 3 or libc.unshare(0x10000000) == 0
with open(sys.argv[1], "w") as made: made.write("x")
held = os.open(sys.argv[1], os.O_RDONLY)
for _ in range(500 if len(sys.argv) < 3 else 60):
    os.close(os.open(sys.argv[1], os.O_WRONLY))
    fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
say(0)
"""


@pytest.mark.parametrize("backend", ["native", "python"])
def test_what_a_target_closes_is_closed(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a target has its descriptor nobody else has it: no lease or lock fails, no ETXTBSY."""
    monkeypatch.setenv("UNOTIFY_BACKEND", backend)
    with supervised(tmp_path) as supervisor:
        assert attempt(supervisor, _ALONE, tmp_path / "file") == 0


def test_what_a_target_elsewhere_closes_is_closed(tmp_path: Path) -> None:
    """Nor has the process that opened it for a target in another user namespace."""
    with supervised(tmp_path) as supervisor:
        assert attempt(supervisor, _ALONE, tmp_path / "file", "unshare") == 0


_UNMOUNTED = """
os.chdir(sys.argv[1])
os.mkdir("on")
libc.unshare(0x20000)
libc.mount(b"none", b"/", None, ctypes.c_ulong(0x44000), None)
seen = []
for name in ("file", "none") * 50:
    assert libc.mount(b"tmpfs", b"on", b"tmpfs", ctypes.c_ulong(0), None) == 0
    os.mknod("on/file")
    directory = libc.open(b"on", os.O_PATH)
    fd = tried(os.open, name, 0, dir_fd=directory)
    if name == "file": os.close(fd)
    os.close(directory)
    seen.append(libc.umount2(b"on", 0))
    libc.umount2(b"on", 2)
say(sorted(set(seen)))
"""


def test_what_a_target_unmounts_is_not_busy(tmp_path: Path) -> None:
    """Nothing that was looked up for a call is held when it is over."""
    if os.geteuid():
        pytest.skip("an ordinary user mounts nothing")
    with supervised(tmp_path) as supervisor:
        assert attempt(supervisor, _UNMOUNTED, tmp_path) == [0]


def kept() -> list[str]:
    """Descriptors of targets' directories in /proc."""
    return [path for path in descriptors().values() if path.startswith("/proc/")]


def test_no_descriptor_is_left_for_a_target(tmp_path: Path) -> None:
    """A target at its limit gets EMFILE, and we keep nothing open."""
    code = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
say([tried(os.open, "/usr", 0) for _ in range(12)][-1])
"""
    with supervised(tmp_path) as supervisor:
        assert attempt(supervisor, code) == "EMFILE"
        assert supervisor.wait(20)
        until(lambda: not kept())
        before = len(descriptors())
        assert attempt(supervisor, code) == "EMFILE"
        assert supervisor.wait(20)
        until(lambda: not kept() and len(descriptors()) <= before)


def test_a_stopped_target_holds_up_nobody(tmp_path: Path) -> None:
    """While a stopped target does not take its descriptor, others are served."""
    code = """
import signal
os.open("/usr", 0)
if len(sys.argv) > 1:
    say("ready")
    sys.stdin.readline()
    for _ in range(200): os.close(os.open("/usr", 0))
    say(0)
else:
    say("looping")
    while True: os.close(os.open("/usr", 0))
"""
    with supervised(tmp_path) as supervisor:
        looping = start(supervisor, code)
        assert looping.stdout.readline() == b'"looping"\n'
        other = start(supervisor, code, "other", stdin=subprocess.PIPE)
        assert other.stdout.readline() == b'"ready"\n'
        for _ in range(10):
            looping.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, looping.pid, os.WSTOPPED)
            looping.send_signal(signal.SIGCONT)
        looping.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, looping.pid, os.WSTOPPED)
        other.stdin.write(b"go\n")
        other.stdin.flush()
        assert told(other) == 0
        looping.kill()
        looping.communicate()
        assert supervisor.statistics().faults == 0


def test_targets_that_are_killed(tmp_path: Path) -> None:
    """Those that die in the middle are counted as gone, or not at all, and disturb nobody."""
    code = "say(0)\nwhile True: os.close(os.open('/usr', 0))"
    with supervised(tmp_path) as supervisor:
        for _ in range(30):
            process = start(supervisor, code)
            process.stdout.readline()
            process.kill()
            process.communicate()
        assert attempt(supervisor, "os.open('/usr', 0)\nsay(7)") == 7
        found = supervisor.statistics()
    assert found.faults == found.in_flight == 0


def test_a_supervisor_that_cannot_look_at_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a descriptor for it nobody is taken for as good as we are, and all is answered."""
    monkeypatch.setattr(rights, "my_status", no_descriptor)
    assert not native.unprivileged()
    with supervised(tmp_path) as supervisor:
        code = "import os; os.unlink('/nowhere/one')"
        process = supervisor.popen(
            [PYTHON, "-I", "-S", "-c", code], stderr=subprocess.PIPE, text=True
        )
        assert process.communicate(timeout=60)[1].endswith("'/nowhere/one'\n")
        assert supervisor.statistics().native > 0


def test_a_kernel_that_wants_other_answers() -> None:
    """Where the sizes of structs are not those that it was made for it is not used."""
    assert native.usable(NotifSizes(80, 24, 64))
    assert not native.usable(NotifSizes(80, 32, 64))
    assert not native.usable(NotifSizes(88, 24, 72))


def test_what_is_asked_for_and_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that does not exist, or is not installed, is an error that says so."""
    monkeypatch.setenv("UNOTIFY_BACKEND", "rust")
    with pytest.raises(Unsupported, match="no backend"):
        native.backend()
    monkeypatch.setenv("UNOTIFY_BACKEND", "native")
    monkeypatch.setattr(native, "_module", None)
    monkeypatch.setattr(native, "_built", None)
    with pytest.raises(Unsupported, match="not installed"):
        native.backend()
    monkeypatch.delenv("UNOTIFY_BACKEND")
    assert native.backend() == "python"


def test_what_was_built_for_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A native part that other sources were built to is not asked, and that is told."""
    built = sys.modules["unotify.kernel._native"]
    monkeypatch.setattr(built, "FACE", built.FACE + 1)
    spec = importlib.util.find_spec("unotify.kernel.native")
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert not again.installed()
    assert again.backend() == "python"
    monkeypatch.setenv("UNOTIFY_BACKEND", "native")
    with pytest.raises(Unsupported, match="of another version of unotify"):
        again.backend()


@pytest.mark.parametrize("limit", [1, 255, 256, 257, 4095, 4096])
def test_a_string_is_the_same_at_once(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strings at all places around the ends of pages are read alike, or fail alike, both ways."""
    page = mmap.PAGESIZE
    pages = mmap.mmap(-1, 3 * page)
    pages[:] = b"x" * len(pages)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(start + 2 * page), page, 0) == 0  # PROT_NONE

    def read(address: int) -> bytes | type[Exception]:
        reader = LinuxMemory(Tid(os.getpid()), lambda: True)
        try:
            return reader.read_string(Address(address), limit)
        except (BadAddress, PathTooLong) as error:
            return type(error)
        finally:
            reader.close()

    spots = [start + at for at in (0, 1, page - 1, page, page + 1, 2 * page - 1, 2 * page)]
    spots += [start + at - limit for at in (page, page + 1, 2 * page, 2 * page + 1)]
    found: list[list[object]] = []
    for quick in (native.module().read_string, None):
        monkeypatch.setattr(memory, "_read_string", quick)
        seen: list[object] = []
        for end in (0, 254, 255, 256, page - 1, page, 2 * page - 1):
            pages[end] = 0
            seen += [read(max(spot, start)) for spot in spots]
            pages[end] = ord("x")
        seen += [read(address) for address in (0, 1, 1 << 47, 1 << 63, (1 << 64) - 1)]
        found.append(seen)
    assert found[0] == found[1]
    assert {type(each) for each in found[0]} == {bytes, type}


def test_one_build_serves_all_versions() -> None:
    """What headers of 3.13 make of a `#` in a format, or of Py_RETURN_NONE, 3.11 dies of."""
    sources = sorted(Path(native.__file__).parent.glob("_*.c"))
    text = "".join(source.read_text() for source in sources)
    formats = re.findall(r'(?:ParseTuple\(args, |BuildValue\()"([^"]*)"', text)
    assert len(formats) > 5
    assert not [each for each in formats if "#" in each]
    assert "Py_RETURN_NONE" not in text  # it counts no reference any more


def test_both_sides_number_alike() -> None:
    """Why a server came back has one number in C and in Python."""
    module = sys.modules["unotify.kernel._native"]
    assert {came.name: getattr(module, came.name) for came in Came} == {
        came.name: came.value for came in Came
    }
