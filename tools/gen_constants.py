"""Generate ``src/unotify/abi/_constants.py`` and the stub of `unotify.abi.constants`.

Usage: ``python -m tools.gen_constants [--headers DIR] [--scratch DIR] [--accept-expired]``

``tools/data/constants.txt`` says which names of which kernel header belong to
which class; the values come from the headers of Debian's ``linux-libc-dev``, for
each architecture. Those of x86-64 are the generic ones; what another
architecture spells differently is noted beside them, and what it has no name for.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.cpp import Headers
from tools.debian import SUITES, Archive
from tools.gen_calls import ABIS, PACKAGE, Abi, headers_of

__all__ = ["OUTPUT", "SPEC", "STUB", "Table", "generate"]

SPEC = Path(__file__).parent / "data/constants.txt"
OUTPUT = Path(__file__).parent.parent / "src/unotify/abi/_constants.py"
STUB = OUTPUT.with_name("constants.pyi")

GENERIC = "x86_64"

_MODULE = '''\
"""The kernel's named values: made by tools/gen_constants.py, do not edit."""
# ruff: noqa: E501

from typing import Final

__all__ = ["ABSENT", "TEXT"]

TEXT: Final = """\\
{text}"""
"""``class kind NAME=value ...``; ``class@architectures kind NAME=value ...`` where some differ."""

ABSENT: Final = """\\
{absent}"""
"""``class@architectures NAME ...``: the headers of these do not have these names."""
'''

Table = dict[str, "Class"]
"""By name."""


@dataclass
class Class:
    """One class of names.

    Attributes:
        kind: As in the list.
        generic: Names and values on x86-64.
        deltas: By architecture what is spelled differently.
        absent: By architecture what has no name.
    """

    kind: str
    generic: dict[str, int]
    deltas: dict[str, dict[str, int]]
    absent: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Row:
    """One line of the list."""

    name: str
    kind: str
    headers: tuple[str, ...]
    wanted: re.Pattern[str]
    unwanted: re.Pattern[str]
    extra: dict[str, str]

    def added(self, headers: Headers, directory: str) -> Iterator[tuple[str, int]]:
        """What ``+NAME=value|directory:value`` says, for one architecture."""
        for name, text in self.extra.items():
            usual, *others = text.split("|")
            theirs = dict(other.split(":") for other in others).get(directory, usual)
            value = headers.value(theirs[1:]) if theirs.startswith("@") else int(theirs, 0)
            if value is not None:
                yield name, value


def rows() -> Iterator[Row]:
    """Read the list."""
    for line in SPEC.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, kind, headers, pattern, *rest = line.split()
        unwanted = rest[1] if rest[:1] == ["not"] else "none"
        extra = dict(item[1:].split("=") for item in rest if item.startswith("+"))
        yield Row(
            name, kind, tuple(headers.split(",")), re.compile(pattern), re.compile(unwanted), extra
        )


def values(row: Row, unpacked: Path, abi: Abi) -> dict[str, int]:
    """The names of *row* and their values on one architecture, by value."""
    headers = headers_of(unpacked, abi)
    for header in row.headers:
        headers.include(header)
    found = {}
    for name in (*headers.macros, *headers.enumerators):
        if row.wanted.fullmatch(name) and not row.unwanted.fullmatch(name):
            value = headers.value(name)
            if value is not None and -(1 << 31) <= value < 1 << 64:
                found[name] = value
    found.update(row.added(headers, abi.directory))
    # Of two names for one value the first in the header is the name, as in Python's enums.
    return dict(sorted(found.items(), key=lambda item: item[1]))


def generate(unpacked: Path) -> tuple[str, str]:
    """Return the data module and the stub, from an unpacked ``linux-libc-dev``."""
    (usual,) = (abi for abi in ABIS if GENERIC in abi.labels)
    table: Table = {}
    for row in rows():
        generic = values(row, unpacked, usual)
        if not generic:
            raise SystemExit(f"{row.name}: no names found")
        made = table[row.name] = Class(row.kind, generic, {}, {})
        for abi in ABIS:
            theirs = values(row, unpacked, abi)
            delta = {n: v for n, v in theirs.items() if n in generic and generic[n] != v}
            if delta:
                made.deltas.update(dict.fromkeys(abi.labels, delta))
            absent = tuple(name for name in generic if name not in theirs)
            if absent:
                made.absent.update(dict.fromkeys(abi.labels, absent))
    return data_module(table), stub(table)


def data_module(table: Table) -> str:
    """The text of ``_constants.py``."""
    lines, absent = [], []
    for name, made in sorted(table.items()):
        lines.append(f"{name} {made.kind} {pairs(made.generic)}")
        deltas = {label: pairs(delta) for label, delta in made.deltas.items()}
        lines += [f"{name}@{archs} {made.kind} {text}" for archs, text in alike(deltas)]
        missing = {label: " ".join(names) for label, names in made.absent.items()}
        absent += [f"{name}@{archs} {text}" for archs, text in alike(missing)]
    return _MODULE.format(text="\n".join([*lines, ""]), absent="\n".join([*absent, ""]))


def alike(texts: dict[str, str]) -> list[tuple[str, str]]:
    """One line for all architectures that have the same text: their labels, and the text."""
    found: dict[str, list[str]] = {}
    for label, text in texts.items():
        found.setdefault(text, []).append(label)
    return [(",".join(labels), text) for text, labels in found.items()]


def read_text(text: str, absent: str) -> Table:
    """Read what `data_module` wrote, so that a test can print it again."""
    table: Table = {}
    for line in text.splitlines():
        key, kind, *items = line.split(" ")
        members = {name: int(value, 0) for name, value in (item.split("=") for item in items)}
        name, _, archs = key.partition("@")
        if archs:
            table[name].deltas.update(dict.fromkeys(archs.split(","), members))
        else:
            table[name] = Class(kind, members, {}, {})
    for line in absent.splitlines():
        key, *names = line.split(" ")
        name, _, archs = key.partition("@")
        table[name].absent.update(dict.fromkeys(archs.split(","), tuple(names)))
    return table


def pairs(members: dict[str, int]) -> str:
    """Names and values as text."""
    return " ".join(f"{name}={spelled(value)}" for name, value in members.items())


def spelled(value: int) -> str:
    """A number as the formatter of this project wants it."""
    return str(value) if value < 0 else f"0x{value:X}"


def stub(table: Table) -> str:
    """The text of ``constants.pyi``."""
    lines = [
        "# Generated by tools/gen_constants.py; do not edit.",
        "# ruff: noqa: PYI054",
        "from enum import IntEnum, IntFlag",
        "from typing import Self",
        "",
        "from unotify.abi.arch import Arch",
        "from unotify.abi.seccomp import FilterFlag as FilterFlag",
        "from unotify.abi.seccomp import Operation as Operation",
        "",
        "class Flags(IntFlag):  # type: ignore[misc]",
        "    @classmethod",
        "    def from_abi(cls, value: int, arch: Arch) -> Self: ...",
        "    @classmethod",
        "    def to_abi(cls, value: int, arch: Arch) -> int: ...",
        "",
        "class Choice(IntEnum):  # type: ignore[misc]",
        "    @classmethod",
        "    def from_abi(cls, value: int, arch: Arch) -> Self | int: ...",
        "    @classmethod",
        "    def to_abi(cls, value: int, arch: Arch) -> int: ...",
    ]
    for name, made in sorted(table.items()):
        lines += ["", f"class {name}({'Choice' if made.kind == 'enum' else 'Flags'}):"]
        lines += [f"    {member} = {spelled(value)}" for member, value in made.generic.items()]
    return "\n".join([*lines, ""])


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headers", type=Path, help="an unpacked linux-libc-dev")
    parser.add_argument("--scratch", type=Path, help="keep downloads here")
    parser.add_argument("--accept-expired", action="store_true", help="for frozen mirrors")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        unpacked = options.headers
        if unpacked is None:
            scratch = options.scratch or Path(temporary)
            archive = Archive(SUITES[0], scratch, accept_expired=options.accept_expired)
            unpacked = archive.unpack(PACKAGE)
        data, types = generate(unpacked)
    OUTPUT.write_text(data)
    STUB.write_text(types)


if __name__ == "__main__":
    main()
