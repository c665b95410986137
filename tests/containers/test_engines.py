"""Container engines that are given the profile: podman, and containerd as Kubernetes uses it."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.conftest import NOBODY
from tests.containers.container_support import SHIFT, Agent, Apart, Place, as_text, program
from tests.containers.containerd_support import IMAGE, Containerd, image, without
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
do = { emulate-mknod = ["c:1:3"] }

[[rule]]
calls = ["mknod", "mknodat"]
where = "mode & S_IFMT in (S_IFCHR, S_IFBLK)"
do = { fail = "ENOSPC" }

[[rule]]
calls = ["mount"]
where = 'under(resolved(target), "/mnt")'
do = { emulate-mount = { file-systems = ["tmpfs"], size = "16m", capable = false } }

[[rule]]
calls = ["mount"]
do = { fail = "ENODEV" }

[[rule]]
calls = ["init_module", "finit_module"]
do = { fail = "EKEYREJECTED" }
log = true

[[rule]]
calls = ["keyctl"]
do = { fail = "EKEYREVOKED" }
"""
SCRIPT = """exec 2>&1
mkdir /tmp /tmp/a /tmp/elsewhere; ls /tmp
mknod /tmp/null c 1 3 && stat -c '%F %t:%T' /tmp/null && echo lost > /tmp/null
mknod /tmp/mem c 1 1
mount -t tmpfs -o size=1g none /mnt && df -m /mnt | tail -n 1
mount -t tmpfs none /tmp
insmod /bin/busybox
unshare -n true
"""
ANSWERS = """mkdir: can't create directory '/tmp': File exists
a
here
character special file 1:3
mknod: /tmp/mem: Operation not permitted
none                        16         0        16   0% /mnt
mount: mounting none on /tmp failed: No such device
insmod: can't insert '/bin/busybox': Key was rejected by service
"""
# What the engine's own profile refuses stays refused.
REFUSED = "unshare: unshare(0x40000000): Operation not permitted\n"
# One that goes on until something is written to a pipe.
LASTING = "exec > /gate/out 2>&1; echo ready; cat /gate/go; mkdir /tmp/late; echo end"


class Engine(Protocol):
    """What the tests ask of one."""

    def runs(self, seccomp: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Run `SCRIPT` in a container."""

    def begins(self, seccomp: Path, gate: Path) -> tuple[str, subprocess.Popen[str]]:
        """Start a container with `LASTING` and a directory for its ``/gate``; its name."""

    def execs(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run `SCRIPT` in a container that is there."""

    def kills(self, name: str) -> None:
        """End a container."""

    def forgets(self, name: str) -> None:
        """Take away what is left of a container whose command was killed."""


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


class Gate:
    """A directory that a container and its test share."""

    def __init__(self, place: Place) -> None:
        self.path = place.fresh("gate")
        self.path.mkdir()
        self.path.chmod(0o777)
        os.mkfifo(self.path / "go")
        (self.path / "go").chmod(0o666)

    def says(self, last: str) -> str:
        """What the container has said, up to a line *last*."""
        out = self.path / "out"
        until(lambda: out.exists() and f"{last}\n" in out.read_text())
        return out.read_text()

    def opens(self) -> None:
        """Let the container go on."""
        with open(self.path / "go", "w"):
            pass


def lives_and_ends(engine: Engine, place: Place, *options: str) -> None:
    """Begin, add a process, and take away the engine's command, the agent and the container."""
    policies = place.policies(engines=POLICY)
    agent = place.agent(policies)
    seccomp = made(place, agent, *options)
    first, second = Gate(place), Gate(place)
    name, command = engine.begins(seccomp, first.path)
    first.says("ready")
    done = engine.execs(name)
    assert done.stdout == ANSWERS + REFUSED, as_text(done) + agent.said
    # The container needs no command of its engine's to be served, and no agent to go on.
    command.kill()
    command.wait(PATIENCE)
    agent.end()
    first.opens()
    said = "ready\nmkdir: can't create directory '/tmp/late': Function not implemented\nend\n"
    assert first.says("end") == said
    engine.forgets(name)
    agent = place.agent(policies, socket=agent.socket)
    name, command = engine.begins(seccomp, second.path)
    second.says("ready")
    engine.kills(name)
    command.communicate(timeout=PATIENCE)
    agent.says("has ended")
    assert "end" not in second.says("ready")


# ---------------------------------------------------------------- podman


class Podman:
    """Podman with all its state in one place, and an image of busybox."""

    def __init__(self, place: Place, *, user: bool = False) -> None:
        self._place = place
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
        archive = place.fresh("root.tar")
        with tarfile.open(archive, "w") as made:
            made.add(bundle.rootfs, ".")
        done = self._does("import", str(archive), IMAGE)
        assert done.returncode == 0, as_text(done)

    def _does(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._apart.does(*self._command, *arguments, **self._options)

    def _run(self, seccomp: Path, *options: str) -> list[str]:
        # Where root lacks CAP_SYS_RESOURCE, limits cannot be raised to podman's own.
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        return [
            *("run", "--rm", "--network", "none", "--pids-limit", "0", *limits),
            *("--cap-add", "MKNOD", "--security-opt", f"seccomp={seccomp}", *options),
            *(IMAGE, "sh", "-c"),
        ]

    def runs(self, seccomp: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Run `SCRIPT` in a container."""
        return self._does(*self._run(seccomp, *options), SCRIPT)

    def begins(self, seccomp: Path, gate: Path) -> tuple[str, subprocess.Popen[str]]:
        """Start a container with `LASTING` and a directory for its ``/gate``; its name."""
        name = self._place.name("p")
        run = self._run(seccomp, "--name", name, "--volume", f"{gate}:/gate")
        command = self._apart.command(*self._command, *run, LASTING)
        return name, self._place.begin(command, **self._options)

    def execs(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run `SCRIPT` in a container that is there."""
        return self._does("exec", name, "sh", "-c", SCRIPT)

    def kills(self, name: str) -> None:
        """End a container."""
        self._does("kill", name)

    def forgets(self, name: str) -> None:
        """Take away what is left of a container whose command was killed."""
        self._does("rm", "--force", name)

    def ends(self) -> None:
        """End the process that keeps an ordinary user's namespace."""
        self._does("system", "migrate")


class Ordinary:
    """Runs commands as an ordinary user."""

    def command(self, *command: str) -> list[str]:
        """*command* as the user."""
        user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        return [program("setpriv"), *user, *command]

    def does(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run *command*, to its end."""
        return subprocess.run(
            self.command(*command),
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


def test_life_of_a_podman_container(podman: Podman, place: Place) -> None:
    """What is executed in it is served; podman, the agent and the container may be killed."""
    lives_and_ends(podman, place, "--format", "podman")


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


class Ctr:
    """Containers of a containerd."""

    def __init__(self, place: Place, *, user: bool = False) -> None:
        self._place = place
        self._containerd = Containerd(place, user=user)
        self._containerd.takes(image(place), "default")

    def _run(self, seccomp: Path, *options: str) -> list[str]:
        return [
            *("run", "--rm", "--snapshotter=native", "--seccomp", "--seccomp-profile"),
            *(str(seccomp), *options, IMAGE),
        ]

    def runs(self, seccomp: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Run `SCRIPT` in a container."""
        name = self._place.name("d")
        return self._containerd.ctr(*self._run(seccomp, *options), name, "sh", "-c", SCRIPT)

    def begins(self, seccomp: Path, gate: Path) -> tuple[str, subprocess.Popen[str]]:
        """Start a container with `LASTING` and a directory for its ``/gate``; its name."""
        name = self._place.name("d")
        mount = f"type=bind,src={gate},dst=/gate,options=rbind:rw"
        run = [*self._run(seccomp, "--mount", mount), name, "sh", "-c", LASTING]
        command = self._containerd.command(*run)
        return name, self._place.begin(command, stdin=subprocess.DEVNULL)

    def execs(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run `SCRIPT` in a container that is there."""
        return self._containerd.ctr("task", "exec", "--exec-id", "more", name, "sh", "-c", SCRIPT)

    def kills(self, name: str) -> None:
        """End a container."""
        self._containerd.ctr("task", "kill", "--signal", "SIGKILL", name)

    def forgets(self, name: str) -> None:
        """Take away what is left of a container whose command was killed."""
        for what in ("task", "container"):
            self._containerd.ctr(what, "rm", name)


@pytest.fixture(name="ctr", scope="module")
def _ctr(shared: Place) -> Iterator[Ctr]:
    yield Ctr(shared)
    without("default")


def test_containerd(ctr: Ctr, agent: Agent, place: Place) -> None:
    """Containerd takes the profile as it is, as for a localhostProfile of Kubernetes."""
    seccomp = made(place, agent)
    done = ctr.runs(seccomp)
    assert done.stdout == ANSWERS + REFUSED, as_text(done) + agent.said
    assert "policy engines by entry 1" in agent.said
    mapped = [f"--{kind}map=0:{SHIFT}:65536" for kind in ("uid", "gid")]
    done = ctr.runs(seccomp, *mapped)
    assert done.stdout == ANSWERS + REFUSED, as_text(done) + agent.said


def test_life_of_a_containerd_container(ctr: Ctr, place: Place) -> None:
    """What is executed in it is served; ctr, the agent and the container may be killed."""
    lives_and_ends(ctr, place)


def test_containerd_of_an_ordinary_user(shared: Place, place: Place) -> None:
    """Without any right a user's containerd runs containers that root's agent answers for."""
    agent = shared.agent(shared.policies(engines=POLICY), f"--allow-uid={NOBODY}")
    os.chown(agent.socket, NOBODY, NOBODY)
    # No control groups are his.
    done = Ctr(place, user=True).runs(made(place, agent), "--cgroup", "", "--cpu-shares", "0")
    assert done.stdout == ANSWERS + REFUSED, as_text(done) + agent.said
