"""LXC, which asks the agent itself about each call of its containers."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.container_support import SHIFT, Agent, Apart, Place, program
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
calls = ["mount"]
where = 'under(resolved(target), "/mnt")'
do = { emulate-mount = { file-systems = ["tmpfs"], size = "16m", capable = false } }

[[rule]]
calls = ["mount"]
do = "deny"

[[rule]]
calls = ["init_module", "finit_module"]
do = { fail = "EKEYREJECTED" }
"""
PAGE = Path(__file__).parents[2] / "docs" / "agent.md"
(FILTER,) = re.findall(r"^```\n(2\ndenylist\n.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
FILTER += "mkdir notify\nmkdirat notify\ninit_module notify\nfinit_module notify\n"
SCRIPT = """exec 2>&1
umask 027
mkdir /tmp/a && stat -c '%a %u:%g' /tmp/a
mkdir /tmp/a
mkdir /tmp/elsewhere; ls -d /tmp/here
mknod /tmp/null c 1 3 && stat -c '%a %F %t:%T' /tmp/null
mknod /tmp/mem c 1 1
mknod /tmp/loop b 7 0
mount -t tmpfs -o size=1g none /mnt && df -m /mnt | tail -n 1
insmod /bin/busybox
"""
ANSWERS = """750 0:0
mkdir: can't create directory '/tmp/a': File exists
/tmp/here
640 character special file 1:3
mknod: /tmp/mem: Operation not permitted
mknod: /tmp/loop: Operation not permitted
none                        16         0        16   0% /mnt
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

    def begins(self, script: str, mode: str = "rootful") -> tuple[Path, subprocess.Popen[str]]:
        """Start a container; its root, and LXC."""
        name = self._place.container("l")
        rootfs = self._place.runtime("runc", mode).bundle().rootfs
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
        text = "".join(f"{key} = {value}\n" for key, value in lines.items())
        if mode == "userns":
            text += "".join(f"lxc.idmap = {kind} 0 {SHIFT} 65536\n" for kind in "ug")
        (home / "config").write_text(text)
        command = [program("lxc-execute"), "-P", str(home.parent), "-n", name]
        log = ["-o", str(home / "log"), "-l", "INFO"]
        process = self._place.begin(
            # Where LXC finds no newuidmap it maps ids itself, as root may.
            self._apart.command(
                "env", "PATH=/usr/sbin", *command, *log, "--", "/bin/sh", "-c", script
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return rootfs, process

    def attaches(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run *script* in the last container that was started."""
        name = max(self._containers.iterdir(), key=lambda home: home.stat().st_ctime).name
        return self._apart.does(
            *(program("lxc-attach"), "-P", str(self._containers), "-n", name),
            *("--clear-env", "-v", "PATH=/bin", "--", "/bin/sh", "-c", script),
        )

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


@pytest.mark.parametrize("mode", ["rootful", "userns"])
def test_story(mode: str, lxc: Lxc) -> None:
    """Calls of LXC's containers get the answers of the policy that the cookie names."""
    agent = lxc.agent()
    rootfs, process = lxc.begins(SCRIPT, mode)
    out, _ = process.communicate(timeout=PATIENCE)
    assert out == ANSWERS, out + agent.said
    made = os.stat(rootfs / "tmp" / "a")
    assert (made.st_uid, made.st_mode & 0o7777) == (SHIFT if mode == "userns" else 0, 0o750)


def test_attach(lxc: Lxc) -> None:
    """A process that is added to a container is under the same policy."""
    agent = lxc.agent()
    rootfs, process = lxc.begins("cat /first")
    with open(rootfs / "first", "w"):
        assert lxc.attaches(SCRIPT).stdout == ANSWERS, agent.said
    process.communicate(timeout=PATIENCE)


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
