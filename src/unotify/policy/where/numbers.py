"""Constant numbers of an expression: generic, and as each architecture spells them.

``O_CREAT | 0x800`` is a number where the policy is read, and perhaps another one where it
is compared: flags are other bits on some architectures, choices other values. A name
stands for what the architecture has by that name. A number without a name is the
generic one, that of x86-64, and is translated bit by bit where that can be done.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from unotify.abi.arch import Arch
from unotify.errors import NotExpressible
from unotify.policy.spelling import members, native, spelling

__all__ = ["Name", "Number", "check_order"]


@dataclass(frozen=True, slots=True)
class Name:
    """A constant, as one of a class."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class _Unary:
    op: str
    term: _Tree


@dataclass(frozen=True, slots=True)
class _Binary:
    op: str
    left: _Tree
    right: _Tree


_Tree: TypeAlias = int | Name | _Unary | _Binary

_UNARY: Final[dict[str, Callable[[int], int]]] = {"-": operator.neg, "~": operator.invert}
_BINARY: Final[dict[str, Callable[[int, int], int]]] = {
    "|": operator.or_,
    "&": operator.and_,
    "+": operator.add,
    "-": operator.sub,
    "<<": operator.lshift,
}
_SIGNS: Final[dict[type[ast.AST], str]] = {
    ast.USub: "-",
    ast.Invert: "~",
    ast.BitOr: "|",
    ast.BitAnd: "&",
    ast.Add: "+",
    ast.Sub: "-",
    ast.LShift: "<<",
}


@dataclass(frozen=True, slots=True)
class Number:
    """A constant number.

    Attributes:
        tree: What it is made of.
        kind: The class in whose spelling numbers without a name are written, or ``None``.
    """

    tree: _Tree
    kind: str | None = None

    def unary(self, op: ast.unaryop) -> Number:
        """``-`` or ``~`` of it."""
        return Number(_Unary(_SIGNS[type(op)], self.tree), self.kind)

    def binary(self, op: ast.operator, other: Number) -> Number:
        """It and *other*, combined."""
        return Number(_Binary(_SIGNS[type(op)], self.tree, other.tree), self.kind)

    @property
    def value(self) -> int:
        """The generic number."""
        return _generic(self.tree)

    def names(self) -> list[Name]:
        """The names whose bits it has; not those in a complement."""
        return _names(self.tree)

    def on(self, arch: Arch, *, mask: bool = False) -> int:
        """The number that *arch* has in its place.

        Args:
            arch: Which.
            mask: It is one of bits to look at, so that half of a choice is nothing.

        Raises:
            NotExpressible: It has none.
        """
        number, named = _native(self.tree, arch, self.kind, mask)
        return number if named else _translated(number, arch, self.kind, mask)

    @property
    def uniform(self) -> bool:
        """Whether it is the same number on all architectures."""
        try:
            return {self.on(arch) for arch in Arch} == {self.value}
        except NotExpressible:
            return False


def _generic(tree: _Tree) -> int:
    match tree:
        case Name(name, kind):
            return members(kind)[name]
        case _Unary(op, term):
            return _UNARY[op](_generic(term))
        case _Binary(op, left, right):
            return _BINARY[op](_generic(left), _generic(right))
        case int():
            return tree


def _names(tree: _Tree) -> list[Name]:
    match tree:
        case Name():
            return [tree]
        case _Unary(op, term):
            return [] if op == "~" else _names(term)
        case _Binary(_, left, right):
            return _names(left) + _names(right)
        case int():
            return []


def _native(tree: _Tree, arch: Arch, kind: str | None, mask: bool) -> tuple[int, bool]:
    """The number, and whether it has been made of names, and is therefore *arch*'s own."""
    match tree:
        case Name(name, home):
            number = native(name, home, arch)
            if number is None:
                known = spelling(home, arch).known
                raise NotExpressible(
                    f"{arch.label} has no {name}"
                    if known
                    else f"it is not known here which number {name} has on {arch.label}"
                )
            return number, True
        case _Unary(op, term):
            number, named = _native(term, arch, kind, mask)
            return _UNARY[op](number), named
        case _Binary(op, left, right):
            one, one_named = _native(left, arch, kind, mask)
            other, other_named = _native(right, arch, kind, mask)
            named = one_named or other_named
            if named and op != "<<":
                one = one if one_named else _translated(one, arch, kind, mask)
                other = other if other_named else _translated(other, arch, kind, mask)
            return _BINARY[op](one, other), named
        case int():
            return tree, False


def _translated(number: int, arch: Arch, kind: str | None, mask: bool) -> int:
    spelled = spelling(kind, arch)
    found = spelled.number(number)
    inside = number & spelled.field
    if found is None or (mask and spelled.pairs and inside not in (0, spelled.field)):
        raise NotExpressible(
            f"{number:#x}, a number of x86-64, has no counterpart on {arch.label}",
            hint="name the constants, and the rule's architectures",
        )
    return found


def check_order(what: object, kind: str | None, arch: Arch, mask: int | None = None) -> None:
    """See to it that the numbers of a class, with the bits of *mask*, are in their usual order.

    Raises:
        NotExpressible: They are others on *arch*.
    """
    spelled = spelling(kind, arch)
    moved = spelled.field if spelled.pairs else 0
    for old, new in spelled.bits:
        moved |= old | new
    if moved if mask is None else mask & moved:
        raise NotExpressible(
            f"{what} has other values on {arch.label}, in another order", hint="use == or in"
        )
