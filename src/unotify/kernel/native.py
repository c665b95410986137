"""Answers without Python: what the native part is given, and whether it is used.

The C files (`_native.c` and those beside it) are an option of the installation.
``UNOTIFY_BACKEND=python`` does without them, ``UNOTIFY_BACKEND=native`` insists on them; what is
answered is the same.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from struct import Struct
from types import ModuleType
from typing import Any, Final

from unotify.abi.structs import NOTIF_SIZES, NotifSizes
from unotify.errors import KernelError, Unsupported
from unotify.kernel._libc import NATIVE
from unotify.kernel.interface import OUTCOMES, Origin, Shortcut, Tally

__all__ = [
    "SOURCES",
    "NativeServer",
    "absence",
    "backend",
    "installed",
    "module",
    "tell_usable",
    "unprivileged",
    "usable",
]

_FACE: Final = 7
"""The number of all that the C files offer and expect; it changes with that, in both places."""


def _imported() -> ModuleType | None:
    try:
        return import_module("unotify.kernel._native")
    except ImportError:
        return None


_built: Final = _imported()
# What an older or newer tree was built with is not asked: it may mean something else.
_module: ModuleType | None = _built if getattr(_built, "FACE", 0) == _FACE else None

SOURCES: Final = 8
"""Listeners that one server waits for, at most."""

_NO_DIRFD: Final = 255
_SOURCE: Final = Struct("=iBBxB")
_RULE: Final = Struct("=iiIIIIIBBBx")
_MAKING: Final = Struct("=QQIIIBBxx")
_DEVICE: Final = Struct("=5I")
_ORIGINS: Final = (Origin.OURS, Origin.STAYS, Origin.HOME)
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
        sources: Listeners, and what is known of their targets.
        shortcuts: In the order in which they are tried.
        counting: Whether somebody is going to ask for `tallies`.

    Raises:
        KernelError: ``/proc`` is not there, or the kernel is too old (before Linux 6.8).
    """

    def __init__(
        self,
        epoll: int,
        ring: int,
        sources: Mapping[int, Origin],
        shortcuts: Sequence[Shortcut],
        *,
        counting: bool = False,
    ) -> None:
        # Only now: most who start programs have no use for it.
        from unotify.abi.constants import OpenFlags

        tables = _Tables.of(shortcuts)
        try:
            self._server: Any = module().Server(
                epoll,
                ring,
                b"".join(
                    _SOURCE.pack(fd, *(each in origin for each in _ORIGINS))
                    for fd, origin in sources.items()
                ),
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
        self.serve: Any = self._server.serve
        self.since: Any = self._server.since
        self.take: Any = self._server.take
        self.doze: Any = self._server.doze
        self.retire: Any = self._server.retire
        self.close: Any = self._server.close

    def received(self) -> tuple[int, bytearray]:
        """The listener, and what came from it last."""
        fd, notification = self._server.received()
        return fd, bytearray(notification)

    def counts(self) -> tuple[int, int, list[int]]:
        """Targets that were gone; racy continues; answers by bit length of their microseconds."""
        gone, racy, buckets = self._server.counts()
        return gone, racy, buckets

    def tallies(self) -> list[Tally]:
        """What was answered since this was asked last; nobody else asks meanwhile."""
        return [
            Tally(fd, nr, OUTCOMES[outcome - 1], *rest)
            for fd, nr, outcome, *rest in _TALLY.iter_unpack(self._server.tallies())
        ]


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
