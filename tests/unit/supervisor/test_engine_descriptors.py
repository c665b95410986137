"""Descriptors for a target: two steps, and nothing left open."""
# ruff: noqa: D102 - small fakes

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.supervisor.rig import Rig, is_open
from unotify.calls import Call, OpenAt
from unotify.errors import KernelError
from unotify.protocol import Fail, InstallFd, Return


class Descriptor:
    """Something with a descriptor that notes being closed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.closed = 0
        self.error = error

    def fileno(self) -> int:
        if self.error is not None:
            raise self.error
        return 55

    def close(self) -> None:
        self.closed += 1


def test_install_is_addfd_then_send(rig: Rig) -> None:
    """A14: the descriptor is installed, and its number is what the call returns."""
    rig.supervise().on(OpenAt)(lambda call: InstallFd(9, cloexec=False))
    pending = rig.notify("openat")
    assert pending.answer() == Return(100)
    assert pending.installed == [(9, None, False)]


def test_install_at_a_number(rig: Rig) -> None:
    """A3: the call returns exactly that number, zero too."""
    rig.supervise().on(OpenAt)(lambda call: InstallFd(9, at=0))
    pending = rig.notify("openat")
    assert pending.answer() == Return(0)
    assert pending.installed == [(9, 0, True)]


@pytest.mark.parametrize("at", [None, 5])
def test_a_full_table_is_the_targets_business(rig: Rig, at: int | None) -> None:
    """A7: EMFILE is what its own open() would have said; it is no fault."""
    supervisor = rig.supervise()
    rig.listener.add_fd_error = KernelError(errno.EMFILE, "ioctl(2)")
    rig.supervisor.on(OpenAt)(lambda call: InstallFd(9, at=at))
    assert rig.ask("openat") == Fail(errno.EMFILE)
    assert supervisor.statistics().faults == 0


def test_a_number_beyond_the_limit_is_the_targets_business(rig: Rig) -> None:
    """A7: EBADF with at= means RLIMIT_NOFILE of the target."""
    supervisor = rig.supervise()
    rig.listener.add_fd_error = KernelError(errno.EBADF, "ioctl(2)")
    supervisor.on(OpenAt)(lambda call: InstallFd(9, at=1 << 20))
    assert rig.ask("openat") == Fail(errno.EBADF)
    assert supervisor.statistics().faults == 0


def test_our_own_bad_descriptor_is_a_fault(rig: Rig) -> None:
    """A5: EBADF without at= means that the handler gave a closed or an O_PATH descriptor."""
    supervisor = rig.supervise(fault_reply=Fail(errno.EIO))
    rig.listener.add_fd_error = KernelError(errno.EBADF, "ioctl(2)")
    supervisor.on(OpenAt)(lambda call: InstallFd(9))
    assert rig.ask("openat") == Fail(errno.EIO)
    rig.settled(lambda: supervisor.statistics().faults == 1)


@pytest.mark.parametrize(
    "error", [ValueError("closed"), OSError("x"), RuntimeError("x"), io.UnsupportedOperation("x")]
)
def test_an_object_without_a_descriptor_is_a_fault(rig: Rig, error: Exception) -> None:
    """Whatever fileno() raises, the target gets an answer and the object is closed."""
    supervisor, thing = rig.supervise(), Descriptor(error)
    supervisor.on(OpenAt)(lambda call: InstallFd(thing, owned=True))
    assert rig.ask("openat") == Fail(errno.EPERM)
    rig.settled(lambda: thing.closed == 1)
    assert supervisor.statistics().faults == 1


OUTCOMES: list[Any] = [
    None,
    KernelError(errno.EMFILE, "ioctl(2)"),
    KernelError(errno.EBADF, "ioctl(2)"),
    KernelError(errno.EIO, "ioctl(2)"),
]


@pytest.mark.parametrize("error", OUTCOMES)
def test_owned_descriptors_are_closed(rig: Rig, fd: int, error: KernelError | None) -> None:
    """In every outcome, after the reply."""
    rig.listener.add_fd_error = error
    rig.supervise().on(OpenAt)(lambda call: InstallFd(fd, owned=True))
    rig.ask("openat")
    rig.settled(lambda: not is_open(fd))


@pytest.mark.parametrize("error", OUTCOMES)
def test_owned_objects_are_closed(rig: Rig, error: KernelError | None) -> None:
    """By their own close(), once."""
    thing = Descriptor()
    rig.listener.add_fd_error = error
    rig.supervise().on(OpenAt)(lambda call: InstallFd(thing, owned=True))
    rig.ask("openat")
    rig.settled(lambda: thing.closed)
    rig.supervisor.close()
    assert thing.closed == 1


def test_borrowed_descriptors_stay_open(rig: Rig, fd: int) -> None:
    """What is not owned belongs to the handler."""
    thing = Descriptor()
    replies = iter([InstallFd(fd), InstallFd(thing)])
    rig.supervise().on(OpenAt)(lambda call: next(replies))
    rig.ask("openat")
    rig.ask("openat")
    rig.supervisor.close()
    assert is_open(fd)
    assert not thing.closed


@pytest.mark.parametrize("step", ["before", "after add_fd"])
def test_target_that_goes_meanwhile(rig: Rig, fd: int, step: str) -> None:
    """I10: nobody is there to take it; the descriptor is closed all the same."""
    supervisor = rig.supervise()

    def leave() -> None:
        for pending in list(rig.listener.sent.values()):
            rig.listener.interrupt(pending)

    if step == "before":
        rig.listener.on_add_fd = leave
    else:
        rig.listener.on_send = leave
    supervisor.on(OpenAt)(lambda call: InstallFd(fd, owned=True))
    rig.notify("openat")
    rig.settled(lambda: not is_open(fd))
    rig.settled(lambda: supervisor.statistics().gone == 1)
    assert supervisor.statistics().faults == 0


def test_owned_descriptor_that_is_closed_already(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that closed what it gave away is told in the log; its target's next calls go on."""
    supervisor = rig.supervise()
    fd = os.eventfd(0)
    os.close(fd)
    replies: Iterator[Any] = iter([InstallFd(fd, owned=True), Return(2), Return(3)])
    supervisor.on(OpenAt)(lambda call: next(replies))
    assert rig.ask("openat") == Return(100)
    assert rig.ask("openat") == Return(2)
    assert rig.ask("openat") == Return(3)
    assert "could not be closed" in caplog.text


def test_late_descriptor_is_closed(embedded: Rig, fd: int) -> None:
    """A reply that comes too late is dropped, and what it owns is freed."""
    supervisor = embedded.supervise()

    def handler(call: Call) -> InstallFd:
        supervisor._engine.expire(1 << 62)
        return InstallFd(fd, owned=True)

    supervisor.on(OpenAt, deadline=30)(handler)
    pending = embedded.notify("openat")
    assert pending.answer() == Fail(errno.EPERM)
    assert pending.installed == []
    assert not is_open(fd)
