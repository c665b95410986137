"""Values of one type out of a JSON document, and what is wrong with them.

Each mistake is noted with its place, and reading goes on with an empty value, so that an author
hears of all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from unotify.errors import PolicyError, UnknownName
from unotify.policy.oci.json_places import Path, Places, spelled
from unotify.policy.problems import kind_of, listed, shown

__all__ = ["Values", "json_kind"]

_T = TypeVar("_T")


class Values:
    """Who asks a document for values, and keeps what is wrong with them.

    Attributes:
        problems: Mistakes, in the order that they were found in.
        notes: What is taken, but not as its author may think.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self.problems: list[PolicyError] = []
        self.notes: list[str] = []

    # ------------------------------------------------------------- problems and notes

    def wrong(self, path: Path, message: str, *, hint: str | None = None) -> None:
        """Note a mistake."""
        self._add(path, PolicyError(f"{spelled(path)}: {message}", hint=hint))

    def unknown(self, path: Path, message: str, *, hint: str | None = None) -> None:
        """Note a name that means nothing."""
        self._add(path, UnknownName(f"{spelled(path)}: {message}", hint=hint))

    def _add(self, path: Path, error: PolicyError) -> None:
        place = self._places.place(path)
        error.source, error.line, error.column = place.source, place.line, place.column
        self.problems.append(error)

    def ignored(self, path: Path, table: Mapping[str, object], known: str) -> None:
        """Note the keys of *table* that are not among the words of *known*."""
        others = [shown(key) for key in table if key not in known.split()]
        if others:
            self.notes.append(f"{spelled(path)}: {listed(others)} is not of this format: ignored")

    # ------------------------------------------------------------- values of one type

    def get(
        self, table: Mapping[str, object], key: str, path: Path, kind: type[_T], empty: _T
    ) -> _T:
        """The value of *key*, which has to be a *kind*; *empty* where there is none, or null."""
        value = table.get(key)
        if value is None:
            return empty
        if not isinstance(value, kind) or isinstance(value, bool):
            self.wrong((*path, key), f"it takes {_KINDS[kind]}, not {json_kind(value)}")
            return empty
        return value

    def number(self, table: Mapping[str, object], key: str, path: Path, largest: int) -> int | None:
        """The integer of *key*, from 0 to *largest*; ``None`` where there is none."""
        if table.get(key) is None:
            return None
        number = self.get(table, key, path, int, -1)
        if 0 <= number <= largest:
            return number
        if isinstance(table[key], int):
            self.wrong(
                (*path, key),
                f"{shown(number)} is not a number from 0 to {largest:#x}",
                hint=f"write {number % (1 << 64)}, its 64 bits" if -1 << 63 <= number < 0 else None,
            )
        return None

    def texts(
        self, table: Mapping[str, object], key: str, path: Path
    ) -> Iterator[tuple[Path, str]]:
        """The strings of an array, each with its path."""
        return self._items(table, key, path, str)

    def tables(
        self, table: Mapping[str, object], key: str, path: Path
    ) -> Iterator[tuple[Path, Mapping[str, object]]]:
        """The objects of an array, each with its path."""
        return self._items(table, key, path, dict)

    def _items(
        self, table: Mapping[str, object], key: str, path: Path, kind: type[_T]
    ) -> Iterator[tuple[Path, _T]]:
        items: list[object] = self.get(table, key, path, list, [])
        for at, item in enumerate(items):
            there: Path = (*path, key, at)
            if isinstance(item, kind):
                yield there, item
            else:
                self.wrong(there, f"it takes {_KINDS[kind]}, not {json_kind(item)}")


_KINDS: Final[Mapping[type, str]] = {
    int: "an integer",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def json_kind(value: object) -> str:
    """What a value is, in the words of JSON."""
    if isinstance(value, dict):
        return "an object"
    return "null" if value is None else kind_of(value)
