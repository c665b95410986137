"""Where things stand in a JSON text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from unotify.errors import PolicyError
from unotify.policy.model import Place

__all__ = ["Path", "Places", "parse", "spelled"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys, and positions in arrays, from the top."""

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+', re.DOTALL)


class Places:
    """Finds a value of a document; of one that was not read from text, nothing but the name.

    Attributes:
        source: What messages call the document.
    """

    def __init__(self, source: str, text: str | None = None) -> None:
        self.source = source
        self._text = text
        self._offsets: Mapping[Path, int] | None = None if text is not None else {}

    def place(self, path: Path) -> Place:
        """Where the value at *path* begins, or the nearest that holds it."""
        if self._offsets is None or self._text is None:
            if self._text is None:
                return Place(self.source)
            self._offsets = _offsets(self._text)
        while path not in self._offsets and path:
            path = path[:-1]
        at = self._offsets.get(path, 0)
        before = self._text[:at]
        return Place(self.source, before.count("\n") + 1, at - before.rfind("\n"))


def parse(text: str, source: str) -> tuple[object, Places]:
    """Read JSON.

    Raises:
        PolicyError: It is none.
    """
    try:
        return json.loads(text), Places(source, text)
    except json.JSONDecodeError as error:
        raise PolicyError(
            f"this is not JSON: {error.msg[:1].lower()}{error.msg[1:]}",
            source=source,
            line=error.lineno,
            column=error.colno,
        ) from None
    except RecursionError:
        raise PolicyError("this JSON is nested too deeply", source=source) from None
    except ValueError:
        raise PolicyError(
            "this JSON has a number with thousands of digits", source=source
        ) from None


def spelled(path: Path) -> str:
    """A path as people write it: ``syscalls[3].args[0].op``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text or "the document"


def _offsets(text: str) -> dict[Path, int]:
    """The offset of each value of a text that is known to be JSON."""
    found: dict[Path, int] = {}
    path: list[str | int] = []
    key = False  # whether the next string is one
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word in "]}":
            path.pop()
            key = False
        elif word == ",":
            last = path[-1]
            key = isinstance(last, str)
            if isinstance(last, int):
                path[-1] = last + 1
        elif word == ":":
            key = False
        elif key:
            path[-1] = json.loads(word, strict=False)
        else:
            found[tuple(path)] = token.start()
            if word == "[":
                path.append(0)
            elif word == "{":
                path.append("")
                key = True
    return found
