"""The policy model: which rule decides a call. Filter, proof and supervisor agree with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from errno import ENOSYS
from functools import lru_cache, partial

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.bpf import Compare, CompareOp, RegisterPredicate
from unotify.calls import Call
from unotify.policy.conditions import (
    Condition,
    Facts,
    Need,
    RegisterTest,
    holds,
    needs,
)
from unotify.policy.model import TRUE, Policy, Rule, Verb, Verdict

__all__ = ["Case", "Decision", "accepted", "cases", "decide"]


@dataclass(frozen=True, slots=True)
class Case:
    """One rule as it concerns one call of one architecture.

    Attributes:
        rule: The rule.
        condition: When it matches.
        verdict: What it says; the rule's own, but for a multiplexed form that it cannot check.
        looks: Whether the condition may look at what the target can change meanwhile.
    """

    rule: Rule
    condition: Condition
    verdict: Verdict
    looks: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "looks", Need.MEMORY in needs(self.condition))


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says of one call.

    Attributes:
        rule: The rule that decides, or ``None``: the default.
        verdict: What is to be done.
        because: Why a call may go on after its memory was read, or ``None``: it may not.
    """

    rule: Rule | None
    verdict: Verdict
    because: str | None = None


@lru_cache(maxsize=4096)
def cases(policy: Policy, arch: Arch, call: str) -> tuple[Case, ...]:
    """The rules about *call* on *arch*, in order, up to one that always matches.

    A 32-bit ABI may make a call through a multiplexer, ``socketcall`` or ``ipc``
    (B6), with the arguments in memory. A rule without ``where`` covers that form
    too; of a rule with one nobody can say whether it matches, so that form fails
    with ENOSYS, as on a kernel without it, and libcs fall back to the call itself.
    """
    found: list[Case] = []
    for rule in policy.rules:
        if rule.covers(call, arch):
            found.append(Case(rule, rule.condition(call), rule.verdict))
        else:
            found += _multiplexed(rule, arch, call)
        if found and found[-1].condition == TRUE:
            break
    return tuple(found)


def _multiplexed(rule: Rule, arch: Arch, call: str) -> list[Case]:
    found = []
    for selector, part in tables.MULTIPLEXERS.get(call, {}).items():
        if not rule.covers(part, arch):
            continue
        # The upper half of ipc's selector is a version.
        mask = 0xFFFF if call == "ipc" else None
        chosen = Compare(0, CompareOp.EQ, selector, bits=32, mask=mask)
        test = RegisterTest(f"{call} for {part}", partial(_same, chosen))
        sure = rule.condition(part) == TRUE
        verdict = rule.verdict if sure else Verdict(Verb.FAIL, errno=ENOSYS)
        if verdict.verb is Verb.DENY:
            # As the call that is meant is refused, not as its multiplexer.
            verdict = Verdict(Verb.FAIL, errno=verdict.fails_with(part))
        found.append(Case(rule, test, verdict))
    return found


def _same(predicate: RegisterPredicate, arch: Arch) -> RegisterPredicate:
    return predicate


def decide(policy: Policy, call: Call, facts: Facts) -> Decision:
    """The verdict on a call that waits; looks at no more than the rules up to the one that matches.

    Args:
        policy: Whose rules.
        call: The typed call.
        facts: What is known of it.

    Raises:
        TargetError: A look failed: the target is gone, or gave an address that it cannot
            read itself.
    """
    exchange, arch = call.exchange, call.arch
    if arch not in policy.architectures:
        return Decision(None, policy.bad_arch)
    if tables.name(exchange.nr, arch) is None:
        return Decision(None, policy.unknown)
    passed: list[Rule] = []
    for case in cases(policy, arch, call.call_name):
        if case.looks:
            passed.append(case.rule)
        if holds(case.condition, arch, exchange.args, facts):
            return Decision(case.rule, case.verdict, accepted(passed, case.rule))
    return Decision(None, policy.default, accepted(passed))


def accepted(passed: Sequence[Rule], last: Rule | None = None) -> str | None:
    """Why a call may go on after the rules *passed* have looked at memory; ``None``: it may not.

    Args:
        passed: All that have, with the one that decides.
        last: The one that decides, or ``None``: the default does.
    """
    if last is not None and last.racy:
        return last.because
    if passed and all(rule.racy for rule in passed):
        return "; ".join(dict.fromkeys(rule.because or "" for rule in passed))
    return None
