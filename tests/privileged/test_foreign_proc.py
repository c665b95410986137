"""A supervisor whose /proc is that of another pid namespace, with other numbers in it (P2)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import missing
from unotify.kernel import native

_RULES = """
version = 1
default = "allow"
[[rule]]
calls = ["unlink"]
where = 'path == "/nowhere/one"'
do = { fail = "EXDEV" }
[[rule]]
calls = ["unlink"]
do = "deny"
[[rule]]
calls = ["mkdir"]
do = "perform"
"""

_SUPERVISOR = """
import json, sys
from tests.kernel.perform_support import attempt
from unotify import Supervisor
code = "os.chdir(sys.argv[1])\\nsay([tried(os.mkdir, 'made'), tried(os.unlink, '/nowhere/one')])"
with Supervisor(policy=sys.argv[1] + "/policy.toml") as supervisor:
    found = attempt(supervisor, code, sys.argv[1])
    print(json.dumps([found, supervisor.statistics().native]))
"""


def within(tmp_path: Path, *options: str) -> tuple[list[object], int, str]:
    """What a target gets, how much of it without Python, and what the supervisor says."""
    (tmp_path / "policy.toml").write_text(_RULES)
    done = subprocess.run(
        ["unshare", "--fork", "--pid", *options, sys.executable, "-c", _SUPERVISOR, tmp_path],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare failed" in done.stderr:
        missing("no right to make a pid namespace")
    assert done.returncode == 0, done.stderr
    found, quickly = json.loads(done.stdout)
    return found, quickly, done.stderr


def test_nobody_is_taken_for_the_target(tmp_path: Path) -> None:
    """What takes a look at the target is a fault, which says why; nothing is done anywhere."""
    found, quickly, said = within(tmp_path)
    assert found == ["EPERM", "EPERM"]
    assert quickly == 0
    assert not (tmp_path / "made").exists()
    assert "/proc is of another pid namespace" in said


def test_a_procfs_of_its_own_will_do(tmp_path: Path) -> None:
    """In a pid namespace of its own a supervisor with a new /proc does what it always does."""
    found, quickly, _ = within(tmp_path, "--mount-proc")
    assert found == [0, "EXDEV"]
    assert quickly == native.installed()
    assert (tmp_path / "made").is_dir()
