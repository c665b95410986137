"""What an audit finds, and what looks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from unotify.abi.arch import Arch

__all__ = ["Check", "Finding", "Severity", "run"]

S = TypeVar("S")


class Severity(IntEnum):
    """How bad it is."""

    INFO = 0
    """Good to know."""
    LOW = 1
    """Untidy, or surprising one day."""
    MEDIUM = 2
    """Some programs break, or a determined one gets around a part."""
    HIGH = 3
    """What the filter is there for can be got around, or programs hang."""

    @property
    def label(self) -> str:
        """Its name in lower case."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: How bad it is.
        title: What was found.
        reason: Why that matters.
        cure: What to do about it.
        calls: The calls that it is about.
        architectures: Where; none if it is about the whole filter.
        check: Which check found it; filled in by :func:`run`.
        place: Where in a policy file, or ``None``.
    """

    severity: Severity
    title: str
    reason: str
    cure: str
    calls: tuple[str, ...] = ()
    architectures: tuple[Arch, ...] = ()
    check: str = ""
    place: str | None = None


@dataclass(frozen=True, slots=True)
class Check(Generic[S]):
    """One check.

    Attributes:
        name: How reports and options call it.
        summary: What it looks for.
        look: Finds.
    """

    name: str
    summary: str
    look: Callable[[S], Iterable[Finding]]


def run(checks: Iterable[Check[S]], subject: S) -> list[Finding]:
    """All that *checks* find in *subject*, the worst first; architectures joined."""
    found: dict[tuple[object, ...], Finding] = {}
    for check in checks:
        for one in check.look(subject):
            key = (check.name, one.severity, one.title, one.calls, one.place)
            known = found.get(key)
            there = known.architectures if known else ()
            archs = (*there, *(arch for arch in one.architectures if arch not in there))
            found[key] = Finding(
                one.severity,
                one.title,
                one.reason,
                one.cure,
                one.calls,
                archs,
                check.name,
                one.place,
            )
    return sorted(found.values(), key=lambda finding: -finding.severity)
