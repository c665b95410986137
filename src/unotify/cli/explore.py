"""``unotify explore``: what a hostile target gets in spite of a policy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import click

from unotify.cli.failures import CommandError, Exit
from unotify.cli.inputs import load_policy

if TYPE_CHECKING:
    from unotify.testing.hostile.reporting import Covered, PolicyExploration

__all__ = ["command"]

_EPILOG: Final = """\b
Examples:
  unotify explore policy.toml
  unotify explore policy.toml --goal mount --goal 'openat: path == "/etc/shadow"'
"""
_FOUND: Final = 1
_SUPPOSITIONS: Final = ("accomplice", "supervisor-ends")


@click.command("explore", epilog=_EPILOG)
@click.argument("policy")
@click.option(
    "--goal",
    "goals",
    metavar="CALL[: WHERE]",
    multiple=True,
    help="What else must be impossible: a call, or a call and a condition as in a policy.",
)
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="The most moves in a row.",
)
@click.option(
    "--preparations",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="The most preparations among them: links, renames, forks, newer filters.",
)
@click.option(
    "--states",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    help="The most states for one thing that is forbidden; with more nothing is claimed.",
)
@click.option(
    "--suppose",
    type=click.Choice(_SUPPOSITIONS),
    multiple=True,
    help="Suppose that somebody outside passes descriptors, or that the supervisor ends first.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(
    policy: str,
    goals: tuple[str, ...],
    depth: int,
    preparations: int,
    states: int,
    suppose: tuple[str, ...],
    as_json: bool,
) -> int:
    """Search for ways by which a hostile target gets what POLICY forbids.

    The policy's filter runs on a kernel in memory, and a real supervisor serves it. What is
    forbidden follows from the policy itself: what its rules refuse, by whatever call, and what
    its default refuses. Each way that is found has been gone twice, and is told step by step.
    Exits with 1 if there is one, and with 3 if the policy is wrong.
    """
    from unotify.abi.arch import Arch
    from unotify.testing.hostile.exploring import explore_policy

    loaded = load_policy(policy, native=Arch.X86_64)
    try:
        found = explore_policy(
            loaded, goals=goals, depth=depth, preparing=preparations, suppose=suppose, most=states
        )
    except OverflowError as error:
        raise CommandError(
            f"{policy}: {error} for one thing that is forbidden",
            Exit.USAGE,
            hint="allow more with --states, or ask for less with --depth or --preparations",
        ) from None
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        _print(found)
    return _FOUND if found.stories else 0


def _print(found: PolicyExploration) -> None:
    for story in found.stories:
        _wrapped(str(story))
        click.echo()
    number = len(found.stories)
    what = "nothing found" if not number else f"{number} way{'s' if number > 1 else ''} found"
    click.echo(what)
    _print_covered(found.covered)


def _wrapped(text: str) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        first = True
        for row in Text(line.strip()).wrap(console, max(console.width - indent - 3, 20)):
            row.rstrip()
            console.print(Text(" " * (indent if first else indent + 3)) + row)
            first = False


def _print_covered(covered: Covered) -> None:
    lines: list[str] = []
    if covered.goals:
        kinds = dict.fromkeys(by for _, by in covered.goals)
        lines.append(f"Forbidden: {len(covered.goals)} acts, by {', '.join(kinds)}.")
        lines.append(f"Calls: {', '.join(covered.calls)}; by {', '.join(covered.abis)}.")
        lines.append(f"Beforehand: {', '.join(covered.moves)}.")
    else:
        lines.append("Forbidden: nothing that can be judged here.")
    bound = f"{covered.depth} moves in a row, {covered.preparing} preparations among them"
    rest = f"; {covered.cut} states had more" if covered.cut else ""
    lines.append(
        f"Visited: {covered.states} states by {covered.steps} moves. Bound: {bound}{rest}."
    )
    if covered.suppose:
        lines.append(f"Supposed: {', '.join(covered.suppose)}.")
    lines += [f"Not judged: {one}." for one in covered.not_judged]
    lines += [f"No arguments found for {one}." for one in covered.not_reached]
    lines.append("Not known here:")
    lines += [f"  {one};" for one in covered.unknown[:-1]]
    lines.append(f"  {covered.unknown[-1]}.")
    _wrapped("\n".join(lines))
