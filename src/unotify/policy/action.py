"""What a verb that code carries out may be given, and for which calls it is."""

from __future__ import annotations

import errno as errnos
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeGuard

from unotify.abi.hints import nearest
from unotify.policy.problems import kind_of, listed, shown

__all__ = ["ERRNOS", "KINDS", "Action", "Parameter", "only"]

ERRNOS: Final[Mapping[str, int]] = MappingProxyType(
    {
        name: number
        for name, number in sorted(vars(errnos).items())
        if name.startswith("E") and isinstance(number, int) and 0 < number < 512
    }
)
"""The names of errors, and their numbers on this machine."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a verb may be given.

    Attributes:
        kind: ``string``, ``strings``, ``lists`` (names, or a table with an array of strings
            for each), ``commands`` (a table with an array of strings for each), ``integer``,
            ``boolean`` or ``errno``.
        description: What it says, for the schema.
        choices: If not empty, the only values.
        least: For integers.
        most: For integers.
        example: One that is right.
        pattern: What each string has to look like, if not empty; a regular expression.
        wants: That, in words.
    """

    kind: str
    description: str
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = (1 << 63) - 1
    example: str = ""
    pattern: str = ""
    wants: str = ""

    def problem(self, value: object) -> tuple[str, str | None] | None:
        """What is wrong with *value*, and a hint; ``None`` if nothing is."""
        match self.kind:
            case "string" if isinstance(value, str):
                if self.choices and value not in self.choices:
                    hint = nearest(value, self.choices)
                    return f"takes {listed(self.choices, 'or')}, not {shown(value)}", hint
                if not value and not self.choices:
                    return "takes a string that is not empty", None
                return self._odd([value])
            case "strings" | "lists" if _is_strings(value):
                return self._odd(value) if value else ("takes an array that is not empty", None)
            case "commands" if isinstance(value, dict) and all(map(_is_strings, value.values())):
                if not value or not all(value.values()):
                    return "takes a table and arrays that are not empty", None
                return self._odd(value)
            case "lists" if isinstance(value, dict) and all(map(_is_strings, value.values())):
                return self._odd(value) if value else ("takes a table that is not empty", None)
            case "integer" if isinstance(value, int) and not isinstance(value, bool):
                if self.least <= value <= self.most:
                    return None
                return f"takes a number from {self.least} to {self.most}, not {shown(value)}", None
            case "boolean" if isinstance(value, bool):
                return None
            case "errno":
                return _errno_problem(value)
        return f"takes {KINDS[self.kind]}, not {kind_of(value)}", None

    def _odd(self, values: Iterable[str]) -> tuple[str, str | None] | None:
        for value in values:
            if self.pattern and not re.fullmatch(self.pattern, value):
                return f"takes {self.wants}, not {shown(value)}", f"such as {shown(self.example)}"
        return None


def _is_strings(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


KINDS: Final = {
    "string": "a string",
    "strings": "an array of strings",
    "lists": "an array of strings, or a table with an array of strings for each",
    "commands": "a table with an array of strings for each",
    "integer": "an integer",
    "boolean": "true or false",
    "errno": 'the name of an error, such as "EPERM", or its number',
}


def _errno_problem(value: object) -> tuple[str, str | None] | None:
    if isinstance(value, str):
        if value in ERRNOS:
            return None
        hint = nearest(value.upper(), ERRNOS) or '"EPERM" is what most programs understand'
        return f"knows no error {shown(value)}", hint
    if isinstance(value, int) and not isinstance(value, bool):
        # 512 to 531 mean something to the kernel itself (V5).
        if 1 <= value <= 4095 and value not in range(512, 532):
            return None
        return f"takes an error from 1 to 4095 and not 512 to 531, not {shown(value)}", None
    return f"takes {KINDS['errno']}, not {kind_of(value)}", None


@dataclass(frozen=True, slots=True)
class Action:
    """A verb that a handler carries out.

    Attributes:
        name: As a policy writes it.
        description: What it does, for the schema.
        parameters: What it may be given, by key.
        main: The parameter that a value other than a table stands for, or ``None``.
        one_of: At least one of these must be given.
        refuses: Why it cannot be done for a call, or ``None`` if it can.
        together: What is wrong with parameters that are right one by one, or ``None``.
        concerns: Of a call, the condition on registers under which the verb is about it at all,
            or ``None``: always. A rule with the verb matches no other calls.
    """

    name: str
    description: str
    parameters: Mapping[str, Parameter] = field(default_factory=lambda: MappingProxyType({}))
    main: str | None = None
    one_of: tuple[str, ...] = ()
    refuses: Callable[[str, Mapping[str, Any]], str | None] = lambda call, given: None
    together: Callable[[dict[str, object]], str | None] = lambda given: None
    concerns: Callable[[str, Mapping[str, Any]], str | None] = lambda call, given: None


def only(*calls: str) -> Callable[[str, Mapping[str, Any]], str | None]:
    """What an action refuses that is about *calls* alone."""

    def refuses(call: str, given: Mapping[str, Any]) -> str | None:
        return None if call in calls else f"it is about {listed(calls)} only"

    return refuses
