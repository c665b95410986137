"""Real containers for tests: an agent as a process, bundles of busybox, and who runs them.

All that is made is in a `Place`, a directory of its own below /tmp, and goes with it: containers
are ended, processes killed. Nothing else of the machine is touched, but for the control groups
that runtimes make and remove.
"""

from __future__ import annotations

import copy
import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import unotify
from tests.conftest import NOBODY, missing, need_root
from tests.kernel.cli_support import ENVIRON, UNOTIFY
from tests.kernel.spawn_support import PATIENCE, until
from unotify.kernel import default_kernel
from unotify.policy.loader import load
from unotify.policy.oci import runtime_profile

__all__ = [
    "MODES",
    "RUNTIMES",
    "SHIFT",
    "Agent",
    "Apart",
    "Bundle",
    "Place",
    "Runtime",
    "as_text",
    "bare_config",
    "new_place",
    "program",
    "users_unotify",
]

SOURCES = Path(unotify.__file__).parent
RUNTIMES = ("runc", "crun")
MODES = ("rootful", "userns", "rootless")
SHIFT = 100_000
"""What root of a container with a user namespace is outside."""

_PACKAGES = {
    "busybox": "busybox-static",
    "ctr": "containerd",
    "lxc-execute": "lxc",
}
_HYBRID = "/sys/fs/cgroup/unified"
# crun refuses hosts with both versions of control groups; a mount namespace hides the second.
_HIDE = ["unshare", "-m", "sh", "-c", f'umount -l {_HYBRID} && exec "$@"', "sh"]


def program(name: str) -> str:
    """The path of a program, or no test."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        missing(f"there is no {name}: apt-get install {_PACKAGES.get(name, name)}")
    return found


def as_text(done: subprocess.CompletedProcess[str]) -> str:
    """All that a process said, to show when it said something else."""
    return f"{done.args}: {done.returncode}\n{done.stdout}{done.stderr}"


class Place:
    """A directory with everything of some tests.

    Attributes:
        path: Where; short, as paths of sockets have to be, and open to all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._runtimes: list[Runtime] = []
        self._processes: list[subprocess.Popen[str]] = []
        self._containers: list[str] = []
        self._names = 0

    def fresh(self, kind: str) -> Path:
        """A path in it that nothing has yet."""
        return self.path / self.name(kind)

    def name(self, kind: str) -> str:
        """A name that no container of this machine has."""
        self._names += 1
        unique = self.path.name.rpartition("-")[2].replace("_", "x")
        return f"{kind}-{os.getpid()}-{unique}-{self._names}"

    def container(self, kind: str = "c") -> str:
        """The name of a container whose control groups go with the place."""
        self._containers.append(self.name(kind))
        return self._containers[-1]

    def begin(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a process that ends with the place at the latest."""
        process = subprocess.Popen(command, text=True, **options)
        self._processes.append(process)
        return process

    def runtime(self, name: str, mode: str = "rootful") -> Runtime:
        """A runtime that keeps its containers here."""
        runtime = Runtime(self, name, mode)
        self._runtimes.append(runtime)
        return runtime

    def policies(self, **texts: str) -> Path:
        """A directory with policies, by name."""
        path = self.fresh("policies")
        path.mkdir()
        for name, text in texts.items():
            (path / f"{name}.toml").write_text(text)
        return path

    def agent(self, policies: Path, *arguments: str, **options: Any) -> Agent:
        """Start an agent, ready to be connected to."""
        return Agent(self, policies, *arguments, **options)

    def clean(self) -> None:
        """End all that was begun here."""
        for runtime in self._runtimes:
            runtime.delete_all()
        for process in self._processes:
            with process:  # closes its pipes
                if process.poll() is None:
                    process.kill()
        for name in self._containers:
            remove_groups(name)
        shutil.rmtree(self.path)


@contextmanager
def new_place() -> Iterator[Place]:
    """A place, gone afterwards."""
    need_root()
    place = Place(Path(tempfile.mkdtemp(prefix="uc-", dir="/tmp")))
    place.path.chmod(0o755)
    try:
        yield place
    finally:
        place.clean()


def remove_groups(name: str) -> None:
    """Take away the control groups of a container: a runtime that was killed leaves them."""
    for pattern in (name, f"*/{name}", f"{name}.*", f"*/{name}.*"):
        for group in Path("/sys/fs/cgroup").glob(pattern):
            for inner, _, _ in os.walk(group, topdown=False):
                until(partial(_removed, Path(inner)))


def _removed(group: Path) -> bool:
    try:
        for pid in (group / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        group.rmdir()
    except (FileNotFoundError, ProcessLookupError):
        return not group.exists()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False  # somebody is at the end in there
    return True


# ---------------------------------------------------------------- the agent


class Agent:
    """``unotify agent`` as a process.

    Args:
        place: Whose.
        policies: The directory of policies.
        arguments: More arguments.
        user: Run as the ordinary user, who has to be able to read the policies.
        socket: Where; a fresh path by default.
    """

    def __init__(
        self,
        place: Place,
        policies: Path,
        *arguments: str,
        user: bool = False,
        socket: Path | None = None,
    ) -> None:
        self.socket = socket or place.fresh("a")
        self._log = place.fresh("log")
        command, options = UNOTIFY, {"env": ENVIRON}
        if user:
            command, options = users_unotify(place)
            if socket is None:
                self.socket = _users_directory(place) / "a.sock"
        with open(self._log, "w") as log:
            self.process = place.begin(
                [
                    *(*command, "agent", "--socket", str(self.socket)),
                    *("--policies", str(policies), *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **options,
            )
        until(lambda: "listening at" in self.said or self.process.poll() is not None)
        assert self.process.poll() is None, self.said

    @property
    def said(self) -> str:
        """Its log so far."""
        return self._log.read_text()

    @property
    def descriptors(self) -> int:
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def says(self, text: str) -> None:
        """Wait until its log has *text*."""
        until(lambda: text in self.said)

    def end(self, number: int = signal.SIGKILL) -> None:
        """End it by a signal."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE)

    def pause(self) -> None:
        """Stop it, until it is ended or goes on."""
        self.process.send_signal(signal.SIGSTOP)
        status = f"/proc/{self.process.pid}/status"
        until(lambda: "\nState:\tT" in Path(status).read_text())

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)


def users_unotify(place: Place) -> tuple[list[str], dict[str, Any]]:
    """What an ordinary user runs unotify with: an interpreter and sources that are open to all."""
    libraries = place.path / "lib"
    if not libraries.exists():
        shutil.copytree(
            SOURCES, libraries / "unotify", ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in _needed("unotify"):
            for file in metadata.distribution(name).files or ():
                if file.parts[0] in ("..", "__pycache__") or file.suffix == ".pyc":
                    continue
                to = libraries / file
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), to)
        for directory, _, names in os.walk(libraries):
            os.chmod(directory, 0o755)
            for each in names:
                os.chmod(os.path.join(directory, each), 0o644)
    environ = {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(place.path),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(libraries),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    options: dict[str, Any] = {
        "user": NOBODY,
        "group": NOBODY,
        "extra_groups": [],
        "cwd": "/",
        "env": environ,
    }
    code = "import sys, unotify; sys.exit(sys.version_info < (3, 11))"
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            if not subprocess.run([python, "-c", code], check=False, **options).returncode:
                break
        except OSError:
            continue  # a directory on the way is private
    else:
        missing("user nobody can run no Python >= 3.11: apt-get install python3")
    return [python, "-m", "unotify.cli"], options


def _needed(name: str) -> set[str]:
    """The distributions that *name* needs, without extras."""
    found: set[str] = set()
    ask = [name]
    while ask:
        for line in metadata.requires(ask.pop()) or ():
            wanted, _, marker = line.partition(";")
            each = "".join(c if c.isalnum() or c in "-_." else " " for c in wanted).split()[0]
            if each in found or "extra" in marker or "python_version <" in marker:
                continue
            if "win32" in marker or "Windows" in marker:
                continue
            found.add(each)
            ask.append(each)
    return found


def _users_directory(place: Place) -> Path:
    path = place.fresh("u")
    path.mkdir()
    os.chown(path, NOBODY, NOBODY)
    return path


# ---------------------------------------------------------------- bundles


class Bundle:
    """A directory that a runtime makes a container of.

    Attributes:
        path: Where.
        rootfs: The container's root, as the host sees it.
        config: What ``config.json`` will have.
    """

    def __init__(self, path: Path, mode: str) -> None:
        self.path = path
        self.rootfs = path / "rootfs"
        path.mkdir()
        made = [self.rootfs, *(self.rootfs / name for name in _DIRECTORIES)]
        for directory in made:
            directory.mkdir()
            os.chmod(directory, 0o755)
        shutil.copy(program("busybox"), self.rootfs / "bin" / "busybox")
        for applet in _applets():
            (self.rootfs / "bin" / applet).symlink_to("busybox")
        self.config = bare_config()
        self.config["root"]["readonly"] = False
        for capabilities in self.config["process"]["capabilities"].values():
            capabilities += ["CAP_MKNOD", "CAP_SYS_MODULE"]
        if mode != "rootful":
            self._owned(mode, made)

    def _owned(self, mode: str, made: Sequence[Path]) -> None:
        owner = SHIFT if mode == "userns" else NOBODY
        for directory in (self.path, *made):
            os.chown(directory, owner, owner)
        linux = self.config["linux"]
        linux["namespaces"] = [*linux["namespaces"], {"type": "user"}]
        size = 65536 if mode == "userns" else 1
        mapped = [{"containerID": 0, "hostID": owner, "size": size}]
        linux["uidMappings"] = linux["gidMappings"] = mapped
        if mode == "rootless":
            # As `runc spec --rootless` has it: an ordinary user may not do more.
            linux.pop("resources", None)
            linux["namespaces"] = [ns for ns in linux["namespaces"] if ns["type"] != "network"]
            mounts = [m for m in self.config["mounts"] if m["destination"] != "/sys/fs/cgroup"]
            for mount in mounts:
                if mount["destination"] == "/sys":
                    mount["type"], mount["source"] = "none", "/sys"
                    mount["options"] = ["rbind", "nosuid", "noexec", "nodev", "ro"]
                mount["options"] = [o for o in mount.get("options", ()) if o != "gid=5"]
            self.config["mounts"] = mounts

    def supervised(
        self, policy: str, agent: Agent | str, *, metadata: str | None = None, **options: Any
    ) -> Bundle:
        """Give it the profile that `unotify profile` makes for an agent's socket."""
        socket = agent if isinstance(agent, str) else str(agent.socket)
        made = load(policy, native=default_kernel().arch)
        self.config["linux"]["seccomp"], _ = runtime_profile(
            made, listener=socket, metadata=metadata, native=default_kernel().arch, **options
        )
        return self

    def runs(self, script: str) -> Bundle:
        """Let busybox's shell run *script*."""
        self.config["process"]["args"] = ["sh", "-c", script]
        return self

    def write(self) -> None:
        """Write ``config.json``."""
        (self.path / "config.json").write_text(json.dumps(self.config))


_DIRECTORIES = ("bin", "proc", "sys", "dev", "tmp", "etc", "mnt")


@functools.cache
def _applets() -> tuple[str, ...]:
    done = subprocess.run(
        [program("busybox"), "--list"], capture_output=True, text=True, check=True
    )
    return tuple(name for name in done.stdout.split() if name != "busybox")


def bare_config() -> dict[str, Any]:
    """What ``runc spec`` has, without a terminal."""
    config = copy.deepcopy(_spec())
    config["process"]["terminal"] = False
    return config


@functools.cache
def _spec() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="uc-", dir="/tmp") as directory:
        subprocess.run([program("runc"), "spec", "-b", directory], check=True)
        found: dict[str, Any] = json.loads(Path(directory, "config.json").read_text())
    return found


# ---------------------------------------------------------------- runtimes


class Runtime:
    """Runc or crun, as root, with user namespaces, or as an ordinary user.

    Attributes:
        name: Which.
        mode: One of `MODES`.
    """

    def __init__(self, place: Place, name: str, mode: str = "rootful") -> None:
        self.name, self.mode = name, mode
        self._place = place
        self._state = _users_directory(place) if mode == "rootless" else place.fresh("state")
        self._command = [program(name), "--root", str(self._state)]
        self._environ = {**os.environ, "XDG_RUNTIME_DIR": str(self._state)}
        if mode == "rootless":
            user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            self._command = [program("setpriv"), *user, *self._command]
        if name == "crun" and os.path.ismount(_HYBRID):
            self._command = [*_HIDE, *self._command]

    def bundle(self) -> Bundle:
        """A bundle that this one can run."""
        return Bundle(self._place.fresh("b"), self.mode)

    def _options(self, bundle: Bundle | None = None) -> dict[str, Any]:
        return {"cwd": bundle.path if bundle else "/", "env": self._environ}

    def does(
        self, *arguments: str, bundle: Bundle | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it once, to its end."""
        # A pipe: crun gives standard streams to the container's user, /dev/null too.
        return subprocess.run(
            [*self._command, *arguments],
            input="",
            capture_output=True,
            text=True,
            check=False,
            timeout=3 * PATIENCE,
            **self._options(bundle),
        )

    def runs(self, bundle: Bundle) -> subprocess.CompletedProcess[str]:
        """Run a container to its end."""
        bundle.write()
        return self.does("run", self._place.container(), bundle=bundle)

    def begins(self, bundle: Bundle) -> tuple[str, subprocess.Popen[str]]:
        """Start a container whose standard streams are pipes; its name, and the runtime."""
        bundle.write()
        return self.begins_in(bundle.path)

    def begins_in(self, directory: Path) -> tuple[str, subprocess.Popen[str]]:
        """The same with a bundle made by hand."""
        name = self._place.container()
        process = self._place.begin(
            [*self._command, "run", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **self._options() | {"cwd": directory},
        )
        return name, process

    def detaches(self, bundle: Bundle) -> str:
        """Start a container that goes on without the runtime."""
        bundle.write()
        name = self._place.container()
        # Nobody waits for pipes that the container keeps, and it may be given what it gets.
        with open(self._place.fresh("streams"), "w+") as streams:
            done = subprocess.run(
                [*self._command, "run", "-d", name],
                stdin=streams,
                stdout=streams,
                stderr=streams,
                check=False,
                timeout=3 * PATIENCE,
                **self._options(bundle),
            )
        assert done.returncode == 0, done
        return name

    def pid_of(self, name: str) -> int:
        """The first process of a container, as the host sees it."""
        pid: int = json.loads(self.does("state", name).stdout)["pid"]
        return pid

    def delete(self, name: str) -> None:
        """End a container and forget it."""
        self.does("delete", "--force", name)

    def containers(self) -> list[str]:
        """Those that it knows, running or not."""
        return self.does("list", "-q").stdout.split()

    def delete_all(self) -> None:
        """End all containers that it knows."""
        if self._state.exists():
            for name in self.containers():
                self.delete(name)


# ---------------------------------------------------------------- engines


class Apart:
    """A mount namespace in which directories that engines insist on are empty and ours.

    Args:
        place: Where it ends.
        within: A process whose user namespace it belongs to; its root is who is in there.
    """

    def __init__(self, place: Place, within: int | None = None) -> None:
        self._as = ["-U", "-S", "0", "-G", "0"] if within else []
        entering = ["nsenter", "-t", str(within), *self._as] if within else []
        hidden = " && ".join(f"mount -t tmpfs none {path}" for path in ("/run", "/var/lib"))
        self._process = place.begin(
            [
                *(*entering, "unshare", "-m", "--propagation", "private", "sh", "-c"),
                f"{hidden} && echo ready && exec sleep 100000",
            ],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def command(self, *command: str) -> list[str]:
        """*command* in there."""
        return ["nsenter", "-t", str(self._process.pid), "-m", *self._as, *command]

    def does(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run *command* in there, to its end."""
        options = {"stdin": subprocess.DEVNULL} | options
        return subprocess.run(
            self.command(*command),
            capture_output=True,
            text=True,
            check=False,
            timeout=3 * PATIENCE,
            **options,
        )
