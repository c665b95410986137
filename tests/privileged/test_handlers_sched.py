"""`emulate-sched`: scheduling of a container's own threads."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.privileged.handlers_support import FIRST, attempt, handled

CALLS = "sched_setscheduler sched_setparam sched_setattr setpriority ioprio_set"
RULE = (
    f'{CALLS}: {{ emulate-sched = {{ policies = ["other", "batch", "idle", "rr"], priority = 5, '
    'nice = -5, io = ["none", "best-effort", "idle", "realtime"] } }'
)

_CODE = """
RR, FIFO, BATCH, IDLE, RESET = 2, 1, 3, 5, 0x40000000
def setattr(pid, policy=0, flags=0, nice=0, priority=0, size=48, more=b"", runtime=0):
    attr = struct.pack("=IIQiIQQQ", size, policy, flags, nice, priority, runtime, 0, 0) + more
    return called(314, pid, attr, 0)
def set(pid, policy, priority=0):
    return tried(os.sched_setscheduler, pid, policy, os.sched_param(priority))
def renice(pid, value):
    return tried(os.setpriority, os.PRIO_PROCESS, pid, value)
def ioprio(pid, kind, level=0):
    return called(251, 1, pid, kind << 13 | level)
def now(pid=0):
    return [os.sched_getscheduler(pid) & ~RESET, os.sched_getparam(pid).sched_priority,
            os.getpriority(os.PRIO_PROCESS, pid), called(252, 1, pid)]
"""


def test_in_a_container() -> None:
    """What is listed is set, for real; children of a real-time thread are ordinary ones."""
    code = (
        _CODE
        + """
contain()
say([
    set(0, RR, 5), now()[:2], bool(os.sched_getscheduler(0) & RESET),
    tried(os.sched_setparam, 0, os.sched_param(3)), now()[:2],
    set(0, BATCH), now()[:2], renice(0, -5), now()[2],
    setattr(0, nice=-3), now()[:3],
    setattr(0, flags=8, nice=4), now()[:3],
    setattr(0, policy=BATCH, flags=16, nice=-1), now()[:3],
    ioprio(0, 1, 2), now()[3],
    set(0, IDLE), set(0, 0),
])
"""
    )
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code)
    assert found == [
        *(0, [2, 5], True, 0, [2, 3]),
        *(0, [3, 0], 0, -5),
        *(0, [0, 0, -3], 0, [0, 0, 4], 0, [3, 0, 4]),
        *(0, 1 << 13 | 2, 0, 0),
    ]
    assert notes.faults == []


def test_what_is_refused() -> None:
    """More than is listed is EPERM; nonsense is what the kernel says of it."""
    code = (
        _CODE
        + """
contain()
before = now()
param = struct.pack("i", 1)
say([
    set(0, FIFO, 1), set(0, RR, 6), setattr(0, 6, runtime=1 << 20), setattr(0, 7),
    renice(0, -6), setattr(0, nice=-6), setattr(0, flags=2), setattr(0, flags=0x20),
    set(0, RR, 0), set(0, RR, 100), set(0, 0, 1), set(0, 4), set(0, 9), set(0, 3, 1),
    called(144, -1, 0, param), called(144, 0, 0, 0), called(144, 0, 0, 8),
    called(144, 0, -1, param),
    called(314, 0, 8, 0), called(314, 0, 0, 0), setattr(0, size=40), setattr(0, size=1 << 20),
    setattr(0, size=64, more=b"\\1" * 16), setattr(0, flags=0x80),
    set(77777, BATCH), renice(77777, 3), ioprio(0, 0, 1), ioprio(0, 4), ioprio(77777, 2),
    now() == before,
])
"""
    )
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code)
    assert found == [
        *["EPERM"] * 8,
        *["EINVAL"] * 6,
        *("EINVAL", "EINVAL", "EFAULT", "EINVAL"),
        *("EFAULT", "EINVAL", "E2BIG", "E2BIG", "E2BIG", "EINVAL"),
        *("ESRCH", "ESRCH", "EINVAL", "EINVAL", "ESRCH"),
        True,
    ]
    assert notes.faults == []


@pytest.fixture(name="others")
def _others() -> Iterator[list[int]]:
    """Programs outside of the container: root's, and one of the container's first user."""
    options = {"user": FIRST, "group": FIRST, "extra_groups": []}
    sleepers = [
        subprocess.Popen(["sleep", "60"]),
        subprocess.Popen(["sleep", "60"], **options),  # type: ignore[call-overload]
    ]
    yield [process.pid for process in sleepers]
    for process in sleepers:
        process.kill()
        process.wait()


def test_who_is_outside_of_the_container_is_left_alone(others: list[int]) -> None:
    """Its numbers mean nothing in there; in one pid namespace the user namespace tells."""
    code = (
        _CODE
        + """
contain(int(sys.argv[1]))
say([[set(int(pid), BATCH), renice(int(pid), 5), ioprio(int(pid), 3)] for pid in sys.argv[2:]])
"""
    )
    with handled(RULE) as (supervisor, _):
        assert attempt(supervisor, code, 0x30020000, *others) == [["ESRCH"] * 3] * 2
        assert attempt(supervisor, code, 0x10020000, *others) == [["EPERM"] * 3] * 2


def test_another_thread_and_another_process_of_the_container() -> None:
    """A number is one of the caller's pid namespace, and may be any thread's."""
    code = (
        _CODE
        + """
contain()
here, there = os.pipe()
child = os.fork()
if child == 0:
    os.read(here, 1)
    os._exit(0)
tids = []
def wait():
    tids.append(threading.get_native_id())
    os.read(here, 1)
thread = threading.Thread(target=wait)
thread.start()
while not tids:
    pass
found = [child, tids[0], set(child, RR, 2), set(tids[0], BATCH), renice(tids[0], 3),
         now(child)[0], now(tids[0])[:3], now()[:3]]
os.write(there, b"xx")
thread.join()
os.waitpid(child, 0)
say(found)
"""
    )
    with handled(RULE) as (supervisor, notes):
        child, tid, *found = attempt(supervisor, code)
    assert child == 2
    assert tid > 1
    assert found == [0, 0, 0, 2, [3, 0, 3], [0, 0, 0]]
    assert notes.faults == []


def test_without_the_capability_one_may_do_less_to_what_is_one_s_own() -> None:
    """Lower priorities of one's own threads, as the kernel lets everybody; nothing else."""
    code = (
        _CODE
        + """
contain()
child = os.fork()
if child == 0:
    signal.pause()
os.setresuid(5, 5, 5)
say([
    set(0, BATCH), renice(0, 7), ioprio(0, 3), now(),
    renice(0, 6), set(0, RR, 1), ioprio(0, 1), set(0, IDLE), set(0, 0),
    set(child, BATCH), renice(child, 5),
])
"""
    )
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code)
    assert found == [
        *(0, 0, 0, [3, 0, 7, 3 << 13]),
        *("EPERM", "EPERM", "EPERM", 0, "EPERM", "EPERM", "EPERM"),
    ]
    assert notes.faults == []


def test_groups_and_users_are_left_to_the_kernel() -> None:
    """Setpriority of a process group is not even notified."""
    code = (
        _CODE
        + "contain()\nos.setpgid(0, 0)\n"
        + "say([called(141, 1, 0, 3), called(141, 1, 0, -3), called(251, 2, 0, 0)])"
    )
    with handled(RULE) as (supervisor, notes):
        assert attempt(supervisor, code) == [0, "EACCES", 0]
    assert not notes.calls
