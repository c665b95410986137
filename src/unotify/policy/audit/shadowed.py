"""Rules that can never match, because earlier ones take all their calls."""

from __future__ import annotations

from collections.abc import Iterator

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.bpf import Always, Never, Not, RegisterPredicate
from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.policy.compiling import bound
from unotify.policy.deciding import Case, cases
from unotify.policy.model import Policy, Rule
from unotify.policy.reach import possible

__all__ = ["CHECK"]


def look(policy: Policy) -> Iterator[Finding]:
    """Find rules that decide no call, or not all that they name."""
    for rule in policy.rules:
        there, reached = _reached(policy, rule)
        lost = tuple(sorted(there - reached))
        place = str(rule.place)
        if not there:
            yield Finding(
                Severity.LOW,
                f"{rule} never matches: no architecture of the policy has its calls",
                "numbers of other architectures never reach the rules",
                "name calls that the policy's architectures have, or add an architecture",
                tuple(sorted(rule.calls)),
                policy.architectures,
                place=place,
            )
        elif not reached:
            yield Finding(
                Severity.MEDIUM,
                f"{rule} never matches",
                "the first matching rule decides; earlier ones take all of its calls, or its "
                "condition holds for no arguments",
                "move it up, remove it, or mend its condition",
                lost,
                place=place,
            )
        elif lost:
            yield Finding(
                Severity.INFO,
                f"{rule} does not decide all calls that it names",
                "the first matching rule decides, and earlier ones take these whole",
                "nothing, if that is what is meant",
                lost,
                place=place,
            )


def _reached(policy: Policy, rule: Rule) -> tuple[set[str], set[str]]:
    """The calls of *rule* that there are, and those that it may decide."""
    there: set[str] = set()
    reached: set[str] = set()
    for arch in policy.architectures:
        for call in rule.calls:
            if rule.covers(call, arch) and tables.number(call, arch) is not None:
                there.add(call)
                if call not in reached and _may_match(cases(policy, arch, call), rule, arch):
                    reached.add(call)
    return there, reached


def _may_match(found: tuple[Case, ...], rule: Rule, arch: Arch) -> bool:
    terms: list[RegisterPredicate] = []
    for case in found:
        if case.rule is rule:
            may = bound(case.condition, arch, looks=True)
            return not isinstance(may, Never) and possible([*terms, may], arch)
        must = bound(case.condition, arch, looks=False)
        if isinstance(must, Always):
            return False
        if not isinstance(must, Never):
            terms.append(Not(must))
    return False


CHECK = Check("shadowed", "are there rules that never match?", look)
