"""LXC, which asks the agent itself about each call of its containers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.container_support import Agent, Apart, Place, program
from tests.kernel.spawn_support import PATIENCE

POLICY = """
version = 1
default = "allow"

[[rule]]
calls = ["mkdir", "mkdirat"]
where = 'path == "/tmp/elsewhere"'
do = { redirect = { path = "/tmp/here" } }

[[rule]]
calls = ["mkdir", "mkdirat"]
do = "perform"

[[rule]]
calls = ["mknod", "mknodat"]
do = { emulate-mknod = ["c:1:3"] }

[[rule]]
calls = ["init_module", "finit_module"]
do = { fail = "EKEYREJECTED" }
"""
FILTER = """2
denylist
[all]
mkdir notify
mkdirat notify
mknod notify [1,8192,SCMP_CMP_MASKED_EQ,61440]
mknodat notify [2,8192,SCMP_CMP_MASKED_EQ,61440]
init_module notify
finit_module notify
"""
SCRIPT = """exec 2>&1
umask 027
mkdir /tmp/a && stat -c '%a %u:%g' /tmp/a
mkdir /tmp/a
mkdir /tmp/elsewhere; ls -d /tmp/here
mknod /tmp/null c 1 3 && stat -c '%a %F %t:%T' /tmp/null
mknod /tmp/mem c 1 1
insmod /bin/busybox
"""
ANSWERS = """750 0:0
mkdir: can't create directory '/tmp/a': File exists
/tmp/here
640 character special file 1:3
mknod: /tmp/mem: Operation not permitted
insmod: can't insert '/bin/busybox': Key was rejected by service
"""


class Lxc:
    """Containers of LXC in one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._apart = Apart(place)
        self._policies, self._socket = place.policies(cookie=POLICY), place.fresh("lxc")
        self._containers = place.path / "containers"

    def agent(self) -> Agent:
        """One more agent at the same socket."""
        return self._place.agent(self._policies, "--lxc-socket", str(self._socket))

    def begins(self, script: str) -> tuple[Path, subprocess.Popen[str]]:
        """Start a container; its root, and LXC."""
        name = self._place.container("l")
        rootfs = self._place.runtime("runc").bundle().rootfs
        for gate in ("first", "second"):
            os.mkfifo(rootfs / gate)
        home = self._containers / name
        home.mkdir(parents=True)
        (home / "filter").write_text(FILTER)
        lines = {
            "lxc.uts.name": name,
            "lxc.rootfs.path": f"dir:{rootfs}",
            "lxc.net.0.type": "empty",
            "lxc.apparmor.profile": "unconfined",
            # Where root lacks it, LXC cannot give it.
            "lxc.cap.drop": "sys_resource",
            # LXC leaves the last one behind.
            "lxc.cgroup.dir.container": f"{name}.container",
            "lxc.cgroup.dir.monitor": f"{name}.monitor",
            "lxc.cgroup.dir.monitor.pivot": f"{name}.pivot",
            "lxc.mount.auto": "proc",
            "lxc.seccomp.profile": str(home / "filter"),
            "lxc.seccomp.notify.proxy": f"unix:{self._socket}",
            "lxc.seccomp.notify.cookie": "cookie",
        }
        (home / "config").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
        command = [program("lxc-execute"), "-P", str(home.parent), "-n", name]
        log = ["-o", str(home / "log"), "-l", "INFO"]
        process = self._place.begin(
            self._apart.command(*command, *log, "--", "/bin/sh", "-c", script),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return rootfs, process

    def clean(self) -> None:
        """End what still runs."""
        for home in self._containers.iterdir() if self._containers.exists() else ():
            path = ["-P", str(self._containers), "-n", home.name]
            self._apart.does(program("lxc-stop"), *path, "--kill", "--nolock")


@pytest.fixture(name="lxc")
def _lxc(place: Place) -> Iterator[Lxc]:
    lxc = Lxc(place)
    yield lxc
    lxc.clean()


def test_story(lxc: Lxc) -> None:
    """Calls of LXC's containers get the answers of the policy that the cookie names."""
    agent = lxc.agent()
    rootfs, process = lxc.begins(SCRIPT)
    out, _ = process.communicate(timeout=PATIENCE)
    assert out == ANSWERS, out + agent.said
    made = os.stat(rootfs / "tmp" / "a")
    assert (made.st_uid, made.st_mode & 0o7777) == (0, 0o750)


def test_the_agent_is_replaced(lxc: Lxc) -> None:
    """Without an agent calls fail with ENOSYS; the next one at the socket is asked again."""
    agent = lxc.agent()
    rootfs, process = lxc.begins(
        "exec 2>&1; mkdir /tmp/a; cat /first; mkdir /tmp/b; cat /second; mkdir /tmp/c; ls /tmp"
    )
    # Whoever opens a gate waits until the container is there.
    with open(rootfs / "first", "w") as gate:
        agent.end()
        gate.write("killed\n")
    with open(rootfs / "second", "w") as gate:
        lxc.agent()
        gate.write("replaced\n")
    out, _ = process.communicate(timeout=PATIENCE)
    refused = "mkdir: can't create directory '/tmp/b': Function not implemented"
    said = [line for line in out.splitlines() if not line.startswith("lxc-execute:")]
    assert said == ["killed", refused, "replaced", "a", "c"]
