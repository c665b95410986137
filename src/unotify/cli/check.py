"""``unotify check``: what is wrong with policies, all of it at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from unotify.abi.arch import Arch
from unotify.cli.analysis import ARCHES, chosen
from unotify.cli.failures import CommandError, Exit
from unotify.errors import InvalidPolicy, PolicyError

if TYPE_CHECKING:
    from unotify.policy.model import Policy

__all__ = ["Finding", "command", "examine"]

_EPILOG = """\b
Example:
  unotify check examples/policies/*.toml
  unotify check --groups @mount-api
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to be said about a policy.

    Attributes:
        severity: ``error`` or ``warning``.
        message: What is wrong.
        source: The file, or one that it includes.
        line: 1-based, or ``None``.
        column: 1-based, or ``None``.
        hint: What to do about it, or ``None``.
    """

    severity: str
    message: str
    source: str | None
    line: int | None
    column: int | None
    hint: str | None

    def __str__(self) -> str:
        parts = [str(part) for part in (self.source, self.line, self.column) if part is not None]
        hint = f"\n    hint: {self.hint}" if self.hint else ""
        return f"{':'.join(parts)}: {self.severity}: {self.message}{hint}"


@click.command("check", epilog=_EPILOG)
@click.argument("files", metavar="FILE...", nargs=-1)
@click.option("--arch", type=click.Choice(list(ARCHES)), help='What "native" means.')
@click.option("--groups", is_flag=True, help="List the groups, or with @NAME... their calls.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(files: tuple[str, ...], arch: str | None, groups: bool, as_json: bool) -> int:
    """Check policies, and say all that is wrong with them, each with its place.

    Each FILE is a policy in TOML or an OCI profile; - is standard input. Exits with 3
    if there is an error; warnings do not count. A policy without errors compiles.
    """
    if groups:
        return _groups(files, as_json)
    if not files:
        raise CommandError("no policy is given", Exit.USAGE, hint="see 'unotify check --help'")
    native = chosen(arch)
    reports = [(file, *examine(file, native)) for file in files]
    failed = any(found.severity == "error" for _, _, findings in reports for found in findings)
    if as_json:
        click.echo(json.dumps(_as_json(reports, not failed), indent=2))
    else:
        for file, policy, findings in reports:
            _show(file, policy, findings)
    return Exit.POLICY if failed else 0


def examine(file: str, native: Arch) -> tuple[Policy | None, list[Finding]]:
    """The policy in *file*, if it is one, and what is to be said about it.

    Raises:
        CommandError: It cannot be read.
    """
    from unotify.cli.inputs import load_policy

    try:
        policy = load_policy(file, native=native)
    except InvalidPolicy as error:
        return None, [_error(problem, file) for problem in error.problems]
    except PolicyError as error:
        return None, [_error(error, file)]
    return policy, [*_errors(policy, file), *_warnings(policy, file)]


def _errors(policy: Policy, file: str) -> list[Finding]:
    from unotify.policy.compiling import compile_policy
    from unotify.policy.races import check_races

    try:
        found = [_error(race, file) for race in check_races(policy)]
        compile_policy(policy)
    except PolicyError as error:
        return [_error(error, file)]
    return found


def _warnings(policy: Policy, file: str) -> list[Finding]:
    import unotify.handlers  # noqa: F401 - so that it is known what is carried out
    from unotify.policy.actions import handlers_missing
    from unotify.policy.advice import advice

    found = [
        Finding(
            "warning",
            advised.message,
            advised.place.source or file,
            advised.place.line,
            advised.place.column,
            advised.hint,
        )
        for advised in advice(policy)
    ]
    return found + [_finding("warning", error, file) for error in handlers_missing(policy)]


def _error(error: PolicyError, file: str) -> Finding:
    return _finding("error", error, file)


def _finding(severity: str, error: PolicyError, file: str) -> Finding:
    source = error.source or file
    return Finding(severity, str(error), source, error.line, error.column, error.hint)


def _show(file: str, policy: Policy | None, findings: list[Finding]) -> None:
    from unotify.cli.inputs import named

    for finding in findings:
        click.echo(str(finding))
    counts = {
        severity: sum(finding.severity == severity for finding in findings)
        for severity in ("error", "warning")
    }
    said = [f"{n} {word}{'s' if n > 1 else ''}" for word, n in counts.items() if n]
    if policy is not None and not counts["error"]:
        rules = len(policy.rules)
        said.insert(0, f"good: {rules} rule{'' if rules == 1 else 's'}")
    click.echo(f"{named(file)}: {', '.join(said)}")


def _as_json(reports: list[tuple[str, Policy | None, list[Finding]]], good: bool) -> dict[str, Any]:
    return {
        "ok": good,
        "files": [
            {
                "file": file,
                "ok": not any(finding.severity == "error" for finding in findings),
                "rules": None if policy is None else len(policy.rules),
                "problems": [
                    {
                        "severity": finding.severity,
                        "source": finding.source,
                        "line": finding.line,
                        "column": finding.column,
                        "message": finding.message,
                        "hint": finding.hint,
                    }
                    for finding in findings
                ],
            }
            for file, policy, findings in reports
        ],
    }


def _groups(names: tuple[str, ...], as_json: bool) -> int:
    from unotify.abi.hints import nearest
    from unotify.policy.groups import GROUPS

    for name in names:
        if name not in GROUPS:
            hint = nearest(name, GROUPS) or "'unotify check --groups' lists them"
            raise CommandError(f"no group is named {name!r}", Exit.USAGE, hint=hint)
    asked = {name: GROUPS[name] for name in names or GROUPS}
    if as_json:
        listed = {
            name: {"description": group.description, "calls": sorted(group.calls)}
            for name, group in asked.items()
        }
        click.echo(json.dumps(listed, indent=2))
        return 0
    for name, group in asked.items():
        click.echo(f"{name:<18} {len(group.calls):>4}  {group.description}")
        if names:
            click.echo("\n".join(f"    {call}" for call in sorted(group.calls)))
    return 0
