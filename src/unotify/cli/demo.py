"""``unotify demo``: runs the example that ships with the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from unotify.cli.failures import CommandError, Exit

__all__ = ["command", "find_example"]


@click.command("demo")
@click.option("--source", is_flag=True, help="Print the example instead of running it.")
def command(source: bool) -> int:
    """Show unotify at work: an unprivileged shell, five requests, a table of answers.

    Runs as root or as an ordinary user and leaves nothing behind.
    """
    example = find_example()
    if source:
        click.echo(example.read_text(encoding="utf-8"), nl=False)
        return 0
    return subprocess.run([sys.executable, str(example)], check=False).returncode


def find_example() -> Path:
    """The example's file: beside the sources, or where the package was installed."""
    places = (
        Path(__file__).resolve().parents[3] / "examples",
        Path(sys.prefix) / "share" / "unotify" / "examples",
    )
    for place in places:
        if (place / "demo.py").is_file():
            return place / "demo.py"
    raise CommandError(
        "the example demo.py is not installed", Exit.USAGE, hint=f"looked in {places}"
    )
