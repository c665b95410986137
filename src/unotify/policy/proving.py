"""What a policy's filter has to answer, straight from the rules, for the proof.

It is told in two forms: as code that is asked case by case, and as a graph for proofs that go
through program and rules side by side. Neither uses the predicates that the filter is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from unotify.abi import tables as call_tables
from unotify.abi.arch import X32_BIT, Arch
from unotify.bpf import (
    Always,
    And,
    Compare,
    In,
    Never,
    Not,
    Or,
    RegisterPredicate,
)
from unotify.bpf.lockstep import Place, Reference, Rest
from unotify.bpf.prover import Undecided, answer
from unotify.policy.conditions import (
    All,
    Any,
    Condition,
    Constant,
    Look,
    Negation,
    RegisterTest,
)
from unotify.policy.deciding import cases
from unotify.policy.kernel_actions import NOTIFY, Handlers, action_of
from unotify.policy.model import Policy

__all__ = ["cuts_of", "model_of", "on_registers", "rest_of"]

_X32_END: Final = X32_BIT << 1
_Ask: TypeAlias = Callable[[Compare | In, int], bool]


def model_of(policy: Policy, handlers: Handlers | None) -> Callable[[int, int, _Ask], int]:
    """What the filter must answer, straight from the rules."""
    # By identity; what is kept here cannot become another one.
    known: dict[tuple[int, Arch], tuple[Condition, RegisterPredicate | None]] = {}

    def predicate(condition: Condition, arch: Arch) -> RegisterPredicate | None:
        key = id(condition), arch
        if key not in known:
            known[key] = condition, on_registers(condition, arch)
        return known[key][1]

    def decide(audit: int, nr: int, ask: _Ask) -> int:
        arch = _arch(policy, audit, nr)
        if arch is None:
            return action_of(policy.bad_arch, None)
        call = call_tables.name(nr, arch)
        if call is None:
            return action_of(policy.unknown, None)

        def registers(test: RegisterTest) -> bool | Undecided:
            asked = predicate(test, arch)
            assert asked is not None
            try:
                return answer(asked, ask, arch.bits)
            except Undecided as error:
                return error

        for case in cases(policy, arch, call):
            whole = predicate(case.condition, arch)
            if whole is None:
                found = _judged(case.condition, registers)
            else:
                found = _YES if answer(whole, ask, arch.bits) else _NO
            if found.cut is not None:
                raise found.cut
            if found == _LOOK:
                return NOTIFY
            if found == _YES:
                return action_of(case.verdict, call, log=case.rule.log)
        wanted = handlers(arch, call) if handlers is not None else None
        if wanted is not None and answer(wanted, ask, arch.bits):
            return NOTIFY
        return action_of(policy.default, call)

    return decide


def rest_of(policy: Policy, handlers: Handlers | None) -> Rest:
    """The same as `model_of`, as a graph."""

    def rest(reference: Reference, audit: int, nr: int) -> Place:
        arch = _arch(policy, audit, nr)
        if arch is None:
            return reference.end(action_of(policy.bad_arch, None))
        call = call_tables.name(nr, arch)
        if call is None:
            return reference.end(action_of(policy.unknown, None))
        notify = reference.end(NOTIFY)
        place = reference.end(action_of(policy.default, call))
        asked = handlers(arch, call) if handlers is not None else None
        if asked is not None:
            place = reference.ask(asked, arch.bits, notify, place)
        for case in reversed(tuple(cases(policy, arch, call))):
            action = reference.end(action_of(case.verdict, call, log=case.rule.log))
            place = _place(reference, case.condition, arch, (place, notify, notify))
            if action != notify:
                # What is sure is asked first, as in the filter: two orders are hard to compare.
                place = _place(reference, case.condition, arch, (place, place, action))
        return place

    return rest


def _place(
    reference: Reference, condition: Condition, arch: Arch, ways: tuple[Place, Place, Place]
) -> Place:
    """Where *condition* is asked; *ways* are for no, for what takes a look, and for yes."""
    no, look, yes = ways
    if no == look == yes:
        return no
    match condition:
        case Constant(value):
            return yes if value else no
        case RegisterTest():
            return reference.ask(condition.lower(arch), arch.bits, yes, no)
        case Look():
            return look
        case Negation(term):
            return _place(reference, term, arch, (yes, look, no))
        case All(terms) | Any(terms):
            # What is left to ask, if all before were neutral, and if some of them take a look.
            decisive, rest = (no, yes) if isinstance(condition, All) else (yes, no)
            looked = look
            for term in reversed(terms):
                after = (decisive, looked, rest), (decisive, looked, looked)
                if isinstance(condition, Any):
                    after = (rest, looked, decisive), (looked, looked, decisive)
                # Often both are the same: so nesting does not double the work.
                known = {way: _place(reference, term, arch, way) for way in dict.fromkeys(after)}
                rest, looked = (known[way] for way in after)
            return rest


class _Judged(NamedTuple):
    """What is known of a condition: it is between two of 0 (no), 1 (it takes a look), 2 (yes).

    Attributes:
        low: The lower one.
        high: The higher one.
        cut: If they differ, what has to be known to tell; an answer that matters.
    """

    low: int
    high: int
    cut: Undecided | None = None


_NO: Final = _Judged(0, 0)
_LOOK: Final = _Judged(1, 1)
_YES: Final = _Judged(2, 2)


def _judged(condition: Condition, registers: Callable[[RegisterTest], bool | Undecided]) -> _Judged:
    """What is known of *condition* before any look, by tests that may be undecided themselves.

    A test that is undecided need not matter: beside `a look and x`, `a look and y` is only a look
    whatever y is. To split calls by it would double the cases for each such term.
    """
    match condition:
        case Constant(value):
            return _YES if value else _NO
        case RegisterTest():
            found = registers(condition)
            if isinstance(found, Undecided):
                return _Judged(0, 2, found)
            return _YES if found else _NO
        case Look():
            return _LOOK
        case Negation(term):
            low, high, cut = _judged(term, registers)
            return _Judged(2 - high, 2 - low, cut)
        case All(terms):
            return _least([_judged(term, registers) for term in terms], _YES)
        case Any(terms):
            low, high, cut = _least([_judged(Negation(term), registers) for term in terms], _YES)
            return _Judged(2 - high, 2 - low, cut)


def _least(terms: list[_Judged], neutral: _Judged) -> _Judged:
    low = min((term.low for term in terms), default=neutral.low)
    high = min((term.high for term in terms), default=neutral.high)
    if low == high:
        return _Judged(low, high)
    return _Judged(low, high, next(term.cut for term in terms if term.low == low))


def on_registers(condition: Condition, arch: Arch) -> RegisterPredicate | None:
    """What *condition* says, as one predicate; ``None`` if it takes a look."""
    match condition:
        case Constant(value):
            return Always() if value else Never()
        case RegisterTest():
            return condition.lower(arch)
        case Look():
            return None
        case Negation(term):
            found = on_registers(term, arch)
            return None if found is None else Not(found)
        case All(terms) | Any(terms):
            parts = [on_registers(term, arch) for term in terms]
            sure = tuple(part for part in parts if part is not None)
            if len(sure) < len(parts):
                return None
            if not sure:
                return Always() if isinstance(condition, All) else Never()
            return And(sure) if isinstance(condition, All) else Or(sure)


def _arch(policy: Policy, audit: int, nr: int) -> Arch | None:
    x32 = audit == Arch.X86_64.audit and X32_BIT <= nr < _X32_END
    for arch in policy.architectures:
        if arch.audit == audit and (arch is Arch.X32) == x32:
            return arch
    return None


def cuts_of(policy: Policy) -> dict[int, list[int]]:
    """Where ranges of numbers begin that the filter answers alike, by audit architecture."""
    cuts: dict[int, set[int]] = {
        arch.audit: {0, X32_BIT, _X32_END} for arch in policy.architectures
    }
    for arch in policy.architectures:
        for nr in call_tables.names(arch):
            cuts[arch.audit].update((nr, nr + 1))
    return {audit: sorted(starts) for audit, starts in cuts.items()}
