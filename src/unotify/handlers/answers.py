"""What handlers share: errors of the supervisor's own calls as the target's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unotify.calls.lookups import Spot
from unotify.errors import KernelError, Refused
from unotify.kernel.interface import Held

__all__ = ["find", "find_there", "passing_errors"]


@contextmanager
def passing_errors() -> Iterator[None]:
    """What the kernel says to us in here, it says to the target.

    What says that the *supervisor* lacks something, and what to do about it, stays a fault: the
    target gets the fault reply, and the operator reads why.

    Raises:
        Refused: With the errno of the call that failed.
    """
    try:
        yield
    except KernelError as error:
        if error.hint is not None or not error.errno:
            raise
        raise Refused(str(error), errno=error.errno) from error


def find(caller: Any, argument: str, spot: Spot, *, allowed: bool) -> Held:
    """What *spot* names for *caller*, held; the kernel, too, tells first of paths.

    Args:
        caller: A `unotify.Target`.
        argument: The name to hold it by.
        spot: How it is looked up.
        allowed: Whether anything will be done; what cannot be looked up is EPERM if not.

    Raises:
        TargetError: It leads nowhere.
        KernelError: We may not look.
    """
    try:
        found: Held = caller.find(argument, spot)
    except KernelError:
        if allowed:
            raise
        # In a user namespace that nobody else can enter.
        raise Refused("it may not do that", errno=errno.EPERM) from None
    return found


def find_there(caller: Any, argument: str, spot: Spot, *, allowed: bool = True) -> Held:
    """As `find`, of something that has to exist."""
    found = find(caller, argument, spot, allowed=allowed)
    if found.name:
        raise Refused(f"{argument} is not there", errno=errno.ENOENT)
    return found
