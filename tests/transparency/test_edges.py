"""Odd calls, thousands of them, have the same result and errno, and leave the same files behind.

The few that do not are told in docs/perform-differences.md.
"""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.transparency.both import LONG, run
from tests.transparency.identities import ALL, DROPPED, SELF, Identity
from tests.transparency.test_programs import python

GROUPS = ("opens", "names", "moves", "changes", "sights", "attributes")
CASES = [(identity, group) for identity in (ALL if LONG else (SELF, DROPPED)) for group in GROUPS]
EVERY = 1 if LONG else 41
"""The others are left out."""

DIFFERENT = re.compile(
    r"""
    # names in /proc/self/fd can never be removed, which is refused with another errno
    (rmdir|unlink|rename|link)\('(/proc/self/fd/|/dev/fd/)[0-9]+'
    # two faults at once: both paths are read before either is looked up
    | rename\('.*,\ (NULL|WILD)\)\ =\ (ENOENT|ENOTDIR|ELOOP|ENAMETOOLONG)$
    | link\(.*,\ '(missing/x)?'\)\ =\ (ENOTDIR|ENAMETOOLONG)$
    | open\(.*,\ 0o(600000|200100|20200000)\) | open\(''.*\ 0o
    | openat2\((''|NULL|WILD|'\./\./.*),\ 0o[0-9]+,\ 0x
    # the first path leads through a directory that is closed, and the second one is wrong too
    | (rename|link)\('private/x',\ .*\)\ =\ EACCES$
    # absolute links that stay on the file system
    | openat2\('(abslink|absdir).*\ 0x1\)
    # the first digits of a process id
    | readlink\('/proc/self',\ buffer,\ 3\)
    """,
    re.VERBOSE,
)


@pytest.mark.parametrize(
    ("identity", "group"), CASES, ids=[f"{identity.name}-{group}" for identity, group in CASES]
)
def test_same_answer(identity: Identity, group: str, tmp_path: Path) -> None:
    """Each odd call is answered as the kernel would have."""
    if platform.machine() != "x86_64":
        missing("the numbers of these calls are those of x86-64")
    identity.require()
    found = []
    for performed in (False, True):
        work = identity.directory(tmp_path)
        for source in Path(__file__).parent.glob("edges_*.py"):
            shutil.copy(source, work)
            (work / source.name).chmod(0o644)
        program = str(work / "edges_main.py")
        command = [python(), "-BEs", program, group, str(work / "out"), str(EVERY)]
        done = run(command, work, identity, performed=performed)
        assert (done.status, done.stdout, done.stderr) == (0, "", "")
        found.append((work / "out").read_text().splitlines())
        shutil.rmtree(work)
    native, ours = found

    assert len(native) == len(ours) > 10
    assert [
        f"{one}\n!= {other}"
        for one, other in zip(native, ours, strict=True)
        if one != other and not DIFFERENT.match(one)
    ] == []
