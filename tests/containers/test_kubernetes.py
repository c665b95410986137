"""The agent in a container with no more than the DaemonSet's rights serves other containers."""

from __future__ import annotations

import json
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from socket import socket
from typing import Any
from urllib.request import urlopen

import yaml

import unotify
from tests.containers.container_support import Place, as_text, bare_config
from tests.kernel.cli_support import ENVIRON, UNOTIFY
from tests.kernel.spawn_support import until

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
POLICY = KUBERNETES / "policies" / "devices.toml"
SCRIPT = """exec 2>&1
umask 027
mknod /tmp/null c 1 3 && stat -c '%a %F %t:%T %u' /tmp/null && echo lost > /tmp/null
mknod /tmp/mem c 1 1
insmod /bin/busybox
"""
ANSWERS = """640 character special file 1:3 0
mknod: /tmp/mem: Operation not permitted
insmod: can't insert '/bin/busybox': Operation not permitted
"""


def daemon_set() -> dict[str, Any]:
    """The DaemonSet's pod."""
    found = yaml.safe_load((KUBERNETES / "daemonset.yaml").read_text())
    pod: dict[str, Any] = found["spec"]["template"]["spec"]
    return pod


def mounted(directory: Path) -> None:
    """Lay out the policies as a ConfigMap is mounted: links to hidden directories."""
    hidden = directory / "..2026_11_27"
    hidden.mkdir(parents=True)
    (directory / "..data").symlink_to(hidden.name)
    for file in (KUBERNETES / "policies").glob("*.toml"):
        (hidden / file.name).write_text(file.read_text())
        (directory / file.name).symlink_to(f"..data/{file.name}")


def image(rootfs: Path) -> list[dict[str, Any]]:
    """A root of this machine's programs, and its mounts: what an image of the agent would have."""
    rootfs.mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        if (host := Path("/", name)).is_symlink():
            (rootfs / name).symlink_to(host.readlink())
    needed = {"/usr", sys.base_prefix, sys.prefix, str(Path(unotify.__file__).parent)}
    return [
        {"destination": path, "source": path, "type": "bind", "options": ["rbind", "ro"]}
        for path in sorted(needed)
        if not any(path.startswith(f"{other}/") for other in needed)
    ]


class Pod:
    """The DaemonSet's pod, as far as its containers can tell."""

    def __init__(self, place: Place) -> None:
        self._place, self.pod = place, daemon_set()
        self._directories = {
            "/etc/unotify/policies": place.fresh("policies"),
            "/run/unotify": place.fresh("run"),
        }
        mounted(self._directories["/etc/unotify/policies"])
        self._directories["/run/unotify"].mkdir()
        self.socket = self._directories["/run/unotify"] / "agent.sock"
        self.runtime = place.runtime("runc")
        with socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    def here(self, text: str) -> str:
        """*text* with the places that stand for those of a node."""
        for path, directory in self._directories.items():
            text = text.replace(path, str(directory))
        return text.replace("0.0.0.0:9273", f"127.0.0.1:{self.port}")

    def container(self, name: str) -> dict[str, Any]:
        """What the pod says of a container."""
        every = (*self.pod["initContainers"], *self.pod["containers"])
        (found,) = [each for each in every if each["name"] == name]
        return found

    def starts(self, name: str) -> tuple[str, subprocess.Popen[str]]:
        """Start a container as it is described: command, rights and mounts."""
        found = self.container(name)
        security = found["securityContext"]
        assert security["capabilities"]["drop"] == ["ALL"]
        capabilities = [f"CAP_{each}" for each in security["capabilities"].get("add", ())]
        path = self._place.fresh(name)
        config = bare_config()
        config["root"]["readonly"] = security["readOnlyRootFilesystem"]
        program = [
            sys.executable if part.endswith("/python") else part
            for part in found.get("command", UNOTIFY)
        ]
        config["process"] |= {
            "args": [*program, *map(self.here, found["args"])],
            "env": [f"{key}={value}" for key, value in ENVIRON.items()],
            "cwd": "/",
            "noNewPrivileges": security.get("allowPrivilegeEscalation") is False,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        }
        # All have one network, the node's here, and its processes if the pod says so.
        shared = {"network"} | ({"pid"} if self.pod["hostPID"] else set())
        linux = config["linux"]
        linux["namespaces"] = [ns for ns in linux["namespaces"] if ns["type"] not in shared]
        config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/sys"]
        config["mounts"] += image(path / "rootfs")
        for mount in found["volumeMounts"]:
            if directory := self._directories.get(mount["mountPath"]):
                how = "ro" if mount.get("readOnly") else "rw"
                config["mounts"].append(
                    {"destination": str(directory), "source": str(directory), "type": "bind"}
                    | {"options": ["rbind", how]}
                )
        (path / "config.json").write_text(json.dumps(config))
        return self.runtime.begins_in(path)


def listens(process: subprocess.Popen[str]) -> None:
    """Wait until the agent says so."""
    assert process.stdout is not None
    said = ""
    while "listening at" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line


def test_the_daemon_sets_rights_suffice(place: Place) -> None:
    """With its capabilities, a read-only root and the host's processes the agent answers."""
    pod = Pod(place)
    keeper, keeping = pod.starts("keeper")
    until((pod.socket.parent / "keeper.sock").exists)
    name, process = pod.starts("agent")
    listens(process)
    for mode in ("rootful", "userns"):
        other = place.runtime("runc", mode)
        bundle = other.bundle().supervised(POLICY.read_text(), str(pod.socket), metadata="devices")
        done = other.runs(bundle.runs(SCRIPT))
        assert done.stdout == ANSWERS, as_text(done)
    for probe in ("readinessProbe", "livenessProbe"):
        path = pod.container("agent")[probe]["httpGet"]["path"]
        with urlopen(f"http://127.0.0.1:{pod.port}{path}", timeout=10) as answer:
            assert answer.status == HTTPStatus.OK
    pod.runtime.does("kill", name, "TERM")
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0, out
    # With the pod it goes at once, and not when the grace period is over.
    pod.runtime.does("kill", keeper, "TERM")
    out, _ = keeping.communicate(timeout=20)
    assert keeping.returncode == 0, out


def test_the_agents_container_is_restarted(place: Place) -> None:
    """What kills the agent's container alone costs no pod its answers: the keeper has them."""
    pod = Pod(place)
    pod.starts("keeper")
    until((pod.socket.parent / "keeper.sock").exists)
    name, process = pod.starts("agent")
    listens(process)
    runtime = place.runtime("runc")
    bundle = runtime.bundle().supervised(POLICY.read_text(), str(pod.socket), metadata="devices")
    _, waiting = runtime.begins(
        bundle.runs("exec 2>&1; echo ready; read go; mknod /tmp/null c 1 3 && ls /tmp")
    )
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "ready\n"
    pod.runtime.does("kill", "--all", name, "KILL")
    process.communicate(timeout=20)
    _, process = pod.starts("agent")
    out, _ = waiting.communicate("\n", timeout=20)
    assert out == "null\n"
