"""Arguments as attributes: a question on the class, a value on an instance.

Theory of operation. A register is a snapshot that only a ptracer could change
(C2); it is decoded each time, which costs a mask. Memory is not: each pointed-to
object is read *once* per call, the copy is kept, and the call is marked, so that
a plain Continue is refused later. Instruments may look without the mark: they
decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

from unotify.abi import constants
from unotify.abi.arch import Arch
from unotify.abi.model import ArgSpec, Role
from unotify.abi.types import Address
from unotify.bpf import CompareOp
from unotify.calls.expressions import Masked, Where, comparison, membership, require_int
from unotify.calls.paths import TargetPath
from unotify.calls.sockaddr import SocketAddress, decode_sockaddr
from unotify.calls.structs import LAYOUTS, IoVec, Layout
from unotify.errors import BadAddress, NotExpressible, PathTooLong, Refused

if TYPE_CHECKING:
    from unotify.calls.call import Call

__all__ = ["PATH_MAX", "Argument", "Reader", "make_argument"]

PATH_MAX = 4096
"""The most bytes of a path, NUL included; the kernel takes no longer one."""

_STRING_MAX = 65536
_BUFFER_MAX = 1 << 20
_STRINGS_MAX = 1 << 16
_IOV_MAX = 1024
_SOCKADDR_MAX = 128
_STRUCT_MAX = 4096
_EINVAL, _E2BIG, _EMSGSIZE = 22, 7, 90

T = TypeVar("T", covariant=True)


class Reader(Protocol):
    """A target's memory, as far as decoding needs it."""

    def read(self, address: Address, length: int) -> bytes:
        """Read exactly *length* bytes."""

    def read_string(self, address: Address, limit: int) -> bytes:
        """Read up to a NUL, at most *limit* bytes with it."""


class Argument(Generic[T]):
    """One argument of one call.

    On the class it is a question about the register, to be compared (``==``,
    ``!=``, ``<``, ``<=``, ``>``, ``>=``), masked (``&``) or looked up
    (:meth:`in_`); on an instance it is the decoded value.
    """

    memory = False
    """Whether decoding looks at the target's memory."""

    def __init__(self, call: str, spec: ArgSpec, on: Callable[[Arch], ArgSpec]) -> None:
        self.call = call
        self.spec = spec
        self.on = on
        self.name = spec.name
        self.enum: Any = getattr(constants, spec.enum) if spec.enum else None
        self.__doc__ = f"{spec.ctype}: {spec.role.name.lower().replace('_', ' ')}."

    @overload
    def __get__(self, instance: None, owner: type[Call]) -> Argument[T]: ...
    @overload
    def __get__(self, instance: Call, owner: type[Call]) -> T: ...
    def __get__(self, instance: Call | None, owner: type[Call]) -> Argument[T] | T:
        if instance is None:
            return self
        return self.value(instance)

    def __set__(self, instance: Call, value: object) -> None:
        raise AttributeError(f"{self} is what the target asked for; it cannot be changed")

    def value(self, call: Call) -> T:
        """Decode it for *call*."""
        return self.decode(register(call, self.spec), call, None)  # type: ignore[no-any-return]

    def decode(self, raw: int, call: Call, reader: Reader | None) -> Any:
        """Turn the register *raw* into the value; registers need no *reader*."""
        return raw

    def to_abi(self, arch: Arch) -> Callable[[int], int]:
        """How a generic value is spelled on *arch*: flag bits differ there."""
        translate = getattr(self.enum, "to_abi", None)
        if translate is None:
            return int
        return lambda value: int(translate(value, arch))

    def __str__(self) -> str:
        return f"{self.call}.{self.name}"

    def __repr__(self) -> str:
        return f"<Argument {self}: {self.spec.ctype}>"

    def _ask(self, op: CompareOp, value: object, sign: str) -> Where:
        if self.memory:
            raise NotExpressible(
                f"{self} points to memory, which a filter cannot see",
                hint="decide it in the handler; only its address is in a register",
            )
        return comparison(self, op, require_int(self, value), sign)

    def __eq__(self, value: object) -> Where:  # type: ignore[override]
        return self._ask(CompareOp.EQ, value, "==")

    def __ne__(self, value: object) -> Where:  # type: ignore[override]
        return self._ask(CompareOp.NE, value, "!=")

    def __lt__(self, value: int) -> Where:
        return self._ask(CompareOp.LT, value, "<")

    def __le__(self, value: int) -> Where:
        return self._ask(CompareOp.LE, value, "<=")

    def __gt__(self, value: int) -> Where:
        return self._ask(CompareOp.GT, value, ">")

    def __ge__(self, value: int) -> Where:
        return self._ask(CompareOp.GE, value, ">=")

    def __and__(self, mask: int) -> Masked:
        if self.memory:
            self._ask(CompareOp.EQ, 0, "==")
        return Masked(self, require_int(self, mask))

    def in_(self, values: Iterable[int]) -> Where:
        """The condition that it is one of *values*."""
        if self.memory:
            self._ask(CompareOp.EQ, 0, "==")
        return membership(self, values)

    def is_null(self) -> Where:
        """The condition that the pointer is NULL."""
        return comparison(self, CompareOp.EQ, 0, "==")

    __hash__ = object.__hash__


def register(call: Call, spec: ArgSpec) -> int:
    """The argument as the kernel takes it: cut to its width, signed if it is (B3)."""
    bits = spec.bits or call.arch.bits
    value = call.exchange.args[spec.index] & ((1 << bits) - 1)
    if spec.signed and value >> (bits - 1):
        value -= 1 << bits
    return value


class EnumArgument(Argument[T]):
    """Flags, or one of several commands; an unknown command stays an int."""

    def decode(self, raw: int, call: Call, reader: Reader | None) -> Any:
        if raw < 0 and issubclass(self.enum, IntFlag):
            raw &= (1 << (self.spec.bits or call.arch.bits)) - 1  # bits have no sign
        translate = getattr(self.enum, "from_abi", None)
        if translate is not None:
            return translate(raw, call.arch)
        if issubclass(self.enum, IntFlag):
            return self.enum(raw)
        assert issubclass(self.enum, IntEnum)
        try:
            return self.enum(raw)
        except ValueError:
            return raw


class MemoryArgument(Argument[T]):
    """Something that the register points to: read once, and marked."""

    memory = True

    def __init__(self, call: str, spec: ArgSpec, on: Callable[[Arch], ArgSpec]) -> None:
        super().__init__(call, spec, on)
        self.nullable = (call, spec.name) in NULLABLE

    def value(self, call: Call) -> T:
        # Marked before the look at the copy: an instrument may have read it earlier, unmarked.
        call.exchange.memory_read = True
        return self.fetch(call, call.caller)  # type: ignore[no-any-return]

    def fetch(self, call: Call, reader: Reader) -> Any:
        """The value from the call's copy, or read now with *reader*."""
        copies = call.copies
        if self.name not in copies:
            address = register(call, self.spec)
            if not address and self.nullable:
                copies[self.name] = None
            elif address or self.is_empty(call):
                copies[self.name] = self.decode(address, call, reader)
            else:
                raise BadAddress(f"{self} is NULL")
        return copies[self.name]

    def is_empty(self, call: Call) -> bool:
        """Whether nothing is read wherever it points to, as of a buffer of 0 bytes."""
        return False


class PathArgument(MemoryArgument[T]):
    """A path: `TargetPath`."""

    def decode(self, raw: int, call: Call, reader: Reader | None) -> TargetPath:
        assert reader is not None
        return TargetPath.from_bytes(self._read(raw, call, reader))

    def bytes_of(self, call: Call) -> bytes | None:
        """The path as the target spelled it; ``None`` for a NULL that means something."""
        call.exchange.memory_read = True
        address = register(call, self.spec)
        if address:
            return self._read(address, call, call.caller)
        if self.nullable:
            return None
        raise BadAddress(f"{self} is NULL")

    def _read(self, address: int, call: Call, reader: Reader) -> bytes:
        # Apart from the value: to make a path of it takes longer than to read it.
        key = f"{self.name}.raw"
        if key not in call.copies:
            call.copies[key] = reader.read_string(Address(address), PATH_MAX)
        found: bytes = call.copies[key]
        return found


class StringArgument(MemoryArgument[T]):
    """A NUL-terminated string that is no path."""

    def decode(self, raw: int, call: Call, reader: Reader | None) -> str:
        assert reader is not None
        return reader.read_string(Address(raw), _STRING_MAX).decode("utf-8", "surrogateescape")


class SockaddrArgument(MemoryArgument[T]):
    """A socket address, as long as the call's length argument says."""

    def decode(self, raw: int, call: Call, reader: Reader | None) -> SocketAddress:
        assert reader is not None
        length = call.register(self.spec.length) if self.spec.length else _SOCKADDR_MAX
        if not 0 <= length <= _SOCKADDR_MAX:
            raise Refused(f"a socket address of {length} bytes", errno=_EINVAL)
        data = reader.read(Address(raw), length)
        call.copies[f"{self.name}.raw"] = data  # what is acted on is what was decided about
        return decode_sockaddr(data, little=call.arch.little)


class BufferArgument(MemoryArgument[T]):
    """Bytes that the call reads, as many as its length argument says, 1 MiB at most."""

    def decode(self, raw: int, call: Call, reader: Reader | None) -> bytes:
        assert reader is not None
        assert self.spec.length is not None
        length = call.register(self.spec.length)
        if not 0 <= length <= _BUFFER_MAX:
            raise Refused(
                f"{self}: {length} bytes are more than is read for a decision", errno=_E2BIG
            )
        return reader.read(Address(raw), length) if length else b""

    def is_empty(self, call: Call) -> bool:
        """Whether it has no bytes: the kernel does not look at its address."""
        assert self.spec.length is not None
        return not call.register(self.spec.length)


class StructArgument(MemoryArgument[T]):
    """A struct in the caller's layout: a named tuple."""

    def decode(self, raw: int, call: Call, reader: Reader | None) -> Any:
        assert reader is not None
        assert self.spec.struct is not None
        layout = LAYOUTS[self.spec.struct]
        size = layout.format(call.arch).size
        if layout.first_version:
            return layout.decode(self._read_sized(raw, layout, call, reader), call.arch)
        if layout.extensible and self.spec.length:
            size = call.register(self.spec.length)
            if not 0 < size <= _STRUCT_MAX:
                raise Refused(f"{self}: a struct of {size} bytes", errno=_E2BIG)
        return layout.decode(reader.read(Address(raw), size), call.arch)

    def _read_sized(self, address: int, layout: Layout, call: Call, reader: Reader) -> bytes:
        """Read a struct whose first field says how long it is, no byte of it twice."""
        first = layout.first_version
        head = reader.read(Address(address), 4)
        size = int.from_bytes(head, "little" if call.arch.little else "big") or first
        if not first <= size <= _STRUCT_MAX:
            raise Refused(f"{self}: a struct of {size} bytes", errno=_E2BIG)
        return head + reader.read(Address(address + 4), size - 4)


class StringsArgument(MemoryArgument[T]):
    """A NULL-terminated array of strings, such as argv; a NULL array is empty, as in Linux."""

    def decode(self, raw: int, call: Call, reader: Reader | None) -> tuple[bytes, ...]:
        assert reader is not None
        size = call.arch.pointer
        order = "little" if call.arch.little else "big"
        strings: list[bytes] = []
        room = _BUFFER_MAX
        for position in range(_STRINGS_MAX):
            pointer = int.from_bytes(
                reader.read(Address(raw + position * size), size),
                order,  # type: ignore[arg-type]
            )
            if not pointer:
                return tuple(strings)
            try:
                strings.append(reader.read_string(Address(pointer), min(room, 32 * PATH_MAX)))
            except PathTooLong:
                break
            room -= len(strings[-1]) + 1
            if room <= 0:
                break
        raise Refused(f"{self}: more than is read for a decision", errno=_E2BIG)


class IovecArgument(MemoryArgument[T]):
    """An array of ``struct iovec``, as many as the call's count argument says."""

    def decode(self, raw: int, call: Call, reader: Reader | None) -> tuple[IoVec, ...]:
        assert reader is not None
        assert self.spec.length is not None
        count = call.register(self.spec.length)
        if not 0 <= count <= _IOV_MAX:
            raise Refused(f"{self}: {count} elements", errno=_EINVAL)
        layout = LAYOUTS["iovec"]
        size = layout.format(call.arch).size
        data = reader.read(Address(raw), size * count) if count else b""
        return tuple(
            layout.decode(data[at : at + size], call.arch) for at in range(0, len(data), size)
        )

    def is_empty(self, call: Call) -> bool:
        """Whether it has no elements: the kernel does not look at its address."""
        assert self.spec.length is not None
        return not call.register(self.spec.length)


class SplitArgument(Argument[T]):
    """A 64-bit value that a 32-bit ABI passes in two registers (B6)."""

    def value(self, call: Call) -> T:
        """Put the halves together."""
        value = call.register(f"{self.name}_high") << 32 | call.register(f"{self.name}_low")
        if self.spec.signed and value >> 63:
            value -= 1 << 64
        whole: Argument[T] = kind_of(self.spec)(self.call, self.spec, self.on)
        return whole.decode(value, call, None)  # type: ignore[no-any-return]


class AbsentArgument(Argument[T]):
    """An argument that this ABI does not pass, or passes behind a pointer."""

    def value(self, call: Call) -> T:
        """There is none: say so, rather than read another argument's register."""
        raise NotExpressible(
            f"{self} does not exist on {call.arch.label}",
            hint=f"what there is: {', '.join(spec.name for spec in call.spec.args) or 'nothing'}",
        )


_NULLABLE_TEXT = """
acct path | epoll_ctl event | epoll_pwait2 timeout | execve argv envp | execveat argv envp
fanotify_mark path | fsconfig key | futex_wait timeout | futex_waitv timeout
futimesat path times | getxattrat path | io_getevents timeout | io_pgetevents timeout
io_pgetevents_time64 timeout | io_uring_enter arg | listxattrat path | mount source fstype data
mq_timedreceive timeout | mq_timedreceive_time64 timeout | mq_timedsend timeout
mq_timedsend_time64 timeout | newfstatat path | _newselect timeout | open_tree_attr attr
ppoll tmo_p | ppoll_time64 tmo_p | prlimit64 new_rlim | pselect6 timeout
pselect6_time64 timeout | quotactl special | reboot arg | recvmmsg timeout
recvmmsg_time64 timeout | removexattrat path | request_key callout_info
rt_sigtimedwait timeout | rt_sigtimedwait_time64 timeout | select timeout | semtimedop timeout
semtimedop_time64 timeout | sendto address | settimeofday tv | setxattrat path | statx path
utime times | utimensat path times | utimensat_time64 path times | utimes times
"""

NULLABLE = frozenset(
    (call, argument)
    for row in _NULLABLE_TEXT.replace("\n", "|").split("|")
    if row.strip()
    for call, *arguments in [row.split()]
    for argument in arguments
)
"""Pointers for which NULL is a meaning of its own: they decode to ``None``."""

_BY_ROLE: dict[Role, type[Argument[Any]]] = {
    Role.PATH: PathArgument,
    Role.STRING: StringArgument,
    Role.SOCKADDR: SockaddrArgument,
    Role.STRINGS: StringsArgument,
}
_STRUCTS = (Role.IN_STRUCT, Role.INOUT_STRUCT, Role.MSGHDR)


def kind_of(spec: ArgSpec) -> type[Argument[Any]]:
    """Which class decodes *spec*."""
    if spec.role in _BY_ROLE:
        return _BY_ROLE[spec.role]
    if spec.role is Role.IOVEC and spec.length:
        return IovecArgument
    if spec.role is Role.IN_BUFFER and spec.length:
        return BufferArgument
    if spec.role in _STRUCTS and (spec.struct or "") in LAYOUTS:
        return StructArgument
    return EnumArgument if spec.enum else Argument


def make_argument(call: str, spec: ArgSpec, on: Callable[[Arch], ArgSpec]) -> Argument[Any]:
    """The descriptor for one argument of *call*; *on* finds its spec on an architecture."""
    return kind_of(spec)(call, spec, on)


def make_missing(
    call: str, spec: ArgSpec, on: Callable[[Arch], ArgSpec], there: Iterable[ArgSpec]
) -> Argument[Any]:
    """The descriptor for an argument that an ABI does not have in one register.

    Args:
        call: The kernel's name of the call.
        spec: The argument as 64-bit ABIs have it.
        on: Finds its spec on an architecture.
        there: What the ABI has instead.
    """
    halves = {f"{spec.name}_low", f"{spec.name}_high"}
    kind = SplitArgument if halves <= {arg.name for arg in there} else AbsentArgument
    return kind(call, spec, on)
