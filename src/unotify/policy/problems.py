"""Collects what is wrong with a policy file, so that all of it is told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from unotify.abi.hints import nearest
from unotify.errors import PolicyError, UnknownName
from unotify.policy.model import Place
from unotify.policy.toml_places import Path, Places, Spot

__all__ = ["Enough", "Problems", "Report", "kind_of", "listed", "shown"]

_SHOWN = 60
_MOST = 500


class Enough(Exception):
    """So many problems that more would help nobody."""


class Problems:
    """All problems of one policy and what it includes; each is kept once."""

    def __init__(self) -> None:
        self.found: list[PolicyError] = []
        self._seen: set[tuple[object, ...]] = set()
        self._order: dict[str | None, int] = {}

    def add(self, error: PolicyError) -> None:
        """Keep *error*, unless the same is known of the same place.

        Raises:
            Enough: There are too many.
        """
        key = (error.source, error.line, error.column, str(error))
        if key in self._seen:
            return
        self._seen.add(key)
        self._order.setdefault(error.source, len(self._order))
        self.found.append(error)
        if len(self.found) >= _MOST:
            raise Enough

    def sorted(self) -> list[PolicyError]:
        """All of them, by file and place."""
        return sorted(
            self.found,
            key=lambda error: (
                self._order[error.source],
                error.line or 0,
                error.column or 0,
            ),
        )


class Report:
    """Says problems of one file by their path in it."""

    def __init__(self, problems: Problems, source: str, places: Places) -> None:
        self._problems = problems
        self.source = source
        self.places = places

    def value(self, path: Path, message: str, *, hint: str | None = None) -> None:
        """The value at *path* is wrong."""
        self._add(PolicyError(message, hint=hint), self.places.value(path))

    def key(self, path: Path, message: str, *, hint: str | None = None) -> None:
        """The key or table at *path* is wrong."""
        self._add(PolicyError(message, hint=hint), self.places.key(path))

    def error(self, path: Path, error: PolicyError) -> None:
        """*error*, which knows no place, is about the value at *path*."""
        self._add(error, self.places.value(path))

    def unknown_keys(
        self, path: Path, table: Mapping[str, object], known: Iterable[str], what: str
    ) -> None:
        """Refuse all keys of *table* that are not *known*."""
        known = list(known)
        for key in table:
            if key not in known:
                error = UnknownName(
                    f"{what} has no key {shown(key)}",
                    hint=nearest(key, known) or f"it has {listed(known)}",
                )
                self._add(error, self.places.key((*path, key)))

    def within(self, path: Path, start: Spot, error: PolicyError) -> None:
        """*error* counts lines and columns from *start*, where the string at *path* begins."""
        spots = self.places.text(path)
        text = self.places.string(path)
        if error.line is not None and error.column is not None:
            line = error.line - start.line
            column = error.column - (start.column if line == 0 else 1)
            lines = text.split("\n")
            if 0 <= line < len(lines):
                at = sum(len(before) + 1 for before in lines[:line]) + max(column, 0)
                self._add(error, spots[min(at, len(spots) - 1)])
                return
        self._add(error, spots[0])

    def _add(self, error: PolicyError, spot: Spot) -> None:
        error.source, error.line, error.column = self.source, spot.line, spot.column
        self._problems.add(error)

    def place(self, path: Path) -> Place:
        """Where the table or key at *path* stands."""
        spot = self.places.key(path)
        return Place(self.source, spot.line, spot.column)


def listed(names: Iterable[str], last: str = "and") -> str:
    """Spell names as a sentence does: ``a, b and c``."""
    names = list(names)
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def shown(value: object) -> str:
    """A value from the file on one line, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a number with more digits than Python prints
        text = "a very large number"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def kind_of(value: object) -> str:
    """What TOML calls *value*."""
    match value:
        case bool():
            return "true or false"
        case str():
            return "a string"
        case int():
            return "an integer"
        case float():
            return "a float"
        case list():
            return "an array"
        case dict():
            return "a table"
        case _:
            return "a date or time"
