"""Listeners that go from one supervisor to another."""

from __future__ import annotations

import threading

import pytest

from tests.unit.supervisor.fake_kernel import FakeListener, until
from tests.unit.supervisor.rig import Rig
from unotify.calls import Call
from unotify.errors import Conflict
from unotify.kernel.interface import Listener
from unotify.protocol import Return
from unotify.supervisor import Held, Quota, Supervisor


def answering(rig: Rig, number: int) -> Supervisor:
    """A supervisor that answers getppid with a number."""
    supervisor = rig.supervise()
    supervisor.on("getppid")(lambda call: Return(number))
    return supervisor


def pump(*supervisors: Supervisor) -> None:
    """Let those without threads do their work."""
    for supervisor in supervisors:
        if supervisor._embedded:
            supervisor.process_pending()


def test_a_move(rig: Rig) -> None:
    """A listener that is released is open, and serves with whoever attaches it next."""
    first, second = answering(rig, 1), answering(rig, 2)
    listener: FakeListener = rig.kernel.listener()
    first.attach(listener)
    call = listener.notify("getppid", tid=5)
    pump(first)
    assert call.answer() == Return(1)
    left: list[Listener] = []
    first.release(listener, left.append)
    waiting = listener.notify("getppid", tid=5)
    pump(first)
    until(lambda: left)
    assert not waiting.sent
    assert first.wait(0)
    second.attach(listener)
    pump(second)
    assert waiting.answer() == Return(2)
    assert not listener.closed


def test_calls_in_flight_first(rig: Rig) -> None:
    """It leaves when its last call in flight is answered, and not before."""
    supervisor = rig.supervise()
    held: list[Held] = []

    @supervisor.on("getppid")
    def hold(call: Call) -> Held:
        held.append(supervisor.hold(call))
        return held[-1]

    listener = rig.kernel.listener()
    supervisor.attach(listener, quota=Quota(5))
    calls = [listener.notify("getppid", tid=tid) for tid in (1, 2)]
    pump(supervisor)
    until(lambda: len(held) == 2)
    left: list[Listener] = []
    supervisor.release(listener, left.append)
    pump(supervisor)
    held[0].release(Return(1))
    assert calls[0].answer() == Return(1)
    pump(supervisor)
    assert not left
    held[1].release(Return(2))
    assert calls[1].answer() == Return(2)
    pump(supervisor)
    until(lambda: left)
    listener.close()


def test_a_leader_that_is_busy(threaded: Rig) -> None:
    """A slow call of another listener does not keep it."""
    supervisor = threaded.supervise()
    go = threading.Event()

    @supervisor.on("getppid")
    def linger(call: Call) -> Return:
        go.wait(20)
        return Return(1)

    slow, other = threaded.kernel.listener(), threaded.kernel.listener()
    supervisor.attach(slow)
    supervisor.attach(other)
    call = slow.notify("getppid", tid=1)
    until(lambda: call.sent)
    left: list[Listener] = []
    supervisor.release(other, left.append)
    until(lambda: left)
    go.set()
    assert call.answer() == Return(1)
    other.close()


def test_a_stop_before_it_left(threaded: Rig) -> None:
    """A supervisor that stops closes what has not left yet."""
    supervisor = threaded.supervise()
    held: list[Held] = []

    @supervisor.on("getppid")
    def hold(call: Call) -> Held:
        held.append(supervisor.hold(call))
        return held[-1]

    listener = threaded.kernel.listener()
    supervisor.attach(listener)
    listener.notify("getppid", tid=1)
    until(lambda: held)
    left: list[Listener] = []
    supervisor.release(listener, left.append)
    supervisor.stop()
    assert listener.closed
    assert not left


def test_callbacks_that_fail(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is told of the end of a listener and fails hurts no other listener."""

    def fail(listener: Listener) -> None:
        raise RuntimeError("a bug of the user's")

    supervisor = answering(rig, 1)
    ended, released, other = (rig.kernel.listener() for _ in range(3))
    supervisor.attach(ended, on_close=fail)
    supervisor.attach(released)
    supervisor.attach(other)
    ended.hang_up()
    pump(supervisor)
    until(lambda: ended.closed)
    supervisor.release(released, fail)
    pump(supervisor)
    until(lambda: released not in supervisor._readers.sources)
    call = other.notify("getppid", tid=1)
    pump(supervisor)
    assert call.answer() == Return(1)
    until(lambda: caplog.text.count("failed for a listener") == 2)
    released.close()


def test_a_stranger(rig: Rig) -> None:
    """What is not attached cannot be released."""
    supervisor = answering(rig, 1)
    with pytest.raises(Conflict, match="not attached"):
        supervisor.release(rig.kernel.listener(), lambda listener: None)
