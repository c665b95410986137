"""Options of file systems: which a policy lets through, and what they are cut down to.

Pure. A policy names file systems, and for some of them further options; a few options are known to
be harmless, and are let through wherever the file system is.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from unotify.errors import PolicyError, Refused

__all__ = ["FileSystems", "Option", "parse_options", "parse_size", "without_more_than"]

_ALWAYS: Final = frozenset(("ro", "rw", "sync", "async", "dirsync", "lazytime", "nolazytime"))
"""What the kernel itself knows, of any file system."""

_HARMLESS: Final[Mapping[str, frozenset[str]]] = {
    "tmpfs": frozenset(("size=*", "nr_blocks=*", "nr_inodes=*", "mode=*", "uid=*", "gid=*")),
    "proc": frozenset(("hidepid=*", "gid=*", "subset=*")),
    "overlay": frozenset(
        ("lowerdir=*", "lowerdir+=*", "upperdir=*", "workdir=*", "volatile", "userxattr")
    ),
    "ext4": frozenset(("noload", "norecovery")),
    "xfs": frozenset(("norecovery", "nouuid")),
}

_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        key: Its name.
        value: What it is set to; ``None`` for a flag.
    """

    key: str
    value: str | None = None

    def __str__(self) -> str:
        return self.key if self.value is None else f"{self.key}={self.value}"


def parse_options(text: str) -> list[Option]:
    """Read the ``data`` of mount(2): options with commas between them.

    A comma after a backslash, or in double quotes, separates nothing.
    """
    found: list[Option] = []
    part, quoted, escaped = "", False, False
    for character in text + ",":
        if character == "," and not quoted and not escaped:
            if part:
                key, equals, value = part.partition("=")
                found.append(Option(key, value if equals else None))
            part = ""
            continue
        quoted ^= character == '"' and not escaped
        escaped = character == "\\" and not escaped
        part += character
    if part:  # quotes that never end
        raise Refused("an option with a quote that has no end", errno=errno.EINVAL)
    return found


class FileSystems:
    """The file systems that may be mounted, and the options that each may have.

    Args:
        given: Their types, or a table with options for each: ``name``, ``name=value``, or
            ``name=*`` for any value.
    """

    def __init__(self, given: Iterable[str] | Mapping[str, Sequence[str]]) -> None:
        options = given if isinstance(given, Mapping) else dict.fromkeys(given, ())
        self._options = {
            name: _ALWAYS | _HARMLESS.get(name, frozenset()) | set(more)
            for name, more in options.items()
        }

    def __contains__(self, fstype: object) -> bool:
        return fstype in self._options

    def require(self, fstype: str, option: Option) -> None:
        """Raise `Refused`, EPERM, unless *fstype* may have *option*."""
        known = self._options[fstype]
        if str(option) in known:
            return
        if option.value is not None and f"{option.key}=*" in known:
            return
        raise Refused(f"{fstype} may not have the option {option.key}", errno=errno.EPERM)


def parse_size(text: str) -> int:
    """Read a size in bytes, such as ``64m``, as tmpfs does; raises `PolicyError`."""
    number = text.rstrip("kKmMgGtT")
    unit = text[len(number) :].lower()
    try:
        return int(number, 0) * _UNITS[unit]
    except (ValueError, KeyError):
        raise PolicyError(f"{text!r} is no size", hint='write bytes, or "64m"') from None


def without_more_than(options: Iterable[Option], size: int) -> list[Option]:
    """*options* of a tmpfs, with no more than *size* bytes, and a file for each 4 KiB of it."""
    limits = {"size": size, "nr_blocks": size // 4096, "nr_inodes": max(size // 4096, 16)}
    left = {"size", "nr_inodes"}
    found = []
    for option in options:
        limit = limits.get(option.key)
        if limit is None:
            found.append(option)
            continue
        try:
            asked = parse_size(option.value or "")
        except PolicyError:
            asked = 0  # a percentage of the machine's memory, or nonsense
        if 0 < asked <= limit:
            found.append(option)
            left.discard("nr_inodes" if option.key == "nr_inodes" else "size")
    return [
        *found,
        *(Option(key, str(limits[key])) for key in ("size", "nr_inodes") if key in left),
    ]
