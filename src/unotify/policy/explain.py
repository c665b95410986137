"""What a policy does with a call: which rule decides, where, at what cost, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from errno import errorcode

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import ACTION_MASK, Action
from unotify.bpf import Program, SeccompData, evaluate, is_constant_allow, trace
from unotify.bpf import simulate as run
from unotify.errors import TargetError
from unotify.policy.conditions import (
    All,
    Any,
    Condition,
    Constant,
    Facts,
    Look,
    Negation,
    RegisterTest,
    holds,
    judge,
)
from unotify.policy.deciding import Case, cases
from unotify.policy.model import Policy, Rule, Verdict
from unotify.policy.offline import Unanswered

__all__ = ["Explanation", "Step", "explain_call"]


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was asked.

    Attributes:
        rule: The rule.
        verdict: What it says if it matches.
        matches: Whether it does; ``None`` if that takes what is not known here.
        looks: What the supervisor must look at to tell; none if registers decide.
        note: What is not known, or how a look failed; or ``None``.
    """

    rule: Rule
    verdict: Verdict
    matches: bool | None
    looks: tuple[str, ...] = ()
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a policy does with one call.

    Attributes:
        data: The call, as the filter sees it.
        arch: Its architecture.
        call: Its name, or ``None`` for an unknown number.
        action: What the filter returns.
        executed: How many of its instructions run for that.
        instructions: How many it has.
        cached: Whether the kernel answers from its bitmap and runs none of them (5.11).
        steps: The rules that were asked, in order.
        rule: The one that decides; ``None``: the default, or not known.
        verdict: What is done; ``None`` if it depends on what is not known here.
        reason: Why, in one sentence.
    """

    data: SeccompData
    arch: Arch
    call: str | None
    action: int
    executed: int
    instructions: int
    cached: bool
    steps: tuple[Step, ...]
    rule: Rule | None
    verdict: Verdict | None
    reason: str

    @property
    def supervised(self) -> bool:
        """Whether the supervisor decides, or at least logs."""
        return self.action & ACTION_MASK == Action.USER_NOTIF

    @property
    def looks(self) -> tuple[str, ...]:
        """All that the supervisor looks at on the way."""
        return tuple(dict.fromkeys(look for step in self.steps for look in step.looks))


def explain_call(
    policy: Policy,
    program: Program,
    arch: Arch,
    nr: int,
    args: Sequence[int] = (0,) * 6,
    facts: Facts | None = None,
) -> Explanation:
    """Tell what *policy* does with one call.

    Args:
        policy: Whose rules.
        program: Its filter.
        arch: By which ABI the call is made.
        nr: Its number; any will do.
        args: The six registers.
        facts: What a look would see; what raises `Unanswered` stays open. Without it,
            everything does.
    """
    data = SeccompData(nr, arch.audit, tuple(args))
    call = tables.name(nr, arch)
    steps: list[Step] = []
    rule: Rule | None = None
    verdict: Verdict | None
    if arch not in policy.architectures:
        verdict, reason = policy.bad_arch, f"{arch.label} is none of the policy's architectures"
    elif call is None:
        verdict, reason = policy.unknown, f"no table of {arch.label} knows number {nr}"
    else:
        steps = list(_ask(cases(policy, arch, call), arch, args, facts))
        last = steps[-1] if steps else None
        open_ = [step for step in steps if step.matches is None]
        if open_:
            verdict, reason = None, _depends(open_, last, policy)
        elif last is not None and last.matches:
            rule, verdict = last.rule, last.verdict
            reason = _matched(last, call)
        else:
            verdict = policy.default
            reason = "no rule matches: the default" if steps else f"no rule is about {call}"
    return Explanation(
        data=data,
        arch=arch,
        call=call,
        action=run(program, data),
        executed=len(trace(program, data)),
        instructions=len(program),
        cached=is_constant_allow(program, arch.audit, nr),
        steps=tuple(steps),
        rule=rule,
        verdict=verdict,
        reason=reason,
    )


def _ask(
    found: Sequence[Case], arch: Arch, args: Sequence[int], facts: Facts | None
) -> Iterator[Step]:
    def registers(test: RegisterTest) -> bool:
        return evaluate(test.lower(arch), args, bits=arch.bits)

    for case in found:
        matches = judge(case.condition, registers)
        looks: tuple[str, ...] = ()
        note = None
        if matches is None:
            looks = tuple(dict.fromkeys(_pending(case.condition, registers)))
            if facts is not None:
                try:
                    matches = holds(case.condition, arch, args, facts)
                except Unanswered as unknown:
                    note = str(unknown)
                except TargetError as error:
                    name = errorcode.get(error.errno, str(error.errno))
                    note = f"the look fails, and so does the call, with {name}: {error}"
        yield Step(case.rule, case.verdict, matches, looks, note)
        if matches:
            return


def _pending(condition: Condition, ask: Callable[[RegisterTest], bool]) -> Iterator[str]:
    """The looks that are left once registers are known."""
    if judge(condition, ask) is not None:
        return
    match condition:
        case Look(text):
            yield text
        case Negation(term):
            yield from _pending(term, ask)
        case All(terms) | Any(terms):
            for term in terms:
                yield from _pending(term, ask)
        case Constant() | RegisterTest():
            return


def _matched(step: Step, call: str) -> str:
    rule = step.rule
    if step.looks:
        why = f"it matches by {', '.join(step.looks)}"
    elif call in rule.conditions:
        why = f"its condition holds: {' '.join(rule.where.split())}" if rule.where else "it matches"
    else:
        why = f"it is about every {call}"
    return f"{rule}: {why}" + (f"; because {rule.because}" if rule.because else "")


def _depends(open_: Sequence[Step], last: Step | None, policy: Policy) -> str:
    parts = [f"if {' and '.join(step.looks)}: {step.verdict} by {step.rule}" for step in open_]
    if last is not None and last.matches:
        parts.append(f"otherwise {last.verdict} by {last.rule}")
    else:
        parts.append(f"otherwise the default, {policy.default}")
    return "the supervisor must look; " + "; ".join(parts)
