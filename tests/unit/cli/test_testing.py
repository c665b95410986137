"""``unotify test``: what it prints, reports and exits with."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from unotify.cli.failures import CommandError, Exit
from unotify.cli.testing import command
from unotify.errors import PolicyError

POLICY = 'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["fork"]\ndo = { fail = "EPERM" }\n'
GOOD = '[[test]]\nname = "no fork"\ncall = "fork"\nexpect = { fail = "EPERM" }\n'
BAD = '[[test]]\nname = "a <fork>"\ncall = "fork"\nexpect = "allow"\n'
BROKEN = '[[test]]\nname = "odd"\ncall = "fork9"\nexpect = "allow"\n'


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Path:
    (tmp_path / "p.toml").write_text(POLICY)
    return tmp_path


def test(home: Path, text: str, *options: str) -> Result:
    """Run a file of tests."""
    (home / "t.toml").write_text('policy = "p.toml"\n' + text)
    return CliRunner().invoke(command, [*options, str(home)], standalone_mode=False)


test.__test__ = False  # type: ignore[attr-defined]


def test_all_is_well(home: Path) -> None:
    """Each test is named with its place, and the sum at the end; the exit code is 0."""
    found = test(home, GOOD)
    assert found.return_value == 0
    first, last = found.output.splitlines()
    assert first == f"ok   {home / 't.toml'}:2: no fork"
    assert last.startswith("1 passed, 0 failed in ")
    assert len(test(home, GOOD, "--quiet").output.splitlines()) == 1


def test_one_fails(home: Path) -> None:
    """It says what was expected and what came; the exit code is 1."""
    found = test(home, GOOD + BAD, "-q")
    assert found.return_value == 1
    assert f"FAIL {home / 't.toml'}:6: a <fork>\n" in found.output
    assert "     expected allow; got fail EPERM, decided by the filter" in found.output
    assert "1 passed, 1 failed" in found.output


def test_one_is_wrong(home: Path) -> None:
    """A test that cannot run is a mistake in the policy or in itself: the exit code is 3."""
    found = test(home, GOOD + BROKEN)
    assert found.return_value == Exit.POLICY
    assert "x86_64 has no call fork9" in found.output


def test_a_report(home: Path) -> None:
    """JUnit's form has each case with its place, failures and errors apart."""
    report = home / "report.xml"
    test(home, GOOD + BAD + BROKEN, "--junit", str(report))
    (suite,) = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert [case.get("name") for case in suite] == ["no fork", "a <fork>", "odd"]
    assert [case.get("line") for case in suite] == ["2", "6", "10"]
    assert [[child.tag for child in case] for case in suite] == [[], ["failure"], ["error"]]
    with pytest.raises(CommandError, match="cannot write"):
        raise test(home, GOOD, "--junit", str(home / "no/report.xml")).exception or AssertionError


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_nothing_to_run(home: Path, name: str) -> None:
    """A path that is not there, or a directory without tests, is a mistake of usage."""
    (home / "empty").mkdir()
    found = CliRunner().invoke(command, [str(home / name)], standalone_mode=False)
    assert isinstance(found.exception, CommandError)
    assert found.exception.code == Exit.USAGE


def test_a_file_that_is_wrong(home: Path) -> None:
    """It is told with its place."""
    found = test(home, '[[test]]\ncal = "fork"\n')
    assert isinstance(found.exception, PolicyError)
    assert (found.exception.source, found.exception.line) == (str(home / "t.toml"), 2)
