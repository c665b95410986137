"""``unotify disasm``: a filter as text."""

from __future__ import annotations

import json

import click

from unotify.bpf.checker import check_program
from unotify.bpf.disassembler import disassemble
from unotify.bpf.formats import to_json
from unotify.bpf.instructions import Program
from unotify.cli.analysis import ARCHES, chosen
from unotify.cli.failures import Exit, complain
from unotify.cli.inputs import read_instructions
from unotify.errors import InvalidProgram

__all__ = ["command"]

_EPILOG = "Example: unotify disasm filter.bpf"


@click.command("disasm", epilog=_EPILOG)
@click.argument("file")
@click.option(
    "--arch",
    type=click.Choice(list(ARCHES)),
    help="Whose calls they are where the filter does not ask; gives the byte order too.",
)
@click.option("--numbers", is_flag=True, help="No names of calls, architectures and errnos.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(file: str, arch: str | None, numbers: bool, as_json: bool) -> int:
    """Print the filter in FILE as text, which 'unotify asm' reads back.

    FILE is raw BPF, the JSON or text of 'unotify compile', or a policy, whose filter
    is shown; - is standard input. A filter that the kernel would not take is shown
    too, and the exit code is 3.
    """
    abi = chosen(arch)
    code = read_instructions(file, native=abi)
    wrong = None
    try:
        check_program(code)
    except InvalidProgram as error:
        wrong = str(error)
    text = disassemble(
        code, little=abi.little, names=not numbers, arch=ARCHES[arch] if arch else None
    )
    if as_json:
        document = json.loads(to_json(Program(code)))
        for entry, line in zip(document["instructions"], text.splitlines(), strict=True):
            entry["text"] = " ".join(line.split())
        document["error"] = wrong
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(text, nl=False)
    if wrong is not None:
        complain(f"the kernel would not take this filter: {wrong}")
        return Exit.POLICY
    return 0
