"""``unotify agent status`` and ``reload``: what a running agent says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from unotify.cli.failures import CommandError, Exit
from unotify.oci.control import ask
from unotify.oci.logs import counted

__all__ = ["reload", "show"]


def show(control: Path, *, as_json: bool) -> int:
    """Print the status of the agent at *control*."""
    found: dict[str, Any] = {
        "agent": {},
        "policies": [],
        "containers": [],
        "calls": [],
        "faults": {},
    }
    several = {"policy": "policies", "container": "containers", "call": "calls"}
    for message in _asked(control, "status"):
        for key, value in message.items():
            if key in several:
                found[several[key]].append(value)
            elif key in found:
                found[key] = value
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _print(found)
    return 0


def reload(control: Path) -> int:
    """Let the agent at *control* load its policies again."""
    answer = _asked(control, "reload")[-1]
    if not answer.get("loaded"):
        raise CommandError(
            "the policies stay as they were: something is wrong with the new ones",
            Exit.POLICY,
            hint="the agent's own output says what",
        )
    click.echo("the policies are loaded")
    return 0


def _asked(control: Path, what: str) -> list[dict[str, Any]]:
    try:
        return ask(control, what)
    except (FileNotFoundError, ConnectionRefusedError):
        raise CommandError(
            f"no agent is at {control}",
            Exit.USAGE,
            hint="it is the PATH that the agent was given with --control",
        ) from None
    except OSError as error:
        raise CommandError(
            f"the agent at {control} does not answer: {error}", Exit.KERNEL
        ) from None


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    agent = found["agent"]
    console = Console(highlight=False, soft_wrap=True)
    since = _ago(agent["since"])
    state = "takes containers" if agent["accepting"] else "takes no containers"
    console.print(
        f"unotify {agent['version']}, process {agent['pid']}, since {since}: {state}", markup=False
    )
    console.print(
        f"{counted(agent['containers'], 'container')} with "
        f"{counted(agent['listeners'], 'listener')}, "
        f"{counted(agent['in_flight'], 'call')} under way, {counted(agent['threads'], 'thread')}",
        markup=False,
    )
    if not agent["survives"]:
        console.print("containers do not survive this agent", markup=False)
    for title, columns, rows in (
        ("policies", _POLICIES, map(_policy, found["policies"])),
        ("containers", _CONTAINERS, map(_container, found["containers"])),
        ("calls", _CALLS, map(_call, found["calls"])),
    ):
        _table(console, Table, title, columns, rows)


_POLICIES = ("policy", "containers", "calls", "faults", "expired", "p50", "p99")
_CONTAINERS = ("container", "policy", "process", "since", "listeners", "calls", "failed")
_CALLS = ("call", "count", "failed", "gone", "mean", "p50", "p99")


def _policy(told: dict[str, Any]) -> tuple[Any, ...]:
    return (
        f"{told['name']}{' (old version)' if told['outdated'] else ''}",
        told["containers"],
        told["received"],
        told["faults"],
        told["expired"],
        _time(told["p50_microseconds"]),
        _time(told["p99_microseconds"]),
    )


def _container(told: dict[str, Any]) -> tuple[Any, ...]:
    return (
        told["id"],
        f"{told['policy']}{' (old version)' if told['outdated'] else ''}",
        told["pid"] or "?",
        _ago(told["since"]),
        told["listeners"],
        sum(told["calls"].values()),
        told["calls"].get("failed", 0),
    )


def _call(told: dict[str, Any]) -> tuple[Any, ...]:
    counts = told["calls"]
    return (
        told["name"],
        sum(counts.values()),
        counts.get("failed", 0),
        counts.get("gone", 0),
        _time(told["mean_microseconds"]),
        _time(told["p50_microseconds"]),
        _time(told["p99_microseconds"]),
    )


def _table(
    console: Any, make: Any, title: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]
) -> None:
    from rich.text import Text

    table = make(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < 1 else "right", overflow="fold")
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 - used after the loop
        # What containers say of themselves is text and no markup, and moves no cursor.
        table.add_row(*(Text(_printable(str(cell))) for cell in row))
    console.print()
    if count:
        console.print(table)
    else:
        console.print(f"no {title}", markup=False)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _time(microseconds: int) -> str:
    if microseconds < 1000:
        return f"{microseconds} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.3g} ms"
    return f"{microseconds / 1e6:.3g} s"


def _ago(since: float) -> str:
    seconds = max(0, int(time.time() - since))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
