"""What a policy decides of which calls in such plain words that it takes no Python.

A rule becomes a `Shortcut`, or one for each alternative of its condition, if that is a
conjunction of tests of registers and of paths as given, and if its verdict is a value, an errno, a
plain ``perform`` of an open, a device node that is made by a verb that has told which (`verb`),
or, where that is accepted, that the call goes on. Any other rule becomes one that says "not decided
here", for all calls that it may be about: so the order of the rules stays what it is. The policy's
default is the last of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from math import prod
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.model import spec
from unotify.abi.seccomp import Action
from unotify.bpf import And, RegisterPredicate, compile_filter
from unotify.kernel.interface import ASK, CONTINUE, MAKE, PERFORM, RETURN, Making, Shortcut
from unotify.policy.conditions import (
    All,
    Any,
    Condition,
    Constant,
    Look,
    Negation,
    PathTest,
    RegisterTest,
)
from unotify.policy.deciding import accepted, cases
from unotify.policy.model import TRUE, Policy, Rule, Verb, Verdict
from unotify.policy.where.looks import components
from unotify.supervisor.addons import native_form

__all__ = ["shortcuts"]

_OPENS: Final = ("open", "openat")
_MAKES: Final = ("mknod", "mknodat")
_MOST: Final = 16
"""Conjunctions that one condition may be worth."""
_SIGN: Final = 1 << 63

Verbs: TypeAlias = Mapping[str, Callable[..., object]]


class Said(NamedTuple):
    """What a verdict comes to, as in a `Shortcut`."""

    verdict: int
    value: int = 0
    making: Making | None = None


_ASK: Final = Said(ASK)


def shortcuts(
    policy: Policy,
    arch: Arch,
    handled: frozenset[str],
    verbs: Verbs = MappingProxyType({}),
) -> tuple[Shortcut, ...]:
    """The shortcuts for the calls of *policy*.

    Args:
        policy: The only one.
        arch: The supervisor's own.
        handled: Calls that handlers want to be asked about, where no rule matches.
        verbs: What does the policy's verbs.
    """
    if arch not in policy.architectures:
        return ()
    found: list[Shortcut] = []
    for name in sorted({call for rule in policy.rules for call in rule.calls}):
        nr = tables.number(name, arch)
        if nr is not None:
            found += _of_call(policy, arch, name, nr, verbs, handled=name in handled)
    return tuple(found)


def _of_call(
    policy: Policy, arch: Arch, name: str, nr: int, verbs: Verbs, *, handled: bool
) -> list[Shortcut]:
    made: list[Shortcut] = []
    passed: list[Rule] = []
    found = cases(policy, arch, name)
    for case in found:
        if case.looks:
            passed.append(case.rule)
        said = _said(case.verdict, name, verbs, goes_on=_goes_on(passed, case.rule))
        made += [_of_case(term, said, arch, name, nr) for term in _alternatives(case.condition)]
    last = _said(policy.default, name, verbs, goes_on=_goes_on(passed))
    if last != _ASK and not handled and found[-1].condition != TRUE:
        made.append(_of_case(TRUE, last, arch, name, nr))
    # Without one that decides, all of it is somebody else's anyway.
    return made if any(shortcut.verdict != ASK for shortcut in made) else []


def _goes_on(passed: list[Rule], last: Rule | None = None) -> bool:
    return not passed or accepted(passed, last) is not None


def _alternatives(condition: Condition) -> list[Condition]:
    match condition:
        case Any(terms):
            return [alternative for term in terms for alternative in _alternatives(term)]
        case All(terms):
            each = [_alternatives(term) for term in terms]
            if prod(map(len, each)) <= _MOST:
                return [All(chosen) for chosen in product(*each)]
    return [condition]


def _of_case(condition: Condition, said: Said, arch: Arch, name: str, nr: int) -> Shortcut:
    predicates: list[RegisterPredicate] = []
    tests: list[tuple[PathTest, bool]] = []
    plain = _split(condition, arch, predicates, tests)
    program = b""
    if predicates:
        decided = ((And(tuple(predicates)), int(Action.ALLOW)), int(Action.KILL_PROCESS))
        program = compile_filter(
            {arch: {nr: decided}}, default=Action.KILL_PROCESS, bad_arch=Action.KILL_PROCESS
        ).encode()
    names = [arg.name for arg in spec(name, arch).args]
    arguments = {test.argument for test, _ in tests}
    if said == _ASK or not plain or len(arguments) > 1:
        return Shortcut(nr, ASK, program)
    path = arguments.pop() if arguments else "path"
    found = Shortcut(
        nr,
        said.verdict,
        program,
        tuple(
            (test.below, negated, tuple(_raw(text, test.below) for text in test.texts))
            for test, negated in tests
        ),
        path=names.index(path) if path in names else 0,
        dirfd=names.index("dirfd") if "dirfd" in names else None,
        flags=names.index("flags") if "flags" in names else 0,
        value=said.value,
    )
    if said.making is None:
        return found
    return replace(found, mode=names.index("mode"), dev=names.index("dev"), making=said.making)


def _raw(text: str, below: bool) -> bytes:
    if below:
        # As `is_below` takes it: `.` and empty names are none.
        text = "/" + "/".join(components(text))
    return text.encode("utf-8", "surrogateescape")


def _split(
    condition: Condition,
    arch: Arch,
    predicates: list[RegisterPredicate],
    tests: list[tuple[PathTest, bool]],
) -> bool:
    """Collect the terms of a conjunction; False if there is one that takes more."""
    match condition:
        case Constant(value=True):
            return True
        case All(terms):
            plain = [_split(term, arch, predicates, tests) for term in terms]  # all of them
            return all(plain)
        case RegisterTest():
            predicates.append(condition.lower(arch))
            return True
        case Look(path=PathTest() as path):
            tests.append((path, False))
            return _fits(path)
        case Negation(Look(path=PathTest() as path)):
            tests.append((path, True))
            return _fits(path)
    return False


def _fits(path: PathTest) -> bool:
    return all(map(_is_path, path.texts))


def _is_path(text: str) -> bool:
    # What no bytes of a path are read as matches nothing, and is not to match its own bytes.
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return b"\0" not in raw and raw.decode("utf-8", "surrogateescape") == text


def _said(verdict: Verdict, name: str, verbs: Verbs, *, goes_on: bool) -> Said:
    match verdict.verb:
        case Verb.ALLOW | Verb.CONTINUE if goes_on:
            return Said(CONTINUE)
        case Verb.RETURN if 0 <= verdict.value < _SIGN:
            return Said(RETURN, verdict.value)
        case Verb.FAIL | Verb.DENY:
            number = verdict.fails_with(name)
            return _ASK if number is None else Said(-number)
        case Verb.ACT if verdict.handler == "perform" and name in _OPENS:
            plain = verdict.parameters.get("as", "target") == "target"
            return Said(PERFORM) if plain else _ASK
        case Verb.ACT if name in _MAKES:
            making = _making(verdict, name, verbs)
            return _ASK if making is None else Said(MAKE, making=making)
    return _ASK


def _making(verdict: Verdict, name: str, verbs: Verbs) -> Making | None:
    function = verbs.get(verdict.handler or "")
    form = None if function is None else native_form(function)
    return None if form is None else form(name, verdict.parameters)
