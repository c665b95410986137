"""What a shell completes: files, names of calls, groups and commands, beside click's own options.

Used only while a shell asks, so parameters may change their type here: nothing is parsed then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Final

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

__all__ = ["completed"]

_FILES: Final = frozenset(
    {"DIR", "DIRECTORY", "DIR|FILE", "FILE", "FILE.jsonl", "FILE.py", "OUT", "PATH", "POLICY"}
)
"""Metavariables, also with ``...`` behind them."""
_NAMED: Final = frozenset({"a", "b", "file", "files", "fake_root", "policy"})
"""Parameters that are files, whatever stands in their place in the help."""


class _Words(StringParamType):
    """Completed by the words that begin like what is there, and by files if there are none."""

    def __init__(self, words: Callable[[str], Iterable[str]]) -> None:
        self._words = words

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        found = {word for word in self._words(incomplete) if word.startswith(incomplete)}
        if found:
            return [CompletionItem(word) for word in sorted(found)]
        return [CompletionItem(incomplete, type="file")]


def completed(name: str, command: click.Command) -> click.Command:
    """Give the parameters of the command *name* what a shell can complete them with."""
    for param in command.params:
        if (kind := _kind(name, param)) is not None:
            param.type = kind
    return command


def _kind(command: str, param: click.Parameter) -> Any:
    match command, param.name:
        case ("calls", "what") | ("explain", "call"):
            return _Words(_calls)
        case "simulate", "files":
            return _Words(_calls_beside_files)
        case "check", "files":
            return _Words(_groups)
        case "run", "argv":
            return _Words(_commands)
        case "agent", "fault":
            return _Words(_errnos)
    word = (param.metavar or "").rstrip(".")
    known = param.name in _NAMED or word in _FILES or word.endswith("|FILE")
    return click.Path() if known and not isinstance(param.type, click.Choice) else None


def _calls(begun: str) -> Iterable[str]:
    from unotify.abi import model

    return model.names()


def _calls_beside_files(begun: str) -> Iterable[str]:
    return _calls(begun) if begun and not os.path.lexists(begun) else ()


def _groups(begun: str) -> Iterable[str]:
    from unotify.policy.groups import GROUPS

    return GROUPS if begun.startswith("@") else ()


def _errnos(begun: str) -> Iterable[str]:
    import errno

    return errno.errorcode.values()


def _commands(begun: str) -> Iterable[str]:
    """Programs in PATH; what has a slash is a file."""
    if not begun or "/" in begun:
        return
    for directory in os.get_exec_path():
        try:
            yield from os.listdir(directory or ".")
        except OSError:  # PATH names what is not there
            continue
