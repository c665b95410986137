"""Arguments that point to something: how each kind of it is read and decoded.

Theory of operation. Memory is no snapshot: each pointed-to object is read *once* per call, the
copy is kept, and the call is marked, so that a plain Continue is refused later. Instruments may
look without the mark: they decide nothing.

What is read is bounded, for a target chooses how much it is.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from unotify.abi.arch import Arch
from unotify.abi.model import ArgSpec
from unotify.abi.types import Address
from unotify.calls.arguments import Argument, Reader, register
from unotify.calls.nullable import NULLABLE
from unotify.calls.paths import TargetPath
from unotify.calls.sockaddr import SocketAddress, decode_sockaddr
from unotify.calls.structs import LAYOUTS, IoVec, Layout
from unotify.errors import BadAddress, PathTooLong, Refused

if TYPE_CHECKING:
    from unotify.calls.call import Call

__all__ = ["PATH_MAX", "MemoryArgument"]

PATH_MAX: Final = 4096
"""The most bytes of a path, NUL included; the kernel takes no longer one."""

_STRING_MAX: Final = 65536
_BUFFER_MAX: Final = 1 << 20
_STRINGS_MAX: Final = 1 << 16
_IOV_MAX: Final = 1024
_SOCKADDR_MAX: Final = 128
_STRUCT_MAX: Final = 4096

T = TypeVar("T", covariant=True)


class MemoryArgument(Argument[T]):
    """Something that the register points to: read once, and marked."""

    memory = True

    def __init__(self, call: str, spec: ArgSpec, on: Callable[[Arch], ArgSpec]) -> None:
        super().__init__(call, spec, on)
        self.nullable = (call, spec.name) in NULLABLE

    def value(self, call: Call) -> T:
        """Decode it for *call*, which is marked."""
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
            raise Refused(f"a socket address of {length} bytes", errno=errno.EINVAL)
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
                f"{self}: {length} bytes are more than is read for a decision", errno=errno.E2BIG
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
                raise Refused(f"{self}: a struct of {size} bytes", errno=errno.E2BIG)
        return layout.decode(reader.read(Address(raw), size), call.arch)

    def _read_sized(self, address: int, layout: Layout, call: Call, reader: Reader) -> bytes:
        """Read a struct whose first field says how long it is, no byte of it twice."""
        first = layout.first_version
        head = reader.read(Address(address), 4)
        size = int.from_bytes(head, "little" if call.arch.little else "big") or first
        if not first <= size <= _STRUCT_MAX:
            raise Refused(f"{self}: a struct of {size} bytes", errno=errno.E2BIG)
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
        raise Refused(f"{self}: more than is read for a decision", errno=errno.E2BIG)


class IovecArgument(MemoryArgument[T]):
    """An array of ``struct iovec``, as many as the call's count argument says."""

    def decode(self, raw: int, call: Call, reader: Reader | None) -> tuple[IoVec, ...]:
        assert reader is not None
        assert self.spec.length is not None
        count = call.register(self.spec.length)
        if not 0 <= count <= _IOV_MAX:
            raise Refused(f"{self}: {count} elements", errno=errno.EINVAL)
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
