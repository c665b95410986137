"""Descriptors that a leading reader installs: what happens while the target takes its time."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from threading import Event
from typing import Final

import pytest

from tests.unit.supervisor.fake_kernel import PATIENCE, until
from tests.unit.supervisor.rig import Rig, is_open
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.calls import Getpid, Getppid, OpenAt
from unotify.errors import KernelError
from unotify.protocol import Fail, InstallFd, Return

OPENAT: Final = tables.number("openat", Arch.X86_64)


class Addfd:
    """An ADDFD that waits in the kernel until the test lets it go."""

    def __init__(self, rig: Rig) -> None:
        self.entered = Event()
        self.open = Event()
        rig.listener.on_add_fd = self

    def __call__(self) -> None:
        """Wait."""
        self.entered.set()
        assert self.open.wait(PATIENCE)

    def wait(self) -> None:
        """Until it has begun."""
        assert self.entered.wait(PATIENCE)


@pytest.fixture(name="slow", params=["short", "long"])
def _slow(request: pytest.FixtureRequest, threaded: Rig, fd: int) -> Iterator[Addfd]:
    """What openat gets; the long way is that of a call which was never seen before."""
    threaded.supervise(fault_reply=Fail(errno.EIO)).on(Getpid)(lambda call: Return(2))
    threaded.supervisor.on(Getppid)(lambda call: Return(5))
    threaded.supervisor.on(OpenAt)(lambda call: InstallFd(fd, owned=True))
    if request.param == "short":
        threaded.supervisor._engine.router.route(Arch.X86_64.audit, OPENAT)
    addfd = Addfd(threaded)
    yield addfd
    addfd.open.set()


def numbers(rig: Rig) -> tuple[int, int, int]:
    """How many were answered, had gone, and were faults; when nothing is in flight."""
    until(lambda: rig.supervisor.statistics().in_flight == 0)
    found = rig.supervisor.statistics()
    return found.answered, found.gone, found.faults


def test_a_slow_target_holds_nobody_up(threaded: Rig, slow: Addfd, fd: int) -> None:
    """ADDFD waits until the target has run; others are served meanwhile, it is answered once."""
    pending = threaded.notify("openat", tid=1)
    slow.wait()
    assert [threaded.ask("getpid", tid=tid) for tid in (2, 3)] == [Return(2), Return(2)]
    assert not pending.done.is_set()
    assert is_open(fd)
    slow.open.set()
    assert pending.answer() == Return(100)
    assert len(pending.installed) == 1
    until(lambda: not is_open(fd))
    assert threaded.ask("getpid", tid=1) == Return(2)
    assert numbers(threaded) == (4, 0, 0)


def test_a_target_that_calls_again_meanwhile(threaded: Rig, slow: Addfd, fd: int) -> None:
    """It was interrupted: its next call is served, and the descriptor closed."""
    old = threaded.notify("openat", tid=7)
    slow.wait()
    threaded.listener.interrupt(old)
    follower = threaded.notify("getpid", tid=7)
    assert threaded.ask("getpid", tid=8) == Return(2)
    slow.open.set()
    assert follower.answer() == Return(2)
    until(lambda: not is_open(fd))
    until(lambda: threaded.supervisor.statistics().gone == 1)
    assert numbers(threaded) == (2, 1, 0)


def test_a_listener_that_hangs_up_meanwhile(threaded: Rig, slow: Addfd, fd: int) -> None:
    """Who has gone with its listener is counted once."""
    threaded.notify("openat", tid=1)
    slow.wait()
    threaded.listener.hang_up()
    until(lambda: threaded.listener.closed)
    slow.open.set()
    until(lambda: not is_open(fd))
    threaded.supervisor.close()
    assert numbers(threaded) == (0, 1, 0)


def test_a_supervisor_that_ends_meanwhile(threaded: Rig, slow: Addfd, fd: int) -> None:
    """Who installs answers, and nobody else does in its place."""
    pending = threaded.notify("openat", tid=1)
    slow.wait()
    threaded.supervisor.stop(drain=0)
    slow.open.set()
    until(lambda: not is_open(fd))
    until(lambda: not threaded.supervisor._readers.count)
    assert pending.answer() == Fail(errno.ENOSYS)
    assert numbers(threaded) == (0, 1, 0)


@pytest.mark.parametrize("meanwhile", [True, False])
def test_a_descriptor_that_cannot_be_installed(
    threaded: Rig, slow: Addfd, fd: int, meanwhile: bool
) -> None:
    """A5: EBADF is a fault, and is answered as one, whoever leads by then."""
    threaded.listener.add_fd_error = KernelError(errno.EBADF, "ioctl(2)")
    pending = threaded.notify("openat", tid=1)
    slow.wait()
    if meanwhile:
        assert threaded.ask("getpid", tid=2) == Return(2)
    slow.open.set()
    assert pending.answer() == Fail(errno.EIO)
    until(lambda: not is_open(fd))
    assert numbers(threaded) == (1 + meanwhile, 0, 1)
    assert threaded.ask("getpid", tid=1) == Return(2)


def test_a_fault_of_who_calls_again_meanwhile(threaded: Rig, slow: Addfd, fd: int) -> None:
    """A fault that comes late leaves the thread's next call alone."""
    old = threaded.notify("openat", tid=7)
    slow.wait()
    follower = threaded.notify("getppid", tid=7)
    assert threaded.ask("getpid", tid=8) == Return(2)
    threaded.listener.add_fd_error = KernelError(errno.EBADF, "ioctl(2)")
    slow.open.set()
    assert old.answer() == Fail(errno.EIO)
    assert follower.answer() == Return(5)
    assert numbers(threaded) == (3, 0, 1)


def test_content_takes_the_long_way(threaded: Rig) -> None:
    """Bytes become a file in memory first, which is closed when the target has it."""
    threaded.supervise().on(OpenAt)(lambda call: InstallFd.of_bytes(b"x", sealed=True))
    pending = threaded.notify("openat")
    assert pending.answer() == Return(100)
    assert threaded.kernel.contents == [(b"x", True)]
    ((fd, at, cloexec),) = pending.installed
    assert (at, cloexec) == (None, True)
    until(lambda: not is_open(fd))
    assert numbers(threaded) == (1, 0, 0)


def test_a_reply_other_than_the_number(threaded: Rig, fd: int) -> None:
    """What a descriptor is installed for may have a result of its own."""
    replies = iter([InstallFd(fd, at=5, result=0), InstallFd(fd, at=5, result=Fail(errno.EINTR))])
    threaded.supervise().on(OpenAt)(lambda call: next(replies))
    assert [threaded.ask("openat") for _ in range(2)] == [Return(0), Fail(errno.EINTR)]
    assert is_open(fd)
    assert numbers(threaded) == (2, 0, 0)


def test_rest_when_the_last_listener_has_gone(rig: Rig) -> None:
    """What the kernel keeps for targets is freed then, and not as long as there is another."""
    rig.supervise()
    other = rig.kernel.listener()
    rig.attach()
    rig.supervisor.attach(other, wait_killable=False)
    for listener, rests in ((other, 0), (rig.listener, 1)):
        listener.hang_up()
        if rig.embedded:
            rig.supervisor.process_pending()
        until(lambda listener=listener: listener.closed)  # type: ignore[misc]
        until(lambda: listener not in rig.supervisor._readers.sources)  # noqa: B023
        if rests:
            until(lambda: rig.kernel.rests)
        assert rig.kernel.rests == rests


@pytest.mark.parametrize("step", ["before", "after"])
def test_a_target_that_goes(threaded: Rig, slow: Addfd, fd: int, step: str) -> None:
    """I10: before its descriptor or after it, nobody is there to answer, and it is closed."""
    slow.open.set()

    def leave() -> None:
        for pending in list(threaded.listener.sent.values()):
            threaded.listener.interrupt(pending)

    if step == "before":
        threaded.listener.on_add_fd = leave
    else:
        threaded.listener.on_send = leave
    threaded.notify("openat")
    until(lambda: not is_open(fd))
    threaded.listener.on_send = lambda: None
    assert threaded.ask("getpid") == Return(2)
    until(lambda: threaded.supervisor.statistics().gone)
    assert numbers(threaded) == (1, 1, 0)


def test_a_full_table(threaded: Rig, slow: Addfd, fd: int) -> None:
    """A7: the target hears of its own limits as from any open(2)."""
    slow.open.set()
    threaded.listener.add_fd_error = KernelError(errno.EMFILE, "ioctl(2)")
    assert threaded.ask("openat") == Fail(errno.EMFILE)
    until(lambda: not is_open(fd))
    assert numbers(threaded) == (1, 0, 0)


def test_a_reply_that_the_kernel_refuses(threaded: Rig, slow: Addfd, fd: int) -> None:
    """C5: after the descriptor too the target gets an answer, that of a fault."""
    slow.open.set()
    threaded.listener.send_errors.append(KernelError(errno.EINVAL, "ioctl(2)"))
    assert threaded.ask("openat") == Fail(errno.EIO)
    until(lambda: not is_open(fd))
    assert numbers(threaded) == (1, 0, 1)
