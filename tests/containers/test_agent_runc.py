"""The agent with a real runc."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.containers.bundles import bundle
from tests.kernel.agent_support import Running
from tests.kernel.targets import until

pytestmark = pytest.mark.privileged

POLICY = """version = 1
default = "allow"
[[rule]]
calls = ["mkdir", "mkdirat"]
where = 'path == "/tmp/a"'
do = "perform"
[[rule]]
calls = ["mkdir", "mkdirat"]
do = { fail = "EDQUOT" }
"""


def runc(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run runc with a root of its own."""
    return subprocess.run(
        ["runc", "--root", str(root), *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_run_and_exec(tmp_path: Path) -> None:
    """What a container and an exec in it ask for is decided by the policy of its metadata."""
    root, id = tmp_path / "runc", f"unotify-{tmp_path.name[-20:]}"
    with Running(tmp_path, policies={"web": POLICY}) as running:
        where = bundle(
            tmp_path / "bundle",
            running.path,
            [
                "sh",
                "-c",
                "mkdir /tmp/a; mkdir /tmp/b; while test ! -e /tmp/end; do sleep 0.05; done",
            ],
            ["mkdir", "mkdirat"],
            listenerMetadata="web",
        )
        with (
            (tmp_path / "log").open("w+") as log,
            subprocess.Popen(
                ["runc", "--root", str(root), "run", "--bundle", str(where), id],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            ) as process,
        ):
            try:
                container = running.container(id)
                assert container.ward.name == "web"
                until(lambda: "quota" in (tmp_path / "log").read_text())
                assert (where / "rootfs/tmp/a").is_dir()
                assert not (where / "rootfs/tmp/b").exists()
                done = runc(root, "exec", id, "sh", "-c", "mkdir /tmp/c; touch /tmp/end")
                assert "Disk quota exceeded" in done.stderr
                assert running.container(id) is container
                assert process.wait(20) == 0
            finally:
                runc(root, "delete", "--force", id)
        running.ended()
