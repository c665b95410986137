"""Calls that wait for somebody other than their handler."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from tests.unit.supervisor.rig import Rig
from unotify.calls import Call, Getpid, Mount, OpenAt
from unotify.errors import LocalProtocolError, Refused, TargetGone
from unotify.protocol import Continue, Fail, InstallFd, Return
from unotify.supervisor import Held, Instrument

PATH = 0x1000


class Holder:
    """A handler that holds and keeps the holds."""

    def __init__(self, rig: Rig, **options: Any) -> None:
        self.rig = rig
        self.options = options
        self.helds: list[Held] = []
        self.read = False

    def __call__(self, call: Any) -> Held:
        """Hold it."""
        if self.read:
            assert call.path
        self.helds.append(self.rig.supervisor.hold(call, **self.options))
        return self.helds[-1]

    def held(self) -> Held:
        """The first hold, once the engine has it."""
        self.rig.settled(lambda: self.helds and self.helds[0]._settled)
        return self.helds[0]


def holding(rig: Rig, *, call: Any = Getpid, **options: Any) -> Holder:
    """A supervisor whose handler holds."""
    supervisor = rig.supervise()
    holder = Holder(rig, **options)
    supervisor.on(call)(holder)
    return holder


def expire(rig: Rig) -> None:
    """All deadlines pass."""
    rig.supervisor._engine.expire(1 << 62)


def test_a_hold_is_released_later(rig: Rig) -> None:
    """The handler's thread is free, the target waits, and the release answers it."""
    holder = holding(rig)
    rig.supervisor.on(Mount)(lambda call: Return(5))
    pending = rig.notify("getpid")
    held = holder.held()
    assert rig.ask("mount", tid=7) == Return(5)
    assert not pending.done.is_set()
    assert held.release(Return(9)) is True
    assert pending.answer() == Return(9)
    numbers = rig.supervisor.statistics()
    assert (numbers.held, numbers.in_flight, numbers.answered) == (0, 0, 2)


def test_a_second_release_is_too_late(rig: Rig) -> None:
    """Whoever comes second is told that nobody waits."""
    holder = holding(rig)
    pending = rig.notify("getpid")
    held = holder.held()
    assert held.release(Return(1))
    assert not held.release(Return(2))
    assert not held.pass_on()
    assert not held.fail(ValueError())
    assert pending.answer() == Return(1)
    assert rig.supervisor.statistics().faults == 0


def test_release_with_a_descriptor(rig: Rig) -> None:
    """Any reply will do."""
    holder = holding(rig)
    pending = rig.notify("getpid")
    assert holder.held().release(InstallFd(4))
    assert pending.answer() == Return(100)


def test_release_before_the_handler_returned(rig: Rig) -> None:
    """An early release is remembered until the engine has the hold."""
    supervisor = rig.supervise()
    results: list[bool] = []

    @supervisor.on(Getpid)
    def handler(call: Call) -> Held:
        held = supervisor.hold(call)
        results.append(held.release(Return(3)))
        results.append(held.release(Return(4)))
        return held

    assert rig.ask("getpid") == Return(3)
    assert rig.ask("getpid") == Return(3)
    assert results == [True, False, True, False]


def test_early_pass_on_and_fail(rig: Rig) -> None:
    """The other two may come early as well."""
    supervisor = rig.supervise()
    acts: Any = iter([lambda held: held.pass_on(), lambda held: held.fail(Refused(errno=2))])

    @supervisor.on(Getpid)
    def handler(call: Call) -> Held:
        held = supervisor.hold(call)
        assert next(acts)(held)
        return held

    supervisor.on(Getpid)(lambda call: Return(8))
    assert rig.ask("getpid") == Return(8)
    assert rig.ask("getpid") == Fail(2)


def test_early_release_with_a_wrong_reply_is_a_fault(rig: Rig) -> None:
    """Nobody is there to release it again, so the target is answered at once."""
    supervisor = rig.supervise()
    rig.kernel.memory.pieces[PATH] = b"/x\0"

    @supervisor.on(OpenAt)
    def handler(call: OpenAt) -> Held:
        held = supervisor.hold(call)
        held.release(Continue())
        assert call.path
        return held

    assert rig.ask("openat", 0, PATH) == Fail(errno.EPERM)
    rig.settled(lambda: supervisor.statistics().faults == 1)
    assert supervisor.statistics().held == 0


def test_release_with_nonsense_keeps_it_held(rig: Rig) -> None:
    """The mistake is raised to whoever released; the call can still be answered."""
    holder = holding(rig, call=OpenAt)
    holder.read = True
    rig.kernel.memory.pieces[PATH] = b"/x\0"
    pending = rig.notify("openat", 0, PATH)
    held = holder.held()
    for wrong in (None, 7, held, Continue()):
        with pytest.raises(LocalProtocolError):
            held.release(wrong)  # type: ignore[arg-type]
        assert rig.supervisor.statistics().held == 1
    assert held.release(Continue.racy(because="test"))
    assert pending.answer() == Continue()
    assert rig.supervisor.statistics().racy == 1


def test_pass_on_asks_the_next(rig: Rig) -> None:
    """Handlers that come after the one that held are asked as if it had said None."""
    holder = holding(rig)
    asked: list[Call] = []
    rig.supervisor.on(Getpid)(asked.append)
    rig.supervisor.on(Getpid)(lambda call: Return(6))
    pending = rig.notify("getpid")
    assert not asked
    assert holder.held().pass_on()
    assert pending.answer() == Return(6)
    assert asked == [holder.helds[0].call]


def test_pass_on_without_a_next_is_unhandled(rig: Rig) -> None:
    """Nobody's call gets the default answer."""
    holder = holding(rig)
    pending = rig.notify("getpid")
    assert holder.held().pass_on()
    assert pending.answer() == Fail(errno.EPERM)
    assert rig.supervisor.statistics().faults == 0


def test_pass_on_to_another_hold(rig: Rig) -> None:
    """The next handler may hold it too."""
    holder = holding(rig)
    second = Holder(rig)
    rig.supervisor.on(Getpid)(second)
    pending = rig.notify("getpid")
    assert holder.held().pass_on()
    assert not holder.helds[0].release(Return(1))
    assert second.held().release(Return(2))
    assert pending.answer() == Return(2)


@pytest.mark.parametrize(
    ("error", "reply", "faults"),
    [(Refused(errno=errno.EROFS), Fail(errno.EROFS), 0), (ValueError("x"), Fail(errno.EPERM), 1)],
)
def test_fail_is_the_funnel(rig: Rig, error: Exception, reply: Fail, faults: int) -> None:
    """Failing a hold is as if its handler had raised."""
    holder = holding(rig)
    pending = rig.notify("getpid")
    assert holder.held().fail(error)
    assert pending.answer() == reply
    assert rig.supervisor.statistics().faults == faults


def test_deadline_of_a_hold(rig: Rig) -> None:
    """Nobody released it in time: the fault reply, counted as expired; then it is too late."""
    holder = holding(rig, deadline=1000)
    pending = rig.notify("getpid")
    held = holder.held()
    assert not pending.done.is_set()
    expire(rig)
    assert pending.answer() == Fail(errno.EPERM)
    assert not held.release(Return(1))
    numbers = rig.supervisor.statistics()
    assert (numbers.expired, numbers.faults, numbers.held, numbers.in_flight) == (1, 1, 0, 0)


def test_deadline_of_a_hold_passes_by_itself(threaded: Rig) -> None:
    """A thread sees to it; no other call is needed."""
    holding(threaded, deadline=0.01)
    assert threaded.ask("getpid") == Fail(errno.EPERM)


def test_a_hold_keeps_the_deadline_of_its_handler(rig: Rig) -> None:
    """A handler that is given ten seconds cannot get more by holding without a deadline."""
    supervisor = rig.supervise()
    holder = Holder(rig)
    supervisor.on(Getpid, deadline=1000)(holder)
    pending = rig.notify("getpid")
    holder.held()
    expire(rig)
    assert pending.answer() == Fail(errno.EPERM)
    assert supervisor.statistics().expired == 1


def test_a_hold_without_a_deadline_stays(rig: Rig) -> None:
    """Nothing expires that has no deadline."""
    holder = holding(rig)
    pending = rig.notify("getpid")
    held = holder.held()
    expire(rig)
    assert not pending.done.is_set()
    assert held.release(Return())


@pytest.mark.parametrize("end", ["release", "expire", "fail", "hang up", "close"])
def test_what_a_hold_has_opened_is_closed(rig: Rig, end: str) -> None:
    """However a held call ends, its target's memory is closed."""
    holder = holding(rig, call=OpenAt, deadline=1000)
    holder.read = True
    rig.kernel.memory.pieces[PATH] = b"/x\0"
    rig.notify("openat", 0, PATH)
    held = holder.held()
    (thread,) = rig.kernel.threads
    assert not thread.closed
    match end:
        case "release":
            held.release(Return())
        case "expire":
            expire(rig)
        case "fail":
            held.fail(ValueError())
        case "close":
            rig.supervisor.close()
        case _:
            rig.listener.hang_up()
            if rig.embedded:
                rig.supervisor.process_pending()
    rig.settled(lambda: thread.closed)


def test_target_that_goes_while_held(rig: Rig) -> None:
    """The release finds nobody."""
    holder = holding(rig)
    pending = rig.notify("getpid")
    held = holder.held()
    rig.listener.interrupt(pending)
    assert not held.release(Return())
    assert rig.supervisor.statistics().gone == 1


def test_hangup_of_held_calls(rig: Rig) -> None:
    """When all tasks are gone nothing is held any more."""
    holder = holding(rig)
    rig.notify("getpid")
    held = holder.held()
    rig.listener.hang_up()
    if rig.embedded:
        rig.supervisor.process_pending()
    rig.settled(lambda: rig.supervisor.statistics().gone == 1)
    assert not held.release(Return())
    assert rig.supervisor.statistics().held == 0


def test_stop_answers_what_is_held(rig: Rig) -> None:
    """Nobody will release it: the fault reply."""
    holder = holding(rig)
    pending = rig.notify("getpid")
    held = holder.held()
    rig.supervisor.stop()
    assert pending.answer() == Fail(errno.EPERM)
    assert not held.release(Return())


def test_returning_the_hold_of_another_call_is_a_fault(rig: Rig) -> None:
    """A hold answers its own call only."""
    supervisor = rig.supervise()
    helds: list[Held] = []

    @supervisor.on(Getpid)
    def handler(call: Call) -> Held:
        if not helds:
            helds.append(supervisor.hold(call))
        return helds[0]

    first = rig.notify("getpid", tid=1)
    rig.settled(lambda: supervisor.statistics().held)
    assert rig.ask("getpid", tid=2) == Fail(errno.EPERM)
    assert helds[0].release(Return(1))
    assert first.answer() == Return(1)


def test_an_answered_call_cannot_be_held(rig: Rig) -> None:
    """It is too late, and told so."""
    supervisor = rig.supervise()
    calls: list[Call] = []
    supervisor.on(Getpid)(lambda call: calls.append(call) or Return())
    rig.ask("getpid")
    rig.settled(lambda: supervisor.statistics().answered)
    with pytest.raises(TargetGone):
        supervisor.hold(calls[0])


def test_holds_are_shown(rig: Rig) -> None:
    """Instruments see that a call is held, then who decided."""
    seen: list[Any] = []

    class Look(Instrument):
        def held(self, call: Call) -> None:
            seen.append("held")

        def replied(self, call: Call, reply: object, handler: str, nanoseconds: int) -> None:
            seen.append((reply, handler))

    holder = holding(rig)
    rig.supervisor.add_instrument(Look())
    rig.notify("getpid")
    assert holder.held().release(Return(2))
    rig.settled(lambda: len(seen) == 2)
    assert seen == ["held", (Return(2), "Holder")]
    assert repr(holder.helds[0]) == "<Held Getpid()>"


def test_a_release_that_races_its_deadline(embedded: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly one answers: a deadline that strikes between two steps of a release wins."""
    holder = holding(embedded, deadline=1000)
    pending = embedded.notify("getpid")
    engine = embedded.supervisor._engine
    original = engine._unhold

    def racing(held: Held) -> Any:
        watch = original(held)
        assert watch is not None
        engine.give_up(watch, TimeoutError())
        return watch

    monkeypatch.setattr(engine, "_unhold", racing)
    assert holder.held().release(Return(1)) is False
    assert pending.answer() == Fail(errno.EPERM)
    assert embedded.supervisor.statistics().faults == 1
