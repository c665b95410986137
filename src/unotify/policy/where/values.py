"""What names, attributes and operators of an expression stand for."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any as Anything
from typing import Final

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.abi.model import ArgSpec, Role
from unotify.calls import call_class
from unotify.calls.structs import LAYOUTS
from unotify.errors import UnknownName
from unotify.policy.conditions import Facts, Need
from unotify.policy.spelling import homes, members
from unotify.policy.spelling import value as value_of
from unotify.policy.where import looks
from unotify.policy.where.kinds import of_argument, of_field
from unotify.policy.where.looks import Seen
from unotify.policy.where.masks import fault_of
from unotify.policy.where.numbers import Name, Number
from unotify.policy.where.reading import Reader
from unotify.policy.where.registers import Register, fits

__all__ = ["TESTS", "VALUES", "Pending", "Values"]

VALUES: Final = ("basename", "fd_kind", "fd_path", "len", "major", "minor", "resolved")
"""Functions that give a value; a method `_call_NAME` makes each."""
TESTS: Final = ("every", "glob", "matches", "nth", "probability", "rate", "under")
"""Functions that are conditions."""

_CALLER: Final = {
    "uid": "number",
    "gid": "number",
    "pid": "number",
    "tid": "number",
    "comm": "text",
    "exe": "path",
    "cgroup": "path",
}
_ADDRESS: Final = {
    "family": "number",
    "ip": "ip",
    "port": "number",
    "path": "path",
    "abstract": "text",
}
_POINTED: Final = {
    Role.PATH: "path",
    Role.STRING: "text",
    Role.SOCKADDR: "address",
    Role.STRINGS: "texts",
    Role.IN_STRUCT: "struct",
    Role.INOUT_STRUCT: "struct",
    Role.IN_BUFFER: "text",
}


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A constant number that gets its meaning from what it is compared with.

    Attributes:
        node: Its expression.
    """

    node: ast.expr


class Values:
    """The values of an expression, for one call."""

    def __init__(
        self, reader: Reader, call: str, sets: Mapping[str, frozenset[object]], key: str
    ) -> None:
        self._reader = reader
        self._wrong = reader.wrong
        self._call = call
        self._spec = model.spec(call)
        self._class = call_class(call)
        self._sets = sets
        self._key = key
        self._made: list[tuple[ast.expr, Callable[[Arch], object]]] = []

    # -- values -------------------------------------------------------------------

    def _value(self, node: ast.expr, partner: ast.expr | None = None) -> Anything:
        match node:
            case ast.Constant(value=bool() | str() as value):
                return value
            case ast.Constant(value=int()):
                return Pending(node)
            case ast.Name(id=name):
                return self._name(node, name, partner)
            case ast.UnaryOp(ast.USub() | ast.Invert(), operand):
                self._constant(operand, partner)
                return Pending(node)
            case ast.BinOp(left, ast.BitAnd(), right):
                return self._masked(node, left, right)
            case ast.BinOp(left, ast.BitOr() | ast.Add() | ast.Sub() | ast.LShift(), right):
                self._constant(left, partner)
                self._constant(right, partner)
                return Pending(node)
            case ast.Attribute(value=inner, attr=name):
                return self._attribute(node, inner, name)
            case ast.Subscript(value=inner, slice=ast.Constant(value=int() as position)):
                return self._element(node, inner, position)
            case ast.Call(ast.Name(id=name)):
                return self._called(node, name)
        raise self._wrong(
            node,
            f"{self._reader.written(node)} is nothing that a condition can ask",
            hint="it takes arguments, constants, comparisons, `in`, and, or, not, & and functions",
        )

    def _near(self, node: ast.expr | None) -> tuple[str, ...]:
        """The constants that probably belong to what *node* talks about."""
        for part in ast.walk(node) if node is not None else ():
            if isinstance(part, ast.Name):
                for spec in self._spec.args:
                    if spec.name == part.id and (own := of_argument(spec).own):
                        return tuple(members(own))
        return ()

    def _name(self, node: ast.expr, name: str, partner: ast.expr | None) -> Anything:
        for spec in self._spec.args:
            if spec.name == name:
                return self._argument(node, spec)
        if name in _CALLER:
            return self._caller(name)
        if name == "resolved":
            return self._resolved(node, None)
        if homes(name):
            return Pending(node)
        if name in ("True", "False"):
            return name == "True"
        if name == "module" and self._call in ("init_module", "finit_module"):
            raise self._wrong(
                node,
                "the name of a module is in its image, and nothing here reads it yet",
                hint="ask for fd_path(fd), or let a Python handler decide",
                kind=UnknownName,
            )
        arguments = [spec.name for spec in self._spec.args]
        words = [
            *arguments,
            *_CALLER,
            "resolved",
            *VALUES,
            *TESTS,
            *self._near(partner),
        ]
        have = f"{self._call} has {', '.join(arguments) or 'no arguments'}"
        raise self._wrong(
            node,
            f"{self._call} has no argument {name}, and no constant is called that",
            hint=nearest(name, words) or nearest(name, homes()) or have,
            kind=UnknownName,
        )

    def _argument(self, node: ast.expr, spec: ArgSpec) -> Register | Seen:
        kind = _POINTED.get(spec.role)
        if kind == "struct":
            if spec.struct is None or spec.struct not in LAYOUTS:
                raise self._wrong(node, f"{spec.name} points to a struct that cannot be looked at")
            fields = LAYOUTS[spec.struct].make._fields
            return looks.argument(spec.name, kind, fields)
        if kind is not None:
            return looks.argument(spec.name, kind)
        return Register(getattr(self._class, spec.name))

    @staticmethod
    def _caller(name: str) -> Seen:
        def get(facts: Facts) -> Anything:
            return getattr(facts, name)

        return Seen(name, _CALLER[name], Need.CALLER, get)

    def _constant(self, node: ast.expr, partner: ast.expr | None) -> None:
        if not isinstance(self._value(node, partner), Pending):
            raise self._wrong(
                node,
                f"{self._reader.written(node)} is no constant number",
                hint="an argument can be masked with & and compared, not calculated with",
            )

    def _number(self, node: ast.expr, about: Register | Seen) -> Number:
        """The constant number that *node* is, compared with or masking *about*."""
        takes = about.takes
        match node:
            case ast.Constant(value=int() as value):
                return Number(value, takes.own)
            case ast.Name(id=name):
                kind = takes.home(name)
                if kind is None:
                    raise self._wrong(
                        node, f"{name} does not belong to {about}", hint=takes.hint(name)
                    )
                # By another class's name for it the number is meant, not the name.
                known = members(kind)
                return Number(Name(name, kind) if name in known else value_of(name), takes.own)
            case ast.UnaryOp(op, operand):
                return self._number(operand, about).unary(op)
            case ast.BinOp(left, op, right):
                one, other = self._number(left, about), self._number(right, about)
                if isinstance(op, ast.LShift) and not 0 <= other.value < 64:
                    raise self._wrong(node, f"a shift by {other.value} bits")
                return one.binary(op, other)
        raise AssertionError(node)  # nothing else is a constant number

    def _masked(self, node: ast.expr, left: ast.expr, right: ast.expr) -> Anything:
        value, mask = self._value(left, right), self._value(right, left)
        if isinstance(mask, Register | Seen):
            value, mask, left, right = mask, value, right, left
        if not isinstance(mask, Pending):
            raise self._wrong(
                right, f"{self._reader.written(right)} is no mask", hint="use a constant"
            )
        if isinstance(value, Pending):
            return Pending(node)
        if not isinstance(value, Register | Seen) or (
            isinstance(value, Seen) and value.kind != "number"
        ):
            raise self._wrong(left, f"{self._reader.written(left)} has no bits to mask")
        number = self._number(right, value)
        bits = number.value
        if isinstance(value, Register) and not fits(value, bits):
            raise self._wrong(right, f"mask {bits:#x} has bits that {value} has not: {value.bits}")
        fault = fault_of(number, value, self._reader.written(left), self._reader.written(right))
        if fault is not None:
            message, hint = fault
            raise self._wrong(right, message, hint=hint)
        self._made.append((right, lambda arch: number.on(arch, mask=True)))
        if isinstance(value, Register):
            return value.masked(number)
        return value.masked(self._reader.written(node), number)

    def _attribute(self, node: ast.expr, inner: ast.expr, name: str) -> Seen:
        if isinstance(inner, ast.Name) and inner.id == "caller" and name in _CALLER:
            return self._caller(name)
        value = self._value(inner)
        if isinstance(value, Seen) and value.kind == "address":
            kinds: Mapping[str, str] = _ADDRESS
        elif isinstance(value, Seen) and value.kind == "struct":
            kinds = dict.fromkeys((part for part in value.parts if part != "extra"), "number")
        else:
            raise self._wrong(node, f"{self._reader.written(inner)} has no parts")
        if name not in kinds:
            raise self._wrong(
                node,
                f"{value.text} has no part {name}",
                hint=nearest(name, kinds) or self._parts(value),
                kind=UnknownName,
            )

        def part(found: Anything) -> Anything:
            got = looks.text(getattr(found, name, None))
            if isinstance(got, IPv6Address) and got.ipv4_mapped is not None:
                return got.ipv4_mapped
            return got

        takes = of_field(self._struct_of(value), name)
        return value.then(f"{value.text}.{name}", kinds[name], part, takes=takes)

    def _struct_of(self, value: Seen) -> str:
        return next((s.struct for s in self._spec.args if s.name == value.text and s.struct), "")

    def _element(self, node: ast.expr, inner: ast.expr, position: int) -> Seen:
        value = self._value(inner)
        if not isinstance(value, Seen) or value.kind != "texts":
            raise self._wrong(node, f"{self._reader.written(inner)} has no elements")

        def element(found: Anything) -> Anything:
            return looks.text(found[position]) if position < len(found) else None

        return value.then(f"{value.text}[{position}]", "text", element)

    def _called(self, node: ast.Call, name: str) -> Anything:
        if name in TESTS:
            raise self._wrong(
                node, f"{name}() is a condition, not a value", hint="use it by itself"
            )
        if name not in VALUES:
            raise self._wrong(
                node,
                f"no function is called {name}",
                hint=nearest(name, (*VALUES, *TESTS)),
                kind=UnknownName,
            )
        return getattr(self, f"_call_{name}")(node)

    def _text(self, node: ast.expr) -> str:
        value = self._value(node)
        if not isinstance(value, str):
            raise self._wrong(node, f"{self._reader.written(node)} is not text in quotes")
        return value

    def _path(self, node: ast.expr) -> Seen:
        value = self._value(node)
        if not isinstance(value, Seen) or value.kind not in ("path", "text"):
            raise self._wrong(node, f"{self._reader.written(node)} is no path or text of the call")
        return value

    def _resolved(self, node: ast.expr, name: str | None) -> Seen:
        paths = [spec.name for spec in self._spec.args if spec.role is Role.PATH]
        # Of a unix socket; written out, since other addresses have none.
        sockets = [f"{spec.name}.path" for spec in self._spec.args if spec.role is Role.SOCKADDR]
        if name is None:
            if len(paths) != 1:
                raise self._wrong(
                    node,
                    f"{self._call} has {len(paths) or 'no'} paths",
                    hint=next((f"say which: resolved({each})" for each in paths + sockets), None),
                )
            name = paths[0]
        elif name not in paths + sockets:
            there = ", ".join(paths + sockets)
            raise self._wrong(
                node,
                f"{name} is no path of {self._call}",
                hint=nearest(name, paths + sockets) or (f"it has {there}" if there else None),
            )
        argument = name.partition(".")[0]

        def get(facts: Facts) -> str | None:
            if name in sockets and getattr(getattr(facts.call, argument), "path", None) is None:
                return None
            return facts.resolved(argument)

        return Seen(f"resolved({name})", "path", Need.MEMORY, get)

    def _parts(self, seen: Seen) -> str | None:
        if seen.kind == "address":
            return "it has " + ", ".join(f".{name}" for name in _ADDRESS)
        if seen.kind == "struct":
            return "it has " + ", ".join(f".{name}" for name in seen.parts)
        return "take one of them: argv[0]" if seen.kind == "texts" else None
