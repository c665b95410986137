"""The command line: one file per command, loaded when it is called."""

from __future__ import annotations

import sys
from importlib import import_module
from itertools import takewhile
from typing import Any

import click

from unotify import __version__
from unotify.cli.failures import guarded, stand_in

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "run": "Run a command under supervision.",
    "agent": "Serve container runtimes, each container by its policy.",
    "demo": "Show unotify at work, in about five seconds.",
    "check": "Check policies: all mistakes at once.",
    "explain": "Tell what a policy does with a call, where, and at what cost.",
    "test": "Run tests of policies, without privileges.",
    "explore": "Search for what a hostile target gets in spite of a policy.",
    "audit": "Look for holes in a policy or filter.",
    "diff": "Tell where two policies or filters differ, with examples.",
    "convert": "Turn OCI profiles and other lists into policies, and back.",
    "profile": "Print the seccomp profile for containers whose calls an agent answers.",
    "schema": "Print the JSON Schema of policy files.",
    "compile": "Turn a policy into a proved filter.",
    "disasm": "Print a filter as text.",
    "asm": "Turn such text into a filter.",
    "simulate": "Trace a call through a filter, or through a stack of them.",
    "dump": "Print the filters of a running process or of a command.",
    "doctor": "Tell what this kernel and this place allow.",
    "calls": "Look a system call up: numbers, arguments, ABIs.",
}
"""Each command and its one line of help; the module of that name has the rest."""


_MODULES = {"compile": "compile_", "test": "testing"}
"""Where a module cannot have the command's name without hiding a builtin."""


class _Lazy(click.Group):
    """Knows its commands by name and loads the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"unotify.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        if ctx.resilient_parsing:  # a shell asks what may come next
            from unotify.cli.completion import completed

            return completed(cmd_name, command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from unotify.abi.hints import nearest

            near = nearest(name, COMMANDS)
            ctx.fail(f"there is no command '{name}'" + (f"; {near}" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Without loading any of them.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Lazy, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, message="unotify %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """The system-call supervisor for Linux."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


def main() -> None:
    """The ``unotify`` command."""
    # Ours come before the name of the command; what follows may be the target's.
    stand_in()
    ours = takewhile(lambda argument: argument.startswith("-"), sys.argv[1:])
    sys.exit(guarded(cli, debug="--debug" in ours))
