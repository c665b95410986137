"""What a program answers, call by call: regions cut along what the tables know.

A region is a set of words; people think of calls. A *spot* is one call of one
architecture, or all numbers of an architecture that no table knows, or all
architectures that a program does not tell apart.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

from unotify.abi import tables
from unotify.abi.arch import X32_BIT, Arch
from unotify.abi.seccomp import ACTION_MASK, Action
from unotify.bpf.instructions import ARCH_OFFSET, NR_OFFSET, Instruction, Program
from unotify.bpf.symbolic import Box, Region, regions
from unotify.bpf.wordsets import FULL, WordSet

__all__ = ["Answers", "Kind", "Spot", "common", "kind_of", "spots"]

_AUDIT: Final = ARCH_OFFSET // 4
_NR: Final = NR_OFFSET // 4


class Kind(Enum):
    """What an action comes to."""

    LETS = "lets the call go on"
    ASKS = "asks somebody else"
    REFUSES = "refuses or ends"


def kind_of(action: int) -> Kind:
    """What the action, as a filter returns it, comes to; one the kernel does not know kills."""
    match action & ACTION_MASK:
        case Action.ALLOW | Action.LOG:
            return Kind.LETS
        case Action.USER_NOTIF | Action.TRACE:
            return Kind.ASKS
        case _:
            return Kind.REFUSES


@dataclass(frozen=True, slots=True)
class Spot:
    """A part of the space of calls that has a name.

    Attributes:
        arch: The architecture, or ``None``: all that are not told apart.
        call: The kernel's name of the call, or ``None``: all numbers without one.
        nr: The number of *call*, or ``None``.
    """

    arch: Arch | None
    call: str | None = None
    nr: int | None = None

    def __str__(self) -> str:
        if self.arch is None:
            return "other architectures"
        return f"{self.arch.label} {self.call or 'unknown numbers'}"


class Answers:
    """All answers of one program.

    Attributes:
        regions: The program's regions.
        architectures: Those that it tells apart from architectures that nobody has.
        aware: Whether it looks at the architecture at all.

    Raises:
        NotExpressible: The program computes what cannot be followed.
        InvalidProgram: The kernel would not take it.
        FilterTooLarge: It tells too many cases apart.
    """

    def __init__(self, program: Program | Sequence[Instruction]) -> None:
        self.regions = regions(program)
        self.architectures = _told_apart(self.regions)
        self.aware = bool(self.architectures)
        self._by_audit: dict[int, dict[int, list[Region]]] = {}

    def of(self, arch: Arch, nr: int) -> list[Region]:
        """The regions of one number, cut down to it."""
        found = []
        for region in self._of_arch(arch.audit).get(nr, ()):
            box = region.box.narrowed(_AUDIT, _one(arch.audit))
            box = box and box.narrowed(_NR, _one(nr))
            if box is not None:
                found.append(Region(box, region.action))
        return found

    def kinds(self, arch: Arch, call: str) -> frozenset[Kind]:
        """What becomes of *call*; empty if *arch* has no such call."""
        nr = tables.number(call, arch)
        if nr is None:
            return frozenset()
        return frozenset(kind_of(region.action) for region in self._of_arch(arch.audit).get(nr, ()))

    def is_open(self, arch: Arch, call: str) -> bool:
        """Whether it may always go on."""
        return self.kinds(arch, call) == {Kind.LETS}

    def may_go_on(self, arch: Arch, call: str) -> bool:
        """Whether it may go on with some arguments."""
        return Kind.LETS in self.kinds(arch, call)

    def is_restricted(self, arch: Arch, call: str) -> bool:
        """Whether it exists, and is not always let go on."""
        kinds = self.kinds(arch, call)
        return bool(kinds) and kinds != {Kind.LETS}

    def unknown(self, arch: Arch) -> list[Region]:
        """The regions of the numbers that no table knows."""
        return self._cut(arch.audit, _unknown(arch))

    def foreign(self) -> list[Region]:
        """The regions of architectures that nobody has."""
        return self._cut(_nobody(), None)

    def _cut(self, audit: int, numbers: WordSet | None) -> list[Region]:
        found = []
        for region in self.regions:
            box = region.box.narrowed(_AUDIT, _one(audit))
            if box is not None and numbers is not None:
                box = box.narrowed(_NR, numbers)
            if box is not None:
                found.append(Region(box, region.action))
        return found

    def _of_arch(self, audit: int) -> Mapping[int, list[Region]]:
        found = self._by_audit.get(audit)
        if found is None:
            found = self._by_audit[audit] = {}
            numbers = _numbers_of_audit(audit)
            for region in self.regions:
                if audit in region.box.audit:
                    for nr in _listed(region.box.nr, numbers):
                        found.setdefault(nr, []).append(region)
        return found


def common(one: Box, other: Box) -> Box | None:
    """The calls of both boxes; ``None`` if there are none."""
    found: Box | None = one
    for index, words in enumerate(other.words):
        if found is None:
            break
        found = found.narrowed(index, words)
    return found


def spots(box: Box, architectures: Iterable[Arch]) -> Iterator[tuple[Spot, Box]]:
    """Cut *box* into its spots.

    Args:
        box: What to cut.
        architectures: Those that matter; all others make one spot.
    """
    listed = tuple(architectures)
    for arch in listed:
        here = box.narrowed(_AUDIT, _one(arch.audit))
        if here is None:
            continue
        names = tables.names(arch)
        for nr in _listed(here.nr, _sorted_numbers(arch)):
            cut = here.narrowed(_NR, _one(nr))
            if cut is not None:
                yield Spot(arch, names[nr], nr), cut
        rest = here.narrowed(_NR, _unknown(arch))
        if rest is not None:
            yield Spot(arch), rest
    others = box.narrowed(_AUDIT, ~_words(arch.audit for arch in listed))
    if others is not None:
        yield Spot(None), others


def _told_apart(found: Sequence[Region]) -> tuple[Arch, ...]:
    nobody = _nobody()
    audits = {
        arch.audit
        for arch in Arch
        if any(
            arch.audit in region.box.audit and nobody not in region.box.audit for region in found
        )
    }
    return tuple(arch for arch in Arch if arch.audit in audits)


@cache
def _nobody() -> int:
    """An audit architecture that nobody has."""
    return next(audit for audit in range(FULL, 0, -1) if audit not in {a.audit for a in Arch})


@cache
def _one(word: int) -> WordSet:
    return WordSet(((word, word),))


def _words(numbers: Iterable[int]) -> WordSet:
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return WordSet(tuple(ranges))


@cache
def _sorted_numbers(arch: Arch) -> tuple[int, ...]:
    return tuple(sorted(tables.names(arch)))


@cache
def _numbers_of_audit(audit: int) -> tuple[int, ...]:
    return tuple(sorted(nr for arch in Arch if arch.audit == audit for nr in tables.names(arch)))


@cache
def _unknown(arch: Arch) -> WordSet:
    high = WordSet(((X32_BIT, 2 * X32_BIT - 1),))
    there = ~_words(tables.names(arch))
    if arch is Arch.X32:
        return there & high
    return there & ~high if arch is Arch.X86_64 else there


def _listed(words: WordSet, numbers: Sequence[int]) -> Iterator[int]:
    """Those of the sorted *numbers* that are in *words*."""
    if words.ranges is None:
        yield from (number for number in numbers if number in words)
        return
    for first, last in words.ranges:
        yield from numbers[bisect_left(numbers, first) : bisect_right(numbers, last)]
