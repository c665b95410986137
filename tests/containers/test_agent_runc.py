"""The agent with a real runc."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.containers.container_support import Place
from tests.kernel.agent_support import Running

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


def test_run_and_exec(place: Place, tmp_path: Path) -> None:
    """What a container and an exec in it ask for is decided by the policy of its metadata."""
    runc = place.runtime("runc")
    bundle = runc.bundle().runs("mkdir /tmp/a; mkdir /tmp/b; read end")
    with Running(tmp_path, policies={"web": POLICY}) as running:
        bundle.supervised(POLICY, str(running.path), metadata="web")
        name, process = runc.begins(bundle)
        assert process.stdout is not None
        assert "Disk quota exceeded" in process.stdout.readline()
        container = running.container(name)
        assert container.ward.name == "web"
        assert (bundle.rootfs / "tmp" / "a").is_dir()
        assert not (bundle.rootfs / "tmp" / "b").exists()
        done = runc.does("exec", name, "mkdir", "/tmp/c")
        assert "Disk quota exceeded" in done.stderr
        assert running.container(name) is container
        said, _ = process.communicate("\n", 20)
        assert (process.returncode, said) == (0, "")
        running.ended()
