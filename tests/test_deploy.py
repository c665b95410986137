"""What deploy/ has for Kubernetes: valid, of one piece, and its steps work."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.conftest import missing
from tests.kernel.cli_support import ENVIRON, UNOTIFY, cli
from tests.kernel.profiles import CONTAINERS, profile
from unotify.oci.choosing import read_table
from unotify.policy.oci import import_profile

ROOT = Path(__file__).parents[1]
KUBERNETES = ROOT / "deploy" / "kubernetes"
POLICIES = sorted((KUBERNETES / "policies").glob("*.toml"))
NAMES = [file.stem for file in POLICIES if file.stem != "containers"]
SOCKET = "/run/unotify/agent.sock"
OLDEST, NEWEST = "1.29.0", kubernetes_validate.latest_version()


def kustomized() -> Iterator[dict[str, Any]]:
    """What kustomize makes, as far as this kustomization needs it."""
    plan = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    namespace = {"namespace": plan["namespace"]}
    (image,) = plan["images"]
    for name in plan["resources"]:
        found = yaml.safe_load((KUBERNETES / name).read_text())
        if found["kind"] != "Namespace":
            found["metadata"] |= namespace
            pod = found["spec"]["template"]["spec"]
            for container in (*pod["initContainers"], *pod["containers"]):
                assert container["image"] == image["name"]
                container["image"] = f"{image['newName']}:{image['newTag']}"
        yield found
    for generator in plan["configMapGenerator"]:
        yield {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": generator["name"], **namespace},
            "data": {
                Path(name).name: (KUBERNETES / name).read_text() for name in generator["files"]
            },
        }


def resource(kind: str) -> dict[str, Any]:
    """The one resource of a kind."""
    (found,) = [each for each in kustomized() if each["kind"] == kind]
    return found


def containers() -> dict[str, dict[str, Any]]:
    """The containers of the agent's pods, by name."""
    pod = resource("DaemonSet")["spec"]["template"]["spec"]
    return {each["name"]: each for each in (*pod["initContainers"], *pod["containers"])}


def example() -> dict[str, Any]:
    """The example of a pod."""
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / "example-pod.yaml").read_text())
    return found


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_schemas(version: str) -> None:
    """Every resource is what the API servers of old and new clusters take, without unknown keys."""
    kinds = []
    for found in [*kustomized(), example()]:
        kubernetes_validate.validate(found, version, strict=True)
        kinds.append(found["kind"])
    assert kinds == ["Namespace", "DaemonSet", "ConfigMap", "Pod"]
    broken = resource("DaemonSet")
    broken["spec"]["template"]["spec"]["hostPIDs"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="hostPIDs"):
        kubernetes_validate.validate(broken, version, strict=True)


def test_kubectl_makes_the_same() -> None:
    """Kubectl's kustomize makes of the directory what is checked here."""
    if shutil.which("kubectl") is None:
        missing("there is no kubectl: apt-get install kubernetes-client")
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=True
    )

    def by_kind(found: dict[str, Any]) -> str:
        return str(found["kind"])

    made = list(yaml.safe_load_all(done.stdout))
    assert sorted(made, key=by_kind) == sorted(kustomized(), key=by_kind)


def test_needs_no_api_server() -> None:
    """The agent asks the API server for nothing: no roles, no token."""
    kinds = {found["kind"] for found in kustomized()}
    assert not kinds & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
    pod = resource("DaemonSet")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert not any(each["securityContext"].get("privileged") for each in containers().values())


def test_policies() -> None:
    """The policies that come with it have no mistakes, and all of them are in the ConfigMap."""
    assert set(resource("ConfigMap")["data"]) == {file.name for file in POLICIES}
    for name in NAMES:
        done = cli("check", str(KUBERNETES / "policies" / f"{name}.toml"))
        assert done.returncode == 0, done.stdout + done.stderr
    read_table((KUBERNETES / "policies" / "containers.toml").read_text(), NAMES)


def test_one_socket() -> None:
    """Agent, keeper, probes, profiles and mounts mean the same sockets and directories."""
    found = containers()
    agent, install, keeper = found["agent"], found["install-profiles"], found["keeper"]
    assert f"--socket={SOCKET}" in agent["args"]
    assert f"--listener {SOCKET} " in install["args"][0]
    mounts = {mount["mountPath"] for mount in agent["volumeMounts"]}
    assert {str(Path(SOCKET).parent), "/etc/unotify/policies"} <= mounts
    assert "--policies=/etc/unotify/policies" in agent["args"]
    assert '"/run/unotify/keeper.sock"' in keeper["args"][0]
    assert "--keeper=/run/unotify/keeper.sock" in agent["args"]
    (port,) = agent["ports"]
    assert f"--metrics=0.0.0.0:{port['containerPort']}" in agent["args"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert agent[probe]["httpGet"]["port"] == port["name"]
    assert found.keys() - {"agent"} == {"install-profiles", "keeper"}


def test_example_pod() -> None:
    """The example's profile is one that the init container installs."""
    (container,) = example()["spec"]["containers"]
    seccomp = container["securityContext"]["seccompProfile"]
    assert seccomp["type"] == "Localhost"
    assert seccomp["localhostProfile"] in [f"unotify/{name}.json" for name in NAMES]


def test_profiles_are_installed(tmp_path: Path) -> None:
    """The init container's step writes one profile for each policy, whole or not at all."""
    host, bin_ = tmp_path / "host", tmp_path / "bin"
    bin_.mkdir()
    host.mkdir()
    unotify = bin_ / "unotify"
    unotify.write_text(f'#!/bin/sh\nexec {" ".join(UNOTIFY)} "$@"\n')
    unotify.chmod(0o755)
    install = containers()["install-profiles"]
    script = install["args"][0].replace("/etc/unotify/policies", str(KUBERNETES / "policies"))
    script = script.replace("/host/seccomp", str(host))
    done = subprocess.run(
        [*install["command"], script],
        env={
            **ENVIRON,
            "PATH": f"{bin_}:{ENVIRON['PATH']}",
            "UNOTIFY_CONTAINERS_PROFILE": str(profile(CONTAINERS)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(f.name for f in (host / "unotify").iterdir()) == [f"{n}.json" for n in NAMES]
    for name in NAMES:
        text = (host / "unotify" / f"{name}.json").read_text()
        made = import_profile(text)
        assert (made.listener_path, made.listener_metadata) == (SOCKET, name)
        assert "SCMP_ACT_NOTIFY" in text


def test_image() -> None:
    """The recipe copies all that the package is built of, and nothing else."""
    ignore = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    copied = {line[1:] for line in ignore if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"}
    setuptools = project["tool"]["setuptools"]
    needed |= {*setuptools["packages"]["find"]["where"]}
    needed |= {name for names in setuptools["data-files"].values() for name in names}
    assert copied == needed
    assert all(any(ROOT.glob(name)) for name in copied)
    docker = (ROOT / "deploy" / "Dockerfile").read_text()
    assert re.findall(r"^COPY (\S+)", docker, re.M) == [".", "--from=build"]
    assert f"/unotify:{project['project']['version']} " in docker
    (image,) = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["images"]
    assert image["newTag"] == project["project"]["version"]
