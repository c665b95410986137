"""One line of assembly as words, and what each word may stand for."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.errors import PolicyError, UnknownName

__all__ = ["ERRNOS", "Line", "Spot", "cut"]

_FULL: Final = 0xFFFFFFFF
_SHOWN: Final = 40
_DIGITS: Final = 100
"""A number with more is too large; Python takes long to read very long ones."""

_TOKEN: Final = re.compile(
    r"[ \t\r\f\v]+"
    r"|(?P<end>[;#].*)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*(?::[A-Za-z_][A-Za-z0-9_]*)?|[0-9][A-Za-z0-9_]*)"
    r"|(?P<sign><<=|>>=|==|!=|!&|<=|>=|[-+*/&|^]=|[-=<>&(){}\[\]:])"
)
_LABEL: Final = re.compile(r"[ \t\r\f\v]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*:")

_ARCHES: Final = {
    spelled: arch for arch in Arch for spelled in (arch.label, f"AUDIT_ARCH_{arch.name}")
}
ERRNOS: Final = {
    name: number
    for name, number in vars(errno).items()
    if name.startswith("E") and isinstance(number, int)
}
"""Every errno that this machine has a name for."""


class Spot(NamedTuple):
    """Where something stands; both are 1-based."""

    line: int
    column: int


class _Token(NamedTuple):
    text: str
    column: int


class Line:
    """The words of one line, taken one after the other.

    Args:
        source: What errors call the text.
        number: 1-based number of the line.
        text: The line.

    Attributes:
        labels: The labels that it begins with, and where they stand.

    Raises:
        PolicyError: There is a character that no word has.
    """

    def __init__(self, source: str | None, number: int, text: str) -> None:
        self._source = source
        self._number = number
        self._at = 0
        self._end = len(text) + 1
        self.labels: list[tuple[str, Spot]] = []
        start = 0
        while label := _LABEL.match(text, start):
            self.labels.append((label[1], Spot(number, label.start(1) + 1)))
            start = label.end()
        self._tokens = self._split(text, start)

    def _split(self, text: str, at: int) -> list[_Token]:
        found = []
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self.error(
                    f"{text[at]!r} means nothing here", spot=Spot(self._number, at + 1)
                )
            if match["end"]:
                self._end = at + 1
                break
            if match["word"] or match["sign"]:
                found.append(_Token(match[0], at + 1))
            at = match.end()
        return found

    @property
    def here(self) -> Spot:
        """Where the next word stands, or the end of the line."""
        left = self._at < len(self._tokens)
        return Spot(self._number, self._tokens[self._at].column if left else self._end)

    def peek(self) -> str | None:
        """The next word, or ``None`` at the end."""
        return self._tokens[self._at].text if self._at < len(self._tokens) else None

    def next(self, *wanted: str, called: str | None = None) -> str:
        """Take the next word.

        Args:
            wanted: What it may be; anything if nothing is given.
            called: What to call that in an error.

        Raises:
            PolicyError: It is something else, or there is none.
        """
        word = self.peek()
        if word is None or (wanted and word not in wanted):
            raise self.unexpected(called or " or ".join(wanted))
        self._at += 1
        return word

    def skip(self, word: str) -> bool:
        """Take the next word if it is *word*; returns whether it was."""
        found = self.peek() == word
        self._at += found
        return found

    def name(self, wanted: str) -> tuple[str, Spot]:
        """Take the next word, which is a name of the text's own."""
        spot = self.here
        word = self.peek()
        if word is None or not word.isidentifier():
            raise self.unexpected(wanted)
        self._at += 1
        return word, spot

    def number(self, wanted: str, *, most: int = _FULL, others: Iterable[str] = ()) -> int:
        """Take a number, or what stands for one.

        Args:
            wanted: What to call it in an error.
            most: The greatest that fits.
            others: What else could have stood here, for hints.

        Raises:
            UnknownName: It is a word that stands for no number.
            PolicyError: It is something else, or too large.
        """
        word = self.peek()
        if word is None or not (word[0].isalnum() or word[0] == "_"):
            raise self.unexpected(wanted)
        value = self._value(word, others)
        if value > most:
            raise self.error(f"{cut(word)} is too large: {wanted} is at most {most:#x}")
        self._at += 1
        return value

    def _value(self, word: str, others: Iterable[str]) -> int:
        if word[0].isdigit():
            try:
                return int(word, 0) if len(word) < _DIGITS else _FULL + 1
            except ValueError:
                raise self.error(
                    f"{cut(word)} is no number", hint="numbers are 10, 0xa and 0o12"
                ) from None
        label, colon, call = word.partition(":")
        if colon:
            arch = _ARCHES.get(label)
            if arch is None:
                raise self.unknown("no architecture is named", label, _ARCHES)
            number = tables.number(call, arch)
            if number is None:
                raise self.unknown(f"{arch.label} has no call", call, tables.numbers(arch))
            return number
        if word in _ARCHES:
            return _ARCHES[word].audit
        if word in ERRNOS:
            return ERRNOS[word]
        error = self.unknown("no number is named", word, (*others, *_ARCHES, *ERRNOS))
        if tables.number(word, Arch.X86_64) is not None:
            error.hint = f"the number of a call needs its architecture too: x86_64:{word}"
        raise error

    def error(
        self, message: str, *, hint: str | None = None, spot: Spot | None = None
    ) -> PolicyError:
        """An error about the next word, or about *spot*."""
        line, column = spot or self.here
        return PolicyError(message, source=self._source, line=line, column=column, hint=hint)

    def unexpected(self, wanted: str) -> PolicyError:
        """The error for a word where another should be."""
        word = self.peek()
        found = "the line ends" if word is None else f"{cut(word)} stands"
        return self.error(f"{found} where {wanted} is expected")

    def unknown(self, message: str, word: str, names: Iterable[str]) -> UnknownName:
        """The error for the next word, which is none of *names*."""
        line, column = self.here
        return UnknownName(
            f"{message} {cut(word)}",
            source=self._source,
            line=line,
            column=column,
            hint=nearest(word, names),
        )


def cut(word: str) -> str:
    """*word* as an error shows it."""
    return word if len(word) <= _SHOWN else f"{word[:_SHOWN]}..."
