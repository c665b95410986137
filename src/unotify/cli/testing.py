"""``unotify test``: tests of policies, without privileges and without any process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

import click

from unotify.cli.failures import CommandError, Exit, located
from unotify.errors import PolicyError

if TYPE_CHECKING:
    from unotify.testing.policies import Outcome

__all__ = ["command"]

_EPILOG = """\b
Example:
  unotify test examples/policies/tests
  unotify test --junit report.xml policies/ && unotify run --policy policies/web.toml -- ./server
"""
_LOOK: Final = 0.3
"""Seconds between two looks at the files."""


@click.command("test", epilog=_EPILOG)
@click.argument("paths", metavar="DIR|FILE...", nargs=-1, required=True)
@click.option("--junit", metavar="FILE", help="Write a report in JUnit's form, too.")
@click.option("--quiet", "-q", is_flag=True, help="Name only what fails.")
@click.option("--watch", is_flag=True, help="Run again whenever a file changes, until Ctrl-C.")
def command(paths: tuple[str, ...], junit: str | None, quiet: bool, watch: bool) -> int:
    """Run tests of policies: this call by this process gets this answer, decided there.

    Tests are TOML files with [[test]] tables, and functions in test_*.py; of a directory all
    below it are run. They run on a kernel in memory, with the policy's own filter and a real
    supervisor: no privilege is needed. Exits with 1 if a test fails, and with 3 if a policy or
    a test is wrong.
    """
    if not watch:
        return _all(paths, junit, quiet)
    while True:
        seen = _stamps(paths)
        try:
            _all(paths, junit, quiet)
        except (PolicyError, CommandError) as error:
            click.echo(f"error: {located(error)[0]}")
        click.echo("waiting for changes; Ctrl-C ends")
        while _stamps(paths) == seen:
            time.sleep(_LOOK)
        click.echo()


def _all(paths: Sequence[str], junit: str | None, quiet: bool) -> int:
    from unotify.testing.playing import forget
    from unotify.testing.policies import find, load, run

    forget()
    outcomes: list[Outcome] = []
    for path in paths:
        if not os.path.exists(path):
            raise CommandError(f"there is no {path}", Exit.USAGE)
        files = find(Path(path))
        if not files:
            raise CommandError(
                f"there are no tests in {path}",
                Exit.USAGE,
                hint="tests are [[test]] tables in *.toml, or functions in test_*.py",
            )
        for file in files:
            for test in load(file):
                outcomes.append(run(test))
                _say(outcomes[-1], quiet)
    failed = [one for one in outcomes if one.failure]
    seconds = sum(one.seconds for one in outcomes)
    click.echo(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed in {seconds:.2f} s")
    if junit:
        _report(Path(junit), outcomes)
    if any(one.broken for one in failed):
        return Exit.POLICY
    return 1 if failed else 0


def _say(outcome: Outcome, quiet: bool) -> None:
    test = outcome.test
    place = f"{test.file}:{test.line}" if test.line else str(test.file)
    if outcome.failure:
        click.echo(f"{click.style('FAIL', fg='red')} {place}: {test.name}")
        click.echo(f"     {outcome.failure}")
    elif not quiet:
        click.echo(f"{click.style('ok', fg='green')}   {place}: {test.name}")


def _report(file: Path, outcomes: Sequence[Outcome]) -> None:
    suites = ElementTree.Element("testsuites")
    for source in dict.fromkeys(one.test.file for one in outcomes):
        mine = [one for one in outcomes if one.test.file == source]
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=str(source),
            tests=str(len(mine)),
            failures=str(sum(bool(one.failure) and not one.broken for one in mine)),
            errors=str(sum(one.broken for one in mine)),
            time=f"{sum(one.seconds for one in mine):.3f}",
        )
        for one in mine:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=source.stem,
                name=one.test.name,
                file=str(source),
                line=str(one.test.line),
                time=f"{one.seconds:.3f}",
            )
            if one.failure:
                kind = "error" if one.broken else "failure"
                ElementTree.SubElement(case, kind, message=one.failure).text = one.failure
    try:
        ElementTree.ElementTree(suites).write(file, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise CommandError(f"cannot write {file}: {error.strerror}", Exit.USAGE) from None


def _stamps(paths: Sequence[str]) -> dict[str, float]:
    """When each file that may matter was changed: all TOML and Python around the tests."""
    return {
        str(file): file.stat().st_mtime
        for path in paths
        for file in _around(Path(path))
        if file.exists()
    }


def _around(path: Path) -> Iterator[Path]:
    # A test's policy usually stands in the directory above.
    home = (path if path.is_dir() else path.parent).resolve()
    for directory in (home, home.parent):
        for pattern in ("*.toml", "*.py"):
            yield from directory.glob(pattern)
    if path.is_dir():
        yield from path.rglob("*.toml")
        yield from path.rglob("*.py")
