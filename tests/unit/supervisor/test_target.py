from __future__ import annotations

from typing import Any

import pytest

from tests.unit.supervisor.rig import Rig
from unotify.abi.types import Address
from unotify.calls import Getpid
from unotify.errors import BadAddress, TargetGone, Unsupported
from unotify.protocol import Fail, Return
from unotify.supervisor import Target

PATH = 0x1000


def during(rig: Rig, act: Any, *, tid: int = 100, quiet: bool = True) -> Any:
    """The result of *act* with the call, in a handler."""
    results: list[Any] = []
    supervisor = rig.supervise()
    rig.attach(wait_killable=quiet)

    @supervisor.on(Getpid)
    def handler(call: Any) -> Return:
        results.append(act(call))
        return Return(1)

    assert rig.ask("getpid", tid=tid) == Return(1)
    return results[0]


def test_who_calls(rig: Rig) -> None:
    """Thread, process, name and pidfd, while it waits."""
    caller = during(
        rig, lambda call: (call.caller.tid, call.caller.pid, call.caller.comm, call.caller.fileno())
    )
    assert caller == (100, 100, "fake", 99)


def test_reading_marks(rig: Rig) -> None:
    """Bytes and strings mark the call; identity does not."""
    rig.kernel.memory.pieces[PATH] = b"hello\0"

    def act(call: Any) -> list[Any]:
        marks = [call.caller.pid and call.exchange.memory_read]
        call.caller.observer.read(Address(PATH), 2)
        marks.append(call.exchange.memory_read)
        assert call.caller.read(Address(PATH), 5) == b"hello"
        marks.append(call.exchange.memory_read)
        assert call.caller.read_string(Address(PATH)) == b"hello"
        return marks

    assert during(rig, act) == [False, False, True]


def test_writing(embedded: Rig) -> None:
    """M8: possible while it waits."""

    def act(call: Any) -> None:
        call.caller.write(Address(PATH), b"new")

    during(embedded, act)
    assert embedded.kernel.memory.pieces[PATH] == b"new"


def test_writing_to_who_may_be_interrupted(embedded: Rig) -> None:
    """M8: refused where a signal may end the call, or nobody knows."""

    def act(call: Any) -> None:
        with pytest.raises(Unsupported, match="WAIT_KILLABLE_RECV"):
            call.caller.write(Address(PATH), b"new")

    during(embedded, act, quiet=False)
    assert PATH not in embedded.kernel.memory.pieces


def test_one_thread_is_opened_once_and_closed(rig: Rig) -> None:
    """P8: opened when first needed, kept, and closed with the answer."""
    during(rig, lambda call: (call.caller.pid, call.caller.comm, call.caller.steal_fd(3)))
    (thread,) = rig.kernel.threads
    rig.settled(lambda: thread.closed)


def test_nothing_is_opened_unasked(rig: Rig) -> None:
    """Most calls are decided without it."""
    assert during(rig, lambda call: call.caller.tid) == 100
    assert rig.kernel.threads == []


def test_after_the_answer_there_is_nobody(rig: Rig) -> None:
    """The same tid may be somebody else by then."""
    target: Target = during(rig, lambda call: call.caller)
    rig.settled(lambda: rig.supervisor.statistics().answered == 1)
    for use in (
        lambda: target.pid,
        lambda: target.comm,
        lambda: target.read(Address(PATH), 1),
        lambda: target.write(Address(PATH), b""),
        lambda: target.steal_fd(0),
        target.fileno,
    ):
        with pytest.raises(TargetGone):
            use()
    assert not target.is_waiting()
    assert repr(target) == "<Target tid=100>"


def test_invisible_targets_can_be_answered_only(rig: Rig) -> None:
    """P3: tid 0 cannot be looked at."""

    def act(call: Any) -> bool:
        with pytest.raises(TargetGone):
            call.caller.pid  # noqa: B018
        return call.caller.is_waiting()  # type: ignore[no-any-return]

    assert during(rig, act, tid=0) is True


def test_is_waiting_asks_the_kernel(rig: Rig) -> None:
    """I9: nobody tells us that the target was interrupted; ID_VALID does."""
    supervisor = rig.supervise()
    seen: list[bool] = []

    @supervisor.on(Getpid)
    def handler(call: Any) -> Return:
        seen.append(call.caller.is_waiting())
        rig.listener.interrupt(rig.listener.sent[call.exchange.id])
        seen.append(call.caller.is_waiting())
        return Return(1)

    rig.notify("getpid")
    rig.settled(lambda: supervisor.statistics().gone == 1)
    assert seen == [True, False]


def test_unreadable_memory_is_efault(rig: Rig) -> None:
    """A BadAddress that propagates is the errno that the kernel would give."""
    supervisor = rig.supervise()
    supervisor.on(Getpid)(lambda call: call.caller.read(Address(0xDEAD), 4))
    assert rig.ask("getpid") == Fail(BadAddress().errno)
    assert supervisor.statistics().faults == 0


@pytest.mark.parametrize(
    ("reply", "told"), [(Return(0), True), (Return(5), True), (Fail(1), False), (None, False)]
)
def test_afterwards(rig: Rig, reply: Any, told: bool) -> None:
    """I10: when the call is over, handlers hear whether it was a success; the last comes first."""
    supervisor = rig.supervise()
    heard: list[Any] = []

    @supervisor.on(Getpid)
    def handler(call: Any) -> Any:
        call.caller.afterwards(lambda taken: heard.append(("first", taken)))
        call.caller.afterwards(lambda taken: heard.append(("second", taken)))
        return reply

    rig.ask("getpid")
    rig.settled(lambda: len(heard) == 2)
    assert heard == [("second", told), ("first", told)]


def test_afterwards_of_who_has_gone(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """A target that vanished took nothing; a callback that fails keeps no other from its call."""
    supervisor = rig.supervise()
    heard: list[bool] = []

    @supervisor.on(Getpid)
    def handler(call: Any) -> Return:
        call.caller.afterwards(heard.append)
        call.caller.afterwards(lambda taken: 1 // 0)
        rig.listener.interrupt(rig.listener.sent[call.exchange.id])
        return Return(1)

    rig.notify("getpid")
    rig.settled(lambda: heard)
    assert heard == [False]
    assert "failed" in caplog.text


def test_afterwards_of_who_was_answered_by_a_deadline(threaded: Rig) -> None:
    """What the handler did in the end is not what the target heard of."""
    supervisor = threaded.supervise(deadline=0.01)
    heard: list[bool] = []

    @supervisor.on(Getpid)
    def handler(call: Any) -> Return:
        call.caller.afterwards(heard.append)
        threaded.settled(lambda: supervisor.statistics().expired == 1)
        return Return(1)

    assert threaded.ask("getpid") == Fail(1)
    threaded.settled(lambda: heard)
    assert heard == [False]
