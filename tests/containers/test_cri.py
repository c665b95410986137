"""Pods as a kubelet starts them: CRI, with the profile that a node's init container installs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.container_support import Agent, Place
from tests.containers.containerd_support import Containerd, Kubelet, Refused, image, without
from tests.kernel.cli_support import cli
from tests.kernel.profiles import CONTAINERS, profile

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
POLICY = KUBERNETES / "policies" / "devices.toml"
TABLE = """version = 1
default = "refuse"

[[container]]
policy = "devices"
image = "localhost/busybox:*"
"""
SCRIPT = """exec 2>&1
mknod /tmp/null c 1 3 && stat -c '%F %t:%T' /tmp/null && echo lost > /tmp/null
mknod /tmp/mem c 1 1
insmod /bin/busybox
unshare -n true
echo end
"""
ANSWERS = """character special file 1:3
mknod: /tmp/mem: Operation not permitted
insmod: can't insert '/bin/busybox': Operation not permitted
unshare: unshare(0x40000000): Operation not permitted
end
"""


@pytest.fixture(name="kubelet")
def _kubelet(place: Place) -> Iterator[Kubelet]:
    containerd = Containerd(place)
    containerd.takes(image(place), "k8s.io")
    kubelet = Kubelet(containerd, place)
    try:
        yield kubelet
    finally:
        kubelet.ends()
        without("k8s.io")


def installed(place: Place, agent: Agent) -> Path:
    """The profile, made as on a node."""
    out = place.fresh("devices.json")
    done = cli(
        *("profile", str(POLICY), "--listener", str(agent.socket), "--metadata", "devices"),
        *("--base", str(profile(CONTAINERS)), "--out", str(out)),
    )
    assert done.returncode == 0, done.stderr
    return out


def test_a_pod(kubelet: Kubelet, place: Place) -> None:
    """A pod's calls, and those of what is executed in it, are answered by its localhostProfile."""
    policies = place.policies(devices=POLICY.read_text(), containers=TABLE)
    agent = place.agent(policies)
    localhost = installed(place, agent)
    pod = kubelet.starts("devices", localhost, "sh", "-c", f"{SCRIPT}\nexec sleep 1000")
    assert kubelet.said("devices", "end") == ANSWERS, agent.said
    # Chosen by the image that the kubelet has asked for, which containerd tells in annotations.
    agent.says(f"container {pod}, process")
    assert "policy devices by entry 1" in agent.said
    assert "Operation not permitted" in kubelet.execs(pod, "mknod", "/tmp/other", "c", "1", "1")
    assert kubelet.execs(pod, "ls", "/tmp").count("null") == 1
    # Without an agent none begins, and the kubelet hears why; with the next one they do.
    agent.end()
    with pytest.raises(Refused, match="failed to connect with seccomp agent"):
        kubelet.starts("early", localhost, "true")
    agent = place.agent(policies, socket=agent.socket)
    kubelet.starts("late", localhost, "sh", "-c", SCRIPT)
    assert kubelet.said("late", "end") == ANSWERS, agent.said


def test_no_profile(kubelet: Kubelet, place: Place) -> None:
    """A pod whose profile no node has does not begin, and the kubelet hears its name."""
    nowhere = place.fresh("nowhere.json")
    with pytest.raises(Refused, match=f'cannot load seccomp profile "{nowhere}"'):
        kubelet.starts("nowhere", nowhere, "true")
