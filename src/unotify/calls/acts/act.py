"""What is to be done for a target, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from unotify.abi.types import Address
from unotify.calls.layouts import Answer
from unotify.calls.lookups import Spot
from unotify.calls.messages import Message

__all__ = ["CREATING", "Act", "Out", "Replacement"]

Replacement: TypeAlias = bytes | Callable[[bytes], bytes]
"""What an argument is replaced with: bytes, or a function of what the target gave."""

CREATING: Final = frozenset({"openat", "mkdirat", "mknodat", "bind"})
"""Acts whose result the caller's umask changes."""


@dataclass(frozen=True, slots=True)
class Out:
    """Something that the act writes, and the target is to find in its memory.

    Attributes:
        address: Where, in the target.
        size: How large our buffer is.
        answer: What becomes of our kernel's bytes in the target's ABI.
    """

    address: Address
    size: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Act:
    """What is to be done, complete but for descriptors.

    Attributes:
        name: The system call that does it.
        call: The one that the target made.
        values: Numbers, and copies of memory, by argument; ``None`` is a NULL.
        spots: Where path arguments lead.
        fds: Descriptors of the target, by argument.
        outs: What it writes.
        messages: Of a sending act.
        real_ids: Rights are those of the real ids (access(2)).
        returns_fd: Success is a new descriptor.
        small: A file of 2 GiB or more is EOVERFLOW: a 32-bit caller without O_LARGEFILE.
        as_supervisor: With the supervisor's own rights.
        lent: Capabilities of the supervisor that are lent for this act, as a bit set; it is done
            in the supervisor's user namespace then.
    """

    name: str
    call: str
    values: Mapping[str, int | bytes | None] = field(default_factory=dict)
    spots: Mapping[str, Spot] = field(default_factory=dict)
    fds: Mapping[str, int] = field(default_factory=dict)
    outs: Mapping[str, Out] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    real_ids: bool = False
    returns_fd: bool = False
    small: bool = False
    as_supervisor: bool = False
    lent: int = 0

    @property
    def creates(self) -> bool:
        """Whether the caller's umask matters."""
        if self.name == "openat":
            # O_CREAT, or the bit of O_TMPFILE that is not O_DIRECTORY.
            return bool(int(self.values["flags"] or 0) & (0o100 | 0o20000000))
        return self.name in CREATING

    @property
    def cloexec(self) -> bool:
        """Whether a new descriptor is to be closed by the target's exec."""
        return bool(int(self.values.get("flags") or 0) & 0o2000000)
