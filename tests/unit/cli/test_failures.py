"""From an error to a sentence and an exit code."""

from __future__ import annotations

import errno
from importlib import import_module
from typing import Any

import click
import pytest

from unotify import errors
from unotify.cli import COMMANDS, cli
from unotify.cli.failures import CommandError, Exit, code_of, guarded, located, typed


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("x", Exit.NOT_FOUND), 127),
        (errors.UnknownName("x"), 3),
        (errors.Conflict("x"), 3),
        (errors.LocalProtocolError("x"), 3),
        (errors.KernelError(errno.EPERM, "seccomp(2)"), 4),
        (errors.Unsupported("addfd", "ioctl(2)"), 4),
        (errors.AlreadySupervised("LXC"), 4),
        (errors.TargetGone(), 5),
        (errors.Error("x"), 5),
    ],
)
def test_exit_codes(error: errors.Error, code: int) -> None:
    """Each family of errors has its exit code."""
    assert code_of(error) == code


def command_that_raises(error: Exception) -> click.Command:
    """A command line without options."""

    def fail(**_: object) -> None:
        raise error

    return click.Command("test", callback=fail, context_settings={"ignore_unknown_options": True})


@pytest.mark.parametrize("debug", [False, True])
def test_sentences(
    debug: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error is one sentence and its hint; a traceback comes with --debug only."""
    monkeypatch.setattr("sys.argv", ["unotify"])
    failing = command_that_raises(errors.Conflict("it is wrong", hint="make it right"))
    assert guarded(failing, debug=debug) == Exit.POLICY
    written = capsys.readouterr()
    assert written.out == ""
    assert ("Traceback" in written.err) == debug
    assert written.err.endswith("unotify: error: it is wrong\nunotify: hint: make it right\n")
    assert debug or written.err.startswith("unotify: error: ")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ({}, "wrong"),
        ({"source": "a.toml"}, "a.toml: wrong"),
        ({"source": "a.toml", "line": 3, "column": 7}, "a.toml:3:7: wrong"),
    ],
)
def test_places(place: dict[str, Any], told: str) -> None:
    """A mistake in a file is told with file, line and column, as far as they are known."""
    assert located(errors.Conflict("wrong", hint="mend it", **place)) == (told, "mend it")


def test_several_mistakes() -> None:
    """Of several mistakes the first is told, and how to see all."""
    problems = [errors.Conflict(text, source="a.toml", line=1) for text in ("one", "two")]
    told, hint = located(errors.InvalidPolicy(problems))
    assert told == "a.toml:1: one (and 1 more problem)"
    assert hint == "'unotify check a.toml' tells them all"


def test_words_of_the_command_line() -> None:
    """A wrong name that somebody typed is an error of usage, not of a policy."""
    with pytest.raises(CommandError, match="no such name") as caught, typed():
        raise errors.UnknownName("no such name", hint="did you mean another?")
    assert (caught.value.code, caught.value.hint) == (Exit.USAGE, "did you mean another?")


def test_a_bug_of_ours(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other exception is an internal error: exit code 5, and how to see more."""
    monkeypatch.setattr("sys.argv", ["unotify"])
    assert guarded(command_that_raises(ZeroDivisionError("oh")), debug=False) == Exit.INTERNAL
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "unotify: error: internal error: ZeroDivisionError: oh"
    assert "unotify --debug" in hint


def test_commands_and_modules_agree() -> None:
    """Each command is the `command` of its module, under the same name where that can be."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        module = {"compile": "compile_", "test": "testing"}.get(name, name)
        assert command is import_module(f"unotify.cli.{module}").command
        assert command is not None
        assert command.name == name
    assert cli.get_command(context, "log") is None
