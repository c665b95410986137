"""What may happen while an ADDFD waits for its target: A11, A13, A14.

The target must not run in between. So it is bound to one processor, which a process of
real-time priority keeps busy.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.kernel.targets import Target, until
from tests.scenarios.starving import busy
from unotify.abi.seccomp import AddFdFlag
from unotify.abi.structs import ADDFD
from unotify.kernel._libc import NATIVE

SEND = int(AddFdFlag.SEND)
SIGNAL = signal.SIGUSR2


class Waiting:
    """A target that waits in a call."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.fds_before = self._open()
        target.call("getppid")
        self.exchange = target.receive()
        # Of two processors the target gets the last, and we have the others.
        self.cpu = max(os.sched_getaffinity(0))
        os.sched_setaffinity(target.pid, {self.cpu})

    def addfd(self, flags: int) -> int:
        """The raw ioctl: a number, or the negative errno."""
        packed = bytearray(ADDFD.pack(self.exchange.id, flags, 0, 0, 0))
        try:
            return fcntl.ioctl(self.target.listener.fileno(), NATIVE.ioctls.addfd, packed, True)
        except OSError as error:
            return -(error.errno or 0)

    def meanwhile(
        self, first: Callable[[], object], second: Callable[[threading.Thread], object]
    ) -> tuple[Any, Any]:
        """The results of *first*, which waits for the target, and of *second* meanwhile."""
        results: list[object] = []
        thread = threading.Thread(target=lambda: results.append(first()))
        with busy(self.cpu):
            thread.start()
            call = Path(f"/proc/self/task/{thread.native_id}/syscall")
            # This says "running" until the thread sleeps in its call.
            until(lambda: f" {NATIVE.ioctls.addfd:#x} " in call.read_text())
            result = second(thread)
        thread.join()
        return results[0], result

    def installed(self) -> set[str]:
        """What the target has open now and had not before."""
        return self._open() - self.fds_before

    def _open(self) -> set[str]:
        # But for the one of the look itself, which is closed by then and links to nothing.
        return {fd for fd, link in self.target.ask("fds")["fds"].items() if link}


def interrupt(thread: threading.Thread) -> None:
    """Send a signal that has a handler to *thread*."""
    assert thread.ident is not None
    signal.pthread_kill(thread.ident, SIGNAL)


@pytest.fixture(name="waiting")
def _waiting() -> Iterator[Waiting]:
    if len(os.sched_getaffinity(0)) < 2:
        missing("this needs two processors")
    previous = signal.signal(SIGNAL, lambda number, frame: None)
    with Target("getppid") as target:
        yield Waiting(target)
    signal.signal(SIGNAL, previous)


def test_send_behind_a_queued_descriptor_is_busy(waiting: Waiting) -> None:
    """A11: EBUSY, and nothing is answered; the queued one goes in, a later reply too."""
    number, second = waiting.meanwhile(lambda: waiting.addfd(0), lambda _: waiting.addfd(SEND))
    assert second == -errno.EBUSY
    assert waiting.target.send(waiting.exchange, value=5)
    assert waiting.target.answer()["ret"] == 5
    assert waiting.installed() == {str(number)}


def test_an_interrupted_plain_step_has_done_nothing(waiting: Waiting) -> None:
    """A13: EINTR, no descriptor, and the call still waits: the same again is right."""
    result, _ = waiting.meanwhile(lambda: waiting.addfd(0), interrupt)
    assert result == -errno.EINTR
    number = waiting.addfd(0)
    assert waiting.target.send(waiting.exchange, value=number)
    assert waiting.target.answer()["ret"] == number
    assert waiting.installed() == {str(number)}


def test_an_interrupted_single_step_is_broken_or_repaired(waiting: Waiting) -> None:
    """A14: the target was told 0 and has nothing; a repaired kernel lets the same be done again."""
    result, _ = waiting.meanwhile(lambda: waiting.addfd(SEND), interrupt)
    assert result == -errno.EINTR
    again = waiting.addfd(SEND)
    answered = waiting.target.answer()["ret"]
    if again < 0:
        assert again in (-errno.ENOENT, -errno.EINPROGRESS)
        assert answered == 0
        assert waiting.installed() == set()
    else:
        assert answered == again
        assert waiting.installed() == {str(again)}


def test_our_two_steps_are_right_at_the_same_moment(waiting: Waiting) -> None:
    """A14: `send_fd`, interrupted where the single step breaks: one descriptor, its number."""
    sent, _ = waiting.meanwhile(
        lambda: waiting.target.listener.send_fd(waiting.exchange.id, 0), interrupt
    )
    assert sent is True
    number = waiting.target.answer()["ret"]
    assert waiting.installed() == {str(number)}
