"""What names, attributes and operators of an expression stand for."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Any as Anything
from typing import Final

from unotify.abi import constants, model
from unotify.abi.hints import nearest
from unotify.abi.model import ArgSpec, Role
from unotify.calls import call_class
from unotify.calls.structs import LAYOUTS
from unotify.errors import UnknownName
from unotify.policy.conditions import Facts, Need
from unotify.policy.where import looks
from unotify.policy.where.looks import Seen
from unotify.policy.where.names import constant_of, known
from unotify.policy.where.reading import Reader
from unotify.policy.where.registers import Register, fits

__all__ = ["TESTS", "VALUES", "Values"]

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
        self._made: list[tuple[ast.expr, Anything]] = []

    # -- values -------------------------------------------------------------------

    def _value(self, node: ast.expr, partner: ast.expr | None = None) -> Anything:
        match node:
            case ast.Constant(value=bool() | int() | str() as value):
                return value
            case ast.Name(id=name):
                return self._name(node, name, self._kind_of(partner))
            case ast.UnaryOp(ast.USub() | ast.Invert() as op, operand):
                value = self._number(operand, partner)
                return -value if isinstance(op, ast.USub) else ~value
            case ast.BinOp(left, ast.BitAnd(), right):
                return self._masked(node, left, right)
            case ast.BinOp(left, ast.BitOr() | ast.Add() | ast.Sub() | ast.LShift() as op, right):
                return self._arithmetic(
                    node, self._number(left, partner), op, self._number(right, partner)
                )
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

    def _kind_of(self, node: ast.expr | None) -> Anything:
        """The constants that belong to what *node* talks about."""
        for part in ast.walk(node) if node is not None else ():
            if isinstance(part, ast.Name):
                for spec in self._spec.args:
                    if spec.name == part.id and spec.enum:
                        return getattr(constants, spec.enum)
        return None

    def _name(self, node: ast.expr, name: str, kind: Anything) -> Anything:
        for spec in self._spec.args:
            if spec.name == name:
                return self._argument(node, spec)
        if name in _CALLER:
            return self._caller(name)
        if name == "resolved":
            return self._resolved(node, None)
        value = constant_of(name, kind)
        if value is not None:
            return value
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
            *getattr(kind, "__members__", ()),
        ]
        have = f"{self._call} has {', '.join(arguments) or 'no arguments'}"
        raise self._wrong(
            node,
            f"{self._call} has no argument {name}, and no constant is called that",
            hint=nearest(name, words) or nearest(name, known()) or have,
            kind=UnknownName,
        )

    def _argument(self, node: ast.expr, spec: ArgSpec) -> Register | Seen:
        kind = _POINTED.get(spec.role)
        if kind == "struct":
            if spec.struct is None or spec.struct not in LAYOUTS:
                raise self._wrong(node, f"{spec.name} points to a struct that cannot be looked at")
            fields = tuple(name for name in LAYOUTS[spec.struct].make._fields if name != "extra")
            return looks.argument(spec.name, kind, fields)
        if kind is not None:
            return looks.argument(spec.name, kind)
        return Register(getattr(self._class, spec.name))

    @staticmethod
    def _caller(name: str) -> Seen:
        def get(facts: Facts) -> Anything:
            return getattr(facts, name)

        return Seen(name, _CALLER[name], Need.CALLER, get)

    def _number(self, node: ast.expr, partner: ast.expr | None) -> int:
        value = self._value(node, partner)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(
                node,
                f"{self._reader.written(node)} is no constant number",
                hint="an argument can be masked with & and compared, not calculated with",
            )
        return value

    def _arithmetic(self, node: ast.expr, left: int, op: ast.operator, right: int) -> int:
        if isinstance(op, ast.BitOr):
            return left | right
        if isinstance(op, ast.Add):
            return left + right
        if isinstance(op, ast.Sub):
            return left - right
        if not 0 <= right < 64:
            raise self._wrong(node, f"a shift by {right} bits")
        return left << right

    def _masked(self, node: ast.expr, left: ast.expr, right: ast.expr) -> Anything:
        value, mask = self._value(left, right), self._value(right, left)
        if isinstance(mask, Register | Seen):
            value, mask, left, right = mask, value, right, left
        if isinstance(mask, bool) or not isinstance(mask, int):
            raise self._wrong(
                right, f"{self._reader.written(right)} is no mask", hint="use a constant"
            )
        if isinstance(value, int):
            return value & mask
        if isinstance(value, Register):
            if not fits(value, mask):
                raise self._wrong(
                    right, f"mask {mask:#x} has bits that {value} has not: {value.bits}"
                )
            if mask == 0:
                raise self._wrong(right, "a mask of 0 looks at no bit")
            return value.masked(mask & (1 << value.bits) - 1)
        if isinstance(value, Seen) and value.kind == "number":
            return value.then(self._reader.written(node), "number", lambda found: found & mask)
        raise self._wrong(left, f"{self._reader.written(left)} has no bits to mask")

    def _attribute(self, node: ast.expr, inner: ast.expr, name: str) -> Seen:
        if isinstance(inner, ast.Name) and inner.id == "caller" and name in _CALLER:
            return self._caller(name)
        value = self._value(inner)
        if isinstance(value, Seen) and value.kind == "address":
            kinds: Mapping[str, str] = _ADDRESS
        elif isinstance(value, Seen) and value.kind == "struct":
            kinds = dict.fromkeys(value.about, "number")
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

        return value.then(f"{value.text}.{name}", kinds[name], part)

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
        if name is None:
            if len(paths) != 1:
                raise self._wrong(
                    node,
                    f"{self._call} has {len(paths) or 'no'} paths",
                    hint=f"say which: resolved({paths[0]})" if paths else None,
                )
            name = paths[0]
        elif name not in paths:
            raise self._wrong(node, f"{name} is no path of {self._call}", hint=nearest(name, paths))
        chosen = name
        return Seen(f"resolved({name})", "path", Need.MEMORY, lambda facts: facts.resolved(chosen))

    def _parts(self, seen: Seen) -> str | None:
        if seen.kind == "address":
            return "it has " + ", ".join(f".{name}" for name in _ADDRESS)
        if seen.kind == "struct":
            return "it has " + ", ".join(f".{name}" for name in seen.about)
        return "take one of them: argv[0]" if seen.kind == "texts" else None
