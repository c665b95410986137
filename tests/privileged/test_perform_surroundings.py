"""Limits and surroundings of a target that are not the supervisor's."""

from __future__ import annotations

import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import NOBODY, missing
from tests.kernel.targets import until
from tests.privileged.hostile_support import AS_NOBODY, OPENS, attempt, performing, python
from unotify.kernel.rights import mine, taken_on

_DEVICES = """
os.umask(0)
if sys.argv[1] == "net" and libc.unshare(0x40000000):
    sys.exit("no network namespace")
if sys.argv[1] not in ("net", "here"):
    with open(f"{sys.argv[1]}/cgroup.procs", "w") as file:
        file.write("0")
os.chdir(sys.argv[2])
def opened(name):
    found = tried(os.open, name, os.O_RDONLY)
    return found if isinstance(found, str) else "opened"
def device(name, mode, major, minor):
    made = tried(os.mknod, name, mode | 0o600, os.makedev(major, minor))
    if os.path.exists(name):
        os.unlink(name)
    return made
say([
    device("disk", 0o60000, 7, 99),
    device("memory", 0o20000, 1, 1),
    device("null", 0o20000, 1, 3),
    opened("ready-made"),
    opened("/dev/null"),
    opened("/proc/sys/net/ipv4/ip_forward"),
    opened("/proc/meminfo"),
])
"""
_ELSEWHERE = ["EPERM", "EPERM", 0, "EPERM", "opened", "EACCES", "opened"]
_AS_ROOT = {"user": 0, "group": 0, "extra_groups": []}


@pytest.fixture(name="devices")
def _devices(tmp_path: Path) -> Path:
    # The kernel's log: every kernel has it, and it can be opened without consequences.
    os.mknod(tmp_path / "ready-made", 0o20600, os.makedev(1, 11))
    return tmp_path


def test_a_target_like_us_may_have_what_its_rights_allow(devices: Path) -> None:
    """In our control group and namespaces the kernel's answer is the right one."""
    with performing(devices, *OPENS, "mknod", "mknodat") as supervisor:
        found = attempt(supervisor, _DEVICES, "here", devices, **_AS_ROOT)
    assert found == [0, 0, 0, *["opened"] * 4]


def test_a_network_namespace_is_not_ours_to_open(devices: Path) -> None:
    """/proc/sys and devices belong to the namespace of who opens them: not the supervisor's."""
    with performing(devices, *OPENS, "mknod", "mknodat") as supervisor:
        found = attempt(supervisor, _DEVICES, "net", devices, **_AS_ROOT)
    assert found == _ELSEWHERE


def test_a_control_group_that_denies_devices_is_not_got_round(devices: Path) -> None:
    """What a device control group says of us is not said of the target."""
    root = Path("/sys/fs/cgroup")
    group = (root / "devices" if (root / "devices").is_dir() else root) / "unotify-test"
    try:
        group.mkdir()
    except OSError as error:
        missing(f"no control group can be made: {error}")
    try:
        if (group / "devices.deny").exists():
            (group / "devices.deny").write_text("c 1:11 rwm")
        with performing(devices, *OPENS, "mknod", "mknodat") as supervisor:
            found = attempt(supervisor, _DEVICES, group, devices, **_AS_ROOT)
    finally:
        until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
    assert found == _ELSEWHERE


def test_the_targets_file_size_limit_counts(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: neither truncate, nor ftruncate, nor fallocate goes beyond; less is right."""
    file = tmp_path / "file"
    file.touch()
    os.chown(file, NOBODY, NOBODY)
    for each in [tmp_path, *tmp_path.parents][:3]:
        each.chmod(0o755)
    with performing(tmp_path, "truncate", "ftruncate", "fallocate") as supervisor:
        found = attempt(
            supervisor,
            """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
fd = os.open(sys.argv[1], os.O_RDWR)
say([tried(os.truncate, sys.argv[1], 4097), tried(os.ftruncate, fd, 1 << 40),
     tried(os.posix_fallocate, fd, 4000, 97), tried(os.ftruncate, fd, 4096)])
""",
            file,
        )
    assert found == ["EFBIG", "EFBIG", "EFBIG", 0]
    assert file.stat().st_size == 4096


def test_of_whoever_has_our_ids_only_capabilities_are_taken_on() -> None:
    """They are there for the act, with what is lent for it, and gone afterwards."""
    ours, mknod, dac = mine(), 1 << 27, 1 << 1
    theirs = replace(ours, effective=mknod | 1 << 40, umask=0)
    with taken_on(theirs, ours, more=dac):
        assert mine() == replace(ours, effective=(mknod | 1 << 40 | dac) & ours.permitted)
    assert mine() == ours
    with pytest.raises(RuntimeError, match="in there"), taken_on(theirs, ours):
        raise RuntimeError("in there")
    assert mine() == ours


def test_who_has_the_user_id_that_was_taken_on_cannot_touch_the_thread() -> None:
    """Neither signals nor scheduling: what is not taken on keeps the target from it."""
    theirs = replace(mine(), uid=NOBODY, gid=NOBODY, fsuid=NOBODY, fsgid=NOBODY, effective=0)
    taken, done = threading.Event(), threading.Event()

    def act() -> None:
        with taken_on(theirs, mine()):
            taken.set()
            done.wait(60)

    code = """
import ctypes, os, resource, sys
tid, pid = map(int, sys.argv[1:])
libc = ctypes.CDLL(None, use_errno=True)
def ptrace():
    if libc.ptrace(0x4206, tid, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")
for what in (
    lambda: os.setpriority(os.PRIO_PROCESS, tid, 19),
    lambda: os.sched_setscheduler(tid, os.SCHED_IDLE, os.sched_param(0)),
    lambda: os.sched_setaffinity(tid, [0]),
    lambda: os.kill(pid, 0),
    lambda: os.kill(tid, 0),
    lambda: resource.prlimit(tid, resource.RLIMIT_NOFILE, (1, 1)),
    lambda: os.open(f"/proc/{tid}/mem", os.O_RDWR),
    lambda: os.open(f"/proc/{tid}/fd", os.O_RDONLY),
    ptrace,
):
    try:
        what()
        print("done")
    except OSError:
        print("refused")
"""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        assert taken.wait(20)
        command = [python(), "-I", "-S", "-c", code, str(thread.native_id), str(os.getpid())]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, **AS_NOBODY)
    finally:
        done.set()
        thread.join()
    assert found.stdout.split() == [b"refused"] * 9


def test_dev_tty_is_the_targets_terminal(tmp_path: Path) -> None:
    """A target with a controlling terminal opens its own, whether the supervisor has one or not."""
    with performing(tmp_path, *OPENS) as supervisor:
        found = attempt(
            supervisor,
            """
import fcntl, pty, termios
os.setsid()
leader, follower = os.openpty()
say([tried(os.open, "/dev/tty", os.O_RDWR),
     fcntl.ioctl(follower, termios.TIOCSCTTY, 0),
     os.fstat(os.open("/dev/tty", os.O_RDWR)).st_rdev == os.fstat(follower).st_rdev])
""",
        )
    assert found == ["ENXIO", 0, True]


def test_a_unix_address_through_proc_self_is_the_targets(tmp_path: Path) -> None:
    """Bind to /proc/self/fd/N/name makes the socket in the target's directory, not in ours."""
    for each in [tmp_path, *tmp_path.parents][:3]:
        each.chmod(0o755)
    room = tmp_path / "room"
    room.mkdir()
    os.chown(room, NOBODY, NOBODY)
    os.chmod(room, 0o755)
    with performing(tmp_path, "bind", "connect") as supervisor:
        found = attempt(
            supervisor,
            """
os.umask(0o027)
fd = os.open(sys.argv[1], os.O_PATH)
os.chdir(sys.argv[1])
one, two, three = (socket.socket(socket.AF_UNIX) for _ in range(3))
one.bind(f"/proc/self/fd/{fd}/one")
two.bind("/proc/self/cwd/two")
two.listen()
three.connect("/proc/self/cwd/two")
say([sorted(os.listdir(".")), oct(os.stat("two").st_mode & 0o777)])
""",
            room,
        )
    assert found == [["one", "two"], "0o750"]
