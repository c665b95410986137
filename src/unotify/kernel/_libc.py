"""Libc through ctypes: the calls that Python has no function for.

Results follow the kernel's convention: a negative number is ``-errno``. So a
caller can look at an expected error without an exception; `check` turns the
others into :exc:`KernelError`.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from typing import Any, Final

from unotify.abi.arch import X32_BIT, Arch
from unotify.errors import KernelError

__all__ = [
    "NATIVE",
    "SYS_CLONE",
    "SYS_PIDFD_GETFD",
    "SYS_PIDFD_OPEN",
    "SYS_PIDFD_SEND_SIGNAL",
    "SYS_SECCOMP",
    "check",
    "environ",
    "libc",
    "native_arch",
    "prctl",
    "syscall",
]

libc: Final = ctypes.CDLL(None, use_errno=True)
"""The C library itself. Declare ``argtypes`` on your own function objects."""

# uname's name -> our architecture for (64-bit pointers, 32-bit pointers). What
# counts is the ABI of *this interpreter*, which may be narrower than the kernel's.
_MACHINES: Final[dict[str, tuple[Arch | None, Arch | None]]] = {
    "x86_64": (Arch.X86_64, Arch.I386),
    "i386": (None, Arch.I386),
    "i486": (None, Arch.I386),
    "i586": (None, Arch.I386),
    "i686": (None, Arch.I386),
    "aarch64": (Arch.AARCH64, Arch.ARM),
    "armv6l": (None, Arch.ARM),
    "armv7l": (None, Arch.ARM),
    "armv8l": (None, Arch.ARM),
    "riscv64": (Arch.RISCV64, Arch.RISCV32),
    "riscv32": (None, Arch.RISCV32),
    "loongarch64": (Arch.LOONGARCH64, None),
    "ppc": (None, Arch.PPC),
    "ppc64": (Arch.PPC64, Arch.PPC),
    "ppc64le": (Arch.PPC64LE, None),
    "s390": (None, Arch.S390),
    "s390x": (Arch.S390X, Arch.S390),
    "parisc": (None, Arch.PARISC),
    "parisc64": (None, Arch.PARISC),
    "sh4": (None, Arch.SH4),
    "sh4a": (None, Arch.SH4),
    "m68k": (None, Arch.M68K),
}


def native_arch(machine: str, *, multiarch: str, pointer: int, little: bool) -> Arch:
    """Tell an interpreter's system-call ABI.

    Args:
        machine: ``os.uname().machine``, which names the kernel's ABI.
        multiarch: The interpreter's Debian-style triplet, or ``""``: it alone
            tells x32 from i386 and n32 from o32.
        pointer: Size of a pointer in bytes.
        little: Whether the machine is little-endian.

    Raises:
        KernelError: An architecture that seccomp, or this package, does not know.
    """
    if multiarch.endswith("x32"):
        return Arch.X32
    if machine.startswith("mips"):
        if pointer == 8:
            return Arch.MIPSEL64 if little else Arch.MIPS64
        if "n32" in multiarch:
            return Arch.MIPSEL64N32 if little else Arch.MIPS64N32
        return Arch.MIPSEL if little else Arch.MIPS
    arch = _MACHINES.get(machine, (None, None))[0 if pointer == 8 else 1]
    if arch is None:
        raise KernelError(38, "uname(2)", f"unknown architecture {machine} ({pointer * 8} bits)")
    return arch


NATIVE: Final = native_arch(
    os.uname().machine,
    multiarch=getattr(sys.implementation, "_multiarch", ""),
    pointer=struct.calcsize("P"),
    little=sys.byteorder == "little",
)
"""The ABI that this interpreter speaks."""

# Calls newer than 5.0 have one number everywhere, but for the base of the ABI.
_BASE: Final = {
    Arch.X32: X32_BIT,
    Arch.MIPS: 4000,
    Arch.MIPSEL: 4000,
    Arch.MIPS64: 5000,
    Arch.MIPSEL64: 5000,
    Arch.MIPS64N32: 6000,
    Arch.MIPSEL64N32: 6000,
}.get(NATIVE, 0)

SYS_SECCOMP: Final = NATIVE.seccomp_nr
SYS_PIDFD_SEND_SIGNAL: Final = _BASE + 424
SYS_PIDFD_OPEN: Final = _BASE + 434
SYS_PIDFD_GETFD: Final = _BASE + 438
SYS_CLONE: Final = {
    Arch.X86_64: 56,
    Arch.X32: X32_BIT | 56,
    Arch.AARCH64: 220,
    Arch.RISCV64: 220,
    Arch.RISCV32: 220,
    Arch.LOONGARCH64: 220,
    Arch.MIPS: 4120,
    Arch.MIPSEL: 4120,
    Arch.MIPS64: 5055,
    Arch.MIPSEL64: 5055,
    Arch.MIPS64N32: 6055,
    Arch.MIPSEL64N32: 6055,
}.get(NATIVE, 120)

_syscall = libc.syscall
_syscall.restype = ctypes.c_long
_prctl = libc.prctl
_prctl.restype = ctypes.c_int
_get_errno = ctypes.get_errno


def _word(argument: Any) -> Any:
    # A bare int would be passed as a C int, which a variadic function may widen wrongly.
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def syscall(number: int, /, *arguments: Any) -> int:
    """Make a raw system call; the GIL is released meanwhile.

    Args:
        number: Its number in the ABI of `NATIVE`.
        arguments: Ints, bytes, or ctypes pointers and arrays.

    Returns:
        The result, or the negative errno. EINTR is not retried.
    """
    result: int = _syscall(ctypes.c_long(number), *map(_word, arguments))
    return -_get_errno() if result == -1 else result


def prctl(option: int, *arguments: Any) -> int:
    """Set or ask something about this thread or process; unused arguments are zero.

    Returns:
        The result of prctl(2), or the negative errno.
    """
    words = [_word(argument) for argument in arguments]
    words += [ctypes.c_long(0)] * (4 - len(words))
    result: int = _prctl(option, *words)
    return -_get_errno() if result == -1 else result


def check(result: int, call: str, message: str = "", *, hint: str | None = None) -> int:
    """Return *result*, or raise the error that it stands for.

    Args:
        result: What `syscall` or `prctl` returned.
        call: The call that was made, as the manual spells it (``"seccomp(2)"``).
        message: What that means here; the errno's text if empty.
        hint: One sentence on what to do about it.

    Raises:
        KernelError: *result* is negative.
    """
    if result < 0:
        raise KernelError(-result, call, message, hint=hint)
    return result


def environ() -> tuple[bytes, ...]:
    """Return the C library's environment, ``NAME=value`` each.

    It is what a plain exec hands on, and may hold more than `os.environ`:
    variables that C code set, as readline does.
    """
    pointer = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
    found: list[bytes] = []
    if not pointer:  # type: ignore[truthy-bool]  # it is NULL after clearenv(3)
        return ()
    while (variable := pointer[len(found)]) is not None:
        found.append(variable)
    return tuple(found)
