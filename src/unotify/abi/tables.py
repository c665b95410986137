"""Call numbers: by name, by number, and by what a notification says.

A call belongs to an ABI, not to a process (B2), and any number can arrive (B1):
-1, negative ones, x32's, those of a newer kernel. Each has a defined answer here;
nothing but a wrong type raises.

The numbers are in `_numbers`, one text that all architectures share; a
column of it becomes a dictionary when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from unotify.abi.arch import X32_BIT, Arch

__all__ = [
    "IPC_CALLS",
    "MULTIPLEXERS",
    "SOCKET_CALLS",
    "CallId",
    "headers_version",
    "identify",
    "name",
    "names",
    "number",
    "numbers",
    "subcall",
]

SOCKET_CALLS: Final[Mapping[int, str]] = MappingProxyType(
    dict(
        enumerate(
            [
                "socket",
                "bind",
                "connect",
                "listen",
                "accept",
                "getsockname",
                "getpeername",
                "socketpair",
                "send",
                "recv",
                "sendto",
                "recvfrom",
                "shutdown",
                "setsockopt",
                "getsockopt",
                "sendmsg",
                "recvmsg",
                "accept4",
                "recvmmsg",
                "sendmmsg",
            ],
            start=1,
        )
    )
)
"""What ``socketcall``'s first argument selects; the second points at the arguments (B6)."""

IPC_CALLS: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "semop",
        2: "semget",
        3: "semctl",
        4: "semtimedop",
        11: "msgsnd",
        12: "msgrcv",
        13: "msgget",
        14: "msgctl",
        21: "shmat",
        22: "shmdt",
        23: "shmget",
        24: "shmctl",
    }
)
"""What the lower 16 bits of ``ipc``'s first argument select; the upper ones are a version (B6)."""

MULTIPLEXERS: Final[Mapping[str, Mapping[int, str]]] = MappingProxyType(
    {"ipc": IPC_CALLS, "socketcall": SOCKET_CALLS}
)
"""The calls that are many calls, on i386 and other old ABIs, and what they select."""


class CallId(NamedTuple):
    """Which call a notification is about.

    Attributes:
        name: The kernel's name, ``None`` for a number that the tables lack.
        arch: The ABI, ``None`` for an unknown audit value.
        nr: The number as it came, x32 bit included.
    """

    name: str | None
    arch: Arch | None
    nr: int


# x32 shares the audit value of x86-64 and is told by the number alone (B4).
_BY_AUDIT: Final = {arch.audit: arch for arch in Arch if arch is not Arch.X32}


@lru_cache(maxsize=1024)
def identify(audit: int, nr: int) -> CallId:
    """Tell which call ``seccomp_data.arch`` and ``seccomp_data.nr`` mean.

    Args:
        audit: An ``AUDIT_ARCH_*`` value; unknown ones are fine.
        nr: The number, signed, as the kernel reports it; any number is fine (B1).

    Returns:
        The name and the ABI, each ``None`` where unknown. A non-negative number
        with the x32 bit under x86-64's audit value is x32's (B4); negative ones
        (-1 has all bits set) are nobody's and stay with the ABI of *audit*.
    """
    arch: Arch | None = _BY_AUDIT.get(audit)
    if arch is None:
        return CallId(None, None, nr)
    if arch is Arch.X86_64 and nr >= X32_BIT:
        arch = Arch.X32
    return CallId(name(nr, arch), arch, nr)


def number(name: str, arch: Arch) -> int | None:
    """Return the number of call *name* on *arch* (x32's with its bit), ``None`` if it has none."""
    return numbers(arch).get(name)


def name(nr: int, arch: Arch) -> str | None:
    """Return the kernel's name for number *nr* on *arch*, ``None`` if it has none."""
    return names(arch).get(nr)


@cache
def numbers(arch: Arch) -> Mapping[str, int]:
    """Return every name that *arch* knows, with its number; aliases included."""
    from unotify.abi._numbers import TABLE

    heading, *lines = TABLE.splitlines()
    (column,) = (
        at for at, labels in enumerate(heading.split(" ")) if arch.label in labels.split("/")
    )
    found = {}
    for line in lines:
        cells = line.split(" ")
        if cells[column] != "-":
            found[cells[0]] = int(cells[column])
    return MappingProxyType(found)


@cache
def names(arch: Arch) -> Mapping[int, str]:
    """Return every number that *arch* knows, with the kernel's name for it."""
    found: dict[int, str] = {}
    for name, nr in numbers(arch).items():
        found.setdefault(nr, name)
    return MappingProxyType(found)


def subcall(name: str, selector: int) -> str | None:
    """Return what multiplexer *name* does for its first argument *selector*.

    ``None`` where *name* is no multiplexer or the selector means nothing.
    """
    calls = MULTIPLEXERS.get(name)
    if calls is None:
        return None
    # The kernel keeps the interface's version in the upper half of ipc's selector.
    return calls.get(selector & 0xFFFF if name == "ipc" else selector & 0xFFFFFFFF)


def headers_version(arch: Arch) -> str:
    """Return the version of the kernel headers that *arch*'s numbers come from."""
    from unotify.abi._numbers import HEADERS

    return HEADERS[arch.label]
