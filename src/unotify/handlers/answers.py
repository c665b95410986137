"""What handlers share: errors of the supervisor's own calls as the target's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from unotify.errors import KernelError, Refused

__all__ = ["passing_errors"]


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
