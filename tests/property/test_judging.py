"""Filter, policy and supervisor agree about every call of every policy."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.supervisor.fake_kernel import FakeKernel
from tests.unit.supervisor.policies_by_hand import policy, register, rule
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import SeccompData, simulate
from unotify.calls import Call
from unotify.policy.conditions import (
    All,
    Condition,
    Constant,
    Facts,
    Look,
    Need,
    Negation,
    RegisterTest,
)
from unotify.policy.conditions import Any as Either
from unotify.policy.model import Policy, Verb, Verdict
from unotify.protocol import Continue, Fail, Reply, Return
from unotify.supervisor import Supervisor

CALLS = ("getpid", "openat")
ARCHS = (Arch.X86_64, Arch.I386)
VERDICTS = (
    Verdict(Verb.ALLOW),
    Verdict(Verb.CONTINUE),
    Verdict(Verb.FAIL, errno=errno.EIO),
    Verdict(Verb.FAIL, errno=errno.EXDEV),
    Verdict(Verb.DENY),
    Verdict(Verb.RETURN, value=7),
    Verdict(Verb.RETURN),
    Verdict(Verb.KILL_PROCESS),
    Verdict(Verb.ACT, handler="act"),
    Verdict(Verb.NOTIFY),
)


@dataclass(frozen=True)
class World:
    """What looks find; the registers of the call."""

    looks: tuple[bool, ...]
    args: tuple[int, ...]


def a_look(number: int, world: list[World]) -> Look:
    """Finds what the world says; needs various things."""

    def check(facts: Facts) -> bool:
        if number % 2:
            facts.call.exchange.memory_read = True
        return world[0].looks[number]

    return Look(f"look {number}", (Need.CALLER, Need.MEMORY)[number % 2], check)


LOOKS = 3
WORLD: list[World] = []
LEAVES: list[Condition] = [
    Constant(True),
    Constant(False),
    *(a_look(number, WORLD) for number in range(LOOKS)),
    *(register(argument, value) for argument in (0, 1) for value in (0, 1)),
]
conditions = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(Negation),
        st.lists(inner, max_size=3).map(lambda terms: All(tuple(terms))),
        st.lists(inner, max_size=3).map(lambda terms: Either(tuple(terms))),
    ),
    max_leaves=6,
)
verdicts = st.sampled_from(VERDICTS)
rules = st.builds(
    lambda calls, verdict, where, log: rule(
        " ".join(calls), verdict, where, log=log, racy=True, because="a test"
    ),
    st.lists(st.sampled_from(CALLS), min_size=1, unique=True),
    verdicts,
    st.none() | conditions,
    st.booleans(),
)
policies = st.builds(
    lambda rules, default, archs: policy(*rules, default=default, architectures=archs),
    st.lists(rules, max_size=4),
    verdicts.filter(lambda verdict: verdict.verb is not Verb.ACT),
    st.sampled_from([ARCHS, ARCHS[:1], ARCHS[::-1]]),
)
worlds = st.builds(
    World,
    st.tuples(*[st.booleans()] * LOOKS),
    st.tuples(*[st.integers(0, 2)] * 2).map(lambda args: (*args, 0, 0, 0, 0)),
)


def truth(condition: Condition, world: World) -> bool:
    """What a condition means, without any of the shortcuts."""
    match condition:
        case Constant(value):
            return value
        case RegisterTest(text):
            argument, _, value = text.partition(" == ")
            return world.args[int(argument)] == int(value)
        case Look(text):
            return world.looks[int(text.split()[1])]
        case Negation(term):
            return not truth(term, world)
        case All(terms):
            return all(truth(term, world) for term in terms)
        case Either(terms):
            return any(truth(term, world) for term in terms)


def verdict_of(made: Policy, call: str, arch: Arch, world: World) -> Verdict:
    """The first rule that matches, or the default."""
    if arch not in made.architectures:
        return made.bad_arch
    for each in made.rules:
        if call in each.calls and truth(each.condition(call), world):
            return each.verdict
    return made.default


SEVERITY = [
    {Verb.KILL_PROCESS},
    {Verb.FAIL, Verb.DENY, Verb.RETURN},
    {Verb.NOTIFY, Verb.ACT},
    {Verb.ALLOW, Verb.CONTINUE},
]


def strictest(found: Sequence[Verdict]) -> Verdict:
    """Of what several policies say: the first of the most severe."""
    return next(v for kind in SEVERITY for v in found if v.verb in kind)


def outcome(verdict: Verdict, call: str) -> object:
    """What the target is to notice."""
    match verdict.verb:
        case Verb.ALLOW | Verb.CONTINUE:
            return "goes on"
        case Verb.KILL_PROCESS:
            return "dies"
        case Verb.RETURN:
            return verdict.value
        case Verb.ACT:
            return 99
        case Verb.NOTIFY:
            return Fail(errno.EPERM)
        case _:
            return Fail(verdict.fails_with(call) or 0)


def observed(
    supervisor: Supervisor, kernel: FakeKernel, call: str, arch: Arch, world: World
) -> Any:
    """What the target notices: of the filter, or of the supervisor if that is notified."""
    nr = tables.number(call, arch)
    assert nr is not None
    action = simulate(supervisor.program(), SeccompData(nr, arch.audit, world.args))
    if action == Action.ALLOW:
        return "goes on"
    if action == Action.KILL_PROCESS:
        return "dies"
    if action != Action.USER_NOTIF:
        number = action & 0xFFFF
        assert action == Action.ERRNO | number
        return Fail(number) if number else 0
    pending = kernel.listeners[0].notify(nr, *world.args, arch=arch)
    supervisor.process_pending()
    if kernel.killed:
        return "dies"
    match pending.answer():
        case Return(value):
            return value
        case Continue():
            return "goes on"
        case reply:
            return reply


def supervised(stack: Sequence[Policy], **options: Any) -> tuple[Supervisor, FakeKernel]:
    """A supervisor of a listener, in this thread."""
    kernel = FakeKernel()
    supervisor = Supervisor(policy=stack, kernel=kernel, embedded=True, **options)
    if not options:
        supervisor.add_verb("act", lambda call, parameters: Return(99))
    supervisor.attach(kernel.listener())
    return supervisor, kernel


@given(made=policies, world=worlds, call=st.sampled_from(CALLS), arch=st.sampled_from(ARCHS))
def test_filter_and_supervisor_do_what_the_policy_says(
    made: Policy, world: World, call: str, arch: Arch
) -> None:
    """Whoever decides, the target notices what the first matching rule says."""
    WORLD[:] = [world]
    supervisor, kernel = supervised([made])
    with supervisor:
        found = observed(supervisor, kernel, call, arch, world)
    assert found == outcome(verdict_of(made, call, arch, world), call)


@given(
    stack=st.lists(policies, min_size=2, max_size=3),
    world=worlds,
    call=st.sampled_from(CALLS),
    arch=st.sampled_from(ARCHS),
)
def test_a_stack_is_as_strict_as_its_strictest(
    stack: list[Policy], world: World, call: str, arch: Arch
) -> None:
    """What goes on goes on by all; else it is one of the answers, and none less severe.

    What a filter half refuses is not asked about, so that of two refusals another may
    come first; but never less than one.
    """
    WORLD[:] = [world]
    supervisor, kernel = supervised(stack)
    with supervisor:
        found = observed(supervisor, kernel, call, arch, world)
    said = [verdict_of(made, call, arch, world) for made in stack]
    expected = outcome(strictest(said), call)
    refusing = {verdict.verb for verdict in said} & {Verb.KILL_PROCESS, *SEVERITY[1]}
    if refusing:
        assert found in [outcome(v, call) for v in said if v.verb in refusing]
    elif Verb.NOTIFY in {verdict.verb for verdict in said}:
        # Nobody takes what is notified, so that it is refused before a verb is asked.
        assert found == outcome(Verdict(Verb.NOTIFY), call)
    else:
        assert found == expected


REPLIES = (None, Continue(), Return(88), Fail(errno.ENODEV))


def answering(reply: Reply | None) -> Callable[..., Reply | None]:
    """Code that always says the same; but nobody may say a plain Continue after a look."""

    def answer(call: Call, parameters: object = None) -> Reply | None:
        read = call.exchange.memory_read and isinstance(reply, Continue)
        return Continue.racy(because="a test") if read else reply

    return answer


def alone(made: Policy, call: str, arch: Arch, world: World, handler: Any, verb: Any) -> object:
    """What the target notices of a policy that is the only one, of the code that it asks too."""
    verdict = verdict_of(made, call, arch, world)
    known = arch in made.architectures
    matched = any(call in each.calls and truth(each.condition(call), world) for each in made.rules)
    asked: tuple[Any, ...] = ()
    if known and verdict.verb is Verb.ACT:
        asked = (verb, handler)
    elif known and (verdict.verb is Verb.NOTIFY or not matched):
        asked = (handler,)
    for reply in asked:
        if reply is not None:
            return {Continue(): "goes on", Return(88): 88}.get(reply, reply)
    return outcome(Verdict(Verb.NOTIFY) if verdict.verb is Verb.ACT else verdict, call)


@given(
    stack=st.lists(policies, min_size=1, max_size=3),
    world=worlds,
    call=st.sampled_from(CALLS),
    arch=st.sampled_from(ARCHS),
    handler=st.sampled_from(REPLIES),
    verb=st.sampled_from(REPLIES),
)
def test_code_of_a_stack_is_as_strict_as_its_strictest(
    stack: list[Policy], world: World, call: str, arch: Arch, handler: Any, verb: Any
) -> None:
    """A call goes on if it would under each policy alone; else it gets what one of them says."""
    WORLD[:] = [world]
    kernel = FakeKernel()
    supervisor = Supervisor(policy=stack, kernel=kernel, embedded=True)
    supervisor.add_verb("act", answering(verb))
    supervisor.on(*CALLS)(answering(handler))
    supervisor.attach(kernel.listener())
    with supervisor:
        found = observed(supervisor, kernel, call, arch, world)
    each = [alone(made, call, arch, world, handler, verb) for made in stack]
    stopped = [said for said in each if said != "goes on"]
    assert found in stopped if stopped else found == "goes on"


@given(
    stack=st.lists(policies, min_size=1, max_size=2),
    world=worlds,
    call=st.sampled_from(CALLS),
    arch=st.sampled_from(ARCHS),
)
def test_a_dry_run_changes_nothing(
    stack: list[Policy], world: World, call: str, arch: Arch
) -> None:
    """Whatever the policies say, the call goes on."""
    WORLD[:] = [world]
    supervisor, kernel = supervised(stack, dry_run=True)
    with supervisor:
        assert observed(supervisor, kernel, call, arch, world) == "goes on"
