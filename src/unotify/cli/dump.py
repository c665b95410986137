"""``unotify dump``: the filters of a running process, or of a command."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from errno import ESRCH
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from unotify.abi.arch import Arch
from unotify.bpf.disassembler import disassemble
from unotify.bpf.formats import to_json
from unotify.cli.analysis import native, write
from unotify.cli.failures import CommandError, Exit, complain
from unotify.cli.inputs import Tailed, tail
from unotify.errors import KernelError

if TYPE_CHECKING:
    from unotify.kernel.readback import Caught, DumpedFilter

__all__ = ["command"]

Dumps: TypeAlias = Generator[
    "tuple[str, dict[str, Any], list[tuple[int, DumpedFilter]]]", None, None
]
"""Whose filters, for people and for scripts; and the filters with their positions."""

_EPILOG = """\b
Examples:
  unotify dump $(pidof systemd-resolved)
  unotify dump --raw filters -- bwrap --seccomp 3 true
  unotify simulate filters/*.bpf -- mount
"""


@click.command("dump", cls=Tailed, epilog=_EPILOG)
@click.argument("pid", metavar="PID | -- CMD [ARG]...", required=False)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Let CMD go after so many filters."
)
@click.option(
    "--raw",
    "directory",
    metavar="DIRECTORY",
    help="Also write each as raw BPF into this directory, the oldest first by name.",
)
@click.option("-o", "out", metavar="OUT", help="Write to this file, not to standard output.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(
    pid: str | None, limit: int | None, directory: str | None, out: str | None, as_json: bool
) -> int:
    """Print the filters of process or thread PID, or those that CMD installs while it runs.

    It needs CAP_SYS_ADMIN, and no filter on unotify itself. A running process is stopped
    for a moment; a call that it sleeps in is interrupted as by a stop signal. Its newest
    filter, which runs first, comes first. CMD and all its children are traced until CMD
    ends, and each filter comes when it is installed; Ctrl-C ends that sooner. Exits with
    1 if there is no filter.
    """
    argv = tail()
    if (pid is None) == (not argv):
        raise CommandError(
            "give the number of a process, or -- and a command",
            Exit.USAGE,
            hint="unotify dump 812, or unotify dump -- bwrap ...",
        )
    if limit is not None and not argv:
        raise CommandError("--limit is for a command", Exit.USAGE)
    found = _of_command(argv, limit) if argv else _of_process(str(pid))
    _prepare(out, directory)
    entries: list[tuple[str, dict[str, Any], int, DumpedFilter]] = []
    interrupted = False
    try:
        with closing(found):
            for title, facts, filters in found:
                for position, one in filters:
                    # First of all: an interrupt loses nothing that was found.
                    entries.append((title, facts, position, one))
                    if directory is not None:
                        _write_raw(directory, len(entries) if argv else position, one)
                    if not as_json and out is None:
                        click.echo(_text(title, position, one), nl=False)
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        listed = [
            {**facts, "position": position, **_as_json(one)} for _, facts, position, one in entries
        ]
        write((json.dumps({"filters": listed}, indent=2) + "\n").encode(), out)
    elif out is not None:
        texts = [_text(title, position, one) for title, _, position, one in entries]
        write("".join(texts).encode(), out)
    if interrupted:
        raise KeyboardInterrupt
    if not entries:
        complain(f"{'the command installed' if argv else f'process {pid} has'} no filter")
        return 1
    return 0


def _prepare(out: str | None, directory: str | None) -> None:
    """Find out what cannot be written before a command has run for nothing."""
    try:
        if out not in (None, "-"):
            open(out, "ab").close()
    except OSError as error:
        raise CommandError(f"cannot write {out}: {error.strerror}", Exit.USAGE) from None
    try:
        if directory is not None:
            Path(directory).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make {directory}: {error.strerror}", Exit.USAGE) from None


def _of_process(pid: str) -> Dumps:
    from unotify.kernel.dump import dump_thread
    from unotify.kernel.ptrace import comm_of

    if not (pid.isascii() and pid.isdecimal()) or not 0 < int(pid[:20]) < 1 << 31:
        raise CommandError(
            f"{pid!r} is no number of a process",
            Exit.USAGE,
            hint="for a command write -- before it",
        )
    tid = int(pid)
    try:
        filters = dump_thread(tid)
    except KernelError as error:
        if error.errno == ESRCH:
            raise CommandError(error.strerror or "", Exit.USAGE, hint=error.hint) from None
        raise
    others = _differing_threads(tid, len(filters))
    if others:
        note = f"other threads of this process have other filters: {' '.join(others)}"
        click.echo(f"unotify: {note}", err=True)
    numbered = [(len(filters) - at, one) for at, one in enumerate(filters)]
    comm = comm_of(tid)
    yield f"{_printable(comm)} (process {tid})", {"tid": tid, "comm": comm}, numbered


def _differing_threads(tid: int, count: int) -> list[str]:
    """Threads of process *tid* that have another number of filters; none if it is a thread."""
    from unotify.kernel.ptrace import status_of

    try:
        # A thread's number has a directory here too.
        if status_of(tid).get("Tgid") != str(tid):
            return []
        threads = sorted(os.listdir(f"/proc/{tid}/task"), key=int)
    except OSError:
        return []
    counts = {thread: status_of(thread).get("Seccomp_filters") for thread in threads}
    return [thread for thread, found in counts.items() if found not in (None, str(count))]


def _of_command(argv: Sequence[str], limit: int | None) -> Dumps:
    from unotify.kernel.dump import dump_command

    try:
        with closing(dump_command(argv, limit=limit)) as dumps:
            for caught in dumps:
                yield _caught(caught)
    except KernelError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise CommandError(f"no such command: {argv[0]}", Exit.NOT_FOUND) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CommandError(f"cannot run {argv[0]}: {why}", Exit.NOT_EXECUTABLE) from None


def _caught(caught: Caught) -> tuple[str, dict[str, Any], list[tuple[int, DumpedFilter]]]:
    flags = [flag.name for flag in type(caught.flags) if flag in caught.flags]
    title = f"{_printable(caught.comm)} (process {caught.tid})"
    if flags:
        title += f", installed with {' | '.join(map(str, flags))}"
    facts = {"tid": caught.tid, "comm": caught.comm, "flags": flags}
    return title, facts, [(len(caught.filters), caught.filters[0])]


def _text(title: str, position: int, one: DumpedFilter) -> str:
    log = ", logged" if one.log else ""
    head = f"; {title}: filter {position}, {len(one.program)} instructions{log}\n"
    return f"{head}{_lines(one, native())}\n"


def _lines(one: DumpedFilter, abi: Arch) -> str:
    return disassemble(one.program, little=abi.little, names=True)


def _as_json(one: DumpedFilter) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(to_json(one.program))
    for entry, line in zip(
        document["instructions"], _lines(one, native()).splitlines(), strict=True
    ):
        entry["text"] = " ".join(line.split())
    return {"log": one.log, **document}


def _write_raw(directory: str, position: int, one: DumpedFilter) -> None:
    write(one.program.encode(), str(Path(directory) / f"filter-{position:03}.bpf"))


def _printable(comm: str) -> str:
    # Programs choose their names; terminals take what is not printable for orders.
    return "".join(letter if letter.isprintable() else "?" for letter in comm)
