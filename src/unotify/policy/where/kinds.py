"""Which of the kernel's constants belong to what an expression asks about.

Each argument and each field of a struct takes the names of one class, and perhaps those
of its family: the kernel defines EFD_CLOEXEC as O_CLOEXEC, shmget() has permissions
among its flags. What the model knows no class for (ioctl's command, fcntl's argument)
takes any name; sizes, offsets and ids take none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from unotify.abi.hints import nearest
from unotify.abi.model import ArgSpec, Role
from unotify.policy.spelling import homes, members

__all__ = ["NUMBERS", "Takes", "of_argument", "of_field"]

_AT: Final = ("AtFlags", "OpenTreeFlags", "HandleFlags", "UnlinkFlags")
_FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(_AT, _AT),
    "CloneFlags": ("Signal",),
    "IpcFlags": ("mode",),
}
"""Classes whose names an argument of a class may have too."""

_FROM_OPEN: Final = frozenset(
    {
        "EpollCreateFlags",
        "EventfdFlags",
        "InotifyInitFlags",
        "OpenTreeFlags",
        "PidfdFlags",
        "SignalfdFlags",
        "SocketFlags",
        "SocketType",
        "TimerfdFlags",
        "UserfaultfdFlags",
    }
)
"""Classes with a CLOEXEC and a NONBLOCK of their own, which are those of open()."""

_NUMBERS: Final = frozenset({Role.SIZE, Role.OFFSET, Role.PID, Role.UID, Role.GID, Role.DEV})
_DESCRIPTORS: Final = frozenset({Role.FD, Role.DIRFD, Role.REMOTE_FD})

_FIELDS: Final[Mapping[tuple[str, str], str]] = {
    ("open_how", "flags"): "OpenFlags",
    ("open_how", "mode"): "mode",
    ("open_how", "resolve"): "ResolveFlags",
    ("clone_args", "flags"): "CloneFlags",
    ("clone_args", "exit_signal"): "Signal",
    ("mount_attr", "attr_set"): "MountAttr",
    ("mount_attr", "attr_clr"): "MountAttr",
    ("mount_attr", "propagation"): "MountFlags",
    ("sched_attr", "policy"): "SchedPolicy",
    ("xattr_args", "flags"): "XattrFlags",
    ("msghdr", "flags"): "MsgFlags",
    ("user_msghdr", "flags"): "MsgFlags",
    ("compat_msghdr", "flags"): "MsgFlags",
    ("futex_waitv", "flags"): "Futex2Flags",
    ("sockaddr", "family"): "SocketDomain",
}

_SHOWN: Final = 4


@dataclass(frozen=True, slots=True)
class Takes:
    """The constants that something takes.

    Attributes:
        own: Its class, in whose spelling plain numbers are written too; ``None`` for none.
        any: Whether names of all classes may be meant.
    """

    own: str | None = None
    any: bool = False

    def home(self, name: str) -> str | None:
        """As a name of which class *name* is meant; ``None`` if it does not belong here."""
        found = homes(name).get(name, ())
        if self.own in found:
            return self.own
        if self.any:
            return found[0]
        for kind in _FAMILIES.get(self.own or "", ()):
            if kind in found:
                return kind
        if self.own in _FROM_OPEN and "OpenFlags" in found:
            value = members("OpenFlags")[name]
            return self.own if value in members(self.own).values() else None
        return None

    def hint(self, name: str) -> str:
        """What could be meant instead of *name*, which does not belong here."""
        words = list(self._words())
        if not words:
            return "it takes numbers"
        more = ", ..." if len(words) > _SHOWN else ""
        return nearest(name, words) or f"it takes {', '.join(words[:_SHOWN])}{more}"

    def _words(self) -> Iterator[str]:
        if self.own is not None:
            yield from members(self.own)
            for kind in _FAMILIES.get(self.own, ()):
                yield from members(kind) if kind != self.own else ()


NUMBERS: Final = Takes()
"""What takes no constants."""


def of_argument(spec: ArgSpec) -> Takes:
    """What an argument takes."""
    if spec.enum is not None:
        return Takes(spec.enum)
    if spec.role is Role.MODE:
        return Takes("mode")
    if spec.role in _DESCRIPTORS:
        return Takes("descriptor")
    return Takes(any=spec.role not in _NUMBERS)


def of_field(struct: str, field: str) -> Takes:
    """What a field of a struct takes; ``sockaddr`` is any socket address."""
    kind = _FIELDS.get((struct, field))
    return Takes(kind, any=kind is None)
