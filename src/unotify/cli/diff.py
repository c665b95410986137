"""``unotify diff``: where two policies or filters differ, each with an example."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from unotify.bpf.difference import Difference, differences
from unotify.bpf.formats import action_text
from unotify.cli.analysis import ARCHES, call_json, call_text, chosen, compiled
from unotify.cli.failures import CommandError, Exit
from unotify.cli.inputs import load_any
from unotify.policy.difference import Comparison, SupervisorDifference, compare
from unotify.policy.model import Policy

__all__ = ["command"]

_EPILOG = "Example: unotify diff old.toml new.toml"


@click.command("diff", epilog=_EPILOG)
@click.argument("a")
@click.argument("b")
@click.option(
    "--arch", type=click.Choice(list(ARCHES)), help="How to read what names no architecture."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(a: str, b: str, arch: str | None, as_json: bool) -> int:
    """Tell for which calls and arguments A and B differ: policies, profiles or raw filters.

    Filters are compared exactly: if nothing is found, nothing differs. Where both
    hand a call to their supervisors, the rules are compared too, if both are
    policies; looks with the same question and values count as the same. Exits with 0 if they are
    the same, and with 1 if not.
    """
    if a == b == "-":
        raise CommandError("standard input can be A or B, not both", Exit.USAGE)
    abi = chosen(arch)
    left, right = load_any(a, native=abi), load_any(b, native=abi)
    if isinstance(left, Policy) and isinstance(right, Policy):
        found = compare(left, right)
        note = None
    else:
        programs = compiled(left), compiled(right)
        found = Comparison(tuple(differences(*programs, native=(abi,))), (), ())
        note = "filters only: what a supervisor decides is not in them"
    if as_json:
        click.echo(json.dumps(_as_json(found, note), indent=2))
    else:
        _print(found, note, a, b)
    return 0 if found.same else 1


def _as_json(found: Comparison, note: str | None) -> dict[str, Any]:
    return {
        "same": found.same,
        "filters": [_entry(entry) for entry in found.filters],
        "supervisors": [
            {
                "example": call_json(entry.data, entry.arch),
                "looks": dict(entry.looks),
                "left": str(entry.left),
                "right": str(entry.right),
            }
            for entry in found.supervisors
        ],
        "left_out": list(found.left_out),
        "note": note,
    }


def _entry(entry: Difference) -> dict[str, Any]:
    return {
        "arch": entry.spot.arch.label if entry.spot.arch else None,
        "call": entry.spot.call,
        "all_arguments": entry.whole,
        "example": call_json(entry.witness(), entry.spot.arch),
        "left": action_text(entry.left),
        "right": action_text(entry.right),
    }


def _print(found: Comparison, note: str | None, a: str, b: str) -> None:
    if note:
        click.echo(note)
    if found.same:
        click.echo("the same")
        return
    for group in _groups(found.filters):
        first = group[0]
        archs = list(dict.fromkeys(entry.spot.arch for entry in group))
        label = ", ".join(arch.label if arch else "other architectures" for arch in archs)
        names = dict.fromkeys(entry.spot.call or "unknown numbers" for entry in group)
        calls = ": " + ", ".join(names) if first.spot.arch else ""
        some = "" if first.whole else " (with some arguments)"
        click.echo(f"{label}{calls}{some}")
        click.echo(f"    {a}: {action_text(first.left)}")
        click.echo(f"    {b}: {action_text(first.right)}")
        click.echo(f"    for example {call_text(first.witness(), first.spot.arch)}")
    for entry in found.supervisors:
        _print_supervised(entry, a, b)
    for sentence in found.left_out:
        click.echo(f"not compared: {sentence}")


def _print_supervised(entry: SupervisorDifference, a: str, b: str) -> None:
    click.echo(f"{entry.arch.label}: {entry.call} (decided by the supervisor)")
    click.echo(f"    {a}: {entry.left}")
    click.echo(f"    {b}: {entry.right}")
    click.echo(f"    for example {call_text(entry.data, entry.arch)}")
    for look, answer in entry.looks.items():
        click.echo(f"        where {look} is {'true' if answer else 'false'}")


def _groups(found: Sequence[Difference]) -> list[list[Difference]]:
    """Calls that differ alike, whatever their arguments, in one group; others alone."""
    groups: dict[object, list[Difference]] = {}
    for entry in found:
        key: object = (entry.left, entry.right, entry.spot.arch)
        if not entry.whole:
            key = (entry.left, entry.right, entry.spot.call, str(entry.box.words[4:]))
        groups.setdefault(key, []).append(entry)
    return list(groups.values())
