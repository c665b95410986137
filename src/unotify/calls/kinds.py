"""Which kind of argument each one is, on each architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from unotify.abi.arch import Arch
from unotify.abi.model import ArgSpec, Role
from unotify.calls.arguments import Argument, EnumArgument
from unotify.calls.pointed import (
    BufferArgument,
    IovecArgument,
    PathArgument,
    SockaddrArgument,
    StringArgument,
    StringsArgument,
    StructArgument,
)
from unotify.calls.structs import LAYOUTS
from unotify.errors import NotExpressible

if TYPE_CHECKING:
    from unotify.calls.call import Call

__all__ = ["kind_of", "make_argument", "make_missing"]

T = TypeVar("T", covariant=True)

_BY_ROLE: Final[dict[Role, type[Argument[Any]]]] = {
    Role.PATH: PathArgument,
    Role.STRING: StringArgument,
    Role.SOCKADDR: SockaddrArgument,
    Role.STRINGS: StringsArgument,
}
_STRUCTS: Final = (Role.IN_STRUCT, Role.INOUT_STRUCT, Role.MSGHDR)


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
