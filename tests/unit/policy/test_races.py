"""`unotify.policy.races`: what may go on after a look, and who has to accept that."""

from __future__ import annotations

import pytest

from unotify.errors import RacyContinue
from unotify.policy.loader import load
from unotify.policy.races import check_races

HEAD = 'version = 1\ndefault = {default}\narchitectures = ["x86_64"]\n'


def races(rules: str, default: str = '"allow"') -> list[RacyContinue]:
    """The races of a policy."""
    return check_races(load(HEAD.replace("{default}", default) + rules))


LOOK = """
[[rule]]
name = "look"
calls = ["openat"]
where = 'path == "/x"'
do = { fail = "EPERM" }
"""


def test_falling_through_to_allow() -> None:
    """C2: a denial by path that falls to allow is one that a second thread walks round."""
    (found,) = races(LOOK)
    assert '"look" looks at what openat points to' in str(found)
    assert "the default lets it go on" in str(found)
    assert found.line is not None
    assert "racy = true" in (found.hint or "")


@pytest.mark.parametrize("default", ['{ fail = "EPERM" }', '"kill-process"', '"notify"'])
def test_falling_to_anything_else(default: str) -> None:
    """A look is no race if nothing lets the call go afterwards."""
    assert races(LOOK, default) == []


def test_accepted_by_either() -> None:
    """The rule that looks, or the one that lets go, may accept the race; the default cannot."""
    accept = 'racy = true\nbecause = "it is a test"\n'
    allow = '\n[[rule]]\nname = "rest"\ncalls = ["openat"]\ndo = "allow"\n'
    assert races(LOOK + accept) == []
    assert races(LOOK + allow + accept) == []
    (found,) = races(LOOK + allow)
    assert '"rest" lets it go on' in str(found)


def test_allow_by_a_look_itself() -> None:
    """A rule that allows what it has looked at is the plainest race."""
    rule = LOOK.replace('{ fail = "EPERM" }', '"allow"')
    (found,) = races(rule, '{ fail = "EPERM" }')
    assert "and then lets it go on" in str(found)


def test_rules_that_never_meet() -> None:
    """Registers may keep a look and an allow apart: then there is no race."""
    rules = """
[[rule]]
calls = ["openat"]
where = 'flags & O_ACCMODE != O_RDONLY and under(path, "/tmp")'
do = "notify"

[[rule]]
calls = ["openat"]
where = "flags & O_ACCMODE == O_RDONLY"
do = "allow"
"""
    assert races(rules, '{ fail = "EACCES" }') == []
    (found,) = races(rules.replace("== O_RDONLY", "!= O_WRONLY"), '{ fail = "EACCES" }')
    assert "lets it go on" in str(found)


def test_the_caller_is_no_race() -> None:
    """Who calls does not change between the look and the call."""
    assert races(LOOK.replace("""'path == "/x"'""", '"uid == 0"')) == []
