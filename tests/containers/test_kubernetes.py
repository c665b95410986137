"""The agent in a container with no more than the DaemonSet's rights serves other containers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

import unotify
from tests.containers.container_support import Place, as_text, bare_config
from tests.kernel.cli_support import ENVIRON, UNOTIFY

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


def test_the_daemon_sets_rights_suffice(place: Place) -> None:
    """With its capabilities, a read-only root and the host's processes the agent answers."""
    pod = daemon_set()
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert security["capabilities"]["drop"] == ["ALL"]
    policies, run = place.fresh("policies"), place.fresh("run")
    mounted(policies)
    run.mkdir()
    socket = run / "agent.sock"
    given = {"/etc/unotify/policies": str(policies), "/run/unotify/agent.sock": str(socket)}
    capabilities = [f"CAP_{name}" for name in security["capabilities"]["add"]]
    agent = place.fresh("agent")
    config = bare_config()
    config["root"]["readonly"] = security["readOnlyRootFilesystem"]
    config["mounts"] += image(agent / "rootfs")
    config["process"] |= {
        "args": [*UNOTIFY, *(given.get(argument, argument) for argument in container["args"])],
        "env": [f"{name}={value}" for name, value in ENVIRON.items()],
        "cwd": "/",
        "noNewPrivileges": False,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
    }
    kept = [
        ns for ns in config["linux"]["namespaces"] if not (pod["hostPID"] and ns["type"] == "pid")
    ]
    config["linux"]["namespaces"] = kept
    # What the pod has of the host besides.
    config["mounts"] += [
        {"destination": str(path), "source": str(path), "type": "bind", "options": ["rbind", how]}
        for path, how in ((run, "rw"), (policies, "ro"))
    ]
    runtime = place.runtime("runc")
    (agent / "config.json").write_text(json.dumps(config))
    name, process = runtime.begins_in(agent)
    assert process.stdout is not None
    said = ""
    while "listening at" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    probe = [
        part.replace("/run/unotify/agent.sock", str(socket))
        for part in container["readinessProbe"]["exec"]["command"]
    ]
    assert runtime.does("exec", name, *probe).returncode == 0
    for mode in ("rootful", "userns"):
        other = place.runtime("runc", mode)
        bundle = other.bundle().supervised(POLICY.read_text(), str(socket), metadata="devices")
        done = other.runs(bundle.runs(SCRIPT))
        assert done.stdout == ANSWERS, as_text(done)
    runtime.does("kill", name, "TERM")
    out, _ = process.communicate(timeout=20)
    assert "policy devices by entry 1" in said + out
    assert process.returncode == 0, said + out
