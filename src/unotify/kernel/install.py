"""Installing a filter in the calling thread, and the other operations of seccomp(2).

.. warning::
   After `install` this interpreter is the target. If its filter notifies, the
   supervisor must be another process: a thread that makes a trapped call with
   the GIL held (a plain ``os.getppid()``, a page fetched by the allocator) waits
   for a reply which no other thread of the interpreter can send. `spawn` is what
   you want, unless you are a launcher yourself.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import operator
from dataclasses import dataclass

from unotify.abi.features import Feature
from unotify.abi.seccomp import (
    BPF_MAXINSNS,
    MAX_CHAIN_INSTRUCTIONS,
    PR_GET_NO_NEW_PRIVS,
    PR_SET_NO_NEW_PRIVS,
    Action,
    FilterFlag,
    Operation,
)
from unotify.errors import AlreadySupervised, KernelError, Unsupported
from unotify.kernel import ancestry
from unotify.kernel._libc import SYS_SECCOMP, check, prctl, syscall
from unotify.kernel.interface import Enforcement
from unotify.kernel.listener import LinuxListener, notif_sizes

__all__ = [
    "FLAG_FEATURES",
    "INSTRUCTION_SIZE",
    "Installed",
    "action_available",
    "attempts",
    "enforcement",
    "install",
    "install_error",
    "install_strict",
    "is_no_new_privs",
    "set_no_new_privs",
    "unknown_flags",
]

INSTRUCTION_SIZE = 8
"""Bytes of a ``struct sock_filter``."""

FLAG_FEATURES = {
    FilterFlag.TSYNC: Feature.TSYNC,
    FilterFlag.LOG: Feature.LOG,
    FilterFlag.SPEC_ALLOW: Feature.SPEC_ALLOW,
    FilterFlag.NEW_LISTENER: Feature.NEW_LISTENER,
    FilterFlag.TSYNC_ESRCH: Feature.TSYNC_ESRCH,
    FilterFlag.WAIT_KILLABLE_RECV: Feature.WAIT_KILLABLE_RECV,
}
"""Each filter flag's feature."""

_CALL = "seccomp(2)"


@dataclass(frozen=True)
class Installed:
    """What `install` did.

    Attributes:
        enforcement: What the kernel took.
        listener: The filter's listener, or ``None`` if none was asked for.
    """

    enforcement: Enforcement
    listener: LinuxListener | None


class _Fprog(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install(
    program: bytes,
    *,
    flags: FilterFlag = FilterFlag(0),
    preferred: FilterFlag = FilterFlag.WAIT_KILLABLE_RECV,
    no_new_privs: bool = True,
    listener: bool = True,
) -> Installed:
    """Put the *calling thread* under a filter, for good (S3, S7, R9).

    Args:
        program: Encoded BPF, 8 bytes an instruction.
        flags: Filter flags that the kernel must know. NEW_LISTENER is added for
            *listener*, and TSYNC_ESRCH where TSYNC needs it (S1).
        preferred: Flags to do without on kernels that do not know them. Those
            which only make sense with a listener are left out without one.
        no_new_privs: Set no_new_privs first: this thread and all it starts can
            no longer gain privileges by exec (S6). It stays set if the install
            fails. ``False`` needs CAP_SYS_ADMIN in the own user namespace (S5).
        listener: Whether to make a listener.

    Raises:
        AlreadySupervised: Another listener is open in this chain (F4).
        Unsupported: The kernel does not know one of *flags*.
        KernelError: Anything else; `hint` says what to do. No filter was
            installed and no descriptor is left (F8).
    """
    fprog = _Fprog(check_program(program), program)
    tried = attempts(flags, preferred, listener=listener)
    if no_new_privs:
        set_no_new_privs()
    got, result = tried[0], -errno.EINVAL
    for got in tried:
        result = syscall(SYS_SECCOMP, Operation.SET_MODE_FILTER, int(got), ctypes.addressof(fprog))
        if result != -errno.EINVAL:
            break
    if result < 0:
        raise install_error(-result, flags=got, program=program)
    fd: int | None = result if got & FilterFlag.NEW_LISTENER else None
    if fd is None and result > 0:
        # TSYNC without TSYNC_ESRCH returns the thread that diverged (S2).
        raise install_error(errno.ESRCH, flags=got, program=program, tid=result)
    return Installed(
        enforcement(got, tried[0], no_new_privs=is_no_new_privs(), program=program),
        None if fd is None else LinuxListener(fd, sizes=notif_sizes()),
    )


def install_strict() -> None:
    """Allow this thread only read, write, _exit and sigreturn: a SIGKILL for anything else.

    An interpreter survives this only until it next allocates memory.

    Raises:
        KernelError: EINVAL: a filter is installed already.
    """
    check(syscall(SYS_SECCOMP, Operation.SET_MODE_STRICT, 0, 0), _CALL)


def action_available(action: Action) -> bool:
    """Whether the kernel knows *action*; since Linux 4.14, false before."""
    word = ctypes.c_uint32(action)
    return syscall(SYS_SECCOMP, Operation.GET_ACTION_AVAIL, 0, ctypes.addressof(word)) == 0


def is_no_new_privs() -> bool:
    """Whether this thread can no longer gain privileges by exec."""
    return check(prctl(PR_GET_NO_NEW_PRIVS), "prctl(2)") == 1


def set_no_new_privs() -> None:
    """Give up gaining privileges by exec: for this thread, its children, for good (S6)."""
    check(prctl(PR_SET_NO_NEW_PRIVS, 1), "prctl(2)")


def check_program(program: bytes) -> int:
    """Return the number of instructions; raises ValueError for a torn one."""
    length, rest = divmod(len(program), INSTRUCTION_SIZE)
    if rest:
        raise ValueError(f"a program of {len(program)} bytes ends within an instruction")
    return length


def attempts(flags: FilterFlag, preferred: FilterFlag, *, listener: bool) -> tuple[FilterFlag, ...]:
    """Return the sets of flags to try in turn, for as long as the answer is EINVAL.

    Preferred flags go one by one, the newest first: a kernel that lacks one lacks
    all newer ones, so the first set it takes is the best it can do.
    """
    required = flags
    if listener:
        required |= FilterFlag.NEW_LISTENER
        if required & FilterFlag.TSYNC:
            required |= FilterFlag.TSYNC_ESRCH
    elif required & FilterFlag.WAIT_KILLABLE_RECV:
        raise ValueError("WAIT_KILLABLE_RECV is about a listener: it needs one")
    else:
        preferred &= ~FilterFlag.WAIT_KILLABLE_RECV
    extra = _bits(int(preferred) & ~int(required))
    return tuple(
        required | functools.reduce(operator.or_, extra[:count], FilterFlag(0))
        for count in range(len(extra), -1, -1)
    )


def enforcement(
    got: FilterFlag, wanted: FilterFlag, *, no_new_privs: bool, program: bytes
) -> Enforcement:
    """Say what a filter got that was installed with *got* where *wanted* was tried first."""
    return Enforcement(
        flags=got,
        missing=frozenset(FLAG_FEATURES[flag] for flag in _bits(int(wanted) & ~int(got))),
        no_new_privs=no_new_privs,
        instructions=len(program) // INSTRUCTION_SIZE,
    )


def unknown_flags(flags: FilterFlag) -> FilterFlag:
    """Return those of *flags* that the kernel does not know.

    Without a program the answer is EFAULT for known flags and EINVAL for unknown
    ones, and nothing is installed.
    """
    unknown = FilterFlag(0)
    for flag in _bits(flags):
        # Alone it is EINVAL even where it is known.
        companion = (
            FilterFlag.NEW_LISTENER if flag == FilterFlag.WAIT_KILLABLE_RECV else FilterFlag(0)
        )
        result = syscall(SYS_SECCOMP, Operation.SET_MODE_FILTER, int(flag | companion), 0)
        if result == -errno.EINVAL:
            unknown |= flag
    return unknown


def _bits(flags: int) -> list[FilterFlag]:
    # Of an int: iterating a flag, and ~flag, leave out the bits that have no name.
    return [FilterFlag(1 << bit) for bit in range(32) if flags & (1 << bit)]


def install_error(
    number: int, *, flags: FilterFlag, program: bytes, tid: int | None = None
) -> KernelError:
    """Put an errno of SET_MODE_FILTER into words.

    Args:
        number: The positive errno.
        flags: The flags it was the answer to.
        program: The program it was the answer to.
        tid: The diverged thread, if the kernel named it.
    """
    if number == errno.EBUSY:
        ancestor = ancestry.find()
        return AlreadySupervised(ancestor.description, hint=ancestor.hint)
    if number == errno.EINVAL:
        return _invalid(flags, program)
    if number == errno.ESRCH:
        who = "another thread" if tid is None else f"thread {tid}"
        return KernelError(
            number,
            _CALL,
            f"{who} has a filter that this thread does not have",
            hint="use TSYNC before any thread installs a filter of its own",
        )
    message, hint = _ERRORS.get(number, ("", None))
    return KernelError(number, _CALL, message, hint=hint)


def _invalid(flags: FilterFlag, program: bytes) -> KernelError:
    length = len(program) // INSTRUCTION_SIZE
    if not 0 < length <= BPF_MAXINSNS:
        return KernelError(
            errno.EINVAL,
            _CALL,
            f"a program of {length} instructions: 1 to {BPF_MAXINSNS} are allowed",
        )
    unknown = unknown_flags(flags)
    for flag in _bits(unknown):
        feature = FLAG_FEATURES.get(flag)
        if feature is not None:
            return Unsupported(
                feature.label,
                _CALL,
                f"this kernel does not know the filter flag {flag.name}",
                hint=f"it came with Linux {feature.since}",
            )
    if unknown:
        return KernelError(errno.EINVAL, _CALL, f"unknown filter flags {int(unknown):#x}")
    return KernelError(
        errno.EINVAL,
        _CALL,
        "the kernel refuses the program",
        hint="only forward jumps, aligned 32-bit loads below 64, and a return at each end",
    )


_ERRORS = {
    errno.EACCES: (
        "a filter needs no_new_privs or CAP_SYS_ADMIN",
        "leave no_new_privs on, or run with CAP_SYS_ADMIN in the own user namespace",
    ),
    errno.ENOMEM: (
        "the chain of filters is too long",
        f"all filters of a thread together have at most {MAX_CHAIN_INSTRUCTIONS} instructions, "
        "as the kernel translates them (up to twice as many), 4 more counted for each",
    ),
    errno.EMFILE: (
        "no free descriptor for the listener",
        "raise RLIMIT_NOFILE, or close descriptors",
    ),
    errno.ENFILE: ("the system has no free descriptor for the listener", None),
    errno.ENOSYS: (
        "this kernel has no seccomp, or a sandbox around us hides it",
        "the kernel needs CONFIG_SECCOMP_FILTER",
    ),
    errno.EPERM: (
        "a sandbox around us forbids installing filters",
        "allow seccomp(2) in the profile of the container that we run in",
    ),
}
