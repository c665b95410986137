"""The text of a condition, parsed by Python's own parser, and where things stand in it."""

from __future__ import annotations

import ast
import re
from typing import Final

from unotify.errors import PolicyError
from unotify.policy.model import Place

__all__ = ["Reader"]

_LONGEST: Final = 10_000
_DEEPEST: Final = 60
_MOST: Final = 1000


class Reader:
    """The text, and where things stand in it."""

    def __init__(self, text: str, place: Place) -> None:
        self.text = text
        self._place = place
        # Each becomes one character, so that positions stay.
        self._flat = re.sub(r"[\r\n\t\f]", " ", text)
        self._skipped = len(self._flat) - len(self._flat.lstrip())

    def parse(self) -> ast.expr:
        """The tree; raises `PolicyError` for what is no expression, or too large a one."""
        if len(self.text) > _LONGEST:
            raise self.wrong(
                0, f"the condition has {len(self.text)} characters; {_LONGEST} is the limit"
            )
        code = self._flat.strip()
        if not code:
            raise self.wrong(
                0, "the condition is empty", hint="leave `where` out to match every call"
            )
        try:
            tree = ast.parse(code, mode="eval")
        except SyntaxError as error:
            raise self.wrong(
                self._skipped + max((error.offset or 1) - 1, 0),
                f"this is not an expression: {error.msg}",
                hint="conditions are written as in Python: and, or, not, ==, in, &",
            ) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise self.wrong(
                0, f"this cannot be read: {error}", hint="write something simpler"
            ) from None
        nodes = 0
        stack: list[tuple[ast.AST, int]] = [(tree.body, 1)]
        while stack:
            node, depth = stack.pop()
            nodes += 1
            if depth > _DEEPEST or nodes > _MOST:
                raise self.wrong(0, "the condition is too large", hint="use several rules")
            stack += ((child, depth + 1) for child in ast.iter_child_nodes(node))
        return tree.body

    def position(self, node: ast.AST) -> int:
        """The index of the character where *node* begins."""
        code = self._flat.strip()
        return self._skipped + len(code.encode()[: getattr(node, "col_offset", 0)].decode())

    def written(self, node: ast.expr) -> str:
        """*node* as text, in its usual spelling."""
        return ast.unparse(node)

    def wrong(
        self,
        at: int | ast.AST,
        message: str,
        *,
        hint: str | None = None,
        kind: type[PolicyError] = PolicyError,
    ) -> PolicyError:
        """The error *message* about the place *at*, a node or an index, to be raised."""
        offset = at if isinstance(at, int) else self.position(at)
        before = self.text[:offset]
        line = self._place.line
        column = self._place.column
        lines = before.count("\n")
        if line is not None:
            line += lines
            column = offset - before.rfind("\n") if lines else (column or 1) + offset
        else:
            column = offset + 1
        return kind(message, source=self._place.source, line=line, column=column, hint=hint)
