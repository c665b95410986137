"""The functions of an expression: paths, descriptors, devices, counters."""

from __future__ import annotations

import ast
import re
from typing import Any as Anything
from typing import Final

from unotify.abi.hints import nearest
from unotify.abi.model import Role
from unotify.errors import UnknownName
from unotify.policy.conditions import Condition, Facts, Look, Need
from unotify.policy.where import looks
from unotify.policy.where.looks import Seen
from unotify.policy.where.registers import Register
from unotify.policy.where.values import Values

__all__ = ["Functions"]

_SCOPES: Final = ("process", "program", "rule")
# How Linux packs a dev_t into the register (new_decode_dev).
_MAJOR: Final = tuple(range(8, 20))
_MINOR: Final = (*range(8), *range(20, 32))


class Functions(Values):
    """What functions stand for, for one call."""

    # -- functions ----------------------------------------------------------------

    def _arguments(self, node: ast.Call, number: int, form: str) -> list[ast.expr]:
        if node.keywords or len(node.args) != number:
            raise self._wrong(node, f"this is written {form}")
        return node.args

    def _call_resolved(self, node: ast.Call) -> Seen:
        (path,) = self._arguments(node, 1, "resolved(path)")
        match path:
            case ast.Name(id=name) | ast.Attribute(value=ast.Name(id=name), attr="path"):
                dotted = isinstance(path, ast.Attribute)
                return self._resolved(node, f"{name}.path" if dotted else name)
        raise self._wrong(
            path, "resolved() takes the name of an argument, or address.path of a unix socket"
        )

    def _call_basename(self, node: ast.Call) -> Seen:
        (path,) = self._arguments(node, 1, "basename(path)")
        return self._path(path).then(self._reader.written(node), "text", looks.basename)

    def _call_len(self, node: ast.Call) -> Seen:
        (items,) = self._arguments(node, 1, "len(argv)")
        value = self._value(items)
        if not isinstance(value, Seen) or value.kind not in ("texts", "text", "path"):
            raise self._wrong(items, f"{self._reader.written(items)} has no length")
        return value.then(self._reader.written(node), "number", len)

    def _call_fd_kind(self, node: ast.Call) -> Seen:
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        (fd,) = self._arguments(node, 1, f"{name}(fd)")
        register = self._value(fd)
        if not isinstance(register, Register) or register.argument.spec.role not in (
            Role.FD,
            Role.DIRFD,
        ):
            raise self._wrong(fd, f"{self._reader.written(fd)} is no descriptor of {self._call}")
        argument = register.argument.name

        def get(facts: Facts) -> Anything:
            return getattr(facts, name)(int(getattr(facts.call, argument)))

        kind = "path" if name == "fd_path" else "text"
        return Seen(self._reader.written(node), kind, Need.MEMORY, get)

    def _call_minor(self, node: ast.Call) -> Register:
        return self._call_major(node)

    def _call_fd_path(self, node: ast.Call) -> Seen:
        return self._call_fd_kind(node)

    def _call_major(self, node: ast.Call) -> Register:
        assert isinstance(node.func, ast.Name)
        (dev,) = self._arguments(node, 1, f"{node.func.id}(dev)")
        register = self._value(dev)
        if not isinstance(register, Register) or register.argument.spec.role is not Role.DEV:
            raise self._wrong(
                dev, f"{self._reader.written(dev)} is no device number of {self._call}"
            )
        places = _MAJOR if node.func.id == "major" else _MINOR
        return Register(register.argument, None, places)

    def _texts(self, node: ast.expr) -> tuple[str, ...]:
        """A text in quotes, several in parentheses, or a set of the policy: one has to match."""
        match node:
            case ast.Tuple(elts) | ast.List(elts) | ast.Set(elts):
                if not elts:
                    raise self._wrong(node, "nothing is in an empty set")
                return tuple(self._text(element) for element in elts)
            case ast.Name(id=name) if name in self._sets:
                texts = tuple(sorted(item for item in self._sets[name] if isinstance(item, str)))
                if len(texts) < len(self._sets[name]):
                    raise self._wrong(node, f"the set {name} has numbers, and this wants texts")
                return texts
            case ast.Name(id=name) if all(name != spec.name for spec in self._spec.args):
                raise self._wrong(
                    node,
                    f"no set is called {name}",
                    hint=nearest(name, self._sets) or "write one in [sets], or text in quotes here",
                    kind=UnknownName,
                )
        return (self._text(node),)

    def _call_under(self, node: ast.Call) -> Condition:
        path, directories = self._arguments(node, 2, 'under(path, "/directory")')
        below = self._texts(directories)
        for directory in below:
            if not directory.startswith("/"):
                raise self._wrong(directories, f"{directory!r} does not begin with /")
        return looks.under(self._path(path), below, self._reader.written(node))

    def _call_glob(self, node: ast.Call) -> Condition:
        path, patterns = self._arguments(node, 2, 'glob(path, "/etc/*.conf")')
        texts = tuple(self._texts(patterns))
        made = tuple(looks.glob_pattern(text) for text in texts)
        return looks.matches(self._path(path), made, self._reader.written(node), texts)

    def _call_matches(self, node: ast.Call) -> Condition:
        path, pattern = self._arguments(node, 2, 'matches(path, "/tmp/[a-z]+")')
        written = self._text(pattern)
        if re.search(r"[*+}]\)?[*+{]|\([^)]*[*+][^)]*\)[*+{]|\\[1-9]", written):
            raise self._wrong(
                pattern,
                "a target could make this pattern take for ever: repeats within repeats",
                hint="use glob(), or a pattern without them",
            )
        try:
            made = re.compile(written, re.DOTALL)
        except (re.error, OverflowError, RecursionError) as error:
            raise self._wrong(pattern, f"this is no regular expression: {error}") from None
        return looks.matches(self._path(path), (made,), self._reader.written(node))

    # -- counters -----------------------------------------------------------------

    def _state(self, node: ast.Call, form: str) -> tuple[float, str, str]:
        """The number, the scope and the key of a counter."""
        scope = "process"
        if len(node.keywords) == 1 and node.keywords[0].arg == "per":
            scope = self._text(node.keywords[0].value)
            if scope not in _SCOPES:
                raise self._wrong(node.keywords[0].value, f"per= is one of {', '.join(_SCOPES)}")
        elif node.keywords:
            raise self._wrong(node, f"this is written {form}")
        if len(node.args) != 1:
            raise self._wrong(node, f"this is written {form}")
        value = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(node.args[0], f"this is written {form}")
        return value, scope, f"{self._key}@{self._reader.position(node)}"

    def _whole(self, node: ast.Call, form: str) -> tuple[int, str, str]:
        number, scope, key = self._state(node, form)
        if not isinstance(number, int) or number < 1:
            raise self._wrong(node.args[0], f"{number} is no count: 1, 2, 3 ...")
        return number, scope, key

    def _call_nth(self, node: ast.Call) -> Condition:
        number, scope, key = self._whole(node, 'nth(3) or nth(3, per="rule")')

        def check(facts: Facts) -> bool:
            return facts.count(key, scope) == number

        return Look(self._reader.written(node), Need.STATE, check)

    def _call_every(self, node: ast.Call) -> Condition:
        number, scope, key = self._whole(node, 'every(2) or every(2, per="program")')

        def check(facts: Facts) -> bool:
            return facts.count(key, scope) % number == 0

        return Look(self._reader.written(node), Need.STATE, check)

    def _call_probability(self, node: ast.Call) -> Condition:
        number, _, _ = self._state(node, "probability(0.1)")
        if not 0 <= number <= 1:
            raise self._wrong(node.args[0], f"{number} is no probability: from 0 to 1")
        return Look(self._reader.written(node), Need.STATE, lambda facts: facts.random() < number)

    def _call_rate(self, node: ast.Call) -> Condition:
        number, scope, key = self._state(node, 'rate(5) a second, or rate(5, per="program")')
        if not 0 < number < 1e9:
            raise self._wrong(node.args[0], f"{number} is no rate a second")

        def check(facts: Facts) -> bool:
            return facts.take(key, scope, number, max(1.0, number))

        return Look(self._reader.written(node), Need.STATE, check)
