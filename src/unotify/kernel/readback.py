"""The filters of a thread that is stopped under ptrace."""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass
from typing import Final

from unotify.abi.seccomp import FilterFlag
from unotify.bpf import Program, decode
from unotify.errors import KernelError, Unsupported
from unotify.kernel.ptrace import CALL, ptrace, status_of

__all__ = ["Caught", "DumpedFilter", "check_rights", "read_filters"]

_CAP_SYS_ADMIN: Final = 21
_GET_FILTER: Final = 0x420C
_GET_METADATA: Final = 0x420D


@dataclass(frozen=True, slots=True)
class DumpedFilter:
    """One filter of a thread's chain.

    Attributes:
        program: As it was installed.
        log: Whether it has SECCOMP_FILTER_FLAG_LOG; ``None`` before Linux 4.16. The kernel
            tells no other flag.
    """

    program: Program
    log: bool | None


@dataclass(frozen=True, slots=True)
class Caught:
    """A filter that a command just installed.

    Attributes:
        tid: The thread.
        comm: Its name.
        flags: What it gave to seccomp(2); none for prctl(2).
        filters: All its filters, the newest first.
    """

    tid: int
    comm: str
    flags: FilterFlag
    filters: tuple[DumpedFilter, ...]


def check_rights() -> None:
    """Check that this process may read filters.

    Raises:
        KernelError: It has no CAP_SYS_ADMIN, or is filtered itself.
    """
    status = status_of("self")
    if status.get("Seccomp", "0") != "0":
        raise KernelError(
            errno.EACCES,
            CALL,
            "who is under a filter may not read filters",
            hint="run it outside of this sandbox or container",
        )
    if not int(status.get("CapEff", "0"), 16) >> _CAP_SYS_ADMIN & 1:
        raise KernelError(
            errno.EACCES, CALL, "reading filters needs CAP_SYS_ADMIN", hint="run it as root"
        )


def read_filters(tid: int) -> tuple[DumpedFilter, ...]:
    """Read all filters of a stopped tracee, the newest first.

    Raises:
        KernelError: We may not.
        Unsupported: The kernel cannot do it.
    """
    oldest_first: list[DumpedFilter] = []
    while True:
        at = len(oldest_first)
        # Counted from the oldest, so that one more meanwhile (TSYNC) moves nothing.
        length = ptrace(_GET_FILTER, tid, at, 0)
        if length == -errno.ENOENT or (length == -errno.EINVAL and not at):
            return tuple(reversed(oldest_first))
        raw = ctypes.create_string_buffer(max(length, 0) * 8)
        if length >= 0:
            length = ptrace(_GET_FILTER, tid, at, ctypes.addressof(raw))
        if length < 0:
            raise _unread(-length)
        oldest_first.append(DumpedFilter(Program(decode(raw.raw)), _logs(tid, at)))


def _logs(tid: int, at: int) -> bool | None:
    metadata = (ctypes.c_uint64 * 2)(at, 0)
    size = ctypes.sizeof(metadata)
    result = ptrace(_GET_METADATA, tid, size, ctypes.addressof(metadata))
    return bool(metadata[1] & FilterFlag.LOG) if result == size else None


def _unread(number: int) -> KernelError:
    if number == errno.EIO:
        return Unsupported(
            "ptrace-get-filter",
            CALL,
            "this kernel cannot read filters back",
            hint="it needs CONFIG_SECCOMP_FILTER and CONFIG_CHECKPOINT_RESTORE",
        )
    if number == errno.EACCES:
        return KernelError(
            number,
            CALL,
            "reading filters needs CAP_SYS_ADMIN in the first user namespace, and no own filter",
            hint="run it as root of the host, outside of containers",
        )
    if number == errno.EMEDIUMTYPE:
        return KernelError(number, CALL, "the kernel has not kept the program of this filter")
    return KernelError(number, CALL, f"a filter cannot be read: {os.strerror(number)}")
