"""An overlay as somebody would make it who is in the target's user namespace.

Theory of operation. An overlay looks at its layers with the rights of whoever *made* it, not of who
uses it: of a directory that is in several layers it asks the uppermost alone who may look into it.
So whoever may have one made by a stronger one gets to see what is closed to him. It is made by a
process in the user namespace of the target, with the target's rights there
(`unotify.kernel.abroad`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, Protocol

from unotify.calls.acts import Act
from unotify.kernel._libc import syscall
from unotify.kernel.acts import Outcome, number

__all__ = ["OVERLAY", "make"]

OVERLAY: Final = "overlay-mount"
"""An act of several calls, for a process that ends afterwards."""

_CLONE_NEWNS: Final = 0x20000
_CLOEXEC: Final = 0x1
_SET_FLAG, _SET_STRING, _SET_FD, _CREATE = 0, 1, 5, 6


class _Holding(Protocol):
    @property
    def fd(self) -> int: ...


def make(act: Act, pins: Mapping[str, _Holding]) -> Outcome:
    """Make the overlay, for good in the mount namespace of its layers.

    Args:
        act: Its values are ``options``, ``name`` or ``name=value`` with NULs between them, and
            ``attributes``, the ``MOUNT_ATTR_*`` of the mount.
        pins: That ``namespace``, and the layers in their order, as ``NUMBER KEY``.

    Returns:
        With a descriptor of the mount.
    """
    options, attributes = act.values["options"], act.values["attributes"]
    assert isinstance(options, bytes)
    made = _made(options, int(attributes or 0), pins)
    return Outcome(min(made, 0), max(made, -1))


def _made(options: bytes, attributes: int, pins: Mapping[str, _Holding]) -> int:
    done = syscall(number("setns"), pins["namespace"].fd, _CLONE_NEWNS)
    if done < 0:
        return done
    context = syscall(number("fsopen"), b"overlay", _CLOEXEC)
    if context < 0:
        return context
    try:
        steps: list[tuple[int, bytes | None, bytes | None, int]] = []
        for option in options.split(b"\0") if options else ():
            key, equals, value = option.partition(b"=")
            steps.append((_SET_STRING, key, value, 0) if equals else (_SET_FLAG, key, None, 0))
        for name, pinned in pins.items():
            if name != "namespace":
                steps.append((_SET_FD, name.partition(" ")[2].encode(), None, pinned.fd))
        steps.append((_CREATE, None, None, 0))
        for step in steps:
            done = syscall(number("fsconfig"), context, *step)
            if done < 0:
                return done
        return syscall(number("fsmount"), context, _CLOEXEC, attributes)
    finally:
        os.close(context)
