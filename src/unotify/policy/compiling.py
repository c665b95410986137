"""A policy's filter half: what registers decide, as tables for the compiler.

For each rule there is a predicate under which it matches for sure, and a wider one
under which it may match: each look is taken as failed, or as passed. What is sure
the kernel decides; what may be goes to the supervisor; the rest falls to the next
rule. The proof does not use these predicates: it asks the rules themselves
(`unotify.policy.proving`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from unotify.abi import tables as call_tables
from unotify.abi.arch import Arch
from unotify.bpf import (
    Always,
    And,
    Never,
    Or,
    Program,
    RegisterPredicate,
    compile_filter,
)
from unotify.bpf import Verdict as Table
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
from unotify.policy.kernel_actions import NOTIFY, Handlers, action_of
from unotify.policy.model import Policy
from unotify.policy.proving import cuts_of, model_of, rest_of

__all__ = ["bound", "compile_policy", "tables"]


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
            if action != NOTIFY:
                must = bound(case.condition, arch, looks=False)
                yield must, action
                if must == may:
                    continue
            yield may, NOTIFY
    asked = handlers(arch, call) if handlers is not None else None
    if asked is not None:
        yield asked, NOTIFY
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
