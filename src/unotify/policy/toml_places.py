"""Where things stand in a TOML text; `tomllib` tells it of syntax errors alone.

A second reader beside `tomllib`, which decides what is TOML and what it means.
This one takes a little more than TOML, so wherever it stops `tomllib` has an
error there or before; and for what `tomllib` takes, it finds each key and each
value. It runs first, and refuses what makes `tomllib` recurse or run for hours.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from unotify.errors import PolicyError

__all__ = ["Path", "Places", "Spot", "locate"]

Path: TypeAlias = Sequence[str | int]
"""Keys, and positions in arrays, from the top."""

_DEEPEST: Final = 32
_LONGEST: Final = 256  # digits of a number; a string may be any length

_BLANK: Final = re.compile(r"[ \t]*")
_GAP: Final = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR: Final = re.compile(r"[^\[\]{},#\n\"'=]+")
_BASIC: Final = re.compile(r'[^"\\\n]+')
_BASIC_LINES: Final = re.compile(r'[^"\\]+')
_JOINED: Final = re.compile(r"\\[ \t]*\n[ \t\n]*")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|(.))")
_LITERAL: Final = re.compile(r"'([^'\n]*)'")
_LITERAL_LINES: Final = re.compile(r"'''\n?((?:'{0,2}[^'])*'{0,2})'''")
_ESCAPED: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


@dataclass(frozen=True, slots=True)
class Spot:
    """A 1-based line and column, in characters."""

    line: int
    column: int


@dataclass(slots=True)
class _Node:
    # Offsets of the key (of an array's item: the value) and of the value.
    key: int
    value: int
    table: dict[str, _Node] = field(default_factory=dict)
    array: list[_Node] = field(default_factory=list)


class _Stop(Exception):
    """What follows is no TOML."""


class Places:
    """The places of one text."""

    def __init__(self, text: str) -> None:
        # tomllib does the same, and it moves nothing that has a column.
        self._text = text.replace("\r\n", "\n")
        self._starts = [0, *(found.end() for found in re.finditer("\n", self._text))]
        self._root = _Node(0, 0)

    def key(self, path: Path) -> Spot:
        """Where the key stands; of an array's item, the item; if there is none, what holds it."""
        return self._spot(self._find(path).key)

    def value(self, path: Path) -> Spot:
        """Where the value begins; if there is none, what should hold it."""
        return self._spot(self._find(path).value)

    def text(self, path: Path) -> list[Spot]:
        """Where each character of a string stands, and at last where it ends."""
        start = self._find(path).value
        try:
            _, offsets, end = _Scanner(self._text).string(start)
        except _Stop:
            return [self._spot(start)]
        return [self._spot(offset) for offset in (*offsets, end)]

    def string(self, path: Path) -> str:
        """The string itself."""
        try:
            return _Scanner(self._text).string(self._find(path).value)[0]
        except _Stop:
            return ""

    def _find(self, path: Path) -> _Node:
        node = self._root
        for step in path:
            if isinstance(step, int):
                if not 0 <= step < len(node.array):
                    break
                node = node.array[step]
            else:
                if step not in node.table:
                    break
                node = node.table[step]
        return node

    def _spot(self, offset: int) -> Spot:
        line = bisect_right(self._starts, offset)
        return Spot(line, offset - self._starts[line - 1] + 1)

    def scan(self) -> None:
        """Find all places, up to the first that is no TOML.

        Raises:
            PolicyError: Too deep, or a number with too many digits, at line and column.
        """
        scanner = _Scanner(self._text)
        try:
            scanner.document(self._root)
        except _Stop:
            return
        except _Beyond as beyond:
            spot = self._spot(beyond.at)
            raise PolicyError(
                beyond.message, line=spot.line, column=spot.column, hint=beyond.hint
            ) from None


class _Beyond(Exception):
    def __init__(self, message: str, hint: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.at = at


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def document(self, root: _Node) -> None:
        table = root
        while self._skip(_GAP):
            start = self._at
            if self._take("[["):
                *path, last = self._keys()
                holder = _walk(root, path)
                array = holder.table.setdefault(last[0], _Node(start, start))
                table = _Node(start, start)
                array.array.append(table)
                self._need("]]")
            elif self._take("["):
                path = self._keys()
                table = _walk(root, path)
                self._need("]")
            else:
                self._pair(table, 0)

    def _pair(self, table: _Node, depth: int) -> None:
        *path, (name, at) = self._keys()
        self._need("=")
        self._skip(_BLANK)
        node = _Node(at, self._at)
        _walk(table, path).table[name] = node
        self._value(node, depth)

    def _keys(self) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        while True:
            self._skip(_BLANK)
            start = self._at
            bare = _BARE.match(self._text, start)
            if bare:
                name, self._at = bare[0], bare.end()
            else:
                name, _, self._at = self.string(start)
            found.append((name, start))
            if len(found) > _DEEPEST:
                raise _Beyond(
                    f"more than {_DEEPEST} keys in each other",
                    "no key of a policy needs more than 4",
                    start,
                )
            self._skip(_BLANK)
            if not self._take("."):
                return found

    def _value(self, node: _Node, depth: int) -> None:
        start = self._at
        if depth > _DEEPEST:
            raise _Beyond(
                f"more than {_DEEPEST} values in each other",
                "no value of a policy needs more than 4",
                start,
            )
        if self._take("["):
            while self._skip(_GAP) and not self._take("]"):
                item = _Node(self._at, self._at)
                node.array.append(item)
                self._value(item, depth + 1)
                self._skip(_GAP)
                if not self._take(","):
                    self._need("]")
                    break
        elif self._take("{"):
            while self._skip(_GAP) and not self._take("}"):
                self._pair(node, depth + 1)
                self._skip(_GAP)
                if not self._take(","):
                    self._need("}")
                    break
        elif self._text.startswith(('"', "'"), start):
            _, _, self._at = self.string(start)
        else:
            scalar = _SCALAR.match(self._text, start)
            if scalar is None:
                raise _Stop
            if len(scalar[0].rstrip()) > _LONGEST:
                raise _Beyond("this is too long for a number", "is it a string?", start)
            self._at = scalar.end()

    def string(self, start: int) -> tuple[str, Sequence[int], int]:
        """Return a string, the offset of each of its characters, and that after its end."""
        text = self._text
        if text.startswith("'''", start):
            return self._literal(_LITERAL_LINES.match(text, start))
        if text.startswith("'", start):
            return self._literal(_LITERAL.match(text, start))
        if text.startswith('"""', start):
            return self._basic(start + (4 if text.startswith("\n", start + 3) else 3), '"""')
        if text.startswith('"', start):
            return self._basic(start + 1, '"')
        raise _Stop

    def _literal(self, found: re.Match[str] | None) -> tuple[str, Sequence[int], int]:
        if found is None:
            raise _Stop
        return found[1], range(*found.span(1)), found.end()

    def _basic(self, at: int, end: str) -> tuple[str, Sequence[int], int]:
        text, lines = self._text, len(end) == 3
        chars: list[str] = []
        offsets: list[int] = []
        while True:
            plain = (_BASIC_LINES if lines else _BASIC).match(text, at)
            if plain:
                chars.append(plain[0])
                offsets += range(*plain.span())
                at = plain.end()
            if text.startswith(end, at):
                # Up to two quotes may stand before those that end it.
                while lines and text.startswith('"', at + 3):
                    chars.append('"')
                    offsets.append(at)
                    at += 1
                return "".join(chars), offsets, at + len(end)
            if text.startswith('"', at) and lines:
                chars.append('"')
                offsets.append(at)
                at += 1
            elif lines and (joined := _JOINED.match(text, at)):
                at = joined.end()
            elif escape := _ESCAPE.match(text, at):
                code = escape[1] or escape[2] or escape[3]
                if code and int(code, 16) > 0x10FFFF:
                    raise _Stop
                chars.append(chr(int(code, 16)) if code else _ESCAPED.get(escape[4], escape[4]))
                offsets.append(at)
                at = escape.end()
            else:
                raise _Stop

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        found = pattern.match(self._text, self._at)
        if found:
            self._at = found.end()
        return self._at < len(self._text)

    def _take(self, token: str) -> bool:
        if not self._text.startswith(token, self._at):
            return False
        self._at += len(token)
        return True

    def _need(self, token: str) -> None:
        if not self._take(token):
            raise _Stop


def _walk(node: _Node, path: Sequence[tuple[str, int]]) -> _Node:
    for name, at in path:
        node = node.table.setdefault(name, _Node(at, at))
        if node.array:
            node = node.array[-1]
    return node


def locate(text: str) -> Places:
    """Find all keys and values of *text*.

    Raises:
        PolicyError: It is deeper, or has longer numbers, than any policy.
    """
    places = Places(text)
    places.scan()
    return places
