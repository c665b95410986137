"""Waiting for listeners."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from tests.kernel.targets import PATIENCE, Target, until
from unotify.abi.structs import NOTIF_SIZES
from unotify.kernel.interface import Ready
from unotify.kernel.listener import LinuxListener
from unotify.kernel.poller import LinuxPoller


@pytest.fixture(name="poller")
def _poller() -> Iterator[LinuxPoller]:
    with LinuxPoller() as poller:
        yield poller


def readable(fd: int) -> bool:
    """Whether another event loop would see something."""
    return bool(select.select([fd], [], [], 0)[0])


def test_a_pending_notification_ends_the_wait(poller: LinuxPoller) -> None:
    """E1, E2: only what is unreceived counts; a call that is merely unanswered wakes nobody."""
    with Target("getppid") as target:
        poller.add(target.listener)
        assert list(poller.wait(0)) == []
        assert not readable(poller.fileno())
        target.call("getppid")
        assert list(poller.wait(PATIENCE)) == [(target.listener, Ready.PENDING)]
        assert readable(poller.fileno())
        exchange = target.receive()
        assert list(poller.wait(0)) == []
        target.send(exchange)
        target.answer()
        poller.remove(target.listener)


def test_the_end_of_all_users_is_told_until_the_listener_is_removed(poller: LinuxPoller) -> None:
    """E3: a hang-up stays; the listener has to be removed, or the loop would spin."""
    with Target("getppid") as target:
        poller.add(target.listener)
        target.start("exit")
        for _ in range(2):
            assert list(poller.wait(PATIENCE)) == [(target.listener, Ready.HANGUP)]
        assert readable(poller.fileno())
        poller.remove(target.listener)
        assert list(poller.wait(0)) == []


def test_several_listeners_at_once(poller: LinuxPoller) -> None:
    """Each ready listener comes with its own reason."""
    with Target("getppid") as first, Target("getppid") as second, Target("getppid") as third:
        for target in (first, second, third):
            poller.add(target.listener)
        first.call("getppid")
        third.start("exit")
        expected = {(first.listener, Ready.PENDING), (third.listener, Ready.HANGUP)}
        until(lambda: set(poller.wait(0)) == expected, "both reasons")


def test_a_wake_up_ends_one_wait_now_or_later(poller: LinuxPoller) -> None:
    """Several wake-ups before a wait end that one only; a listener beside them is not hidden."""
    poller.wake()
    poller.wake()
    assert readable(poller.fileno())
    assert list(poller.wait()) == []
    assert list(poller.wait(0)) == []
    with Target("getppid") as target:
        poller.add(target.listener)
        target.call("getppid")
        until(target.listener.pending)
        poller.wake()
        assert list(poller.wait()) == [(target.listener, Ready.PENDING)]
        target.send(target.receive())
        target.answer()
        assert list(poller.wait(0)) == []
        poller.remove(target.listener)


def test_another_thread_ends_a_wait(poller: LinuxPoller) -> None:
    """A wait without a time-out ends when anybody calls wake."""
    results: list[object] = []
    waiter = threading.Thread(target=lambda: results.append(list(poller.wait())))
    waiter.start()
    poller.wake()
    waiter.join(PATIENCE)
    assert results == [[]]


def test_a_listener_added_during_a_wait_is_seen(poller: LinuxPoller) -> None:
    """Nobody has to wake the waiter for it."""
    with Target("getppid") as target:
        target.call("getppid")
        until(target.listener.pending)
        results: list[object] = []
        waiter = threading.Thread(target=lambda: results.append(list(poller.wait(PATIENCE))))
        waiter.start()
        poller.add(target.listener)
        waiter.join(PATIENCE)
        assert results == [[(target.listener, Ready.PENDING)]]
        poller.remove(target.listener)


def test_who_is_waited_for_is_known_at_once(
    poller: LinuxPoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits sees a listener once the kernel knows it; one that is refused is not there."""
    seen: list[object] = []
    epoll = poller._epoll

    class Quick:
        """Returns in another thread before `register` does."""

        def register(self, fd: int, mask: int) -> None:
            if fd == fails:
                raise OSError(28, "too many watches")
            epoll.register(fd, mask)
            seen.extend(poller.wait(PATIENCE))

        def __getattr__(self, name: str) -> object:
            return getattr(epoll, name)

    with Target("getppid") as target, Target("getppid") as other:
        fails = other.listener.fileno()
        target.call("getppid")
        until(target.listener.pending)
        monkeypatch.setattr(poller, "_epoll", Quick())
        poller.add(target.listener)
        assert seen == [(target.listener, Ready.PENDING)]
        with pytest.raises(OSError, match="too many"):
            poller.add(other.listener)
        assert list(poller.wait(0)) == [(target.listener, Ready.PENDING)]
        monkeypatch.undo()
        poller.add(other.listener)


def test_a_signal_handler_may_wake(poller: LinuxPoller) -> None:
    """The handler runs during the wait, and its wake-up ends that very wait."""
    previous = signal.signal(signal.SIGALRM, lambda number, frame: poller.wake())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        begun = time.monotonic()
        assert list(poller.wait(PATIENCE)) == []
        assert time.monotonic() - begun < PATIENCE
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_a_handler_that_raises_ends_the_wait(poller: LinuxPoller) -> None:
    """So Ctrl-C works; a handler that does not raise leaves the wait its remaining time."""

    class StopWaiting(Exception):
        pass

    seen: list[int] = []

    def handler(number: int, frame: object) -> None:
        seen.append(number)
        if len(seen) == 3:
            raise StopWaiting

    previous = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        with pytest.raises(StopWaiting):
            poller.wait(PATIENCE)
        signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert len(seen) == 3


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_time_outs(poller: LinuxPoller, timeout: float) -> None:
    """Zero looks once, and a deadline that is already over is no endless wait."""
    begun = time.monotonic()
    assert list(poller.wait(timeout)) == []
    assert timeout * 0.9 <= time.monotonic() - begun < PATIENCE


def test_a_closed_listener_can_still_be_removed(poller: LinuxPoller) -> None:
    """Its number may belong to another watched listener by then, which stays watched."""
    with Target("getppid") as first, Target("getppid") as second:
        poller.add(first.listener)
        old = first.listener.fileno()
        first.listener.close()
        os.dup2(second.listener.fileno(), old, inheritable=False)
        with LinuxListener(old, sizes=NOTIF_SIZES) as moved:
            poller.add(moved)
            poller.remove(first.listener)
            second.call("getppid")
            assert list(poller.wait(PATIENCE)) == [(moved, Ready.PENDING)]
            poller.remove(moved)


def test_adding_twice_and_removing_a_stranger(poller: LinuxPoller) -> None:
    """Neither is an error; a closed listener is one."""
    with Target("getppid") as target:
        poller.remove(target.listener)
        poller.add(target.listener)
        poller.add(target.listener)
        target.call("getppid")
        assert len(poller.wait(PATIENCE)) == 1
        poller.remove(target.listener)
        assert list(poller.wait(0)) == []
        target.listener.close()
        with pytest.raises(ValueError, match="closed"):
            poller.add(target.listener)


def test_a_closed_poller() -> None:
    """Waiting is an error, waking is not: a signal may come late."""
    poller = LinuxPoller()
    poller.close()
    poller.close()
    poller.wake()
    with pytest.raises(ValueError, match="closed"):
        poller.wait(0)


def test_peek_takes_nothing() -> None:
    """Peeking ends when a listener is ready or the bell is rung, says which, and takes neither."""
    with LinuxPoller() as poller, LinuxPoller() as bell, Target("getppid") as target:
        poller.add(target.listener)
        bell.wake()
        assert not poller.peek(bell)
        assert not poller.peek(bell)
        assert bell.wait(0) == []
        target.call("getppid")
        assert poller.peek(bell)
        assert [listener for listener, _ in poller.wait(0)] == [target.listener]
        target.let_go(target.receive())
        poller.wake()
        assert poller.peek(bell)
        assert poller.wait(0) == []
