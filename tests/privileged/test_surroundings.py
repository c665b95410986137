"""What surrounds a target: whether it may do something in its container, and whom it means."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.kernel.perform_support import attempt
from unotify import Reply, Return, Supervisor
from unotify.abi.capabilities import Capability
from unotify.calls import Call
from unotify.errors import Refused
from unotify.kernel import surroundings as module
from unotify.kernel.surroundings import user_namespace_of

NEWUSER, NEWPID, NEWCGROUP, NEWUTS = 0x10000000, 0x20000000, 0x02000000, 0x04000000

# A child in new namespaces; its number in there, and then a call that is notified.
CHILD = """
flags, = map(int, sys.argv[1:])
if flags:
    assert libc.unshare(flags) == 0
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.write(writing, str(libc.getppid()).encode())
    os._exit(0)
os.waitpid(child, 0)
say(os.read(reading, 100).decode())
"""


def asked(
    question: Callable[[Any], Any], flags: int, container: str | None = None, code: str = CHILD
) -> list[Any]:
    """What *question* finds out about the child of a program that has unshared *flags*."""
    found: list[Any] = []

    def answer(call: Call) -> Reply:
        around = call.caller.around
        if container is not None:
            around._container = container
        try:
            found.append(question(around))
        except Refused as refused:
            found.append(refused.errno)
        return Return(1)

    with Supervisor() as supervisor:
        supervisor.on("getppid")(answer)
        attempt(supervisor, code, flags)
    return found


def may_mount(around: Any) -> bool:
    """Whether it has CAP_SYS_ADMIN."""
    return bool(around.may(Capability.CAP_SYS_ADMIN))


def test_root_of_our_own_namespace_has_its_capabilities() -> None:
    """A capability that the target has counts where its user namespace is the one it began in."""
    assert asked(may_mount, 0) == [True]


@pytest.mark.parametrize("flags", [NEWUSER, NEWUSER | NEWPID])
def test_a_user_namespace_that_a_target_made_gives_it_nothing(flags: int) -> None:
    """Who makes a user namespace, and a pid namespace with it, gains nothing in its container."""
    assert asked(may_mount, flags) == [False]


def test_the_container_is_the_owner_of_the_outermost_pid_namespace() -> None:
    """Where nobody told which the container is, the pid namespace below ours tells it."""
    assert asked(may_mount, NEWUSER | NEWPID, "") == [True]
    assert asked(may_mount, NEWUSER, "") == [False]
    assert asked(may_mount, NEWPID, "") == [True]


def test_namespaces_that_somebody_else_made_are_no_container() -> None:
    """In the supervisor's own pid namespace an ordinary user could make both; they are not ours."""
    code = "os.setresuid(5, 5, 5)\nlibc.prctl(4, 1)\n" + CHILD
    for flags in (NEWUSER | NEWPID, NEWUSER):
        assert asked(may_mount, flags, "", code) == [False]


def test_a_container_that_was_told_counts() -> None:
    """The user namespace that a container began in is told to attach()."""
    with subprocess.Popen(["unshare", "-U", "sleep", "60"]) as other:
        try:
            while os.path.basename(os.readlink(f"/proc/{other.pid}/exe")) != "sleep":
                os.sched_yield()
            assert asked(may_mount, NEWUSER | NEWPID, user_namespace_of(other.pid)) == [False]
        finally:
            other.kill()
    assert asked(may_mount, 0, user_namespace_of(os.getpid())) == [True]


@pytest.mark.parametrize("old_kernel", [False, True])
def test_a_number_is_one_of_the_target_s_pid_namespace(
    old_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 is the first process of its pid namespace, also where the kernel does not translate."""
    if old_kernel:
        monkeypatch.setattr(module, "_NS_GET_PID_FROM_PIDNS", 0x8004B7FF)
    [(found, tid)] = asked(lambda around: (around.init(), around._thread.tid), NEWPID)
    assert found == tid
    assert asked(lambda around: around.thread_of(77), NEWPID) == [3]
    assert asked(lambda around: around.thread_of(-1), NEWPID) == [3]
    [(mine, tid)] = asked(lambda around: (around.thread_of(0), around._thread.tid), NEWPID)
    assert mine == tid


def test_numbers_of_our_own_pid_namespace_stay() -> None:
    """In the supervisor's own pid namespace a number is that number, if there is such a process."""
    assert asked(lambda around: around.thread_of(os.getpid()), 0) == [os.getpid()]
    assert asked(lambda around: around.thread_of(1 << 22), 0) == [3]


def test_the_root_of_a_cgroup_namespace() -> None:
    """It is where the target was when it made the namespace, as the supervisor sees it."""
    with open("/proc/self/cgroup") as file:
        here = next(line[3:].rstrip("\n") for line in file if line.startswith("0::"))
    assert asked(lambda around: around.cgroup_root(), NEWCGROUP) == [here]
    assert asked(lambda around: around.cgroup_root(), 0) == ["/"]
    assert asked(lambda around: around.cgroups()[""], 0) == [here]


def test_work_within_a_namespace_changes_nothing_here() -> None:
    """A thread of its own enters the target's namespace; this process stays where it is."""
    before = os.readlink("/proc/thread-self/ns/uts")
    [inside] = asked(
        lambda around: around.within("uts", lambda: os.readlink("/proc/thread-self/ns/uts")),
        NEWUTS,
    )
    assert inside != before
    assert os.readlink("/proc/thread-self/ns/uts") == before
    assert asked(lambda around: (around.shares("uts"), around.shares("net")), NEWUTS) == [
        (False, True)
    ]


def test_a_mount_of_another_namespace_is_told_apart() -> None:
    """What a descriptor is open on lies in the target's mount namespace, or it does not."""
    fd = os.open("/tmp", os.O_PATH)
    try:
        assert asked(lambda around: around.has_mount(fd), 0) == [True]
        assert asked(lambda around: around.has_mount(fd), 0x00020000) == [False]
    finally:
        os.close(fd)
