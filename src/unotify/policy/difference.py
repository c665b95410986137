"""Where two policies differ: their filters exactly, and then what their supervisors decide.

Theory of operation. Looks cannot be compared by what they do, but two that are made of
the same code and values are one (see `likeness`). So for each way in which the looks of a
call may answer, what is left of both policies depends on registers alone, and two small
programs that return a number for each verdict are compared exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, TypeAlias

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import ACTION_MASK, Action
from unotify.bpf import (
    Always,
    Never,
    Program,
    RegisterPredicate,
    SeccompData,
    compile_filter,
    evaluate,
)
from unotify.bpf.answers import Answers, common
from unotify.bpf.difference import Difference, differences
from unotify.bpf.symbolic import Box
from unotify.policy.compiling import bound, compile_policy
from unotify.policy.conditions import (
    All,
    Any,
    Condition,
    Constant,
    Look,
    Negation,
    RegisterTest,
    tests,
)
from unotify.policy.deciding import cases
from unotify.policy.likeness import likeness
from unotify.policy.model import Policy, Verdict

__all__ = ["Comparison", "SupervisorDifference", "compare"]

_MOST_LOOKS: Final = 6
"""Of one call; each doubles the work."""


@dataclass(frozen=True, slots=True)
class SupervisorDifference:
    """A call that both filters hand to their supervisors, who decide differently.

    Attributes:
        arch: The architecture.
        call: The call.
        data: One such call.
        looks: How each look must answer for that: true or false, by its text.
        left: What the first policy says.
        right: What the second says.
    """

    arch: Arch
    call: str
    data: SeccompData
    looks: Mapping[str, bool]
    left: Verdict
    right: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two policies differ.

    Attributes:
        filters: What their filters answer differently; exact.
        supervisors: What the supervisors decide differently where both filters ask them.
        left_out: Calls that were not compared further, each with the reason.
    """

    filters: tuple[Difference, ...]
    supervisors: tuple[SupervisorDifference, ...]
    left_out: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs, and nothing was left out."""
        return not (self.filters or self.supervisors or self.left_out)


_Side: TypeAlias = tuple[tuple[tuple[Condition, Verdict], ...], Verdict]
"""The rules about one call, and the default."""


def compare(left: Policy, right: Policy) -> Comparison:
    """Compare two policies.

    Raises:
        NotExpressible: A condition on registers has no meaning on an architecture.
        FilterTooLarge: A filter is too large.
    """
    programs = compile_policy(left), compile_policy(right)
    found = differences(*programs, native=left.architectures)
    told = {(entry.spot.arch, entry.spot.call) for entry in found if entry.whole}
    answers = Answers(programs[0]), Answers(programs[1])
    supervisors: list[SupervisorDifference] = []
    left_out: dict[str, None] = {}
    for arch in left.architectures:
        if arch not in right.architectures:
            continue
        for call in tables.names(arch).values():
            if (arch, call) in told:
                continue
            sides = _named((_side(left, arch, call), _side(right, arch, call)))
            looks = _looks(sides)
            if not looks and not _asked(sides):
                continue
            if len(looks) > _MOST_LOOKS:
                left_out[f"{call}: {len(looks)} looks are too many to compare"] = None
                continue
            supervisors += _compare_call(arch, call, sides, looks, answers)
    return Comparison(tuple(found), tuple(supervisors), tuple(left_out))


def _side(policy: Policy, arch: Arch, call: str) -> _Side:
    rules = tuple((case.condition, case.verdict) for case in cases(policy, arch, call))
    return rules, policy.default


def _looks(sides: Iterable[_Side]) -> list[str]:
    return list(dict.fromkeys(look.text for side in sides for look in _looks_of(side)))


def _looks_of(side: _Side) -> Iterator[Look]:
    rules, _ = side
    for condition, _ in rules:
        for test in tests(condition):
            if isinstance(test, Look):
                yield test


def _told(side: _Side, name: Callable[[Look], str]) -> _Side:
    """The same rules, with looks that are called by *name* and cannot be made."""
    rules, default = side

    def renamed(condition: Condition) -> Condition:
        match condition:
            case Look():
                return replace(condition, text=name(condition))
            case Negation(term):
                return Negation(renamed(term))
            case All(terms):
                return All(tuple(map(renamed, terms)))
            case Any(terms):
                return Any(tuple(map(renamed, terms)))
            case Constant() | RegisterTest():
                return condition

    return tuple((renamed(condition), verdict) for condition, verdict in rules), default


def _named(sides: tuple[_Side, _Side]) -> tuple[_Side, _Side]:
    """Both sides, with one text for each question that looks ask, and no text for two."""
    texts: dict[object, str] = {}

    def name(look: Look) -> str:
        known = likeness(look)
        if known not in texts:
            others = sum(
                text == look.text or text.startswith(f"{look.text} [") for text in texts.values()
            )
            texts[known] = f"{look.text} [another {others}]" if others else look.text
        return texts[known]

    return _told(sides[0], name), _told(sides[1], name)


def _asked(sides: Iterable[_Side]) -> bool:
    return any(
        verdict.action(None) is None
        for rules, default in sides
        for verdict in (*(verdict for _, verdict in rules), default)
    )


def _compare_call(
    arch: Arch,
    call: str,
    sides: tuple[_Side, _Side],
    looks: list[str],
    filters: tuple[Answers, Answers],
) -> Iterator[SupervisorDifference]:
    nr = tables.number(call, arch)
    assert nr is not None
    codes: dict[object, int] = {}
    meant: dict[int, Verdict] = {}
    seen: set[tuple[int, int]] = set()

    def code(verdict: Verdict) -> int:
        action = verdict.action(call)
        key = action if action is not None else (str(verdict), repr(dict(verdict.parameters)))
        number = Action.TRACE | codes.setdefault(key, len(codes) + 1)
        meant.setdefault(number, verdict)
        return number

    mine, theirs = (_asking(found, arch, nr) for found in filters)
    asking = [box for one in mine for other in theirs if (box := common(one, other))]
    if not asking:
        return
    for answers in product((True, False), repeat=len(looks)):
        known = dict(zip(looks, answers, strict=True))
        small = [_program(arch, nr, side, known, code) for side in sides]
        if small[0] == small[1]:
            continue
        for entry in differences(small[0], small[1], native=(arch,)):
            if entry.spot.nr != nr or entry.spot.arch is not arch:
                continue
            pair = entry.left, entry.right
            box = next((box for area in asking if (box := common(entry.box, area))), None)
            if pair in seen or box is None:
                continue
            seen.add(pair)
            left, right = meant[entry.left], meant[entry.right]
            data = box.witness()
            needed = _needed(sides, arch, data, known)
            yield SupervisorDifference(arch, call, data, needed, left, right)


def _needed(
    sides: tuple[_Side, _Side], arch: Arch, data: SeccompData, known: Mapping[str, bool]
) -> dict[str, bool]:
    """The looks without which the verdicts on *data* would not be the same."""

    def verdicts(answers: Mapping[str, bool]) -> list[Verdict]:
        return [_verdict(side, arch, data, answers) for side in sides]

    wanted = verdicts(known)
    free: list[str] = []
    for look in known:
        tried = [*free, look]
        if all(
            verdicts({**known, **dict(zip(tried, answers, strict=True))}) == wanted
            for answers in product((True, False), repeat=len(tried))
        ):
            free = tried
    return {look: answer for look, answer in known.items() if look not in free}


def _verdict(side: _Side, arch: Arch, data: SeccompData, known: Mapping[str, bool]) -> Verdict:
    rules, default = side
    for condition, verdict in rules:
        predicate = bound(_answered(condition, known), arch, looks=False)
        if evaluate(predicate, data.args, bits=arch.bits):
            return verdict
    return default


def _asking(found: Answers, arch: Arch, nr: int) -> list[Box]:
    return [
        region.box
        for region in found.of(arch, nr)
        if region.action & ACTION_MASK == Action.USER_NOTIF
    ]


def _program(
    arch: Arch, nr: int, side: _Side, known: Mapping[str, bool], code: Callable[[Verdict], int]
) -> Program:
    rules, default = side
    pairs: list[tuple[RegisterPredicate, int] | int] = []
    for condition, verdict in rules:
        predicate = bound(_answered(condition, known), arch, looks=False)
        if isinstance(predicate, Never):
            continue
        if isinstance(predicate, Always):
            pairs.append(code(verdict))
            break
        pairs.append((predicate, code(verdict)))
    else:
        pairs.append(code(default))
    return compile_filter({arch: {nr: pairs}}, default=int(Action.ALLOW))


def _answered(condition: Condition, known: Mapping[str, bool]) -> Condition:
    match condition:
        case Look(text):
            return Constant(known[text])
        case Negation(term):
            return Negation(_answered(term, known))
        case All(terms):
            return All(tuple(_answered(term, known) for term in terms))
        case Any(terms):
            return Any(tuple(_answered(term, known) for term in terms))
        case Constant() | RegisterTest():
            return condition
