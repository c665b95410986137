"""Descriptors of a target, for as long as a handler needs them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from unotify.calls import Call
from unotify.errors import KernelError, Refused

__all__ = ["stolen", "taken"]


@contextmanager
def taken(call: Call, argument: str) -> Iterator[int]:
    """A duplicate of the descriptor that *argument* of *call* names.

    Raises:
        Refused: EBADF: it names none.
        TargetGone: The target does not wait any more.
        KernelError: We have no ptrace rights over it.
    """
    with stolen(call, call.register(argument)) as fd:
        yield fd


@contextmanager
def stolen(call: Call, number: int) -> Iterator[int]:
    """A duplicate of the caller's descriptor *number*; raises as `taken`."""
    try:
        fd = call.caller.steal_fd(number)
    except KernelError as error:
        if error.errno in (errno.EBADF, errno.EINVAL):
            raise Refused(f"the target has no descriptor {number}", errno=errno.EBADF) from None
        raise
    try:
        yield fd
    finally:
        os.close(fd)
