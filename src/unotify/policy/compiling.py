"""A policy's filter half: what registers decide, as tables for the compiler, and the proof.

For each rule there is a predicate under which it matches for sure, and a wider one
under which it may match: each look is taken as failed, or as passed. What is sure
the kernel decides; what may be goes to the supervisor; the rest falls to the next
rule. The proof does not use these predicates: it asks the rules themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from unotify.abi import tables as call_tables
from unotify.abi.arch import X32_BIT, Arch
from unotify.abi.seccomp import Action
from unotify.bpf import (
    Always,
    And,
    Compare,
    In,
    Never,
    Not,
    Or,
    Program,
    RegisterPredicate,
    compile_filter,
)
from unotify.bpf import Verdict as Table
from unotify.bpf.lockstep import Place, Reference, Rest
from unotify.bpf.prover import Undecided, answer
from unotify.errors import PolicyError
from unotify.policy.conditions import (
    All,
    Any,
    Condition,
    Constant,
    Look,
    Negation,
    RegisterTest,
)
from unotify.policy.deciding import Case, cases
from unotify.policy.model import Policy, Verb, Verdict

__all__ = [
    "Handlers",
    "action_of",
    "bound",
    "compile_policy",
    "cuts_of",
    "model_of",
    "on_registers",
    "rest_of",
    "tables",
]

Handlers: TypeAlias = Callable[[Arch, str], RegisterPredicate | None]
"""For a call on an architecture: where Python handlers want to be asked, or ``None``."""

_NOTIFY = int(Action.USER_NOTIF)
_X32_END = X32_BIT << 1

_ENDING = frozenset({Verb.KILL_PROCESS, Verb.KILL_THREAD, Verb.TRAP, Verb.TRACE, Verb.LOG})
"""The kernel alone can do these, and logs them itself."""


def action_of(verdict: Verdict, call: str | None, *, log: bool = False) -> int:
    """The filter's return value for *verdict*; USER_NOTIF where the supervisor must act or log."""
    if log and verdict.verb not in _ENDING:
        return _NOTIFY
    action = verdict.action(call)
    return _NOTIFY if action is None else action


def bound(condition: Condition, arch: Arch, *, looks: bool) -> RegisterPredicate:
    """The predicate of *condition* on *arch* if every look were to answer *looks*.

    Under a negation it is the opposite, so that ``looks=True`` gives the widest
    predicate that the condition allows, and ``looks=False`` the narrowest.

    Raises:
        NotExpressible: A test on registers has no meaning on *arch*.
    """
    match condition:
        case Constant(value):
            return Always() if value else Never()
        case RegisterTest():
            return condition.lower(arch)
        case Look():
            return Always() if looks else Never()
        case Negation(term):
            return _negated(bound(term, arch, looks=not looks))
        case All(terms):
            return _joined(And, Always, Never, [bound(term, arch, looks=looks) for term in terms])
        case Any(terms):
            return _joined(Or, Never, Always, [bound(term, arch, looks=looks) for term in terms])


def _negated(predicate: RegisterPredicate) -> RegisterPredicate:
    match predicate:
        case Always():
            return Never()
        case Never():
            return Always()
        case _:
            return ~predicate


def _joined(
    kind: type[And | Or],
    neutral: type[Always | Never],
    decisive: type[Always | Never],
    terms: list[RegisterPredicate],
) -> RegisterPredicate:
    if any(isinstance(term, decisive) for term in terms):
        return decisive()
    terms = [term for term in terms if not isinstance(term, neutral)]
    if not terms:
        return neutral()
    return terms[0] if len(terms) == 1 else kind(tuple(terms))


def tables(policy: Policy, handlers: Handlers | None = None) -> dict[Arch, dict[int, Table]]:
    """The filter's verdict on each known call of each architecture.

    Args:
        policy: Whose rules.
        handlers: Python handlers come after the rules and before the default.

    Raises:
        NotExpressible: A condition on registers has no meaning on an architecture.
    """
    return {
        arch: {
            nr: _table(policy, arch, call, handlers) for nr, call in call_tables.names(arch).items()
        }
        for arch in policy.architectures
    }


def _table(policy: Policy, arch: Arch, call: str, handlers: Handlers | None) -> Table:
    pairs: list[tuple[RegisterPredicate, int]] = []
    for predicate, action in _pairs(policy, arch, call, handlers):
        if isinstance(predicate, Always):
            return (*pairs, action) if pairs else action
        if not isinstance(predicate, Never):
            pairs.append((predicate, action))
    raise AssertionError("the default always matches")


def _pairs(
    policy: Policy, arch: Arch, call: str, handlers: Handlers | None
) -> Iterator[tuple[RegisterPredicate, int]]:
    for case in cases(policy, arch, call):
        with _placed(case):
            action = action_of(case.verdict, call, log=case.rule.log)
            may = bound(case.condition, arch, looks=True)
            if action != _NOTIFY:
                must = bound(case.condition, arch, looks=False)
                yield must, action
                if must == may:
                    continue
            yield may, _NOTIFY
    asked = handlers(arch, call) if handlers is not None else None
    if asked is not None:
        yield asked, _NOTIFY
    yield Always(), action_of(policy.default, call)


class _placed:
    """Adds the rule and its place to errors."""

    def __init__(self, case: Case) -> None:
        self._rule = case.rule

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, PolicyError) and error.line is None:
            place = self._rule.place
            error.source, error.line, error.column = place.source, place.line, place.column


def compile_policy(
    policy: Policy,
    *,
    handlers: Handlers | None = None,
    weights: Mapping[Arch, Mapping[int, float]] | None = None,
) -> Program:
    """Compile the filter half of *policy*, and prove it.

    Args:
        policy: What to compile.
        handlers: Where Python handlers want to be asked.
        weights: How often each call is made; hot calls are found sooner.

    Raises:
        NotExpressible: A condition on registers has no meaning on an architecture.
        FilterTooLarge: More than 4096 instructions, or too many cases to prove.
        ProofFailed: The program differs from the policy: a bug of ours; nothing is lost.
    """
    bad = action_of(policy.bad_arch, None)
    return compile_filter(
        tables(policy, handlers),
        default=action_of(policy.unknown, None),
        bad_arch=bad,
        x32=bad,
        weights=weights,
        model=(model_of(policy, handlers), cuts_of(policy)),
        rest=rest_of(policy, handlers),
    )


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
                return _NOTIFY
            if found == _YES:
                return action_of(case.verdict, call, log=case.rule.log)
        wanted = handlers(arch, call) if handlers is not None else None
        if wanted is not None and answer(wanted, ask, arch.bits):
            return _NOTIFY
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
        notify = reference.end(_NOTIFY)
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
