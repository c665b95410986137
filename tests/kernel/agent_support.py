"""An agent in a thread, and runtimes that bring it the listeners of small targets."""

from __future__ import annotations

import array
import json
import socket
import threading
from pathlib import Path
from typing import Any, Self

from tests.kernel.targets import PATIENCE, Target, until
from unotify.oci import Agent, Container
from unotify.oci.sockets import listen

ANSWERS = """version = 1
default = "allow"
[[rule]]
calls = ["getppid"]
do = { return = %d }
"""


def policy(number: int) -> str:
    """A policy by which getppid returns *number*."""
    return ANSWERS % number


def state(id: str = "c1", **changes: Any) -> dict[str, Any]:
    """A ContainerProcessState as runc sends it; keys that its state has go there."""
    inner = {"ociVersion": "1.0.2", "id": id, "status": "creating", "pid": 1, "bundle": "/none"}
    inner |= {key: changes.pop(key) for key in list(changes) if key in {*inner, "annotations"}}
    return {"ociVersion": "1.0.2", "fds": ["seccompFd"], "pid": 1, "state": inner} | changes


def connect(path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A connection to an agent."""
    connected = socket.socket(socket.AF_UNIX, kind)
    connected.settimeout(PATIENCE)
    connected.connect(str(path))
    return connected


def send(connected: socket.socket, data: bytes, *fds: int) -> None:
    """Send bytes with descriptors."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    connected.sendmsg([data], rights)


def bring(path: Path, target: Target, id: str = "c1", **changes: Any) -> None:
    """Be the runtime of *target*: hand its listener over, and keep none."""
    with connect(path) as connected:
        send(connected, json.dumps(state(id, **changes)).encode(), target.listener.fileno())
        target.listener.close()
        assert connected.recv(1) == b""  # the agent has taken it


class Running:
    """An agent, its socket, and the directory of its policies."""

    def __init__(self, directory: Path, *, policies: dict[str, str], **options: Any) -> None:
        self.policies = directory / "policies"
        self.policies.mkdir()
        for name, text in policies.items():
            self.write(name, text)
        self.path = directory / "agent.sock"
        self.agent = Agent(self.policies, **options)
        self.agent.open(listen(str(self.path), socket.SOCK_STREAM))
        self._thread = threading.Thread(target=self.agent.run, name="agent")
        self._thread.start()

    def write(self, name: str, text: str) -> None:
        """Write a policy, or the table of containers."""
        (self.policies / f"{name}.toml").write_text(text)

    def load(self, name: str, text: str) -> None:
        """Write a policy, and let it be loaded."""
        before = self.agent.shelf.loaded
        self.write(name, text)
        self.agent.ask_reload()
        until(lambda: self.agent.shelf.loaded is not before, "the policy")

    def container(self, id: str = "c1") -> Container:
        """The newest container of that id, as soon as it is there."""
        found: list[Container] = until(
            lambda: [each for each in self.agent.containers if each.id == id], f"container {id}"
        )
        return found[-1]

    def ended(self) -> None:
        """Wait until no container is left."""
        until(lambda: not len(self.agent.containers), "the end of all containers")

    def stop(self) -> None:
        """Stop it, in its own thread's time."""
        self.agent.ask_stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self.agent.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def ppid(target: Target) -> int:
    """What getppid returns in *target*."""
    target.call("getppid")
    return int(target.answer()["ret"])
