"""Giving up what a supervisor does not need: capabilities, privileges by exec, system calls.

All of it is for good, for this process and whatever it starts. Capabilities belong to threads and
can only be given up by each for itself, so this is done while there is one thread, or by all that
there are having none of what is to go; a filter is for all threads at once (TSYNC).
"""

from __future__ import annotations

import ctypes
import errno
import struct
from pathlib import Path
from typing import Final

from unotify.abi import tables
from unotify.abi.seccomp import FilterFlag
from unotify.errors import KernelError
from unotify.kernel._libc import NATIVE, check, prctl, syscall
from unotify.kernel.install import install

__all__ = ["confine", "last_capability", "permitted"]

_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_HEADER: Final = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, ourselves
_WORD: Final = 0xFFFFFFFF


def last_capability() -> int:
    """The highest number of a capability that this kernel has."""
    return next(number for number in range(64) if prctl(_PR_CAPBSET_READ, number + 1) < 0)


def permitted() -> int:
    """The capabilities that this thread may use, as a bit set."""
    return _sets()[1]


def confine(keep: int, program: bytes) -> None:
    """Keep no capability but *keep*, gain none by exec, and make no call but *program*'s.

    Args:
        keep: Capabilities, as a bit set; what we do not have is not got by that.
        program: A filter, encoded; without notifications, since nobody could answer them.

    Raises:
        KernelError: EPERM: a capability cannot be given up here, or another thread has it. Others
            as from seccomp(2). What was given up until then stays so.
    """
    _drop_bounding(keep)
    check(prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL), "prctl(PR_CAP_AMBIENT)")
    effective, may, inheritable = _sets()
    _set(effective & keep, may & keep, inheritable & keep)
    _check_threads(keep)
    install(
        program,
        flags=FilterFlag.TSYNC | FilterFlag.TSYNC_ESRCH,
        preferred=FilterFlag(0),
        no_new_privs=True,
        listener=False,
    )


def _drop_bounding(keep: int) -> None:
    # Without CAP_SETPCAP it stays as it is. That gives nothing to anybody: who has no privileges
    # cannot gain any by exec from now on (no_new_privs).
    if not permitted() >> 8 & 1:
        return
    for number in range(last_capability() + 1):
        if not keep >> number & 1:
            check(prctl(_PR_CAPBSET_DROP, number), "prctl(PR_CAPBSET_DROP)")


def _check_threads(keep: int) -> None:
    for status in Path("/proc/self/task").glob("*/status"):
        try:
            text = status.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        have = int(text.partition("\nCapPrm:")[2].split(maxsplit=1)[0], 16)
        if have & ~keep:
            raise KernelError(
                errno.EPERM,
                "capset(2)",
                f"thread {status.parent.name} keeps capabilities that are to go",
                hint="confine before threads are started",
            )


def _sets() -> tuple[int, int, int]:
    """Effective, permitted and inheritable capabilities of this thread."""
    data = ctypes.create_string_buffer(24)
    check(syscall(tables.numbers(NATIVE)["capget"], _HEADER, data), "capget(2)")
    low, high = struct.unpack_from("=3I", data), struct.unpack_from("=3I", data, 12)
    effective, may, inheritable = (one | other << 32 for one, other in zip(low, high, strict=True))
    return effective, may, inheritable


def _set(effective: int, may: int, inheritable: int) -> None:
    sets = (effective, may, inheritable)
    words = [each & _WORD for each in sets] + [each >> 32 for each in sets]
    check(
        syscall(tables.numbers(NATIVE)["capset"], _HEADER, struct.pack("=6I", *words)), "capset(2)"
    )
