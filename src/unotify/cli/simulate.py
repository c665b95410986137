"""``unotify simulate``: a call's way through a filter, or through a stack of them."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import ACTION_MASK, Action
from unotify.bpf.chain import Answer, Outcome, check_chain, run_chain
from unotify.bpf.checker import is_constant_allow
from unotify.bpf.disassembler import disassemble
from unotify.bpf.formats import action_text
from unotify.bpf.instructions import Op, Program
from unotify.bpf.simulator import SeccompData
from unotify.cli.analysis import ARCHES, call_json, call_text, chosen, number_of
from unotify.cli.failures import CommandError, Exit, typed
from unotify.cli.inputs import Tailed, load_program, named, tail

__all__ = ["command"]

_EPILOG = """\b
Examples:
  unotify simulate policy.toml -- openat AT_FDCWD /tmp/x 'O_RDONLY|O_CREAT' 0o600
  unotify simulate container.json service.bpf -- mount
"""
_WIDTH = 52


@dataclass(frozen=True, slots=True)
class _Filter:
    """One filter of the stack; `position` counts from the oldest, which is 1."""

    position: int
    name: str
    program: Program

    @property
    def title(self) -> str:
        return f"filter {self.position} ({self.name})"


@click.command("simulate", cls=Tailed, epilog=_EPILOG)
@click.argument("files", metavar="FILE... -- CALL [ARG]...", nargs=-1)
@click.option("--arch", type=click.Choice(list(ARCHES)), help="By which ABI the call is made.")
@click.option("--nr", metavar="NUMBER", help="Its number, instead of CALL; any 32 bits will do.")
@click.option(
    "--ip", default="0", metavar="ADDRESS", help="Where the call is made from (default: 0)."
)
@click.option(
    "--listener",
    type=int,
    metavar="N",
    help="Which FILE's listener is open, 0 for none; by default the newest's that can notify.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(
    files: tuple[str, ...],
    arch: str | None,
    nr: str | None,
    ip: str,
    listener: int | None,
    as_json: bool,
) -> int:
    """Trace CALL through one filter, or a stack of them, and tell what the kernel does.

    Each FILE is a raw filter, its text or JSON, or a policy; they are given in the
    order in which they were installed, so the last is the newest and runs first. ARGS
    are numbers, constants joined by |, _ for whatever, or name=value; a path or
    another string stands for some address.
    """
    words = tail()
    if words is None or not files or not (words or nr):
        raise CommandError(
            "give one or more files, --, and a call",
            Exit.USAGE,
            hint="unotify simulate policy.toml -- openat AT_FDCWD _ O_RDONLY",
        )
    abi = chosen(arch)
    data = _data(words, abi, nr, ip)
    stack = [
        _Filter(at, named(file), load_program(file, native=abi)) for at, file in enumerate(files, 1)
    ]
    stack.reverse()
    programs = [one.program for one in stack]
    check_chain(programs)
    index = _listener(stack, listener)
    outcome = run_chain(programs, data, listener=index)
    if as_json:
        click.echo(json.dumps(_as_json(stack, data, abi, outcome), indent=2))
    else:
        _print(stack, data, abi, outcome)
    return 0


def _data(words: Sequence[str], abi: Arch, nr: str | None, ip: str) -> SeccompData:
    from unotify.policy.offline import prepare

    if nr is None:
        number, words = number_of(words[0], abi), words[1:]
    elif not -(1 << 31) <= (number := _integer(nr, "--nr")) < 1 << 32:
        raise CommandError(f"--nr {nr}: numbers of calls have 32 bits", Exit.USAGE)
    number &= 0xFFFFFFFF
    name = tables.name(number, abi)
    if name is not None:
        with typed():
            args, _ = prepare(name, abi, words)
    else:
        if len(words) > 6:
            raise CommandError(f"a call has 6 arguments, not {len(words)}", Exit.USAGE)
        given = [0 if word == "_" else _integer(word, "an argument") for word in words]
        args = tuple(value & (1 << 64) - 1 for value in [*given, *[0] * 6][:6])
    return SeccompData(number, abi.audit, args, _integer(ip, "--ip") & (1 << 64) - 1)


def _integer(text: str, what: str) -> int:
    try:
        found = int(text, 0)
    except ValueError:
        found = 1 << 64
    if not -(1 << 63) <= found < 1 << 64:
        raise CommandError(
            f"{what}: {text[:40]!r} is no number of a register",
            Exit.USAGE,
            hint="numbers are 10, 0xa or 0o12; constants need a call that is known",
        )
    return found


def _listener(stack: Sequence[_Filter], given: int | None) -> int | None:
    """The index of the filter whose listener is open."""
    if given is None:
        notifying = (
            index
            for index, one in enumerate(stack)
            if any(
                code == Op.RET_K and k & ACTION_MASK == Action.USER_NOTIF
                for code, _, _, k in one.program.instructions
            )
        )
        return next(notifying, None)
    if not 0 <= given <= len(stack):
        counted = "is 1 filter" if len(stack) == 1 else f"are {len(stack)} filters"
        raise CommandError(
            f"--listener {given}: there {counted}",
            Exit.USAGE,
            hint="1 is the first FILE, 0 means that no listener is open",
        )
    return len(stack) - given if given else None


def _said(stack: Sequence[_Filter], outcome: Outcome) -> str:
    """What the kernel does, in words."""
    who = "" if outcome.winner is None else f", says {stack[outcome.winner].title}"
    match outcome.action:
        case Action.ALLOW:
            return "the call runs"
        case Action.LOG:
            return f"the call is logged and runs{who}"
        case Action.ERRNO if outcome.errno == 0:
            return f"the call does nothing and returns 0{who}"
        case Action.ERRNO:
            number = outcome.errno or 0
            name = errno.errorcode.get(number, f"errno {number}")
            return f"the call fails with {name}{who}"
        case Action.USER_NOTIF if outcome.listener is not None:
            return f"the supervisor of {stack[outcome.listener].title} is asked"
        case Action.USER_NOTIF:
            return f"the call fails with ENOSYS{who}: it notifies, and has no open listener"
        case Action.TRACE:
            asked = f"a tracer is asked, with message {outcome.data}"
            return f"{asked}, and without one the call fails with ENOSYS{who}"
        case Action.TRAP:
            return f"the thread gets SIGSYS with si_errno {outcome.data}{who}"
        case Action.KILL_THREAD:
            return f"the thread is killed{who}"
    unknown = "" if outcome.value & ACTION_MASK == Action.KILL_PROCESS else ": that is no action"
    return f"the process is killed{who}{unknown}"


def _cached(program: Program, data: SeccompData, abi: Arch) -> bool:
    """Whether the kernel does not run *program*; its bitmaps end with its own calls."""
    known = tables.name(data.nr, abi) is not None
    return known and is_constant_allow(program, data.arch, data.nr)


def _lines(one: _Filter, abi: Arch) -> list[str]:
    return disassemble(one.program, little=abi.little, names=True, arch=abi).splitlines()


def _print(stack: Sequence[_Filter], data: SeccompData, abi: Arch, outcome: Outcome) -> None:
    click.echo(f"{call_text(data, abi)} on {abi.label}")
    for one, answer in zip(stack, outcome.answers, strict=True):
        ran = f"{len(answer.steps)} of {len(one.program)} instructions run"
        if _cached(one.program, data, abi):
            ran = f"none run: it is known to be always allowed (else {ran})"
        click.echo(f"\n{one.title}: {ran}")
        lines = _lines(one, abi)
        before = None
        for step in answer.steps:
            text = f"{step.at:>6}  {lines[step.at].rstrip()}"
            registers = (step.a, step.x)
            # What changed; the last step has no registers but a result.
            if step is not answer.steps[-1] and registers != before:
                shown = f"A = {step.a:#x}" + (f"  X = {step.x:#x}" if step.x else "")
                text = f"{text:<{_WIDTH}}  {shown}"
            before = registers
            click.echo(text)
        click.echo(f"  = {action_text(answer.value)}")
    click.echo(f"\n{_said(stack, outcome)}")


def _as_json(
    stack: Sequence[_Filter], data: SeccompData, abi: Arch, outcome: Outcome
) -> dict[str, Any]:
    return {
        "call": call_json(data, abi),
        "filters": [
            _filter_json(one, answer, data, abi)
            for one, answer in zip(stack, outcome.answers, strict=True)
        ],
        "action": outcome.action.name,
        "value": outcome.value,
        "errno": outcome.errno,
        "winner": None if outcome.winner is None else stack[outcome.winner].position,
        "listener": None if outcome.listener is None else stack[outcome.listener].position,
        "outcome": _said(stack, outcome),
    }


def _filter_json(one: _Filter, answer: Answer, data: SeccompData, abi: Arch) -> dict[str, Any]:
    lines = _lines(one, abi)
    return {
        "position": one.position,
        "file": one.name,
        "instructions": len(one.program),
        "executed": len(answer.steps),
        "cached": _cached(one.program, data, abi),
        "value": answer.value,
        "answer": action_text(answer.value),
        "steps": [
            {"index": step.at, "text": " ".join(lines[step.at].split()), "a": step.a, "x": step.x}
            for step in answer.steps
        ],
    }
