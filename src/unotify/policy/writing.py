"""Writes a policy as TOML: one that came from another format, for people to go on with.

Conditions of other formats are about whole registers by position. The language names
arguments, and looks at as many bits as the kernel does. Where that is not the same,
a note says so: the difference is only in bits that the kernel ignores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from errno import errorcode
from functools import lru_cache
from itertools import groupby
from typing import Final

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.bpf import Compare, CompareOp, RegisterPredicate
from unotify.errors import NotExpressible, PolicyError
from unotify.policy.conditions import All, Any, Condition, Constant, Negation, RegisterTest
from unotify.policy.installing import FLAGS, short
from unotify.policy.model import TRUE, Policy, Rule, Verb, Verdict
from unotify.policy.raw import RawTest

__all__ = ["to_toml"]

_WIDTH: Final = 100
_LOW: Final = (1 << 32) - 1


def to_toml(policy: Policy) -> tuple[str, list[str]]:
    """Write *policy* in the language of policy files.

    Returns:
        The text, and what it says otherwise than the policy, or not at all.

    Raises:
        NotExpressible: A condition has no words in the language.
    """
    writer = _Writer(policy)
    return "\n".join(writer.lines()), list(writer.notes)


class _Writer:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.notes: dict[str, None] = {}

    def lines(self) -> Iterator[str]:
        policy = self._policy
        yield f"# From {_comment(policy.source)}."
        yield "version = 1"
        yield f"default = {_verdict(policy.default)}"
        yield f"architectures = [{', '.join(_text(arch.label) for arch in policy.architectures)}]"
        if policy.bad_arch != Verdict(Verb.KILL_PROCESS):
            yield f"bad-architecture = {_verdict(policy.bad_arch)}"
        yield f"unknown = {_verdict(policy.unknown)}"
        yield from self._installation()
        for rule in policy.rules:
            for where, calls in self._by_condition(rule):
                yield ""
                yield from self._rule(rule, where, calls)
        yield ""

    def _installation(self) -> Iterator[str]:
        policy = self._policy
        known = {flag.full for flag in FLAGS.values()}
        for flag in policy.flags:
            if flag not in known:
                self.notes[f"{flag} is set by who installs the filter: left out"] = None
        flags = [_text(short(flag)) for flag in policy.flags if flag in known]
        if flags:
            yield f"flags = [{', '.join(flags)}]"
        path, metadata = policy.listener_path, policy.listener_metadata
        if path is not None:
            told = f", metadata = {_text(metadata)}" if metadata is not None else ""
            yield f"listener = {{ path = {_text(path)}{told} }}"
        elif metadata is not None:
            self.notes["metadata for a listener that goes nowhere: left out"] = None

    def _rule(self, rule: Rule, where: str | None, calls: list[str]) -> Iterator[str]:
        yield "[[rule]]"
        if rule.place.line is not None:
            yield f"# {_comment(str(rule.place))}"
        if rule.name is not None:
            yield f"name = {_text(rule.name)}"
        yield from _array("calls", calls)
        if where is not None:
            yield f"where = {_text(where)}"
        yield f"do = {_verdict(rule.verdict)}"
        if rule.log:
            yield "log = true"
        if rule.racy:
            yield "racy = true"
        if rule.because is not None:
            yield f"because = {_text(rule.because)}"

    def _by_condition(self, rule: Rule) -> Iterator[tuple[str | None, list[str]]]:
        """The rule's calls, together where the same words mean the condition."""
        said = []
        for call in sorted(rule.calls):
            condition = rule.condition(call)
            where = None if condition == TRUE else self._condition(condition, call)
            archs = rule.calls[call]
            names = (
                [call]
                if archs is None
                else [f"{call}@{arch.label}" for arch in Arch if arch in archs]
            )
            said += [(where, name) for name in names]
        said.sort(key=lambda item: (item[0] is not None, item[0] or "", item[1]))
        for where, group in groupby(said, key=lambda item: item[0]):
            yield where, [name for _, name in group]

    # ------------------------------------------------------------- conditions

    def _condition(self, condition: Condition, call: str) -> str:
        match condition:
            case RawTest():
                return self._raw(condition, call)
            case All(terms):
                return " and ".join(self._part(term, call, Any) for term in terms)
            case Any(terms):
                return " or ".join(self._part(term, call, All) for term in terms)
            case Negation(term):
                return f"not ({self._condition(term, call)})"
            case Constant(value):
                return str(value)
            case _:
                return condition.text

    def _part(self, term: Condition, call: str, other: type[All | Any]) -> str:
        text = self._condition(term, call)
        return f"({text})" if isinstance(term, other) and len(term.terms) > 1 else text

    def _raw(self, test: RawTest, call: str) -> str:
        archs = tuple(a for a in self._policy.architectures if tables.number(call, a) is not None)
        near = None
        for text in _candidates(test, call):
            found = _bound(text, call, archs)
            if found is None:
                continue
            if all(_same(found, test, arch) for arch in archs):
                return text
            near = near or text
        if near is None:
            raise NotExpressible(
                f"{call}: {test.text} has no words in the language: that argument is no number",
                hint="decide about the call as a whole",
            )
        self.notes[
            f"{call}: conditions are about the bits of an int that the kernel looks at (32), not "
            "about the whole register"
        ] = None
        return near


def _same(found: RegisterTest, test: RawTest, arch: Arch) -> bool:
    return _neutral(found.lower(arch), arch) == _neutral(test.lower(arch), arch)


def _neutral(predicate: RegisterPredicate, arch: Arch) -> RegisterPredicate:
    """A comparison without what makes no difference on *arch*."""
    if not isinstance(predicate, Compare):
        return predicate
    bits = predicate.bits or arch.bits
    if predicate.op not in (CompareOp.EQ, CompareOp.NE):
        return replace(predicate, bits=bits)
    ones = (1 << bits) - 1
    mask = ones if predicate.mask is None else predicate.mask & ones
    value = predicate.value & ones if predicate.value < 0 else predicate.value
    bits = 32 if mask | value <= _LOW else 64
    return Compare(predicate.arg, predicate.op, value, bits, mask=mask or None)


def _candidates(test: RawTest, call: str) -> Iterator[str]:
    """Words that may mean the same, the best first."""
    names = [arg for arg in model.spec(call).args if arg.index == test.index]
    for arg in names:
        yield test.spelled(arg.name)
    yield test.text
    for arg in names:
        if arg.bits in (8, 16, 32):
            yield test.narrowed(arg.name, whole=test.mask == (1 << arg.bits) - 1)


@lru_cache(maxsize=4096)
def _bound(text: str, call: str, archs: tuple[Arch, ...]) -> RegisterTest | None:
    from unotify.policy.where import bind

    try:
        found = bind(text, [call], architectures=archs)[call]
    except PolicyError:
        return None
    return found if isinstance(found, RegisterTest) else None


# ------------------------------------------------------------- words


def _verdict(verdict: Verdict) -> str:
    word = verdict.verb.value
    match verdict.verb:
        case Verb.FAIL:
            code = verdict.errno or 0
            return f"{{ fail = {_text(errorcode[code]) if code in errorcode else code} }}"
        case Verb.RETURN:
            return f"{{ return = {verdict.value} }}"
        case Verb.DENY if verdict.why is not None:
            return f"{{ deny = {_text(verdict.why)} }}"
        case Verb.TRAP | Verb.TRACE if verdict.value:
            return f"{{ {word} = {verdict.value} }}"
        case Verb.ACT:
            raise NotExpressible(f'"{verdict}" is a handler\'s verb: write it by hand')
    return _text(word)


def _text(text: str) -> str:
    quoted = "".join(
        f"\\{letter}"
        if letter in '"\\'
        else letter
        if letter.isprintable()
        else f"\\u{ord(letter):04x}"
        if ord(letter) < 0x10000
        else f"\\U{ord(letter):08x}"
        for letter in text.encode("utf-8", "replace").decode()
    )
    return f'"{quoted}"'


def _comment(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _array(key: str, items: Iterable[str]) -> Iterator[str]:
    quoted = [_text(item) for item in items]
    line = f"{key} = [{', '.join(quoted)}]"
    if len(line) <= _WIDTH:
        yield line
        return
    yield f"{key} = ["
    line = "   "
    for item in quoted:
        if len(line) + len(item) + 2 > _WIDTH:
            yield line
            line = "   "
        line += f" {item},"
    yield line
    yield "]"
