"""The call model: what each argument of each call is.

One row per call says its arguments' names, C types, roles, widths and
directions. Typed calls, policies, filters, traces and the reference derive from
it; nothing about a call is written twice.

Names follow the manual pages. C types are the kernel's own, since those decide
how much of a register counts (B3): a ``umode_t`` is 16 bits wide however the
libc declares it. The rows are in `_rows`; one is parsed when it is asked for.

Theory of operation. A call has one row, and further ones for architectures that
pass its arguments in another order or with other types (16-bit uids, 32-bit
times). What is regular is not written down: a 32-bit ABI passes a 64-bit
argument in two registers (B6), which `spec` works out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from typing import Final

from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.abi.tables import MULTIPLEXERS
from unotify.errors import UnknownName

__all__ = ["ArgSpec", "CallSpec", "Role", "names", "spec"]


class Role(Enum):
    """What an argument means to the kernel."""

    INT = "a signed number without a more special role"
    UINT = "an unsigned number without a more special role"
    FD = "a descriptor of the caller to act on"
    DIRFD = "a descriptor of the caller, or AT_FDCWD, that a path is relative to"
    REMOTE_FD = "a descriptor of another process"
    PATH = "a NUL-terminated path to look up"
    STRING = "a NUL-terminated string that is not looked up as a path; NULL where optional"
    FLAGS = "a set of bits"
    COMMAND = "one of a list of values that select what is done"
    MODE = "a file mode: permissions, for mknod the file type too"
    DEV = "a device number, as the kernel packs it"
    SIZE = "a size in bytes, or a count where it is the length of an array"
    OFFSET = "a position in a file, in bytes"
    PID = "a process, thread or process group id; its sign may have a meaning"
    UID = "a user id; all ones may mean no change"
    GID = "a group id; all ones may mean no change"
    SIGNAL = "a signal number; 0 where it only probes"
    ARGUMENT = "an integer or a pointer, as a sibling command says"
    ADDRESS = "a pointer or address that the model does not interpret"
    IN_BUFFER = "bytes that the call reads, as many as `length` says"
    OUT_BUFFER = "bytes that the call writes, up to what `length` says"
    IN_STRUCT = "one `struct` that the call reads"
    OUT_STRUCT = "one `struct` that the call writes"
    INOUT_STRUCT = "one `struct` that the call reads and writes"
    IN_VALUE = "one scalar of the pointed-to C type that the call reads"
    OUT_VALUE = "one scalar of the pointed-to C type that the call writes"
    INOUT_VALUE = "one scalar of the pointed-to C type that the call reads and writes"
    IN_ARRAY = "elements that the call reads; `length` counts them"
    OUT_ARRAY = "elements that the call writes; `length` is how many fit"
    INOUT_ARRAY = "elements that the call reads and writes; `length` counts them"
    SOCKADDR = "a socket address that the call reads, `length` bytes long"
    OUT_SOCKADDR = "a socket address that the call writes; `length` points at its size"
    SOCKLEN = "a pointer to the size of a buffer, in and out, in bytes"
    STRINGS = "a NULL-terminated array of pointers to strings: argv and envp"
    POINTERS = "an array of pointers that the model does not interpret"
    IOVEC = "an array of iovecs whose bytes the call reads; `length` counts them"
    OUT_IOVEC = "an array of iovecs whose bytes the call writes; `length` counts them"
    INOUT_IOVEC = "an array of iovecs whose bytes are read or written; `length` counts them"
    REMOTE_IOVEC = "an array of iovecs whose addresses belong to another process"
    MSGHDR = "a msghdr whose message the call reads"
    OUT_MSGHDR = "a msghdr whose message the call writes"
    MMSGHDR = "an array of mmsghdr whose messages the call reads; `length` counts them"
    OUT_MMSGHDR = "an array of mmsghdr whose messages the call writes; `length` counts them"
    FD_OUT = "an array of two ints that the call fills with new descriptors"


@dataclass(frozen=True, slots=True)
class ArgSpec:
    """One argument.

    Attributes:
        index: Which register, 0 to 5.
        name: As the manual page spells it; a Python identifier.
        ctype: The kernel's C type.
        role: What it means.
        bits: How much of the register the kernel uses: 8, 16, 32 or 64; 0 for all
            of the ABI's register (``long``, ``size_t``, pointers). Descriptors and
            process ids always count 32, whatever the C type says.
        signed: Whether those bits are a signed number. Descriptors are, so that
            AT_FDCWD and -1 read as such where the kernel says ``unsigned int``.
        enum: Name of the class in `unotify.abi.constants` or `unotify.abi.seccomp`
            that names its values.
        length: Name of the argument that holds its size, or its count for arrays.
        at: Name of the descriptor that a path is relative to.
        struct: The kernel's name of the pointed-to struct, without ``struct``.
    """

    index: int
    name: str
    ctype: str
    role: Role
    bits: int
    signed: bool
    enum: str | None = None
    length: str | None = None
    at: str | None = None
    struct: str | None = None


@dataclass(frozen=True, slots=True)
class CallSpec:
    """One call.

    Attributes:
        name: The kernel's name.
        args: Its arguments, in the order of their registers.
        returns: What success gives: ``int``, ``fd``, ``ssize_t``, ``pid``, ``uid``,
            ``gid``, ``off_t``, ``address``, ``time``, or ``void``.
        since: The first kernel with it on any architecture, 1.0 for that or older;
            ``None`` if not known for sure.
        never_returns: Success does not come back to the caller.
        removed: The newest kernel has a number for it but no code: ENOSYS.
    """

    name: str
    args: tuple[ArgSpec, ...]
    returns: str
    since: str | None = None
    never_returns: bool = False
    removed: bool = False

    @property
    def multiplexer(self) -> bool:
        """Whether it is many calls behind one number (B6); see `unotify.abi.tables.subcall`."""
        return self.name in MULTIPLEXERS or self.name == "syscall"

    @property
    def prototype(self) -> str:
        """Its declaration as C text."""
        args = (f"{arg.ctype} {arg.name}".replace("* ", "*") for arg in self.args)
        return f"{self.returns} {self.name}({', '.join(args) or 'void'})"

    def arg(self, name: str) -> ArgSpec:
        """Return the argument called *name*.

        Raises:
            UnknownName: It has none of that name; the hint lists what it has.
        """
        for arg in self.args:
            if arg.name == name:
                return arg
        have = ", ".join(arg.name for arg in self.args)
        raise UnknownName(
            f"{self.name} has no argument {name!r}",
            hint=f"it has {have}" if have else "it has no arguments",
        )


# Bits and sign of the C types; what is not here is a pointer.
_UNSIGNED: Final = {
    16: "umode_t|old_uid_t|old_gid_t",
    32: "unsigned|unsigned int|uint|u32|__u32|uid_t|gid_t|qid_t|enum|compat_ulong_t|compat_uptr_t"
    "|compat_size_t|compat_aio_context_t|compat_mode_t",
    64: "u64|__u64",
    0: "unsigned long|size_t|aio_context_t|uintptr_t|old_sigset_t",
}
_SIGNED: Final = {
    32: "int|s32|__s32|pid_t|compat_pid_t|key_t|key_serial_t|mqd_t|timer_t|clockid_t|rwf_t"
    "|compat_long_t|compat_ssize_t",
    64: "loff_t",
    0: "long|off_t",
}
_SCALARS: Final = {
    ctype: (bits, signed)
    for signed, table in ((False, _UNSIGNED), (True, _SIGNED))
    for bits, ctypes in table.items()
    for ctype in ctypes.split("|")
}

# Typedefs of structs, under the name that the model gives them.
_TYPEDEFS: Final = {
    "cap_user_header_t": "__user_cap_header_struct",
    "cap_user_data_t": "__user_cap_data_struct",
    "siginfo_t": "siginfo",
    "sigset_t": "sigset_t",
    "compat_sigset_t": "compat_sigset_t",
    "stack_t": "sigaltstack",
    "compat_stack_t": "compat_sigaltstack",
    "fd_set": "fd_set",
}

# These ABIs start a 64-bit pair in an even register, leaving one unused.
_EVEN_PAIRS: Final = (Arch.ARM, Arch.MIPS, Arch.MIPSEL, Arch.PPC)

# Where only some calls do, for the sake of a libc of old.
_EVEN_PAIRS_OF: Final = {Arch.SH4: ("pread64", "pwrite64")}

_REGISTERS: Final = 6

_ARG: Final = re.compile(
    r"(?P<name>\w+):(?P<role>\w+)(?:/(?P<bits>\d+))?(?: (?P<enum>\w+))? <(?P<ctype>[^>]*)>"
    r"(?: @(?P<at>\w+))?(?: #(?P<length>\w+))?(?: %(?P<struct>\w+))?(?:, )?"
)
_ROW: Final = re.compile(r"\((?P<args>.*)\) (?P<returns>\w+)(?: (?P<since>\d\S*))?(?P<notes>.*)")


def struct_of(ctype: str) -> str | None:
    """Return the struct that a pointer type points to, without ``struct``."""
    found = re.search(r"\b(?:struct|union) (\w+) ?\*$", ctype)
    if found:
        return found[1]
    return _TYPEDEFS.get(ctype.removeprefix("const ").removesuffix("*").strip())


def width_of(ctype: str, role: Role) -> tuple[int, bool]:
    """Return how many bits of the register count (0: all), and whether they are signed."""
    if role in (Role.FD, Role.DIRFD, Role.REMOTE_FD, Role.PID):
        # fget() and find_vpid() take 32 bits, whatever the entry point declares.
        return 32, True
    if ctype.startswith("enum "):
        ctype = "enum"
    return _SCALARS.get(ctype, (0, False))


def _parse_arg(index: int, found: re.Match[str]) -> ArgSpec:
    role = Role[found["role"]]
    ctype = found["ctype"]
    bits, signed = width_of(ctype, role)
    return ArgSpec(
        index=index,
        name=found["name"],
        ctype=ctype,
        role=role,
        bits=int(found["bits"] or bits),
        signed=signed,
        enum=found["enum"],
        length=found["length"],
        at=found["at"],
        struct=found["struct"] or struct_of(ctype),
    )


def _parse(name: str, row: str) -> CallSpec:
    found = _ROW.fullmatch(row)
    assert found is not None, row
    return CallSpec(
        name=name,
        args=tuple(_parse_arg(at, arg) for at, arg in enumerate(_ARG.finditer(found["args"]))),
        returns=found["returns"],
        since=found["since"],
        never_returns="!never_returns" in found["notes"],
        removed="!removed" in found["notes"],
    )


@cache
def _rows() -> dict[str, str]:
    # Keys are a call's name, or name@architecture.
    from unotify.abi._rows import ROWS

    rows: dict[str, str] = {}
    for line in ROWS.splitlines():
        key, paren, rest = line.partition("(")
        name, at, archs = key.partition("@")
        for arch in archs.split(","):
            rows[name + at + arch] = paren + rest
    return rows


@cache
def names() -> tuple[str, ...]:
    """Return the names of all calls of all architectures, sorted."""
    return tuple(sorted(name for name in _rows() if "@" not in name))


@cache
def spec(name: str, arch: Arch | None = None) -> CallSpec:
    """Return the row of call *name*.

    Args:
        name: The kernel's name.
        arch: Describe it as this architecture passes it; without it, as a 64-bit
            ABI does. An architecture that lacks the call gets an answer all the
            same: `unotify.abi.tables.number` tells who has it.

    Returns:
        The row. Where a 32-bit ABI splits a 64-bit argument over two registers
        (B6), ``offset`` becomes ``offset_low`` and ``offset_high``, each with
        the index of its register. An argument beyond the sixth register (mips
        o32) is left out: neither filter nor notification can see it.

    Raises:
        UnknownName: No architecture has such a call; the hint is the nearest name.
    """
    rows = _rows()
    row = rows.get(name)
    if row is None or "@" in name:
        raise UnknownName(f"no system call is named {name!r}", hint=nearest(name, names()))
    if arch is None:
        return _parse(name, row)
    found = _parse(name, rows.get(f"{name}@{arch.label}", row))
    if arch.bits == 64:
        return found
    even = arch in _EVEN_PAIRS or name in _EVEN_PAIRS_OF.get(arch, ())
    return replace(found, args=tuple(_split(found.args, little=arch.little, even=even)))


def _split(args: tuple[ArgSpec, ...], *, little: bool, even: bool) -> list[ArgSpec]:
    placed: list[ArgSpec] = []
    register = 0
    for arg in args:
        if arg.bits != 64:
            placed.append(replace(arg, index=register))
            register += 1
            continue
        register += register % 2 if even else 0
        halves = ("low", "high") if little else ("high", "low")
        for at, half in enumerate(halves):
            placed.append(ArgSpec(register + at, f"{arg.name}_{half}", "u32", Role.UINT, 32, False))
        register += 2
    return [arg for arg in placed if arg.index < _REGISTERS]
