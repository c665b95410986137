"""An OCI seccomp profile as it is written, each part with its place."""

from __future__ import annotations

from dataclasses import dataclass, field

from unotify.abi.arch import Arch
from unotify.policy.model import Place, Verdict

__all__ = ["Argument", "Entry", "Filter", "Profile"]


@dataclass(frozen=True, slots=True)
class Argument:
    """One item of ``args``.

    Attributes:
        index: Which argument.
        op: The operator's name.
        value: What with; with the mask operator the mask.
        value_two: With the mask operator what the masked bits must be.
    """

    index: int
    op: str
    value: int
    value_two: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """``includes`` or ``excludes``.

    Attributes:
        caps: Capabilities.
        arches: Architectures of the host, as the engines call them.
        kernel: The oldest kernel, or ``None``.
    """

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    kernel: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of ``syscalls``.

    Attributes:
        names: The calls.
        verdict: What it does.
        args: When.
        includes: Where it counts at all.
        excludes: Where it does not.
        place: Where it stands.
    """

    names: tuple[str, ...]
    verdict: Verdict
    args: tuple[Argument, ...]
    includes: Filter
    excludes: Filter
    place: Place


@dataclass(slots=True)
class Profile:
    """A profile, as it is written.

    Attributes:
        default: For calls without an entry.
        architectures: As listed.
        arch_map: By architecture of the host, those beside it.
        flags: Names of filter flags.
        listener_path: The socket that gets the listener, or ``None``.
        listener_metadata: What that socket is told, or ``None``.
        entries: In order.
        capabilities: Of the process, where the document is a bundle's whole configuration.
        notes: What is taken, but not as its author may think.
    """

    default: Verdict
    architectures: list[Arch] = field(default_factory=list)
    arch_map: dict[Arch, list[Arch]] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    listener_path: str | None = None
    listener_metadata: str | None = None
    entries: list[Entry] = field(default_factory=list)
    capabilities: frozenset[str] | None = None
    notes: list[str] = field(default_factory=list)
