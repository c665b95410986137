"""Observers: what they see, and that they change nothing."""
# ruff: noqa: D102 - instruments

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import pytest

from tests.unit.supervisor.rig import Rig
from unotify import Counted
from unotify.abi.arch import Arch
from unotify.calls import Call, Getpid, OpenAt, TargetPath
from unotify.errors import HandlerFault
from unotify.policy.model import Policy, Verb, Verdict
from unotify.protocol import Continue, Fail, Return
from unotify.supervisor import Instrument
from unotify.supervisor.instruments import EVENTS, Instruments


class Everything(Instrument):
    """Notes every event."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def received(self, call: Call) -> None:
        self.events.append(("received", call.call_name))

    def judged(self, call: Call, judgement: object) -> None:
        self.events.append(("judged", str(judgement)))

    def held(self, call: Call) -> None:
        self.events.append(("held", call.call_name))

    def deciding(self, call: Call, reply: object, handler: str) -> None:
        self.events.append(("deciding", reply, handler))

    def replied(self, call: Call, reply: object, handler: str, nanoseconds: int) -> None:
        assert nanoseconds > 0
        self.events.append(("replied", reply, handler))

    def gone(self, call: Call) -> None:
        self.events.append(("gone", call.call_name))

    def fault(self, fault: HandlerFault) -> None:
        self.events.append(("fault", str(fault.__cause__)))


def answer(call: Call) -> Return:
    """A handler with a name."""
    return Return(1)


def test_events_of_an_answer(rig: Rig) -> None:
    """Received, deciding, replied; with the handler's name."""
    look = Everything()
    supervisor = rig.supervise()
    supervisor.add_instrument(look)
    supervisor.on(Getpid)(answer)
    rig.ask("getpid")
    rig.settled(lambda: len(look.events) == 3)
    assert look.events == [
        ("received", "getpid"),
        ("deciding", Return(1), "answer"),
        ("replied", Return(1), "answer"),
    ]


def test_events_of_nobodys_call(rig: Rig) -> None:
    """It says that nobody decided."""
    look = Everything()
    rig.supervise().add_instrument(look)
    rig.ask("getpid")
    rig.settled(lambda: len(look.events) == 3)
    assert look.events[-1] == ("replied", Fail(errno.EPERM), "(unhandled)")


def test_events_of_a_fault(rig: Rig) -> None:
    """The fault comes before the reply that it leads to."""
    look = Everything()
    supervisor = rig.supervise()
    supervisor.add_instrument(look)

    @supervisor.on(Getpid)
    def broken(call: Call) -> None:
        raise ValueError("boom")

    rig.ask("getpid")
    rig.settled(lambda: len(look.events) == 4)
    assert [event[0] for event in look.events] == ["received", "fault", "deciding", "replied"]
    assert look.events[1] == ("fault", "boom")


def test_describing_does_not_decide(rig: Rig) -> None:
    """An instrument may look at memory without making a plain Continue illegal."""
    seen: list[Any] = []

    class Look(Instrument):
        def deciding(self, call: Call, reply: object, handler: str) -> None:
            seen.append(call.describe()["path"])

    rig.kernel.memory.pieces[0x1000] = b"/x\0"
    supervisor = rig.supervise()
    supervisor.add_instrument(Look())
    supervisor.on(OpenAt)(lambda call: Continue())
    assert rig.ask("openat", 0, 0x1000) == Continue()
    rig.settled(lambda: supervisor.statistics().answered)
    assert seen == [TargetPath("/x")]


def test_what_instruments_open_is_closed(rig: Rig) -> None:
    """Also when the supervisor ends with calls under way; the rig looks for leftovers."""

    class Look(Instrument):
        def deciding(self, call: Call, reply: object, handler: str) -> None:
            call.describe()

        def received(self, call: Call) -> None:
            call.describe()

    supervisor = rig.supervise()
    supervisor.add_instrument(Look())
    supervisor.on(OpenAt)(supervisor.hold)
    rig.notify("openat", 0, 0x1000)
    rig.settled(lambda: supervisor.statistics().held)


@pytest.mark.parametrize("event", EVENTS)
def test_an_instrument_that_raises_is_removed(
    rig: Rig, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An observer must not change what it observes: it is logged and goes, the others stay."""

    def fail(self: object, *_: object) -> None:
        raise ValueError("observer")

    broken: Instrument = type("Broken", (Instrument,), {event: fail})()
    look = Everything()
    policy = Policy((), Verdict(Verb.DENY), (Arch.X86_64,))
    supervisor = rig.supervise(policy=policy) if event == "judged" else rig.supervise()
    supervisor.add_instrument(broken)
    supervisor.add_instrument(look)
    instruments = supervisor._engine.instruments

    def handler(call: Call) -> Any:
        if event == "fault":
            raise RuntimeError
        if event == "gone":
            rig.listener.interrupt(rig.listener.sent[call.exchange.id])
        return supervisor.hold(call, deadline=1000) if event == "held" else Return(1)

    if event != "judged":
        supervisor.on(Getpid)(handler)
    rig.notify("getpid")
    rig.settled(lambda: broken not in instruments._all)
    supervisor._engine.expire(1 << 62)
    rig.settled(lambda: any(entry[0] == event for entry in look.events))
    assert "observer" in caplog.text
    assert look in instruments._all


def test_removed_instruments_see_nothing(rig: Rig) -> None:
    """And removing one that is not there is fine."""
    look = Everything()
    supervisor = rig.supervise()
    supervisor.add_instrument(look)
    supervisor.remove_instrument(look)
    supervisor.remove_instrument(look)
    rig.ask("getpid")
    supervisor.close()
    assert look.events == []


def test_what_is_not_overridden_costs_nothing() -> None:
    """Only methods that a class overrides are kept."""

    class One(Instrument):
        def gone(self, call: Call) -> None:
            pass

    instruments = Instruments()
    assert not instruments.present
    one = One()
    instruments.add(one)
    assert instruments.present
    assert {event: bool(getattr(instruments, event)) for event in EVENTS} == {
        event: event == "gone" for event in EVENTS
    }
    instruments.remove(one)
    assert not instruments.gone


@pytest.mark.parametrize(
    ("events", "needed"),
    [
        ((), False),
        (("fault",), False),
        (("counted",), False),
        (("counted", "replied", "gone", "fault"), False),
        *(((event,), True) for event in EVENTS if event != "fault"),
        *(((event, "counted"), True) for event in ("received", "judged", "held", "deciding")),
    ],
)
def test_who_needs_python(events: Sequence[str], needed: bool) -> None:
    """Only who counts, or misses nothing, lets calls be answered without."""
    instruments = Instruments()
    assert not instruments.needs_python
    instruments.add(Instrument())
    one: Instrument = type("One", (Instrument,), dict.fromkeys(events, lambda *_: None))()
    instruments.add(one)
    assert instruments.needs_python is needed
    assert bool(instruments.counted) is ("counted" in events)
    instruments.remove(one)
    assert not instruments.needs_python


def test_without_a_native_part_nothing_is_counted_twice(rig: Rig) -> None:
    """What Python answers is told by `replied`; there is nothing to settle."""
    told: list[Any] = []

    class Counts(Instrument):
        def replied(self, call: Call, reply: object, handler: str, nanoseconds: int) -> None:
            told.append(call.call_name)

        def counted(self, counts: Sequence[Counted]) -> None:
            told.append(counts)

    supervisor = rig.supervise()
    supervisor.add_instrument(Counts())
    supervisor.on(Getpid)(answer)
    rig.ask("getpid")
    rig.settled(lambda: told)
    supervisor.settle_counts()
    assert told == ["getpid"]
