"""Keeping programs of the same user out of this process."""

from __future__ import annotations

from typing import Final

from unotify.kernel._libc import check, prctl

__all__ = ["hide"]

_PR_SET_DUMPABLE: Final = 4


def hide() -> None:
    """Let nobody trace this process, read or write its memory, or take its descriptors.

    All that asks for ptrace rights over it is refused to who has no CAP_SYS_PTRACE
    (PR_SET_DUMPABLE, ptrace(2)). It writes no core dump any more. A program that it starts is as
    it would be otherwise: execve(2) undoes it there.

    Raises:
        KernelError: The kernel refused.
    """
    check(prctl(_PR_SET_DUMPABLE, 0), "prctl(2)")
