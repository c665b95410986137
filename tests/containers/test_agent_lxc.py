"""The agent with a real LXC."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.containers.container_support import program
from tests.kernel.agent_support import Running
from tests.kernel.targets import until
from unotify.oci.sockets import listen

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

CONFIG = """lxc.uts.name = {name}
lxc.rootfs.path = dir:{root}
lxc.seccomp.profile = {profile}
lxc.seccomp.notify.proxy = unix:{proxy}
lxc.seccomp.notify.cookie = web
lxc.cap.drop = sys_resource
lxc.mount.auto = proc
lxc.init.cmd = /go
"""


def test_a_container(tmp_path: Path) -> None:
    """Calls of an LXC container are decided by the policy that its cookie chooses."""
    name = f"unotify-{os.getpid()}"
    root = tmp_path / name / "rootfs"
    for directory in ("bin", "proc", "sys", "dev", "tmp"):
        (root / directory).mkdir(parents=True)
    shutil.copy(program("busybox"), root / "bin" / "busybox")
    for applet in ("sh", "mkdir"):
        os.symlink("busybox", root / "bin" / applet)
    script = "#!/bin/sh\nexec >/out 2>&1\n" + "mkdir /tmp/a\nmkdir /tmp/b\n" * 3
    (root / "go").write_text(script)
    (root / "go").chmod(0o755)
    profile, proxy = tmp_path / "profile", tmp_path / "lxc.sock"
    profile.write_text("2\ndenylist\n[all]\nmkdir notify\nmkdirat notify\n")
    (tmp_path / name / "config").write_text(
        CONFIG.format(name=name, root=root, profile=profile, proxy=proxy)
    )
    with Running(tmp_path, policies={"web": POLICY}) as running:
        running.agent.open(listen(str(proxy), socket.SOCK_SEQPACKET))
        running.agent.wake()
        command = ["lxc-start", "--foreground", "--lxcpath", str(tmp_path), "--name", name]
        log = ["--logfile", str(tmp_path / "log"), "--logpriority", "WARN"]
        done = subprocess.run(
            [*command, *log],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
        until(lambda: not len(running.agent.containers))
    said = (root / "out").read_text().splitlines()
    refused = "mkdir: can't create directory '/tmp/b': Disk quota exceeded"
    exists = "mkdir: can't create directory '/tmp/a': File exists"
    assert said == [refused, exists, refused, exists, refused]
    assert (root / "tmp/a").is_dir()
