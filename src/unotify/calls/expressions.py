"""Questions about registers, asked on the class: ``Mount.flags & MountFlags.BIND``.

A :class:`Where` is a question that the kernel's filter can answer: it looks at
argument registers only. It stays abstract until it is lowered for one
architecture, because argument positions, widths and flag bits differ there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from unotify.abi.arch import Arch
from unotify.abi.model import ArgSpec
from unotify.bpf import And, Compare, CompareOp, In, Not, Or, RegisterPredicate
from unotify.errors import NotExpressible

if TYPE_CHECKING:
    from unotify.calls.arguments import Argument

__all__ = ["Condition", "Masked", "Where", "as_where"]


@dataclass(frozen=True)
class Where:
    """A condition on registers; combine with ``&``, ``|`` and ``~``.

    Attributes:
        text: The condition as a person would write it.
        lower: Makes the predicate for one architecture.
        calls: The calls whose arguments it asks about; for others it means nothing.
    """

    text: str
    lower: Callable[[Arch], RegisterPredicate]
    calls: frozenset[str] = frozenset()

    def __and__(self, other: Condition) -> Where:
        right = as_where(other)
        return Where(
            f"({self.text} and {right.text})",
            lambda arch: And((self.lower(arch), right.lower(arch))),
            self.calls | right.calls,
        )

    def __or__(self, other: Condition) -> Where:
        right = as_where(other)
        return Where(
            f"({self.text} or {right.text})",
            lambda arch: Or((self.lower(arch), right.lower(arch))),
            self.calls | right.calls,
        )

    def __invert__(self) -> Where:
        return Where(f"not {self.text}", lambda arch: Not(self.lower(arch)), self.calls)

    def __bool__(self) -> bool:
        # `and`, `or`, `not` and chained comparisons would silently drop half of it.
        raise TypeError(f"combine conditions with &, | and ~, not with words: {self.text}")

    def __repr__(self) -> str:
        return f"<Where {self.text}>"


@dataclass(frozen=True, eq=False)
class Masked:
    """``argument & mask``: compare it, or use it as the condition "any of these bits"."""

    argument: Argument[object]
    mask: int

    def __eq__(self, value: object) -> Where:  # type: ignore[override]
        return self._compare(CompareOp.EQ, value, "==")

    def __ne__(self, value: object) -> Where:  # type: ignore[override]
        return self._compare(CompareOp.NE, value, "!=")

    __hash__ = object.__hash__

    def __and__(self, other: int | Condition) -> Masked | Where:
        if isinstance(other, int):
            return Masked(self.argument, self.mask & require_int(self.argument, other))
        return self.any & other

    def __or__(self, other: Condition) -> Where:
        return self.any | other

    def __invert__(self) -> Where:
        return ~self.any

    def __bool__(self) -> bool:
        raise TypeError("combine conditions with &, | and ~, not with words")

    @property
    def any(self) -> Where:
        """The condition that at least one bit of the mask is set."""
        return self._compare(CompareOp.NE, 0, "!=")

    def _compare(self, op: CompareOp, value: object, sign: str) -> Where:
        number = require_int(self.argument, value)
        return comparison(self.argument, op, number, sign, self.mask)


Condition: TypeAlias = Where | Masked


def as_where(condition: object) -> Where:
    """Return *condition* as a `Where`.

    Raises:
        NotExpressible: It is none: most likely a Python bool, which a plain
            comparison of two values gives.
    """
    if isinstance(condition, Where):
        return condition
    if isinstance(condition, Masked):
        return condition.any
    raise NotExpressible(
        f"where= wants a condition on registers, not {condition!r}",
        hint="write one with the call's class, such as where=Mount.flags & MountFlags.MS_BIND",
    )


def require_int(argument: Argument[object], value: object) -> int:
    """Return *value* if *argument* can be compared with it in a register."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise NotExpressible(
            f"{argument} is a register and can be compared with an int, not with {value!r}"
        )
    return int(value)


def _shape(argument: Argument[object], arch: Arch) -> tuple[ArgSpec, Callable[[int], int]]:
    spec = argument.on(arch)
    return spec, argument.to_abi(arch)


def comparison(
    argument: Argument[object], op: CompareOp, value: int, sign: str, mask: int | None = None
) -> Where:
    """The condition ``argument [& mask] op value``."""

    def lower(arch: Arch) -> RegisterPredicate:
        spec, to_abi = _shape(argument, arch)
        return Compare(
            spec.index,
            op,
            to_abi(value),
            bits=_width(spec),
            signed=spec.signed and mask is None,
            mask=_cut(spec, None if mask is None else to_abi(mask)),
        )

    left = f"{argument}" if mask is None else f"({argument} & {mask:#x})"
    return Where(f"{left} {sign} {value}", lower, frozenset({argument.call}))


def membership(argument: Argument[object], values: Iterable[object]) -> Where:
    """The condition ``argument in values``."""
    numbers = tuple(require_int(argument, value) for value in values)

    def lower(arch: Arch) -> RegisterPredicate:
        spec, to_abi = _shape(argument, arch)
        native = frozenset(map(to_abi, numbers))
        if (mask := _cut(spec, None)) is None:
            return In(spec.index, native, bits=_width(spec))
        return Or(
            tuple(
                Compare(spec.index, CompareOp.EQ, value, bits=_width(spec), mask=mask)
                for value in sorted(native)
            )
        )

    return Where(f"{argument} in {numbers}", lower, frozenset({argument.call}))


def _width(spec: ArgSpec) -> int:
    # The filter compares words; what is narrower is cut by a mask.
    return 0 if spec.bits == 0 else 64 if spec.bits == 64 else 32


def _cut(spec: ArgSpec, mask: int | None) -> int | None:
    # The kernel cuts a mode_t to 16 bits: dirt above them must not hide it (B3).
    if spec.bits not in (8, 16):
        return mask
    ones = (1 << spec.bits) - 1
    return ones if mask is None else mask & ones
