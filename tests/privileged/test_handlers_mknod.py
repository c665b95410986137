"""`emulate-mknod`: device nodes for those who may not make them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.targets import until
from tests.privileged.handlers_support import (
    FIRST,
    attempt,
    handled,
    open_to_all,
    start,
)
from unotify import Reply, Supervisor, handlers
from unotify.abi.types import NotificationId
from unotify.calls.lookups import spot_of
from unotify.kernel.listener import LinuxListener
from unotify.kernel.making import Maker

RULE = 'mknod mknodat: { emulate-mknod = ["c:1:3", "c:1:5", "b:7:0-3"] }'
_NODES = """
null, mem, loop = (os.makedev(*pair) for pair in ((1, 3), (1, 1), (7, 2)))
char, block = stat.S_IFCHR | 0o666, stat.S_IFBLK | 0o660
"""


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    return open_to_all(tmp_path)


def test_in_a_container(place: Path) -> None:
    """Listed devices are made with the caller's ids and umask; the errno of others is right."""
    code = (
        _NODES
        + """
contain()
os.chdir(sys.argv[1])
os.umask(0o027)
say([
    tried(os.mknod, "null", char, null),
    tried(os.mknod, "loop", block, loop),
    tried(os.mknod, "mem", char, mem),
    tried(os.mknod, "null", char, null),
    tried(os.mknod, "null", char, mem),
    tried(os.mknod, "none/null", char, null),
    tried(os.mknod, "null/x", char, null),
    tried(os.mknod, "slash/", char, null),
    tried(os.mknod, "x" * 256, char, null),
    tried(os.mknod, "/", char, null),
    tried(os.mknod, "/proc/x", char, null),
    os.write(os.open("null", os.O_WRONLY), b"gone"),
])
"""
    )
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code, place)
    wrong = ["EPERM", "EEXIST", "EEXIST", "ENOENT", "ENOTDIR", "ENOENT", "ENAMETOOLONG", "EEXIST"]
    assert found[:10] == [0, 0, *wrong]
    assert found[10] in ("EACCES", "ENOENT", "EPERM")
    assert found[11] == 4
    assert notes.faults == []
    for name, kind, device in (("null", stat.S_ISCHR, (1, 3)), ("loop", stat.S_ISBLK, (7, 2))):
        status = (place / name).stat()
        assert kind(status.st_mode)
        assert status.st_rdev == os.makedev(*device)
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (FIRST, FIRST, 0o640)
    assert sorted(os.listdir(place)) == ["loop", "null"]


def test_below_a_descriptor(place: Path) -> None:
    """A relative path begins where it should, with mknodat and in a directory below."""
    code = (
        _NODES
        + """
contain()
os.makedirs(f"{sys.argv[1]}/dd/ee")
os.chdir(f"{sys.argv[1]}/dd")
start = os.open("ee", os.O_RDONLY)
say([
    tried(os.mknod, "ee/one", char, null),
    tried(os.mknod, "two", char, null, dir_fd=start),
    tried(os.mknod, "../three", char, null, dir_fd=start),
    tried(os.mknod, "two", char, null, dir_fd=99),
])
"""
    )
    with handled(RULE) as (supervisor, _):
        assert attempt(supervisor, code, place) == [0, 0, 0, "EBADF"]
    assert sorted(path.name for path in place.rglob("*") if path.is_char_device()) == [
        *("one", "three", "two"),
    ]


def test_what_nobody_needs_help_for(place: Path) -> None:
    """FIFOs, files and whiteouts are made by the kernel: the filter does not even ask."""
    code = """
contain()
os.chdir(sys.argv[1])
os.mknod("file", 0o644)
os.mkfifo("fifo")
say(tried(os.mknod, "whiteout", stat.S_IFCHR | 0o600, 0))
"""
    with handled(RULE) as (supervisor, notes):
        assert attempt(supervisor, code, place) == 0
        assert notes.calls.total() == 0
    assert sorted(os.listdir(place)) == ["fifo", "file", "whiteout"]


def test_the_caller_s_capability_counts(place: Path) -> None:
    """Without CAP_MKNOD in its container it is refused; a namespace of its own gives it none."""
    code = (
        _NODES
        + """
os.chdir(sys.argv[1])
before = tried(os.mknod, "a", char, null) if len(sys.argv) < 3 else (contain(), 0)[1]
found = [before, tried(os.mknod, "b", char, null)]
drop(27)
found.append(tried(os.mknod, "c", char, null))
assert libc.unshare(0x10000000) == 0
found.append(tried(os.mknod, "d", char, null))
say(found)
"""
    )
    with handled(RULE) as (supervisor, notes):
        assert attempt(supervisor, code, place) == [0, 0, "EPERM", "EPERM"]
        for name in "ab":
            (place / name).unlink()
        assert attempt(supervisor, code, place, "contained") == [0, 0, "EPERM", "EPERM"]
        assert notes.faults == []
    assert os.listdir(place) == ["b"]


_TMPFS = (
    _NODES
    + """
contain()
assert mount("none", sys.argv[1], "tmpfs", int(sys.argv[2])) == 0
os.chdir(sys.argv[1])
os.umask(0o077)
found = [tried(os.mknod, "null", char, null), tried(os.mknod, "null", char, null)]
status = os.stat("null")
found += [status.st_mode, status.st_rdev == null, status.st_uid]
with open("null", "wb", buffering=0) as file:
    found.append(file.write(b"gone"))
lines = [line.split() for line in open("/proc/self/mountinfo")]
(mine,) = [line for line in lines if line[4] == sys.argv[1] + "/null"]
found += [mine[5].split(",")[:3], mine[-3]]
found.append(tried(os.mknod, "mem", char, mem))
found += [umount("null"), os.stat("null").st_mode, os.listdir(".")]
say(found)
"""
)


@pytest.mark.parametrize("flags", [0, 4], ids=["of the namespace", "nodev"])
def test_where_nodes_are_of_no_use(place: Path, flags: int) -> None:
    """On a file system of the namespace, or with nodev, a node is a mount; it works like one."""
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, _TMPFS, place, flags)
    options = ["rw", "nosuid", "noexec"]
    assert found == [
        *(0, "EEXIST", stat.S_IFCHR | 0o600, True, 0, 4, options, "tmpfs", "EPERM"),
        *(0, stat.S_IFREG | 0o600, ["null"]),
    ]
    assert notes.faults == []
    assert os.listdir(place) == []


def test_a_mount_that_gets_nodev_later(place: Path) -> None:
    """That nodes worked there once says nothing of a mount that is of no use by now."""
    code = (
        _NODES
        + """
assert libc.unshare(0x20000) == 0 and mount("none", "/", None, 0x44000) == 0
assert mount("none", sys.argv[1], "tmpfs") == 0
os.chdir(sys.argv[1])
def made(name):
    done = tried(os.mknod, name, char, null)
    return done, os.write(os.open(name, os.O_WRONLY), b"gone"), f"/{name}" in [
        found[0] for found in mounts(sys.argv[1])]
found = [made("one"), made("two")]
assert mount("none", ".", None, 0x1024) == 0  # MS_REMOUNT | MS_BIND | MS_NODEV
found += [tried(os.open, "one", os.O_WRONLY), made("three")]
assert mount("none", ".", None, 0x1020) == 0
found.append(made("four"))
say(found)
"""
    )
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code, place)
    plain, mounted = [0, 4, False], [0, 4, True]
    assert found == [plain, plain, "EACCES", mounted, plain]
    assert notes.faults == []


def test_on_an_overlay_of_the_namespace(place: Path) -> None:
    """It acts as who mounted it, who cannot make devices: a mount there, too."""
    code = (
        _NODES
        + """
contain()
os.chdir(sys.argv[1])
assert mount("none", ".", "tmpfs") == 0
os.chdir(sys.argv[1])
for name in ("lower", "upper", "work", "merged"):
    os.mkdir(name)
done = mount("over", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work")
assert done == 0, done
say([tried(os.mknod, "merged/null", char, null),
     os.write(os.open("merged/null", os.O_WRONLY), b"gone")])
"""
    )
    with handled(RULE) as (supervisor, _):
        assert attempt(supervisor, code, place) == [0, 4]


def _at_each(supervisor: Supervisor, act: Any) -> None:
    """Let *act* answer each mknod."""
    supervisor.on("mknod", "mknodat")(act)


def test_asked_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the caller still waits is asked for all looks together, before the node is made."""
    found: list[list[str]] = []
    is_valid = LinuxListener.is_valid

    def asked(listener: LinuxListener, id: NotificationId) -> bool:
        found.append(os.listdir(place))
        return is_valid(listener, id)

    monkeypatch.setattr(LinuxListener, "is_valid", asked)
    monkeypatch.setattr(Maker, "make", lambda *args, **more: None)  # it asks by itself
    code = _NODES + "os.chdir(sys.argv[1])\nsay(tried(os.mknod, 'null', char, null))\n"
    with Supervisor() as supervisor:
        _at_each(supervisor, handlers.emulate_mknod)
        assert attempt(supervisor, code, place) == 0
    assert found == [[]]
    assert os.listdir(place) == ["null"]


@pytest.mark.parametrize("tmpfs", [False, True], ids=["made", "mounted"])
def test_undone_for_who_was_killed(place: Path, tmp_path: Path, tmpfs: bool) -> None:
    """Nothing is left of a node whose maker did not live to hear of it."""
    seen: list[Any] = []

    def act(call: Any) -> Reply | None:
        reply = handlers.emulate_mknod(call)
        root = Path(f"/proc/{call.caller.pid}/root{place}")
        directory = os.open(root, os.O_PATH)
        seen.append((reply, os.stat("null", dir_fd=directory).st_mode, directory))
        os.kill(call.caller.pid, signal.SIGKILL)
        until(lambda: not call.caller.is_waiting())
        return reply

    code = _NODES + (
        "contain()\n"
        + ('assert mount("none", sys.argv[1], "tmpfs") == 0\n' if tmpfs else "")
        + 'os.chdir(sys.argv[1])\nif not os.fork(): os.mknod("null", char, null)\nos.wait()\n'
        + "sys.stdin.readline()\nsay('/null' in [m[0] for m in mounts(sys.argv[1])])\n"
    )
    with Supervisor() as supervisor:
        _at_each(supervisor, act)
        process = start(supervisor, code, place, stdin=subprocess.PIPE)
        until(lambda: seen)
        ((reply, mode, directory),) = seen
        until(lambda: not os.listdir(f"/proc/self/fd/{directory}"))
        os.close(directory)
        assert process.communicate(b"\n", timeout=60)[0] == b"false\n"
        assert supervisor.statistics().faults == 0
    assert (type(reply).__name__, stat.S_ISCHR(mode)) == ("Return", True)
    assert os.listdir(place) == []


def test_a_directory_that_is_swapped(place: Path) -> None:
    """What was looked at is where the node is made, whatever is put in the place of it."""
    (place / "in").mkdir(mode=0o777)
    (place / "in").chmod(0o777)
    (place / "out").mkdir()

    def act(call: Any) -> Reply | None:
        call.caller.pin("path", spot_of(call, "path"))
        (place / "in").rename(place / "moved")
        (place / "in").symlink_to("out")
        return handlers.emulate_mknod(call)

    code = _NODES + 'contain()\nos.chdir(sys.argv[1])\nsay(tried(os.mknod, "in/x", char, null))'
    with Supervisor() as supervisor:
        _at_each(supervisor, act)
        assert attempt(supervisor, code, place) == 0
    assert os.listdir(place / "out") == []
    assert stat.S_ISCHR((place / "moved/x").stat().st_mode)


def test_who_may_not_write_there(place: Path) -> None:
    """Rights over files are those that the caller has in its container, no more and no less."""
    for name, uid, mode in (
        ("root", 0, 0o755),
        ("mine", FIRST, 0o755),
        ("other", FIRST + 7, 0o755),
    ):
        (place / name).mkdir()
        (place / name).chmod(mode)
        os.chown(place / name, uid, uid)
    code = (
        _NODES
        + """
contain()
os.chdir(sys.argv[1])
found = [tried(os.mknod, f"{name}/x", char, null) for name in ("root", "mine", "other")]
libc.prctl(8, 1)
os.setresuid(7, 7, 7)
found += [tried(os.mknod, f"{name}/y", char, null) for name in ("root", "mine", "other")]
say(found)
"""
    )
    with handled(RULE) as (supervisor, _):
        found = attempt(supervisor, code, place)
    assert found == ["EACCES", 0, 0, "EPERM", "EPERM", "EPERM"]
    assert (place / "other/x").stat().st_uid == FIRST


def test_in_a_thread(place: Path) -> None:
    """A thread that is not the first of its process is served too, several at a time."""
    code = (
        _NODES
        + """
contain()
os.chdir(sys.argv[1])
found = {}
threads = [threading.Thread(target=lambda n=n: found.update({n: tried(os.mknod, n, char, null)}))
           for n in "abcdefgh"]
for thread in threads: thread.start()
for thread in threads: thread.join()
say(sorted(found.items()))
"""
    )
    before = threading.active_count()
    with handled(RULE) as (supervisor, notes):
        assert attempt(supervisor, code, place) == [[name, 0] for name in "abcdefgh"]
        assert notes.faults == []
    until(lambda: threading.active_count() <= before + 1)  # what acts apart rests for a while
