"""One place where errors become a sentence and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

import click

from unotify.errors import Error, InvalidPolicy, KernelError, PolicyError, ProtocolError

__all__ = ["CommandError", "Exit", "code_of", "complain", "guarded", "located", "stand_in", "typed"]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Why what was opened cannot be written, which is nobody's bug."""


class Exit(IntEnum):
    """Exit codes; otherwise it is the target's own."""

    USAGE = 2
    """The command line is wrong, or names a file that cannot be used."""
    POLICY = 3
    """A handler file or a policy is wrong."""
    KERNEL = 4
    """This kernel, or the sandbox around us, does not allow it."""
    INTERNAL = 5
    """A bug in unotify."""
    NOT_EXECUTABLE = 126
    """The command is there but cannot be run, as in a shell."""
    NOT_FOUND = 127
    """There is no such command, as in a shell."""


class CommandError(Error):
    """Something is wrong that a person at a terminal can mend.

    Attributes:
        code: What to exit with.
    """

    def __init__(self, message: str, code: Exit, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


def code_of(error: Error) -> Exit:
    """The exit code of *error*."""
    match error:
        case CommandError(code=code):
            return code
        case PolicyError():
            return Exit.POLICY
        case KernelError():
            return Exit.KERNEL
        case ProtocolError():
            return Exit.POLICY
        case _:
            return Exit.INTERNAL


@contextmanager
def typed() -> Iterator[None]:
    """Words of the command line are read here: what is wrong with them is an error of usage."""
    try:
        yield
    except PolicyError as error:
        raise CommandError(str(error), Exit.USAGE, hint=error.hint) from error


def complain(message: str, hint: str | None = None) -> None:
    """Say on standard error what is wrong, and what to do about it."""
    click.echo(f"unotify: error: {message}", err=True)
    if hint:
        click.echo(f"unotify: hint: {hint}", err=True)


def located(error: Error) -> tuple[str, str | None]:
    """The sentence and the hint of *error*: where a mistake is, and how to see all of several."""
    if not isinstance(error, PolicyError):
        return str(error), error.hint
    places = [str(part) for part in (error.source, error.line, error.column) if part is not None]
    told = ": ".join((":".join(places), str(error))) if places else str(error)
    if isinstance(error, InvalidPolicy) and len(error.problems) > 1:
        file = "-" if error.source in (None, "standard input") else error.source
        return told, f"'unotify check {file}' tells them all"
    return told, error.hint


def stand_in() -> None:
    """Put /dev/null in the place of standard streams that are closed.

    The next file that is opened would get the number of one, and what is meant for it. A program
    that is run does not inherit these: it finds closed what was closed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - stays open


def guarded(command: click.Command, *, debug: bool) -> int:
    """Run *command* on the command line's arguments and return the exit code."""
    try:
        result = command.main(prog_name="unotify", standalone_mode=False)
        sys.stdout.flush()  # what cannot be written is told here, not by the interpreter's end
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        # As Ctrl-C ends any program: a shell's loop around it ends too.
        from unotify.cli.foreground import die_like

        die_like(signal.SIGINT)
        raise
    except click.UsageError as error:
        where = f"{error.ctx.command_path} --help" if error.ctx else "unotify --help"
        # Some of its messages are lists.
        complain(" ".join(error.format_message().split()), f"see {where}")
        return Exit.USAGE
    except click.ClickException as error:
        complain(error.format_message())
        return Exit.USAGE
    except BrokenPipeError:
        # Whoever read our output has seen enough; do not fail again at exit.
        _drop_output()
        return 1
    except Error as error:
        if debug:
            traceback.print_exc()
        complain(*located(error))
        return code_of(error)
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            _drop_output()
            complain(f"cannot write the output: {error.strerror}")
            return Exit.USAGE
        complain(
            f"internal error: {type(error).__name__}: {error}",
            "this is a bug in unotify; 'unotify --debug ...' shows where",
        )
        return Exit.INTERNAL


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
