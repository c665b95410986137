"""Answers without Python: what the native part is given, and whether it is used.

The C files (`_native.c` and those beside it) are an option of the installation.
``UNOTIFY_BACKEND=python`` does without them, ``UNOTIFY_BACKEND=native`` insists on them; what is
answered is the same.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from struct import Struct
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from unotify.abi.structs import NOTIF_SIZES, NotifSizes
from unotify.errors import KernelError, Unsupported
from unotify.kernel._libc import NATIVE
from unotify.kernel.interface import OUTCOMES, Listener, Origin, Shortcut, Tally
from unotify.kernel.listener import LinuxListener

if TYPE_CHECKING:
    from unotify.kernel.journaled import Reserved

__all__ = [
    "NativeServer",
    "absence",
    "backend",
    "installed",
    "module",
    "tell_usable",
    "unprivileged",
    "usable",
]

_FACE: Final = 10
"""The number of all that the C files offer and expect; it changes with that, in both places."""


def _imported() -> ModuleType | None:
    try:
        return import_module("unotify.kernel._native")
    except ImportError:
        return None


_built: Final = _imported()
# What an older or newer tree was built with is not asked: it may mean something else.
_module: ModuleType | None = _built if getattr(_built, "FACE", 0) == _FACE else None

_NO_DIRFD: Final = 255
_RULE: Final = Struct("=qiiIIIIIBBBx")
_MAKING: Final = Struct("=QQIIIBBxx")
_DEVICE: Final = Struct("=5I")
_TEST: Final = Struct("=IIII")
_TALLY: Final = Struct("=iiiiQQ")


def backend() -> str:
    """``native`` or ``python``: who answers what takes no handler.

    Raises:
        Unsupported: The environment wants what is not there.
    """
    wanted = os.environ.get("UNOTIFY_BACKEND", "")
    if wanted not in ("", "native", "python"):
        raise Unsupported(
            "native",
            "UNOTIFY_BACKEND",
            f"{wanted!r} is no backend",
            hint="it is native or python",
        )
    if wanted == "native" and _module is None:
        raise Unsupported(
            "native",
            "UNOTIFY_BACKEND",
            f"the native part of unotify is {absence()}",
            hint="install unotify again where there is a C compiler, or unset UNOTIFY_BACKEND",
        )
    return "python" if wanted == "python" or _module is None else "native"


def absence() -> str:
    """Why there is no native part, as the end of a sentence."""
    return "not installed" if _built is None else "of another version of unotify"


def installed() -> bool:
    """Whether there is a native part at all."""
    return _module is not None


def tell_usable(mount: int) -> None:
    """Tell the native part, if there is one, that devices are of use on this mount.

    Args:
        mount: By the number that no other ever has (STATX_MNT_ID_UNIQUE).
    """
    if _module is not None:
        _module.tell_usable(mount)


def module() -> Any:
    """The native part; who asks has seen that it is the backend."""
    assert _module is not None
    return _module


class NativeServer:
    """Waits for listeners and answers by shortcuts; implements `interface.Server`.

    Args:
        epoll: What the listeners are in, and more that is to end `serve`.
        ring: An eventfd that rings when a notification comes after `doze`.
        shortcuts: In the order in which they are tried.
        counting: Whether somebody is going to ask for `tallies`.

    Raises:
        KernelError: ``/proc`` is not there, or the kernel is too old (before Linux 6.8).
    """

    def __init__(
        self, epoll: int, ring: int, shortcuts: Sequence[Shortcut], *, counting: bool = False
    ) -> None:
        # Only now: most who start programs have no use for it.
        from unotify.abi.constants import OpenFlags

        tables = _Tables.of(shortcuts)
        try:
            self._server: Any = module().Server(
                epoll,
                ring,
                NATIVE.audit,
                OpenFlags.to_abi(OpenFlags.O_LARGEFILE, NATIVE),
                tables.rules,
                tables.tests,
                tables.makings,
                tables.devices,
                tables.programs,
                tables.texts,
                counting,
            )
        except OSError as error:
            raise KernelError(error.errno or errno.ENOSYS, "statx(2)") from error
        self._listeners: dict[int, LinuxListener] = {}
        self._slots: dict[int, Reserved] = {}
        self.serve: Any = self._server.serve
        self.since: Any = self._server.since
        self.take: Any = self._server.take
        self.doze: Any = self._server.doze
        self.retire: Any = self._server.retire

    def add(self, listener: Listener, origin: Origin) -> bool:
        """Receive from *listener* too; False: it is of a kind that wants to be asked."""
        # What only looks like a listener is one.
        if not isinstance(listener, LinuxListener) or not usable(listener.sizes):
            return False
        fd, address = listener.fileno(), 0
        if type(listener) is not LinuxListener:
            from unotify.kernel.journaled import JournaledListener

            if type(listener) is not JournaledListener:
                return False
            slot = listener.reserve()
            if slot is None:
                return False
            self._slots[fd] = slot
            address = slot.address
        self._listeners[fd] = listener
        ours = Origin.OURS in origin and unprivileged()
        stays, home = Origin.STAYS in origin, Origin.HOME in origin
        self._server.add(fd, ours, stays, home, address)
        return True

    def drop(self, listener: Listener) -> None:
        """Receive from *listener* no more; by who serves, or when nobody does."""
        fd = listener.fileno()
        if self._listeners.get(fd) is listener:
            self._server.drop(fd)
            del self._listeners[fd]
            self._give_back(fd)

    def hold(self, listener: Listener, held: bool) -> None:
        """Whether *listener* is received from here for now: `serve` comes back for it."""
        if self._listeners.get(listener.fileno()) is listener:
            self._server.hold(listener.fileno(), held)

    def whose(self) -> Listener | None:
        """Where what came last is from; ``None`` if that is not served any more."""
        fd, _ = self._server.received()
        return self._listeners.get(fd)

    def received(self) -> tuple[Listener, bytearray] | None:
        """The listener, and what came from it last; ``None`` if that is not served any more."""
        fd, notification = self._server.received()
        listener = self._listeners.get(fd)
        if listener is None:
            return None
        slot = self._slots.pop(fd, None)
        if slot is not None:
            slot.used(notification)
            follower = slot.listener.reserve()
            if follower is None:
                self._server.drop(fd)
            else:
                self._slots[fd] = follower
                self._server.receive_at(fd, follower.address)
        return listener, bytearray(notification)

    def counts(self) -> tuple[int, int, list[int]]:
        """Targets that were gone; racy continues; answers by bit length of their microseconds."""
        gone, racy, buckets = self._server.counts()
        return gone, racy, buckets

    def tallies(self) -> list[Tally]:
        """What was answered since this was asked last; nobody else asks meanwhile.

        But for what came of calls that were under way when their listener was dropped, at the end.
        """
        return [
            Tally(listener, nr, OUTCOMES[outcome - 1], *rest)
            for fd, nr, outcome, *rest in _TALLY.iter_unpack(self._server.tallies())
            if (listener := self._listeners.get(fd)) is not None
        ]

    def close(self) -> None:
        """Free what it keeps; it serves no more."""
        self._server.close()
        self._listeners.clear()
        for fd in list(self._slots):
            self._give_back(fd)

    def _give_back(self, fd: int) -> None:
        slot = self._slots.pop(fd, None)
        if slot is not None:
            slot.give_back()


def unprivileged() -> bool:
    """Whether whoever we start now can be nobody else than we are: we have no capability.

    False also if we cannot look: there is no ``/proc``, or no descriptor is left.
    """
    from unotify.kernel.rights import mine

    try:
        ours = mine()
    except OSError:
        return False
    return not ours.permitted and len({*os.getresuid()}) == len({*os.getresgid()}) == 1


def usable(sizes: NotifSizes) -> bool:
    """Whether the native part is there and knows what this kernel sends and takes."""
    return backend() == "native" and sizes == NOTIF_SIZES


@dataclass(frozen=True)
class _Tables:
    rules: bytes
    tests: bytes
    makings: bytes
    devices: bytes
    programs: bytes
    texts: bytes

    @classmethod
    def of(cls, shortcuts: Sequence[Shortcut]) -> _Tables:
        rules: list[bytes] = []
        tests: list[bytes] = []
        makings: list[bytes] = []
        devices: list[bytes] = []
        programs, texts = bytearray(), bytearray()
        for each in shortcuts:
            first = len(tests)
            for below, negated, compared in each.tests:
                tests.append(_TEST.pack(below, negated, len(texts), len(compared)))
                for text in compared:
                    texts += text + b"\0"
            rules.append(
                _RULE.pack(
                    each.value,
                    each.nr,
                    each.verdict,
                    len(programs) // 8,
                    len(each.program) // 8,
                    first,
                    len(tests) - first,
                    len(makings),
                    _NO_DIRFD if each.dirfd is None else each.dirfd,
                    each.path,
                    each.flags,
                )
            )
            programs += each.program
            if (what := each.making) is not None:
                conditions = what.needed, what.lent, what.refused
                bounds = len(devices), len(what.devices)
                makings.append(_MAKING.pack(*conditions, *bounds, each.mode, each.dev))
                devices += [_DEVICE.pack(kind, *of, *to) for kind, of, to in what.devices]
        return cls(
            b"".join(rules),
            b"".join(tests),
            b"".join(makings),
            b"".join(devices),
            bytes(programs),
            bytes(texts) + b"\0",
        )
