"""The books of stalled reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from unotify.errors import BadAddress
from unotify.kernel import stall
from unotify.kernel.stall import StallGuard

DEADLINE = 0.02


class Stalls:
    """Reads in threads of their own that end when they are told to."""

    def __init__(self, guard: StallGuard) -> None:
        self.guard = guard
        self.go_on = threading.Event()
        self.threads: list[threading.Thread] = []

    def start(self, tgid: int) -> None:
        """Begin a read of process *tgid*, and wait until it is under way."""
        begun = threading.Event()

        def read() -> None:
            begun.set()
            self.go_on.wait()

        thread = threading.Thread(target=self.guard.call, args=(read, lambda: tgid))
        thread.start()
        self.threads.append(thread)
        assert begun.wait(10)

    def until_stalled(self, count: int) -> None:
        """Wait until that many reads have passed their deadline."""
        end = time.monotonic() + 10
        while self.guard.stalled < count:
            assert time.monotonic() < end
            time.sleep(0.001)

    def end(self) -> None:
        """Let all reads return."""
        self.go_on.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture(name="stalls")
def _stalls() -> Iterator[Stalls]:
    stalls = Stalls(StallGuard(DEADLINE))
    yield stalls
    stalls.end()


def test_a_read_returns_what_it_read() -> None:
    """Values and errors pass through, and nothing is left on the books."""
    guard = StallGuard(DEADLINE)
    assert guard.call(lambda: b"abc", lambda: 1) == b"abc"
    with pytest.raises(ZeroDivisionError):
        guard.call(lambda: 1 // 0, lambda: 1)
    assert guard.stalled == 0


def test_the_process_is_not_asked_for_while_nothing_stalls() -> None:
    """Asking who it is costs more than a read, so it is asked only when it matters."""
    guard = StallGuard(DEADLINE)
    guard.call(lambda: guard.call(bytes, _never), _never)


def _never() -> int:
    raise AssertionError("asked for the process")


def test_a_stalled_process_is_not_read_again(stalls: Stalls) -> None:
    """M4: one process holds one thread; its other reads fail at once, those of others pass."""
    stalls.start(7)
    stalls.until_stalled(1)
    with pytest.raises(BadAddress, match="process 7 is stalled"):
        stalls.guard.call(_unread, lambda: 7)
    assert stalls.guard.call(lambda: b"fine", lambda: 8) == b"fine"


def _unread() -> bytes:
    raise AssertionError("a stalled process was read")


def test_after_the_stall_the_process_is_read_again(stalls: Stalls) -> None:
    """M4: when the page comes at last the books are clean."""
    stalls.start(7)
    stalls.until_stalled(1)
    stalls.end()
    assert stalls.guard.stalled == 0
    assert stalls.guard.call(lambda: b"fine", lambda: 7) == b"fine"


def test_many_processes_together_have_a_bound(
    stalls: Stalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M4: a target that forks cannot take all threads: at the bound nobody is read."""
    monkeypatch.setattr(stall, "MAX_STALLED", 3)
    for tgid in (1, 2, 3):
        stalls.start(tgid)
    stalls.until_stalled(3)
    with pytest.raises(BadAddress, match="3 reads of other processes"):
        stalls.guard.call(_unread, lambda: 4)


@pytest.mark.parametrize("deadline", [0, -1.0, float("nan")])
def test_a_deadline_is_a_time(deadline: float) -> None:
    """No time at all would declare each read stalled."""
    with pytest.raises(ValueError, match="more than 0 seconds"):
        StallGuard(deadline)
