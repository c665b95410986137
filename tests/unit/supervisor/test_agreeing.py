"""Two policies that both ask code about one call: who is asked first, and what counts."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.supervisor.policies_by_hand import act, fail, look, policy, rule
from tests.unit.supervisor.rig import Rig
from unotify.calls import Call, Getpid
from unotify.policy.conditions import Facts
from unotify.policy.model import Policy, Verb, Verdict
from unotify.protocol import Continue, Fail, Reply, Return
from unotify.supervisor import Instrument, Supervisor

NOTIFY = policy(rule("getpid", Verdict(Verb.NOTIFY)))
PERFORM = policy(rule("getpid", act("perform")))
INJECT = policy(rule("getpid", act("inject")))
UNHANDLED = Fail(errno.EPERM)

OTHERS = fail(errno.ENOSYS)
ON, OFF, DONE = Continue(), Fail(errno.EIO), Return(7)


def supervised(
    rig: Rig, stack: list[Policy], order: list[str], **replies: Reply | None
) -> Supervisor:
    """Code by name (``handler`` is no verb's) that says what it is to say, and notes that."""
    supervisor = rig.supervise(policy=stack)

    def verb(name: str) -> Any:
        def say(call: Call, parameters: Mapping[str, Any]) -> Reply | None:
            order.append(name)
            return replies.get(name)

        return say

    for name in ("perform", "inject"):
        supervisor.add_verb(name, verb(name))
    if "handler" in replies:

        @supervisor.on(Getpid)
        def handler(call: Getpid) -> Reply | None:
            order.append("handler")
            return replies["handler"]

    return supervisor


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("handler", "perform", "reply", "asked"),
    [
        (OFF, DONE, OFF, ["handler"]),
        (DONE, OFF, DONE, ["handler"]),
        (None, DONE, UNHANDLED, ["handler"]),
        (ON, DONE, DONE, ["handler", "perform"]),
        (ON, OFF, OFF, ["handler", "perform"]),
        (ON, ON, ON, ["handler", "perform"]),
        (ON, None, ON, ["handler", "perform"]),
    ],
)
def test_notify_beside_a_verb(
    rig: Rig,
    turned: bool,
    handler: Reply | None,
    perform: Reply | None,
    reply: Reply,
    asked: list[str],
) -> None:
    """Handlers come first, whatever the order of the policies, and let on to the verb alone."""
    stack, order = [NOTIFY, PERFORM], []  # type: ignore[var-annotated]
    supervised(rig, stack[::-1] if turned else stack, order, handler=handler, perform=perform)
    assert rig.ask("getpid") == reply
    assert order == asked


@pytest.mark.parametrize(
    ("perform", "inject", "reply", "asked"),
    [
        (DONE, OFF, DONE, ["perform"]),
        (None, DONE, UNHANDLED, ["perform"]),
        (ON, DONE, DONE, ["perform", "inject"]),
        (ON, None, UNHANDLED, ["perform", "inject"]),
        (ON, ON, ON, ["perform", "inject"]),
    ],
)
def test_two_verbs(
    rig: Rig, perform: Reply | None, inject: Reply | None, reply: Reply, asked: list[str]
) -> None:
    """Verbs are asked in the order of their policies; what one does not let go, it answers."""
    order: list[str] = []
    supervised(rig, [PERFORM, INJECT], order, perform=perform, inject=inject)
    assert rig.ask("getpid") == reply
    assert order == asked


def test_handlers_speak_once_for_all(rig: Rig) -> None:
    """What no verb takes handlers do, for all of the policies at once."""
    order: list[str] = []
    supervised(rig, [PERFORM, INJECT], order, handler=ON)
    assert rig.ask("getpid") == ON
    assert order == ["perform", "handler", "inject"]


def test_a_default_speaks_before_a_verb(rig: Rig) -> None:
    """A policy without a rule about the call refuses it by default, unless handlers take it."""
    order: list[str] = []
    supervised(rig, [PERFORM, policy(default=fail(errno.EXDEV))], order, perform=DONE, handler=None)
    assert rig.ask("getpid") == Fail(errno.EXDEV)
    assert order == ["handler"]


def test_a_hold_that_lets_go_speaks_for_its_policy_alone(rig: Rig) -> None:
    """Released with a Continue, also before it was returned, it leaves the rest to the verb."""
    order: list[str] = []
    supervisor = supervised(rig, [NOTIFY, PERFORM], order, perform=DONE)

    @supervisor.on(Getpid)
    def handler(call: Getpid) -> object:
        held = supervisor.hold(call)
        held.release(OFF if call.exchange.args[0] else ON)
        return held

    assert rig.ask("getpid", 0) == DONE
    assert rig.ask("getpid", 1) == OFF
    assert order == ["perform"]


def test_a_verb_s_hold(rig: Rig) -> None:
    """The last hold's Continue is the answer, if all before it let the call go."""
    order: list[str] = []
    supervisor = supervised(rig, [NOTIFY, policy(rule("getpid", act("redirect")))], order)
    supervisor.on(Getpid)(lambda call: ON)
    helds = []

    def redirect(call: Call, parameters: Mapping[str, Any]) -> object:
        helds.append(supervisor.hold(call))
        return helds[-1]

    supervisor.add_verb("redirect", redirect)
    pending = rig.notify("getpid")
    rig.settled(lambda: supervisor.statistics().held)
    assert helds[0].release(ON)
    assert pending.answer() == ON


def test_reasons_are_told_together(rig: Rig) -> None:
    """C2: each that lets go what was read has a reason; without one nothing goes on."""

    def reads(facts: Facts) -> bool:
        facts.call.exchange.memory_read = True
        return True

    looking = policy(rule("getpid", act("perform"), look(reads)), default=OTHERS)
    order: list[str] = []
    first, second = Continue.racy(because="one"), Continue.racy(because="two")
    supervisor = supervised(rig, [looking, INJECT], order, perform=first, inject=second)
    told: list[Reply] = []

    class Watch(Instrument):
        def deciding(self, call: Call, reply: Reply, handler: str) -> None:
            told.append(reply)

    supervisor.add_instrument(Watch())
    assert rig.ask("getpid") == ON
    assert told == [Continue.racy(because="one; two")]
    rig.listener = rig.kernel.listener()
    supervised(rig, [looking, INJECT], order, perform=ON, inject=second)
    assert rig.ask("getpid") == UNHANDLED
    rig.listener = rig.kernel.listener()
    supervised(rig, [looking, INJECT], order, perform=first, inject=ON)
    assert rig.ask("getpid") == UNHANDLED
