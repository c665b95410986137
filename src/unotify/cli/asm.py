"""``unotify asm``: text as a filter."""

from __future__ import annotations

import sys

import click

from unotify.bpf.assembler import assemble
from unotify.bpf.formats import to_json
from unotify.cli.analysis import ARCHES, chosen, write
from unotify.cli.failures import CommandError, Exit
from unotify.cli.inputs import named, read_text

__all__ = ["command"]

_HELP = """\
Make a raw filter of the text in FILE, such as 'unotify disasm' prints.

\b
One statement a line, labels anywhere, comments behind ; or #:
  start:  A = arch
          if A != x86_64 goto bad
          A = nr
          if A == x86_64:mount goto no else goto yes
  yes:    return ALLOW
  no:     return ERRNO(EPERM)
  bad:    return KILL_PROCESS
There are also A = low(args[0]), A = high(args[0]), A &= 0xff, X = A, M[0] = A, goto L;
comparisons are == != < <= > >= & !&. What the kernel would not take is refused.
"""

_EPILOG = """\b
Example:
  unotify disasm filter.bpf > filter.txt
  unotify asm filter.txt -o filter.bpf
"""


@click.command("asm", help=_HELP, epilog=_EPILOG)
@click.argument("file")
@click.option("-o", "out", metavar="OUT", help="Write to this file; - is standard output.")
@click.option(
    "--arch", type=click.Choice(list(ARCHES)), help="For the byte order that low() and high() mean."
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of raw BPF.")
def command(file: str, out: str | None, arch: str | None, as_json: bool) -> int:
    """Assemble a file; see its help."""
    if not as_json and out in (None, "-") and sys.stdout.isatty():
        raise CommandError(
            "a raw filter is not for terminals", Exit.USAGE, hint="give -o FILE, or --json"
        )
    program = assemble(read_text(file), source=named(file), little=chosen(arch).little)
    write(to_json(program) if as_json else program.encode(), out)
    if out not in (None, "-"):
        click.echo(f"{out}: {len(program)} instructions", err=True)
    return 0
