"""``unotify audit``: holes in a policy or a filter."""

from __future__ import annotations

import json
from typing import Any

import click

from unotify.bpf.audit.finding import Finding, Severity
from unotify.cli.analysis import ARCHES, chosen
from unotify.cli.failures import Exit
from unotify.cli.inputs import load_any

__all__ = ["command"]

_EPILOG = "Example: unotify audit profile.json --fail-on medium"
_LEVELS = [severity.label for severity in Severity]
_COLOURS = {"high": "bold red", "medium": "yellow", "low": "cyan", "info": "dim"}


@click.command("audit", epilog=_EPILOG)
@click.argument("file")
@click.option(
    "--fail-on",
    type=click.Choice([*_LEVELS, "never"]),
    default="high",
    show_default=True,
    help="Exit with 3 if anything is found that is at least this bad.",
)
@click.option(
    "--arch", type=click.Choice(list(ARCHES)), help="How to read what names no architecture."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(file: str, fail_on: str, arch: str | None, as_json: bool) -> int:
    """Look for holes in FILE: a TOML policy, an OCI profile or a raw filter.

    Each finding has a severity, a reason and a cure. Filters are judged by what
    they answer, call by call, not by how they are written.
    """
    from unotify.bpf.audit import audit_program
    from unotify.policy.audit import audit_policy
    from unotify.policy.model import Policy

    abi = chosen(arch)
    subject = load_any(file, native=abi)
    if isinstance(subject, Policy):
        found = audit_policy(subject)
    else:
        found = audit_program(subject, native=(abi,))
    if as_json:
        click.echo(json.dumps([_as_json(finding) for finding in found], indent=2))
    else:
        _print(found)
    bad = fail_on != "never" and any(f.severity >= Severity[fail_on.upper()] for f in found)
    return Exit.POLICY if bad else 0


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "severity": finding.severity.label,
        "title": finding.title,
        "reason": finding.reason,
        "cure": finding.cure,
        "calls": list(finding.calls),
        "architectures": [arch.label for arch in finding.architectures],
        "place": finding.place,
    }


def _print(found: list[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not found:
        console.print("nothing found")
        return
    for finding in found:
        label = finding.severity.label
        line = Text(f"{label:<7}", _COLOURS[label]) + Text(finding.title, "bold")
        line.append(f"  [{finding.check}]", "dim")
        console.print(line)
        archs = ", ".join(arch.label for arch in finding.architectures)
        details = [finding.reason + ".", f"Cure: {finding.cure}."]
        if finding.place:
            details.insert(0, f"At {finding.place}.")
        if finding.calls:
            details.append(f"Calls: {', '.join(finding.calls)}.")
        if archs:
            details.append(f"On {archs}.")
        for detail in details:
            for row in Text(detail).wrap(console, max(console.width - 7, 20)):
                row.rstrip()
                console.print(Text(" " * 7) + row)
    counts = {label: sum(f.severity.label == label for f in found) for label in reversed(_LEVELS)}
    console.print(", ".join(f"{count} {label}" for label, count in counts.items() if count))
