"""Conditions in the manner of C, as minijail and kafel have them.

``arg1 == TCGETS || fd in 3``: comparisons of whole registers, ``&`` with a constant,
and, or, not and brackets. Numbers are unsigned; names of constants are the kernel's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from unotify.abi.hints import nearest
from unotify.bpf import CompareOp
from unotify.errors import UnknownName
from unotify.policy import spelling
from unotify.policy.conditions import All, Any, Condition, Constant, Negation
from unotify.policy.foreign.making import fail
from unotify.policy.model import TRUE, Place
from unotify.policy.problems import shown
from unotify.policy.raw import raw_test

__all__ = ["Token", "Words", "constant", "tokens"]

_TOKEN: Final = re.compile(
    r"(?P<space>[ \t\r\f]+|/\*.*?\*/|//[^\n]*|(?P<line>\n))"
    r"|(?P<number>0[xX][0-9a-fA-F]+|[0-9]+)"
    r"|(?P<name>[@A-Za-z_][A-Za-z0-9_@-]*)"
    r"|(?P<sign>\|\||&&|==|!=|<=|>=|<<|[-<>!~&|(){}\[\]:;,=#.])",
    re.DOTALL,
)

_FULL: Final = (1 << 64) - 1
_DEEPEST: Final = 40
_SIGNS: Final = {op.value: op for op in CompareOp}
_TURNED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Token:
    """A word, and where it stands."""

    kind: str
    text: str
    place: Place


def tokens(text: str, source: str, *, line: int = 1) -> Iterator[Token]:
    """Take *text* apart; comments are C's.

    Raises:
        PolicyError: There is what is no word.
    """
    at, start = 0, 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        place = Place(source, line, at - start + 1)
        if found is None:
            fail(place, f"{shown(text[at])} does not belong here")
        if found.lastgroup in ("number", "name", "sign"):
            yield Token(found.lastgroup, found[0], place)
        breaks = found[0].count("\n")
        if breaks:
            line += breaks
            start = at + found[0].rindex("\n") + 1
        at = found.end()


def constant(token: Token, own: dict[str, int]) -> int:
    """The number that *token* stands for.

    Raises:
        UnknownName: No constant is called that.
    """
    text = token.text
    if token.kind == "number":
        octal = text[0] == "0" and text.isdigit() and len(text) > 1
        if len(text) > 24 or (octal and not re.fullmatch("[0-7]+", text)):
            fail(token.place, f"{shown(text)} is no number of 64 bits")
        return int(text, 8 if octal else 0)
    if text in own:
        return own[text]
    if token.kind != "name" or not spelling.homes(text):
        hint = nearest(text, [*own, *spelling.homes()]) if token.kind == "name" else None
        fail(token.place, f"{shown(text)} is no number or constant", hint=hint, kind=UnknownName)
    return spelling.value(text)


@dataclass(frozen=True, slots=True)
class _Value:
    """A number, or an argument with a mask."""

    number: int
    index: int | None = None
    mask: int | None = None


class Words:
    """Reads tokens from the front.

    Attributes:
        own: Constants that the text defines.
    """

    def __init__(self, found: list[Token], end: Place, own: dict[str, int] | None = None) -> None:
        self._tokens = found
        self._at = 0
        self._end = end
        self.own = own or {}

    # ------------------------------------------------------------- tokens

    @property
    def place(self) -> Place:
        """Where the next word stands."""
        return self._tokens[self._at].place if self.more else self._end

    @property
    def more(self) -> bool:
        """Whether there is another."""
        return self._at < len(self._tokens)

    def peek(self) -> str:
        """The next word; empty at the end."""
        return self._tokens[self._at].text if self.more else ""

    def next(self, what: str = "more") -> Token:
        """Take the next word.

        Raises:
            PolicyError: There is none.
        """
        if not self.more:
            fail(self._end, f"the text ends where {what} should be")
        self._at += 1
        return self._tokens[self._at - 1]

    def take(self, text: str) -> bool:
        """Take *text* if it comes next."""
        if self.peek() != text:
            return False
        self._at += 1
        return True

    def expect(self, text: str) -> None:
        """Take *text*.

        Raises:
            PolicyError: Something else comes next.
        """
        if not self.take(text):
            got = shown(self.peek()) if self.more else "the end"
            fail(self.place, f"here should be {text}, not {got}")

    # ------------------------------------------------------------- conditions

    def condition(self, argument: Callable[[Token], int | None], depth: int = 0) -> Condition:
        """Read a condition.

        Args:
            argument: Which argument a word names, or ``None``.
            depth: How many brackets are open.

        Raises:
            PolicyError: It is none.
        """
        if depth > _DEEPEST:
            fail(self.place, "there are too many brackets in each other")
        terms = [self._all(argument, depth)]
        while self.take("||"):
            terms.append(self._all(argument, depth))
        return terms[0] if len(terms) == 1 else Any(tuple(terms))

    def _all(self, argument: Callable[[Token], int | None], depth: int) -> Condition:
        terms = [self._one(argument, depth)]
        while self.take("&&"):
            terms.append(self._one(argument, depth))
        return terms[0] if len(terms) == 1 else All(tuple(terms))

    def _one(self, argument: Callable[[Token], int | None], depth: int) -> Condition:
        negated = False
        while self.take("!"):
            negated = not negated
        if self.peek() == "(" and self._bracketed():
            self.expect("(")
            found = self.condition(argument, depth + 1)
            self.expect(")")
        else:
            found = self._comparison(argument, depth)
        return Negation(found) if negated else found

    def _bracketed(self) -> bool:
        """Whether the bracket that comes next holds a condition, not part of a number."""
        depth = 0
        for token in self._tokens[self._at :]:
            depth += (token.text == "(") - (token.text == ")")
            if depth == 1 and token.text in ("||", "&&", "!", "in", *_SIGNS):
                return True
            if depth == 0:
                return False
        return False

    def _comparison(self, argument: Callable[[Token], int | None], depth: int) -> Condition:
        place = self.place
        left = self._value(argument, depth)
        if self.take("in"):
            # All its bits are among those.
            if left.index is None:
                fail(place, "only an argument can be tested")
            outside = ~self.number() & _FULL & (_FULL if left.mask is None else left.mask)
            return raw_test(left.index, CompareOp.EQ, 0, outside) if outside else TRUE
        sign = self.peek()
        if sign not in _SIGNS:
            return self._test(left, "!=", _Value(0), place)
        self.next()
        return self._test(left, sign, self._value(argument, depth), place)

    def _test(self, left: _Value, sign: str, right: _Value, place: Place) -> Condition:
        if left.index is None:
            left, right, sign = right, left, _TURNED.get(sign, sign)
        if right.index is not None:
            fail(place, "two arguments cannot be compared", hint="compare each with a number")
        if left.index is None:
            return Constant(_compare(left.number, sign, right.number))
        if left.mask == 0:
            return Constant(_compare(0, sign, right.number))
        return raw_test(left.index, _SIGNS[sign], right.number, left.mask)

    def _value(self, argument: Callable[[Token], int | None], depth: int) -> _Value:
        found = self._part(argument, depth)
        while self.take("&"):
            other = self._part(argument, depth)
            if found.index is None:
                found, other = other, found
            if other.index is not None:
                fail(self.place, "two arguments cannot be masked with each other")
            if found.index is None:
                found = _Value(found.number & other.number)
            else:
                mask = other.number if found.mask is None else found.mask & other.number
                found = _Value(0, found.index, mask)
        return found

    def _part(self, argument: Callable[[Token], int | None], depth: int) -> _Value:
        if self.more and self._tokens[self._at].kind == "name":
            index = argument(self._tokens[self._at])
            if index is not None:
                self.next()
                return _Value(0, index)
        if self.peek() == "(" and depth <= _DEEPEST and self._argument_within(argument):
            self.expect("(")
            found = self._value(argument, depth + 1)
            self.expect(")")
            return found
        return _Value(self.number())

    def _argument_within(self, argument: Callable[[Token], int | None]) -> bool:
        for token in self._tokens[self._at :]:
            if token.text == ")":
                return False
            if token.kind == "name" and argument(token) is not None:
                return True
        return False

    # ------------------------------------------------------------- numbers

    def number(self, depth: int = 0) -> int:
        """Read numbers and constants, joined with ``|``.

        Raises:
            PolicyError: There is none.
        """
        found = self._number(depth)
        while self.take("|"):
            found |= self._number(depth)
        return found

    def _number(self, depth: int) -> int:
        if depth > _DEEPEST:
            fail(self.place, "there are too many brackets in each other")
        place = self.place
        if self.take("~"):
            return ~self._number(depth + 1) & _FULL
        if self.take("-"):
            return -self._number(depth + 1) & _FULL
        if self.take("("):
            found = self.number(depth + 1)
            self.expect(")")
            return found
        found = constant(self.next("a number"), self.own)
        if self.take("<<"):
            by = constant(self.next("a number"), self.own)
            if by > 63:
                fail(place, f"a shift by {by} bits")
            found <<= by
        if not 0 <= found <= _FULL:
            fail(place, f"{shown(found)} has more than 64 bits")
        return found


def _compare(left: int, sign: str, right: int) -> bool:
    return {
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[sign]
