"""A whole policy as a table: who decides what, by looking at what, at what cost.

Theory of operation. For each rule there is a predicate under which it matches for sure,
and a wider one under which it may. The filter decides by a rule where all rules before it
surely do not match and it surely does; where it may match otherwise, the supervisor does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Final

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import ACTION_MASK, Action
from unotify.bpf import (
    Always,
    And,
    Never,
    Not,
    Program,
    RegisterPredicate,
    is_constant_allow,
)
from unotify.bpf.symbolic import paths
from unotify.errors import NotExpressible
from unotify.policy.compiling import bound
from unotify.policy.conditions import Condition, Look, Need, needs, tests
from unotify.policy.deciding import cases
from unotify.policy.kernel_actions import action_of
from unotify.policy.model import TRUE, Policy, Rule, Verdict
from unotify.policy.reach import possible

__all__ = ["Cost", "Row", "explain_policy"]

_PATHS: Final = 20_000
"""Most paths to follow for the costs of a whole policy."""


@dataclass(frozen=True, slots=True)
class Cost:
    """How many instructions run for some calls, and how many calls cost none.

    Attributes:
        least: The fewest.
        most: The most.
        cached: How many of the calls the kernel answers from its bitmap (5.11).
        calls: How many calls there are.
    """

    least: int
    most: int
    cached: int
    calls: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of a policy.

    Attributes:
        rule: The rule, or ``None``: a default.
        title: What to call it.
        calls: The calls that it may decide.
        verdict: What it says.
        filter: Whether the filter decides some of them by it.
        supervisor: Whether the supervisor decides some of them by it.
        needs: What it looks at.
        looks: The tests that the supervisor makes.
        cost: Of its calls, whichever rule decides them; ``None`` without calls.
    """

    rule: Rule | None
    title: str
    calls: tuple[str, ...]
    verdict: Verdict
    filter: bool
    supervisor: bool
    needs: frozenset[Need] = frozenset()
    looks: tuple[str, ...] = ()
    cost: Cost | None = None


@dataclass(slots=True)
class _Share:
    """What is known so far of a rule, or of the default."""

    filter: bool = False
    supervisor: bool = False
    calls: set[str] = field(default_factory=set)
    conditions: list[Condition] = field(default_factory=list)


def explain_policy(policy: Policy, program: Program) -> list[Row]:
    """The whole policy as a table: a row for each rule, in order, and one for each default.

    Args:
        policy: The policy.
        program: Its filter.
    """
    costs = _costs(policy, program)
    shares: dict[Rule | None, _Share] = {rule: _Share() for rule in (*policy.rules, None)}
    for arch in policy.architectures:
        for call in tables.names(arch).values():
            _share_out(policy, arch, call, shares)
    rows = [_row(rule, shares[rule], costs) for rule in policy.rules]
    rest = shares[None]
    calls = tuple(sorted(rest.calls))
    rows.append(
        Row(
            None,
            "default",
            calls,
            policy.default,
            rest.filter,
            rest.supervisor,
            cost=_sum(costs, calls),
        )
    )
    for title, verdict in (
        ("unknown numbers", policy.unknown),
        ("other architectures", policy.bad_arch),
    ):
        asks = action_of(verdict, None) & ACTION_MASK == Action.USER_NOTIF
        rows.append(Row(None, title, (), verdict, not asks, asks))
    return rows


def _share_out(policy: Policy, arch: Arch, call: str, shares: dict[Rule | None, _Share]) -> None:
    """Note for each rule about *call* which half of the policy decides by it."""
    maybe: list[RegisterPredicate] = []  # that no earlier rule may match
    surely: list[RegisterPredicate] = []  # that no earlier rule surely matches
    for rule, condition, verdict in _in_order(policy, arch, call):
        may = bound(condition, arch, looks=True)
        must = bound(condition, arch, looks=False)
        logged = rule is not None and rule.log
        asks = action_of(verdict, call, log=logged) & ACTION_MASK == Action.USER_NOTIF
        own = (*maybe, must)
        by_filter = not asks and _possible(own, arch)
        reached = (*surely, may)
        by_supervisor = _possible(reached if asks else (*reached, _none(own)), arch)
        if by_filter or by_supervisor:
            share = shares[rule]
            share.filter |= by_filter
            share.supervisor |= by_supervisor
            share.calls.add(call)
            share.conditions.append(condition)
        maybe.append(_none((may,)))
        surely.append(_none((must,)))


def _in_order(
    policy: Policy, arch: Arch, call: str
) -> Iterator[tuple[Rule | None, Condition, Verdict]]:
    for case in cases(policy, arch, call):
        yield case.rule, case.condition, case.verdict
        if case.condition == TRUE:
            return
    yield None, TRUE, policy.default


def _none(terms: Iterable[RegisterPredicate]) -> RegisterPredicate:
    """That not all of *terms* hold, in the simplest form."""
    left = [term for term in terms if not isinstance(term, Always)]
    if not left:
        return Never()
    if any(isinstance(term, Never) for term in left):
        return Always()
    return Not(left[0]) if len(left) == 1 else Not(And(tuple(left)))


@lru_cache(maxsize=4096)
def _possible(terms: tuple[RegisterPredicate, ...], arch: Arch) -> bool:
    return possible(terms, arch)


def _row(rule: Rule, share: _Share, costs: dict[str, Cost]) -> Row:
    calls = tuple(sorted(share.calls))
    looks = dict.fromkeys(
        test.text
        for condition in share.conditions
        for test in tests(condition)
        if isinstance(test, Look)
    )
    return Row(
        rule,
        rule.name or f"rule at {rule.place}",
        calls,
        rule.verdict,
        share.filter,
        share.supervisor,
        frozenset(need for condition in share.conditions for need in needs(condition)),
        tuple(looks),
        _sum(costs, calls),
    )


def _sum(costs: dict[str, Cost], calls: Sequence[str]) -> Cost | None:
    found = [costs[call] for call in calls if call in costs]
    if not found:
        return None
    return Cost(
        min(cost.least for cost in found),
        max(cost.most for cost in found),
        sum(cost.cached > 0 for cost in found),
        len(found),
    )


def _costs(policy: Policy, program: Program) -> dict[str, Cost]:
    """Instructions executed, by call, over all of the policy's architectures."""
    executed: dict[str, list[int]] = {}
    found = {arch: dict(tables.names(arch)) for arch in policy.architectures}
    try:
        for path in islice(paths(program), _PATHS):
            for arch, names in found.items():
                if arch.audit not in path.audit:
                    continue
                for nr, call in names.items():
                    if nr in path.nr:
                        executed.setdefault(call, []).append(len(path.executed))
    except NotExpressible:
        return {}
    return {
        call: Cost(
            min(counts),
            max(counts),
            int(
                all(
                    is_constant_allow(program, arch.audit, number)
                    for arch in policy.architectures
                    if (number := tables.number(call, arch)) is not None
                )
            ),
            1,
        )
        for call, counts in executed.items()
    }
