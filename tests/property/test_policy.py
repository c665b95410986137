"""Random policies, random calls: filter, policy model and supervisor give one answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Compare, CompareOp, SeccompData, simulate
from unotify.calls import Call
from unotify.policy import conditions
from unotify.policy.compiling import compile_policy
from unotify.policy.conditions import All, Condition, Facts, Look, Need, Negation, RegisterTest
from unotify.policy.deciding import decide
from unotify.policy.kernel_actions import action_of
from unotify.policy.model import Policy, Rule, Verb, Verdict

CALLS = ("openat", "mmap", "close")
ARCHES = (Arch.X86_64, Arch.I386, Arch.AARCH64, Arch.S390X)
LOOKS = range(3)

numbers = st.sampled_from([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]) | st.integers(0, 5)
words = st.sampled_from([0, 1, 2, 3, 0xFFFFFFFF, 0x1_0000_0001, (1 << 64) - 1]) | st.integers(0, 5)


@st.composite
def register_tests(draw: st.DrawFn) -> RegisterTest:
    """A test of one register, narrow or of the ABI's width."""
    mask = draw(st.none() | st.integers(1, 7))
    compare = Compare(
        draw(st.integers(0, 2)),
        draw(st.sampled_from(list(CompareOp))),
        draw(numbers) & (mask or 0xFFFFFFFF),
        bits=draw(st.sampled_from([0, 32])),
        signed=mask is None and draw(st.booleans()),
        mask=mask,
    )
    return RegisterTest(str(compare), lambda arch: compare)


def look(number: int) -> Look:
    """A look whose answer is drawn beforehand."""
    return Look(f"look {number}", Need.MEMORY, lambda facts: cast(Any, facts).answers[number])


leaves = register_tests() | st.sampled_from(LOOKS).map(look) | st.just(conditions.Constant(True))
trees: st.SearchStrategy[Condition] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda terms: All(tuple(terms))),
        st.lists(inner, max_size=3).map(lambda terms: conditions.Any(tuple(terms))),
        inner.map(Negation),
    ),
    max_leaves=6,
)
verdicts = st.sampled_from(
    [
        Verdict(Verb.ALLOW),
        Verdict(Verb.DENY),
        Verdict(Verb.FAIL, errno=5),
        Verdict(Verb.FAIL, errno=6),
        Verdict(Verb.KILL_PROCESS),
        Verdict(Verb.RETURN, value=0),
        Verdict(Verb.RETURN, value=7),
        Verdict(Verb.NOTIFY),
    ]
)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """A rule about some of the calls, on some of the architectures."""
    archs = st.none() | st.frozensets(st.sampled_from(ARCHES), min_size=1)
    calls = {call: draw(archs) for call in draw(st.sets(st.sampled_from(CALLS), min_size=1))}
    bound = {call: draw(trees) for call in calls if draw(st.booleans())}
    return Rule(calls, draw(verdicts), bound, log=draw(st.booleans()))


@given(
    st.lists(rules(), max_size=5),
    verdicts,
    st.sampled_from(ARCHES),
    st.sampled_from(CALLS),
    st.tuples(*[words] * 6),
    st.tuples(*[st.booleans()] * len(LOOKS)),
)
def test_one_answer(
    made: list[Rule],
    default: Verdict,
    arch: Arch,
    name: str,
    args: tuple[int, ...],
    answers: tuple[bool, ...],
) -> None:
    """What the filter decides is what the supervisor would have said; the rest it passes on."""
    policy = Policy(tuple(made), default, ARCHES)
    nr = tables.number(name, arch)
    assert nr is not None
    found = simulate(compile_policy(policy), SeccompData(nr, arch.audit, args))

    exchange = SimpleNamespace(nr=nr, args=args)
    call = cast(Call, SimpleNamespace(exchange=exchange, arch=arch, call_name=name))
    facts = cast(Facts, SimpleNamespace(answers=answers))
    decision = decide(policy, call, facts)
    log = decision.rule is not None and decision.rule.log
    expected = action_of(decision.verdict, name, log=log)
    if found == Action.USER_NOTIF:
        # Then there is a reason: a look, a log, or a verdict that a filter cannot give.
        needed = any(
            conditions.needs(rule.condition(name)) & {Need.MEMORY}
            for rule in made
            if rule.covers(name, arch)
        )
        assert needed or expected == Action.USER_NOTIF
    else:
        assert found == expected
