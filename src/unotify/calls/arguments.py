"""Arguments as attributes: a question on the class, a value on an instance.

Theory of operation. A register is a snapshot that only a ptracer could change
(C2); it is decoded each time, which costs a mask. What it points to is in `pointed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, Generic, Never, Protocol, TypeVar, overload

from unotify.abi import constants
from unotify.abi.arch import Arch
from unotify.abi.model import ArgSpec
from unotify.abi.types import Address
from unotify.bpf import CompareOp
from unotify.calls.expressions import Masked, Where, comparison, membership, require_int
from unotify.errors import NotExpressible

if TYPE_CHECKING:
    from unotify.calls.call import Call

__all__ = ["Argument", "Reader", "register"]

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

    def __set__(self, instance: Call, value: Never) -> None:
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


def register(call: Call, spec: ArgSpec) -> int:
    """The argument as the kernel takes it: cut to its width, signed if it is (B3)."""
    bits = spec.bits or call.arch.bits
    value = call.exchange.args[spec.index] & ((1 << bits) - 1)
    if spec.signed and value >> (bits - 1):
        value -= 1 << bits
    return value
