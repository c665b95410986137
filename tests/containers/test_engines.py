"""Container engines that are given the profile: podman, and containerd as Kubernetes uses it."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NOBODY
from tests.containers.container_support import SHIFT, Agent, Apart, Place, as_text, program
from tests.kernel.cli_support import cli
from tests.kernel.profiles import CONTAINERS, profile
from tests.kernel.spawn_support import PATIENCE, until

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
where = "mode & S_IFMT in (S_IFCHR, S_IFBLK)"
do = { fail = "ENOSPC" }
log = true

[[rule]]
calls = ["init_module", "finit_module"]
do = { fail = "EKEYREJECTED" }
log = true

[[rule]]
calls = ["keyctl"]
do = { fail = "EKEYREVOKED" }
"""
IMAGE = "localhost/busybox"
SCRIPT = """exec 2>&1
mkdir /tmp /tmp/a /tmp/elsewhere; ls /tmp
mknod /tmp/null c 1 3
insmod /bin/busybox
unshare -n true
"""
ANSWERS = """mkdir: can't create directory '/tmp': File exists
a
here
mknod: /tmp/null: No space left on device
insmod: can't insert '/bin/busybox': Key was rejected by service
"""
# What the engine's own profile refuses stays refused.
REFUSED = "unshare: unshare(0x40000000): Operation not permitted\n"


@pytest.fixture(name="agent", scope="module")
def _agent(shared: Place) -> Agent:
    return shared.agent(shared.policies(engines=POLICY))


def made(place: Place, agent: Agent, *options: str) -> Path:
    """The profile that ``unotify profile`` prints for *agent*."""
    policy, out = place.fresh("policy.toml"), place.fresh("profile.json")
    policy.write_text(POLICY)
    done = cli(
        *("profile", str(policy), "--listener", str(agent.socket), "--metadata", "engines"),
        *("--base", str(profile(CONTAINERS)), "-o", str(out), *options),
    )
    assert done.returncode == 0, done.stderr
    return out


# ---------------------------------------------------------------- podman


class Podman:
    """Podman with all its state in one place, and an image of busybox."""

    def __init__(self, place: Place, *, user: bool = False) -> None:
        home = place.fresh("podman")
        home.mkdir()
        self._options: dict[str, Any] = {"stdin": subprocess.DEVNULL}
        if user:
            os.chown(home, NOBODY, NOBODY)
            (home / "run").mkdir()
            os.chown(home / "run", NOBODY, NOBODY)
            places = dict.fromkeys(("HOME", "TMPDIR", "XDG_RUNTIME_DIR"), str(home))
            self._options["env"] = {"PATH": os.environ["PATH"], **places}
            self._options["cwd"] = home
        self._apart: Apart | Ordinary = Ordinary() if user else Apart(place)
        self._command = [
            program("podman"),
            *("--root", str(home / "root"), "--runroot", str(home / "run")),
            *("--tmpdir", str(home / "tmp"), "--network-config-dir", str(home / "net")),
            *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"),
            *("--events-backend", "none", "--runtime", "runc"),
        ]
        bundle = place.runtime("runc").bundle()
        image = place.fresh("image.tar")
        with tarfile.open(image, "w") as archive:
            archive.add(bundle.rootfs, ".")
        done = self._apart.does(*self._command, "import", str(image), IMAGE, **self._options)
        assert done.returncode == 0, as_text(done)

    def runs(self, seccomp: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Run `SCRIPT` in a container."""
        # Where root lacks CAP_SYS_RESOURCE, limits cannot be raised to podman's own.
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        return self._apart.does(
            *(*self._command, "run", "--rm", "--network", "none", "--pids-limit", "0", *limits),
            *("--security-opt", f"seccomp={seccomp}", *options),
            *(IMAGE, "sh", "-c", SCRIPT),
            **self._options,
        )

    def ends(self) -> None:
        """End the process that keeps an ordinary user's namespace."""
        self._apart.does(*self._command, "system", "migrate", **self._options)


class Ordinary:
    """Runs commands as an ordinary user."""

    def does(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run *command*, to its end."""
        user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        return subprocess.run(
            [program("setpriv"), *user, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=3 * PATIENCE,
            **options,
        )


@pytest.fixture(name="podman", scope="module")
def _podman(shared: Place) -> Iterator[Podman]:
    yield Podman(shared)
    without("libpod_parent")


def without(group: str) -> None:
    """Take away the control group that an engine keeps all containers in, if it is empty."""
    for found in Path("/sys/fs/cgroup").glob(f"*/{group}"):
        for inner, _, _ in os.walk(found, topdown=False):
            with suppress(OSError):  # there are others in it
                os.rmdir(inner)


def test_podman(podman: Podman, agent: Agent, place: Place) -> None:
    """Podman hands the profile on, user namespaces or not, and settles its capabilities."""
    seccomp = made(place, agent, "--format", "podman")
    done = podman.runs(seccomp)
    assert done.stdout == ANSWERS + REFUSED, as_text(done) + agent.said
    # With the capability the engine's profile allows unshare; the rules stay above it.
    done = podman.runs(seccomp, "--cap-add", "SYS_ADMIN")
    assert done.stdout == ANSWERS, as_text(done) + agent.said
    mapped = [f"--{kind}map=0:{SHIFT}:65536" for kind in ("uid", "gid")]
    done = podman.runs(seccomp, *mapped)
    assert done.stdout == ANSWERS + REFUSED, as_text(done) + agent.said


def test_podman_of_an_ordinary_user(shared: Place, place: Place) -> None:
    """Without any right a user's podman runs containers that root's agent answers for."""
    agent = shared.agent(shared.policies(engines=POLICY), f"--allow-uid={NOBODY}")
    os.chown(agent.socket, NOBODY, NOBODY)
    podman = Podman(place, user=True)
    try:
        done = podman.runs(made(place, agent, "--format", "podman"))
    finally:
        podman.ends()
    assert done.stdout == ANSWERS + REFUSED, as_text(done) + agent.said


# ---------------------------------------------------------------- containerd


class Containerd:
    """A containerd of its own, and ``ctr``."""

    def __init__(self, place: Place) -> None:
        self._apart = Apart(place)
        home = place.fresh("d")
        home.mkdir()
        self._socket = home / "c.sock"
        config = home / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self._socket}"\n[ttrpc]\naddress = "{home}/t.sock"\n'
        )
        with open(home / "log", "w") as log:
            place.begin(
                self._apart.command(program("containerd"), "-c", str(config)),
                stdout=log,
                stderr=log,
            )
        until(lambda: self._ctr("version").returncode == 0)

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._apart.does(program("ctr"), "-a", str(self._socket), *arguments)

    def runs(self, place: Place, seccomp: Path) -> subprocess.CompletedProcess[str]:
        """Run `SCRIPT` in a container."""
        rootfs = place.runtime("runc").bundle().rootfs
        return self._ctr(
            *("run", "--rm", "--rootfs", "--seccomp", "--seccomp-profile", str(seccomp)),
            *(str(rootfs), place.name("d"), "/bin/sh", "-c", SCRIPT),
        )


def test_containerd(agent: Agent, shared: Place, place: Place) -> None:
    """Containerd takes the profile as it is, as for a localhostProfile of Kubernetes."""
    done = Containerd(shared).runs(place, made(place, agent))
    assert done.stdout == ANSWERS + REFUSED, as_text(done) + agent.said
    assert "policy engines by entry 1" in agent.said
    without("default")
