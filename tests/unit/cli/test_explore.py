"""``unotify explore``: what it prints and exits with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from unotify.cli.explore import command
from unotify.cli.failures import CommandError, Exit
from unotify.errors import PolicyError

TIGHT = """version = 1
default = "allow"
[[rule]]
name = "no renaming"
calls = ["rename", "renameat", "renameat2"]
do = "deny"
[[rule]]
calls = ["io_uring_setup"]
do = { fail = "ENOSYS" }
"""
LOOSE = TIGHT.replace(', "renameat2"', "")


@pytest.fixture(name="explore")
def _explore(tmp_path: Path) -> Any:
    """Runs the command on a policy."""

    def run(text: str, *options: str) -> Result:
        file = tmp_path / "p.toml"
        file.write_text(text)
        return CliRunner().invoke(command, [*options, str(file)], standalone_mode=False)

    return run


def test_a_way_is_found(explore: Any) -> None:
    """It is told in numbered steps, with facts and a cure; the exit code is 1."""
    found = explore(LOOSE)
    assert found.return_value == 1
    said = " ".join(found.output.split())
    assert 'is forbidden by "no renaming" (' in said
    assert '1. the target calls renameat2(oldpath="/tmp/harmless", newpath="/tmp/harmless")' in said
    assert "(B1)." in said
    assert 'Instead: name renameat2, too, in "no renaming".' in said
    assert "1 way found" in said


def test_nothing_is_found(explore: Any) -> None:
    """It says what was covered, and what is not known; the exit code is 0."""
    found = explore(TIGHT)
    assert found.return_value == 0
    said = " ".join(found.output.split())
    assert "nothing found Forbidden: 1 acts" in said
    assert "Calls: rename, renameat, renameat2; by x86_64, i386, x32." in said
    assert "Bound: 8 moves in a row, 2 preparations among them." in said
    assert "Not known here:" in said


def test_json(explore: Any) -> None:
    """For scripts the same in JSON: the moves, what came of each, facts and cure."""
    found = explore(LOOSE, "--json")
    assert found.return_value == 1
    told = json.loads(found.output)
    (story,) = told["stories"]
    assert story["kind"] == "twin"
    assert story["calls"] == ["renameat2"]
    assert story["facts"] == ["B1"]
    assert [sorted(step) for step in story["steps"]] == [["move", "outcome"]]
    assert told["covered"]["states"] > 1
    assert json.loads(explore(TIGHT, "--json").output)["stories"] == []


def test_goals(explore: Any) -> None:
    """A goal that the policy lets go is a way; one that is refused is none."""
    assert explore(TIGHT, "--goal", "mount").return_value == 1
    assert explore(TIGHT, "--goal", "rename").return_value == 0


def test_suppositions(explore: Any) -> None:
    """What may be supposed is supposed only if asked for."""
    sockets = TIGHT + '[[rule]]\ncalls = ["socket"]\ndo = "deny"\n'
    assert explore(sockets).return_value == 0
    found = explore(sockets, "--suppose", "accomplice")
    assert found.return_value == 1
    assert "Supposed: accomplice." in found.output


def test_nothing_is_forbidden(explore: Any) -> None:
    """A policy that forbids nothing gets no claim."""
    found = explore('version = 1\ndefault = "allow"\n')
    assert found.return_value == 0
    assert "Forbidden: nothing that can be judged here." in found.output


def test_the_bound_is_too_small(explore: Any) -> None:
    """With a depth that cuts off it says so; with too few states it claims nothing."""
    cut = explore(TIGHT, "--depth", "1")
    assert cut.return_value == 0
    assert "states had more" in " ".join(cut.output.split())
    failed = explore(TIGHT, "--states", "2")
    assert isinstance(failed.exception, CommandError)
    assert failed.exception.code == Exit.USAGE
    assert "more than 2 states" in str(failed.exception)
    assert failed.exception.hint
    assert "--depth" in failed.exception.hint


def test_a_bad_policy(explore: Any) -> None:
    """A policy or a goal that is wrong is an error at its place."""
    failed = explore(TIGHT.replace('"rename"', '"renam"'))
    assert isinstance(failed.exception, PolicyError)
    assert failed.exception.line == 5
    wrong = explore(TIGHT, "--goal", "renam")
    assert isinstance(wrong.exception, PolicyError)
    assert "there is no call 'renam'" in str(wrong.exception)
