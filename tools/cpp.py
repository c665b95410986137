"""A C preprocessor that is just large enough for kernel headers.

It follows ``#include``, ``#if`` and its kin, and ``#define``; it knows
object-like macros, the operators that headers use in constant expressions, and
``enum`` bodies. It expands no function-like macros but ``_BITUL`` and its kin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["Headers"]

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
_TOKEN = re.compile(r"'.'|0[xX][0-9a-fA-F]+[uUlL]*|\d+[uUlL]*|[A-Za-z_]\w*")
_ENUM = re.compile(r"\benum\b\s*\w*\s*\{([^}]*)\}")
_CASTS = re.compile(r"\(\s*(?:unsigned|int|long|char|__u\d\d|__s\d\d|\s)+\s*\)")
_FUNCTIONS: dict[str, Callable[..., int]] = {
    "_BITUL": lambda n: 1 << n,
    "_BITULL": lambda n: 1 << n,
    "_UL": lambda n: n,
    "_ULL": lambda n: n,
    "_AC": lambda n, _suffix=None: n,
}


class Headers:
    """The macros and enumerators that a header defines.

    Args:
        path: Directories to search for ``#include``, first match wins.
        predefined: Macros that a compiler for the architecture would set.
    """

    def __init__(self, path: list[Path], predefined: dict[str, str]) -> None:
        self._path = path
        self.macros: dict[str, str] = dict(predefined)
        self.enumerators: dict[str, int] = {}
        self._seen: set[Path] = set()

    def include(self, name: str) -> None:
        """Read header *name*, ``asm/unistd.h`` say; one that is absent is left out."""
        for directory in self._path:
            file = directory / name
            if file.is_file():
                if file not in self._seen:
                    self._seen.add(file)
                    self._read(file.read_text())
                return

    def _read(self, text: str) -> None:
        text = _COMMENT.sub(" ", text).replace("\\\n", " ")
        kept = "\n".join(self._lines(text))
        for body in _ENUM.findall(kept):
            self._enumerate(body)

    def _lines(self, text: str) -> Iterator[str]:
        # One entry for each open #if: (are we in its live branch, was one taken).
        stack: list[tuple[bool, bool]] = []
        for line in text.splitlines():
            directive = re.match(r"\s*#\s*(\w+)\s*(.*)", line)
            live = all(on for on, _ in stack)
            if directive is None:
                if live:
                    yield line
                continue
            word, rest = directive[1], directive[2].strip()
            if word in ("if", "ifdef", "ifndef"):
                on = live and self._condition(word, rest)
                stack.append((on, on))
            elif word == "elif":
                _, taken = stack.pop()
                on = not taken and all(on for on, _ in stack) and self._condition("if", rest)
                stack.append((on, taken or on))
            elif word == "else":
                _, taken = stack.pop()
                stack.append((not taken, True))
            elif word == "endif":
                stack.pop()
            elif live:
                self._directive(word, rest)

    def _directive(self, word: str, rest: str) -> None:
        if word == "include":
            self.include(rest.strip('<>"'))
        elif word == "define":
            found = re.match(r"(\w+)(\(?)\s*(.*)", rest)
            if (found and not found[2]) or (found and not re.match(r"\w+\(", rest)):
                self.macros[found[1]] = rest[len(found[1]) :].strip()
        elif word == "undef":
            self.macros.pop(rest, None)

    def _condition(self, word: str, rest: str) -> bool:
        if word != "if":
            return (rest.split()[0] in self.macros) == (word == "ifdef")
        rest = re.sub(r"defined\s*\(?\s*(\w+)\s*\)?", lambda m: str(int(m[1] in self.macros)), rest)
        rest = (
            re.sub(r"\w+\s*\(.*?\)", "0", rest) if re.search(r"[A-Za-z_]\w*\s*\(", rest) else rest
        )
        return bool(self._evaluate(rest, lenient=True))

    def _enumerate(self, body: str) -> None:
        value = -1
        for item in body.split(","):
            # A value may go on in the next line, which is no end to Python only in parentheses.
            name, equals, expression = " ".join(item.split()).partition("=")
            if not name.strip():
                continue
            found = self._evaluate(expression) if equals else value + 1
            if found is None:
                return
            value = found
            self.enumerators[name.strip()] = value

    def _evaluate(self, text: str, *, lenient: bool = False, depth: int = 0) -> int | None:
        # Python's operators and precedences agree with C's for what headers use.
        if depth > 40 or not text.strip():
            return None
        failed = False

        def value(token: re.Match[str]) -> str:
            nonlocal failed
            word = token[0]
            if word[0] == "'":
                return str(ord(word[1]))
            if word[0].isdigit():
                word = word.rstrip("uUlL")
                octal = re.fullmatch(r"0[0-7]+", word)
                return str(int(word, 8 if octal else 0))
            if word in _FUNCTIONS:
                return word
            if word in self.enumerators:
                return str(self.enumerators[word])
            found = None
            if word in self.macros:
                found = self._evaluate(self.macros[word], lenient=lenient, depth=depth + 1)
            if found is None:
                if not lenient:
                    failed = True
                return "0"
            return f"({found})"

        text = re.sub(r"(?<=[\s(,])(UL|ULL|U|L|LL)(?=\s*\))", "None", _CASTS.sub("", text))
        text = text.replace(", None", "").replace(",None", "")
        expression = _TOKEN.sub(value, text).replace("/", "//")
        expression = re.sub(r"!(?!=)", " not ", expression)
        expression = expression.replace("&&", " and ").replace("||", " or ")
        if failed or re.search(r'["{};?=](?!=)(?<!==)|\bsizeof\b', expression.replace("==", "")):
            return None
        try:
            result = eval(expression, {"__builtins__": {}}, dict(_FUNCTIONS))
        except (SyntaxError, TypeError, NameError, ZeroDivisionError):
            return None
        return int(result) if isinstance(result, int) else None

    def value(self, name: str) -> int | None:
        """Return the integer that *name* stands for, or ``None``."""
        if name in self.enumerators:
            return self.enumerators[name]
        if name in self.macros:
            return self._evaluate(self.macros[name])
        return None

    def values(self, prefix: str) -> dict[str, int]:
        """Return each name that starts with *prefix* and is an integer, in the header's order."""
        names = [n for n in (*self.macros, *self.enumerators) if n.startswith(prefix)]
        found = {name: self.value(name) for name in names}
        return {name: value for name, value in found.items() if value is not None}
