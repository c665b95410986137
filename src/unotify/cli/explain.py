"""``unotify explain``: what a policy does with a call, where, and at what cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.bpf.formats import action_text
from unotify.cli.analysis import ARCHES, call_json, call_text, native, number_of, rule_json
from unotify.cli.failures import CommandError, Exit, typed
from unotify.cli.inputs import load_policy
from unotify.policy.compiling import compile_policy
from unotify.policy.explain import Explanation, Step, explain_call
from unotify.policy.installing import short
from unotify.policy.model import Policy
from unotify.policy.offline import OfflineFacts, call_of, named, pointers, prepare
from unotify.policy.overview import Cost, Row, explain_policy
from unotify.policy.problems import listed

__all__ = ["command"]

_EPILOG = "Example: unotify explain policy.toml openat AT_FDCWD /etc/passwd 'O_WRONLY|O_CREAT'"
_SHOWN = 4
"""Calls of a rule that the table names."""


@click.command("explain", epilog=_EPILOG, context_settings={"ignore_unknown_options": True})
@click.argument("policy")
@click.argument("call", required=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--arch", type=click.Choice(list(ARCHES)), help="By which ABI the call is made.")
@click.option(
    "--fact",
    "facts",
    multiple=True,
    metavar="NAME=VALUE",
    help="What a look would see: uid, gid, pid, tid, comm, exe, cgroup, resolved=PATH, "
    "fd:N=KIND:PATH; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(
    policy: str,
    call: str | None,
    args: tuple[str, ...],
    arch: str | None,
    facts: tuple[str, ...],
    as_json: bool,
) -> int:
    """Tell which rule of POLICY decides CALL, where, at what cost, and why.

    ARGS are numbers, names of constants joined by |, _ for whatever, or name=value;
    for what is in memory a path, a string, a socket address (10.0.0.1:80, unix:PATH,
    @ABSTRACT), a command line, or a struct ('flags=O_CREAT mode=0o600'). Without
    CALL the whole policy is shown as a table.
    """
    here = native()
    loaded = load_policy(policy, native=here)
    if call is None:
        return _whole(loaded, as_json)
    abi = (
        ARCHES[arch]
        if arch
        else (here if here in loaded.architectures else loaded.architectures[0])
    )
    found = _one(loaded, abi, call, args, _facts(facts))
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=2))
    else:
        _print(found, args)
    return 0


def _facts(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for fact in given:
        name, equals, value = fact.partition("=")
        if not equals:
            raise CommandError(f"--fact {fact}: this is not NAME=VALUE", Exit.USAGE)
        found[name] = value
    return found


def _one(
    policy: Policy, arch: Arch, call: str, args: tuple[str, ...], known: dict[str, str]
) -> Explanation:
    program = compile_policy(policy)
    nr = number_of(call, arch)
    name = tables.name(nr, arch)
    if name is None:
        try:
            numbers = [int(arg, 0) & (1 << 64) - 1 for arg in args]
        except ValueError:
            raise CommandError(
                f"number {nr} is no known call: its arguments are numbers", Exit.USAGE
            ) from None
        return explain_call(policy, program, arch, nr, (*numbers, *[0] * 6)[:6])
    with typed():
        registers, memory = prepare(name, arch, args)
        facts = OfflineFacts(call_of(arch, name, nr, registers, memory), known)
    return explain_call(policy, program, arch, nr, registers, facts)


def _as_json(found: Explanation) -> dict[str, Any]:
    return {
        "call": call_json(found.data, found.arch),
        "verdict": str(found.verdict) if found.verdict else None,
        "parameters": dict(found.verdict.parameters) if found.verdict else {},
        "rule": rule_json(found.rule),
        "reason": found.reason,
        "decided": "supervisor" if found.supervised else "filter",
        "action": action_text(found.action),
        "executed": found.executed,
        "instructions": found.instructions,
        "cached": found.cached,
        "looks": list(found.looks),
        "steps": [
            {
                "rule": rule_json(step.rule),
                "verdict": str(step.verdict),
                "matches": step.matches,
                "looks": list(step.looks),
                "note": step.note,
            }
            for step in found.steps
        ],
    }


def _print(found: Explanation, args: tuple[str, ...]) -> None:
    verdict = str(found.verdict) if found.verdict else "depends"
    given: dict[str, str] = {}
    if found.call is not None:
        given = named(model.spec(found.call, found.arch), args)
        given |= {arg.name: given.get(arg.name, "_") for arg in pointers(found.call, found.arch)}
    click.echo(f"{call_text(found.data, found.arch, given)} on {found.arch.label}: {verdict}")
    click.echo(f"  why      {found.reason}")
    if found.verdict and found.verdict.parameters:
        given_to = (
            f"{name} = {json.dumps(value)}" for name, value in found.verdict.parameters.items()
        )
        click.echo(f"  with     {', '.join(given_to)}")
    if found.supervised:
        where = "by the supervisor"
    else:
        where = f"in the kernel, by the filter: {action_text(found.action)}"
    click.echo(f"  decided  {where}")
    ran = f"{found.executed} of the filter's {found.instructions} instructions run"
    if found.supervised:
        ran += ", and a notification to the supervisor"
    if found.cached:
        ran = "none: the kernel knows it is always allowed (without that, " + ran + ")"
    click.echo(f"  cost     {ran}")
    if found.looks:
        click.echo(f"  looks    {', '.join(found.looks)}")
    if found.steps:
        click.echo("  rules asked, in order:")
    for step in found.steps:
        click.echo(f"    {_outcome(step):<8} {step.rule}: {step.verdict}")
        if step.note:
            click.echo(f"             {step.note}")


def _outcome(step: Step) -> str:
    return {True: "matches", False: "no", None: "unknown"}[step.matches]


def _whole(policy: Policy, as_json: bool) -> int:
    program = compile_policy(policy)
    rows = explain_policy(policy, program)
    if as_json:
        document = {
            "instructions": len(program),
            "architectures": [arch.label for arch in policy.architectures],
            "flags": [short(flag) for flag in policy.flags],
            "listener": _listener(policy),
            "rules": [_row_json(row) for row in rows],
        }
        click.echo(json.dumps(document, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading, fold in (
        ("rule", True),
        ("calls", True),
        ("do", False),
        ("by", False),
        ("looks at", True),
        ("runs", False),
        ("cached", False),
    ):
        table.add_column(heading, overflow="fold", no_wrap=not fold)
    for row in rows:
        table.add_row(*_cells(row))
    console = Console()
    console.print(table)
    archs = ", ".join(arch.label for arch in policy.architectures)
    console.print(f"\n{len(program)} instructions for {archs}, proved.", highlight=False)
    for line in _installation(policy):
        console.print(line, highlight=False, markup=False)
    console.print(
        "runs: instructions of the filter for these calls; cached: calls for which the kernel "
        "runs none",
        style="dim",
        highlight=False,
    )
    return 0


def _installation(policy: Policy) -> Iterator[str]:
    if policy.flags:
        yield f"Installed with {listed(map(short, policy.flags))}."
    if policy.listener_path is not None:
        told = f", told {policy.listener_metadata!r}" if policy.listener_metadata else ""
        yield f"A container runtime gives the listener to {policy.listener_path!r}{told}."


def _listener(policy: Policy) -> dict[str, str] | None:
    if policy.listener_path is None:
        return None
    metadata = policy.listener_metadata
    return {"path": policy.listener_path} | ({"metadata": metadata} if metadata else {})


def _cells(row: Row) -> tuple[str, ...]:
    calls = ", ".join(row.calls[:_SHOWN])
    if row.rule is None:
        calls = f"{len(row.calls)} calls" if row.calls else ""
    elif len(row.calls) > _SHOWN:
        calls += f" and {len(row.calls) - _SHOWN} more"
    return (
        row.title,
        calls,
        str(row.verdict),
        _decided(row),
        ", ".join(need.name.lower() for need in sorted(row.needs)),
        _instructions(row.cost),
        f"{row.cost.cached}/{row.cost.calls}" if row.cost else "",
    )


def _decided(row: Row) -> str:
    if row.filter and row.supervisor:
        return "both"
    if row.supervisor:
        return "supervisor"
    return "filter" if row.filter else "nobody"


def _instructions(cost: Cost | None) -> str:
    if cost is None:
        return ""
    return f"{cost.least}" if cost.least == cost.most else f"{cost.least}-{cost.most}"


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "rule": rule_json(row.rule),
        "title": row.title,
        "calls": list(row.calls),
        "verdict": str(row.verdict),
        "filter": row.filter,
        "supervisor": row.supervisor,
        "needs": sorted(need.name.lower() for need in row.needs),
        "looks": list(row.looks),
        "executed": [row.cost.least, row.cost.most] if row.cost else None,
        "cached": row.cost.cached if row.cost else None,
    }
