"""The documentation's programs are real, and so are their transcripts."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unotify.cli.failures import Exit
from unotify.supervisor.telling import CallTelling
from unotify.testing import Supervised

ROOT = Path(__file__).resolve().parent.parent
TRANSCRIPT = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
PROGRAMS = [
    pytest.param(*found.groups(), id=f"{name}-{number}")
    for name in ("README.md", "docs/tutorial.md")
    for number, found in enumerate(TRANSCRIPT.finditer((ROOT / name).read_text()), 1)
]


@pytest.mark.parametrize(("program", "transcript"), PROGRAMS)
def test_program_prints_its_transcript(program: str, transcript: str, tmp_path: Path) -> None:
    """A program that is followed by a transcript in the documentation prints just that."""
    environ = os.environ | {"PYTHONWARNINGS": "error", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == (transcript, "", 0)


def test_tutorial_has_programs() -> None:
    """The tutorial's programs are found, so that the test above cannot pass by finding none."""
    assert len(PROGRAMS) >= 4


def table(page: str, head: str) -> list[list[str]]:
    """The rows of the table that begins with *head*, without formatting."""
    text = (ROOT / page).read_text()
    rows = text.partition(f"| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    assert rows
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_exit_codes_are_documented() -> None:
    """The page of commands has a row for each exit code, and no other."""
    codes = [int(row[0]) for row in table("docs/commands.md", "code")]
    assert codes == [0, 1, *sorted(Exit)]


def test_documented_log_is_the_log(tmp_path: Path) -> None:
    """The page of commands has just the keys that an entry of the log has."""
    told: list[dict[str, Any]] = []

    class Log(CallTelling):
        def tell(self, entry: dict[str, Any]) -> None:
            told.append(entry)

    policy = tmp_path / "policy.toml"
    policy.write_text(
        'version = 1\ndefault = "allow"\n'
        '[[rule]]\ncalls = ["mkdir"]\ndo = { fail = "EPERM" }\nlog = true\n'
    )
    with Supervised(policy=policy) as supervised:
        supervised.supervisor.add_instrument(Log())
        supervised.call("mkdir", "/new", 0o755)
    keys = {name for row in table("docs/commands.md", "key") for name in re.findall(r"\w+", row[0])}
    assert told[0].keys() == keys


def test_links_lead_somewhere() -> None:
    """Each file that a page of the documentation links to is there."""
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
