"""The kernel's named flags and choices, by class: ``MountFlags.MS_BIND``.

A class is made when first asked for; the stub beside this file lists them all.
Values are those of x86-64, which are the generic ones. Some architectures spell
some of them differently (O_DIRECTORY, MAP_ANONYMOUS, SIGUSR1 ...): each class
translates with ``from_abi`` and ``to_abi``.

Decoding never fails: flags keep bits that have no name, and ``from_abi`` of a
choice returns a plain int for a value that has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import KEEP, IntEnum, IntFlag
from functools import cache
from typing import Any, Self

from unotify.abi import seccomp
from unotify.abi._constants import TEXT
from unotify.abi.arch import Arch
from unotify.abi.hints import nearest

__all__ = ["Choice", "Flags"]

_ELSEWHERE = ("FilterFlag", "Operation")

# How many combinations of flags a class remembers: a target chooses them, so not without end.
_REMEMBERED = 4096


class Flags(IntFlag, boundary=KEEP):
    """A set of bits; unknown ones are kept.

    Some sets hold one value in their lower bits (the access mode in OpenFlags, the
    type in SocketType): `name` spells it as one word, ``SOCK_RAW|SOCK_CLOEXEC``.
    """

    @classmethod
    def _missing_(cls, value: object) -> Any:
        made = super()._missing_(value)
        if isinstance(made, cls):
            made._name_ = _spell(cls, int(made))
            if len(cls._value2member_map_) > _REMEMBERED:
                cls._value2member_map_.pop(int(made), None)
        return made

    @classmethod
    def from_abi(cls, value: int, arch: Arch) -> Self:
        """Translate the bits that *arch* uses into the generic ones.

        A negative *value* means the bits of that 32-bit or 64-bit register.
        """
        if value < 0:
            value &= 0xFFFFFFFF if value >= -(1 << 31) else (1 << 64) - 1
        pairs = _differences(cls.__name__, arch)
        return cls(_translate(value, _field(cls.__name__), [(n, g) for g, n in pairs]))

    @classmethod
    def to_abi(cls, value: int, arch: Arch) -> int:
        """Translate generic bits into those that *arch* uses.

        A bit whose name the architecture lacks stays as it is.
        """
        pairs = _differences(cls.__name__, arch)
        return _translate(int(value), _field(cls.__name__), pairs)


class Choice(IntEnum):
    """One of several values."""

    @classmethod
    def from_abi(cls, value: int, arch: Arch) -> Self | int:
        """The member that *value* means on *arch*, or *value* where none does."""
        there = {theirs: ours for ours, theirs in _differences(cls.__name__, arch)}
        try:
            return cls(there.get(value, value))
        except ValueError:
            return value

    @classmethod
    def to_abi(cls, value: int, arch: Arch) -> int:
        """The number that stands for *value* on *arch*."""
        return int(dict(_differences(cls.__name__, arch)).get(value, value))


def _translate(value: int, field: int, pairs: Iterable[tuple[int, int]]) -> int:
    # The field is one value and changes as a whole; of the others each bit for itself.
    low = dict(pairs).get(value & field, value & field)
    bits = [(old, new) for old, new in pairs if old & ~field]
    kept = made = value & ~field
    for old, _ in bits:
        # All cleared before any is set, so that exchanged bits do not meet.
        made &= ~old
    for old, new in bits:
        if kept & old == old:
            made |= new
    return made | low


def _spell(cls: type[Flags], value: int) -> str:
    field = _field(cls.__name__)
    # Not by value: that map also holds the combination that is being named.
    known = {int(member): name for name, member in reversed(cls.__members__.items())}
    words: list[str] = []
    low, rest = value & field, value & ~field
    if low:
        # A zero, such as O_RDONLY, is only said where there is nothing else to say.
        words.append(known.get(low, hex(low)))
    for flag in cls:
        bit = int(flag)
        if bit & rest:
            words.append(str(flag.name))
            rest &= ~bit
    return "|".join([*words, *([hex(rest)] if rest else [])])


@cache
def _rows() -> dict[str, tuple[str, str]]:
    # Class, or class@architecture: its kind, and its names and values.
    rows = {}
    for line in TEXT.splitlines():
        key, kind, members = line.split(" ", 2)
        name, at, archs = key.partition("@")
        for arch in archs.split(","):
            rows[name + at + arch] = (kind, members)
    return rows


@cache
def _field(name: str) -> int:
    kind, _ = _rows()[name]
    return int(kind.partition("/")[2] or "0", 16)


@cache
def _differences(name: str, arch: Arch) -> tuple[tuple[int, int], ...]:
    # Pairs of generic and native values, where they differ.
    rows = _rows()
    _, theirs = rows.get(f"{name}@{arch.label}", ("", ""))
    ours = dict(_parse(rows[name][1]))
    return tuple((ours[member], value) for member, value in _parse(theirs))


def _parse(text: str) -> list[tuple[str, int]]:
    return [(name, int(value, 0)) for name, value in (item.split("=") for item in text.split())]


@cache
def _classes() -> tuple[str, ...]:
    return tuple(name for name in _rows() if "@" not in name)


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        return getattr(seccomp, name)
    if name not in _rows() or "@" in name:
        near = nearest(name, _classes())
        raise AttributeError(
            f"there is no class of constants {name!r}" + (f"; {near}" if near else "")
        )
    kind, members = _rows()[name]
    base: Any = Choice if kind == "enum" else Flags
    made = base(name, _parse(members), module=__name__)
    made.__doc__ = f"The kernel's names for what `unotify.abi.model` calls {name}."
    globals()[name] = made
    return made


def __dir__() -> list[str]:
    return sorted({*__all__, *_classes(), *_ELSEWHERE})
