"""From the text of a ``where`` to a condition for each call.

The text is parsed by Python's own parser and walked; nothing is ever evaluated by
Python. Each node becomes one of four things: a :class:`Register`, a :class:`Seen`
value, a constant, or a condition. What may be combined, and how, follows from the
call model, so that a name, a type or a number that cannot be right is an error where
it stands.

Terms. An argument has its name in the manual page. A flag word and a mask are true if
a bit is set. What a call of this kind does not have (the port of a unix address, a
NULL path) makes a comparison false, be it ``==``, ``!=``, ``in`` or ``not in``, and a test
such as ``under()`` too. ``not`` is about a whole condition, and turns round whatever it is.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network
from itertools import count
from types import MappingProxyType
from typing import Any as Anything
from typing import Final

from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.abi.model import ArgSpec, Role
from unotify.bpf import CompareOp
from unotify.errors import NotExpressible, UnknownName
from unotify.policy.conditions import All, Any, Condition, Constant, Negation
from unotify.policy.model import Place
from unotify.policy.where import looks
from unotify.policy.where.functions import Functions
from unotify.policy.where.looks import Seen
from unotify.policy.where.numbers import Number, check_order
from unotify.policy.where.reading import Reader
from unotify.policy.where.registers import Register, compare, fits
from unotify.policy.where.values import TESTS, Pending

__all__ = ["bind"]

_SIGNS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_TURNED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

_NOWHERE: Final = Place()
_numbers = count()


def bind(
    text: str,
    calls: Iterable[str],
    *,
    sets: Mapping[str, frozenset[object]] = MappingProxyType({}),
    architectures: Sequence[Arch] | Mapping[str, Sequence[Arch]] = (),
    place: Place = _NOWHERE,
) -> dict[str, Condition]:
    """Read *text* and say what it means for each of *calls*.

    Args:
        text: The expression; line breaks count as spaces.
        calls: The kernel's names.
        sets: Values by the name of their set.
        architectures: Those that the condition must have a meaning on; for all calls or
            for each.
        place: Where the first character of *text* stands.

    Raises:
        UnknownName: No argument, constant, set or function is called that.
        NotExpressible: An architecture cannot ask that.
        PolicyError: Anything else that is wrong, at its line and column.
    """
    reader = Reader(text, place)
    body = reader.parse()
    # A counter stands in one place of one text: it is the same for all calls.
    key = f"{place}#{next(_numbers)}"
    found: dict[str, Condition] = {}
    for name in calls:
        binder = _Binder(reader, name, sets, key)
        found[name] = binder.condition(body)
        binder.lower_all(
            architectures[name] if isinstance(architectures, Mapping) else architectures
        )
    return found


class _Binder(Functions):
    """What the expression means for one call."""

    def lower_all(self, architectures: Sequence[Arch]) -> None:
        """Find out now what some architecture cannot express."""
        for node, test in self._made:
            for arch in architectures:
                try:
                    test(arch)
                except NotExpressible as error:
                    hint = error.hint or self._elsewhere(test, architectures)
                    raise self._wrong(node, str(error), hint=hint, kind=NotExpressible) from None

    def _elsewhere(
        self, test: Callable[[Arch], object], architectures: Sequence[Arch]
    ) -> str | None:
        """Where it can be expressed."""
        for arch in architectures:
            with suppress(NotExpressible):
                test(arch)
                return f'say for which architectures the rule is: "{self._call}@{arch.label}"'
        return None

    # -- conditions ------------------------------------------------------------

    def condition(self, node: ast.expr) -> Condition:
        match node:
            case ast.BoolOp(ast.And(), values):
                return All(tuple(map(self.condition, values)))
            case ast.BoolOp(ast.Or(), values):
                return Any(tuple(map(self.condition, values)))
            case ast.UnaryOp(ast.Not(), operand):
                return Negation(self.condition(operand))
            case ast.Compare(left, ops, comparators):
                terms = []
                for op, right in zip(ops, comparators, strict=True):
                    terms.append(self._compare(node, left, op, right))
                    left = right
                return terms[0] if len(terms) == 1 else All(tuple(terms))
            case ast.Call(ast.Name(id=name)) if name in TESTS:
                made: Condition = getattr(self, f"_call_{name}")(node)
                return made
        value = self._value(node)
        written = self._reader.written(node)
        if isinstance(value, Register):
            return self._register(node, value, CompareOp.NE, [Number(0)])
        if isinstance(value, Seen) and value.kind == "number":
            return looks.compare(value, "!=", 0, written)
        if isinstance(value, bool):
            return Constant(value)
        raise self._wrong(
            node, f"{written} is a value, not a condition", hint="compare it with something"
        )

    def _register(
        self, node: ast.expr, register: Register, op: CompareOp, values: list[Number]
    ) -> Condition:
        test = compare(register, op, values, self._reader.written(node))
        self._made.append((node, test.lower))
        return test

    def _compare(self, node: ast.expr, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Condition:
        if isinstance(op, ast.In | ast.NotIn):
            return self._within(node, left, right, isinstance(op, ast.In))
        sign = _SIGNS.get(type(op))
        if sign is None:
            raise self._wrong(node, "`is` compares Python objects", hint="use == or !=")
        # Constants take their meaning from what they are compared with.
        known_left = self._value(left, right)
        known_right = self._value(right, left)
        if not isinstance(known_left, Register | Seen):
            known_left, known_right, sign = known_right, known_left, _TURNED[sign]
            left, right = right, left
        if not isinstance(known_left, Register | Seen):
            raise self._wrong(node, "both sides are constants", hint="compare an argument with one")
        if isinstance(known_right, Register | Seen):
            raise self._wrong(
                right, "two arguments cannot be compared", hint="compare each with a constant"
            )
        if isinstance(known_left, Register):
            number = self._compared(right, known_left, known_right, sign)
            return self._register(node, known_left, CompareOp(sign), [number])
        value = self._fitting(right, known_left, known_right)
        if known_left.kind not in ("number",) and sign not in ("==", "!="):
            raise self._wrong(node, f"{known_left.text} has no order", hint="use == or !=")
        if sign not in ("==", "!="):
            about, own = known_left.text, known_left.takes.own
            self._made.append((node, lambda arch: check_order(about, own, arch)))
        return looks.compare(known_left, sign, value, self._reader.written(node))

    def _compared(
        self, node: ast.expr, register: Register, value: object, sign: str = "=="
    ) -> Number:
        """The number that *register* is compared with; *value* may be one of a set."""
        if isinstance(value, Pending):
            node = value.node
            number = self._number(node, register)
            self._made.append((node, number.on))
        elif isinstance(value, int) and not isinstance(value, bool):
            number = Number(value, register.takes.own)
        else:
            raise self._wrong(
                node,
                f"{register} is a number, and {self._reader.written(node)} is not",
                hint=self._pointed(register.argument.spec),
            )
        generic = number.value
        if not fits(register, generic):
            raise self._wrong(
                node, f"{generic:#x} does not fit into {register}, which has {register.bits} bits"
            )
        kept = register.kept
        if kept is not None and sign in ("==", "!=") and generic & ~kept:
            raise self._wrong(
                node,
                f"bits {generic & ~kept:#x} of {generic:#x} are not in the mask "
                f"{kept:#x}: they are never equal",
            )
        return number

    @staticmethod
    def _pointed(spec: ArgSpec) -> str | None:
        if spec.role is Role.ADDRESS:
            return "what it points to cannot be looked at"
        return None

    def _fitting(self, node: ast.expr, seen: Seen, value: object) -> object:
        if seen.kind == "number" and isinstance(value, Pending):
            number = self._number(value.node, seen)
            self._made.append((node, number.on))
            return number
        if seen.kind == "number" and isinstance(value, int) and not isinstance(value, bool):
            return Number(value, seen.takes.own)
        if seen.kind == "number" or not isinstance(value, str):
            what = "a number" if seen.kind == "number" else "text"
            raise self._wrong(
                node, f"{seen.text} is {what}, and {self._reader.written(node)} is not"
            )
        if seen.kind == "ip":
            try:
                return ip_address(str(value))
            except ValueError:
                raise self._wrong(
                    node, f"{value!r} is not an IP address", hint="or use cidr()"
                ) from None
        if seen.kind not in ("number", "ip", "text", "path"):
            raise self._wrong(node, f"{seen.text} is not one value", hint=self._parts(seen))
        return value

    # -- in -----------------------------------------------------------------------

    def _within(self, node: ast.expr, left: ast.expr, right: ast.expr, wanted: bool) -> Condition:
        written = self._reader.written(node)
        arguments = {spec.name for spec in self._spec.args}
        if isinstance(right, ast.Name) and right.id in arguments - self._sets.keys():
            # Perhaps a list that the call has: "-c" in argv.
            value = self._value(right)
            if isinstance(value, Seen) and value.kind == "texts":
                word = self._value(left)
                if not isinstance(word, str):
                    raise self._wrong(left, f"{right.id} has texts, and this is none")
                one = value.then(value.text, "number", lambda found: int(word in found))
                return looks.compare(one, "==", int(wanted), written)
        found = self._value(left, right)
        values, networks = self._members(right, left)
        if not values and not networks:
            raise self._wrong(right, "nothing is in an empty set")
        if isinstance(found, Register):
            if networks:
                raise self._wrong(right, f"{found} is a number, not an IP address")
            numbers = {
                (number := self._compared(right, found, value)).value: number for value in values
            }
            ascending = [numbers[value] for value in sorted(numbers)]
            among = self._register(node, found, CompareOp.EQ, ascending)
            return among if wanted else Negation(among)
        if not isinstance(found, Seen):
            raise self._wrong(left, "a constant is tested", hint="test an argument")
        if networks and found.kind != "ip":
            raise self._wrong(right, f"{found.text} is no IP address", hint="use address.ip")
        fitting = frozenset(self._fitting(right, found, value) for value in values)
        return looks.contains(found, fitting, networks, written, wanted=wanted)

    def _members(
        self, node: ast.expr, partner: ast.expr
    ) -> tuple[list[Anything], tuple[looks.Network, ...]]:
        match node:
            case ast.Tuple(elts) | ast.List(elts) | ast.Set(elts):
                values: list[Anything] = []
                networks: tuple[looks.Network, ...] = ()
                for element in elts:
                    more, nets = (
                        self._members(element, partner)
                        if isinstance(element, ast.Call)
                        else ([self._value(element, partner)], ())
                    )
                    values += more
                    networks += nets
                return values, networks
            case ast.Call(ast.Name(id="cidr"), args):
                return [], tuple(self._network(arg, self._text(arg)) for arg in args)
            case ast.Name(id=name) if name in self._sets:
                members = sorted(self._sets[name], key=str)
                nets = tuple(
                    self._network(node, str(member))
                    for member in members
                    if not isinstance(member, int | str) or _is_network(member)
                )
                return [
                    member
                    for member in members
                    if isinstance(member, int | str) and not _is_network(member)
                ], nets
            case ast.Name(id=name):
                raise self._wrong(
                    node,
                    f"no set is called {name}",
                    hint=nearest(name, self._sets) or "write one in [sets], or (a, b, c) here",
                    kind=UnknownName,
                )
        raise self._wrong(node, "`in` wants a set, a list in parentheses, or cidr()")

    def _network(self, node: ast.expr, written: str) -> looks.Network:
        try:
            return ip_network(written)
        except ValueError as error:
            raise self._wrong(
                node, f"{written!r} is no network: {error}", hint='like "10.0.0.0/8"'
            ) from None


def _is_network(member: object) -> bool:
    if not isinstance(member, str) or "/" not in member or member.startswith("/"):
        return not isinstance(member, int | str)
    try:
        ip_network(member)
    except ValueError:
        return False
    return True
