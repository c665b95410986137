"""Calls that stall without Python, with a real userfaultfd: deadlines, and who is suspected."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.targets import PATIENCE, Target, nr, until
from unotify import Quota, Supervisor
from unotify.kernel.spawn import spawn

pytestmark = pytest.mark.usefixtures("needs_native")

MAIN = str(Path(__file__).with_name("stalling_target.py"))
RULES = """
version = 1
default = "allow"

[[rule]]
calls = ["unlink"]
where = 'under(path, "/nowhere")'
do = { fail = "EXDEV" }

[[rule]]
calls = ["unlink"]
do = "deny"

[[rule]]
calls = ["getppid"]
do = { fail = "EXDEV" }
"""


@pytest.fixture(name="policy")
def _policy(tmp_path: Path) -> str:
    """The rules above."""
    policy = tmp_path / "policy.toml"
    policy.write_text(RULES)
    return str(policy)


def stalling(supervisor: Supervisor, *delays: float, **options: Any) -> Any:
    """A program whose unlink names a page that comes late or never, supervised; when it waits."""
    python = getattr(sys, "_base_executable", None) or sys.executable
    spawned = spawn(
        supervisor.program().encode(),
        [python, "-I", "-S", MAIN, str(nr("userfaultfd")), str(nr("unlink")), *map(str, delays)],
        popen_options={"stdout": subprocess.PIPE},
    )
    supervisor.attach(spawned.listener, **options)
    process: Any = spawned.process
    assert process.stdout.readline(), "the target has no userfaultfd"
    return process


def test_a_deadline_holds_there_too(policy: str) -> None:
    """Nobody else calls, and the target gets the fault reply when its time is over, and ends."""
    with Supervisor(policy=policy, deadline=0.3) as supervisor:
        before = time.monotonic()
        process = stalling(supervisor)
        assert process.wait(PATIENCE) == 0
        assert time.monotonic() - before >= 0.3
        process.stdout.close()
        until(lambda: supervisor.statistics().expired == 1)
        until(lambda: not supervisor.statistics().in_flight)


def test_others_are_served_and_it_is_a_suspect(policy: str) -> None:
    """Its container is received from by who counts, until it was quick for a while."""
    quota = Quota(4)
    with Supervisor(policy=policy, deadline=60.0) as supervisor, Target("getppid") as target:
        supervisor.attach(target.listener)
        process = stalling(supervisor, quota=quota)
        until(lambda: supervisor.statistics().in_flight)
        for _ in range(3):
            target.call("getppid")
            assert target.answer()["errno"] == 18
        until(lambda: quota.suspect)
        assert quota.held
        assert supervisor._readers.quick.stuck == 1
        process.kill()
        process.communicate()
        until(lambda: not supervisor.statistics().in_flight)
        until(lambda: not quota.stuck)
        # Whoever gets its number later does not wait for it.
        assert not supervisor._engine.busy


def test_one_short_stall_after_the_other(policy: str) -> None:
    """None is long enough to take the lead from it, and all others would wait for each."""
    quota = Quota(4)
    with Supervisor(policy=policy, deadline=60.0) as supervisor, Target("getppid") as target:
        supervisor.attach(target.listener, quota=Quota(4))
        process = stalling(supervisor, 0.0025, quota=quota)

        def is_found_out() -> bool:
            target.call("getppid")
            assert target.answer()["errno"] == 18
            return quota.held

        until(is_found_out)
        process.kill()
        process.communicate()
