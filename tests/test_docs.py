"""The documentation's programs are real, and so are their transcripts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
