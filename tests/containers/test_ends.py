"""A container, its runtime or the agent is killed at each stage: nobody hangs, the others go on."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from tests.containers.container_support import RUNTIMES, Agent, Place, Runtime, as_text
from tests.kernel.spawn_support import PATIENCE, until

POLICY = """
version = 1
default = "allow"

[[rule]]
calls = ["mkdir", "mkdirat"]
do = "perform"

[[rule]]
calls = ["sethostname"]
do = "notify"
"""
HANDLERS = """
from unotify import Return, on
from unotify.calls import Sethostname


@on(Sethostname)
def sethostname(call):
    \"\"\"Tell that it is asked, and answer when the gate opens.\"\"\"
    with open({asked!r}, "w"):
        pass
    with open({gate!r}) as gate:
        gate.read()
    return Return(0)
"""
# Of two pipes nobody knows which one was written to first.
WAITING = "exec 2>&1; echo ready; read go; mkdir /tmp/a; ls /tmp"
ASKING = "exec 2>&1; hostname other; echo and on; mkdir /tmp/a; ls /tmp"
NOT_THERE = "mkdir: can't create directory '/tmp/a': Function not implemented\n"


class Desk:
    """An agent whose handler for ``sethostname`` waits, and its policies."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.policies = place.policies(default=POLICY)
        self.asked, self.gate = place.fresh("asked"), place.fresh("gate")
        os.mkfifo(self.asked)
        os.mkfifo(self.gate)
        self.handlers = place.fresh("handlers.py")
        self.handlers.write_text(HANDLERS.format(asked=str(self.asked), gate=str(self.gate)))
        self.agent = self.start()

    def start(self, socket: Path | None = None, *options: str) -> Agent:
        """One more agent."""
        handlers = ["--handlers", str(self.handlers)]
        return self.place.agent(self.policies, *handlers, *options, socket=socket)

    def is_asked(self) -> None:
        """Wait until the handler has a call."""
        with open(self.asked) as asked:
            asked.read()

    def opens(self) -> None:
        """Let the handler answer."""
        with open(self.gate, "w"):
            pass

    def serves(self, runtime: Runtime) -> None:
        """Check that one more container is served."""
        bundle = runtime.bundle().supervised(POLICY, self.agent)
        bundle.config["process"]["args"] = ["sh", "-c", "mkdir /tmp/a; ls /tmp"]
        done = runtime.runs(bundle)
        assert done.stdout == "a\n", as_text(done) + self.agent.said


@pytest.fixture(name="desk")
def _desk(place: Place) -> Desk:
    """One whose agent the test may kill."""
    return Desk(place)


@pytest.fixture(name="lasting", scope="module")
def _lasting(shared: Place) -> Desk:
    """One whose agent survives whatever happens to its containers."""
    return Desk(shared)


def says(process: subprocess.Popen[str], line: str) -> None:
    """Wait until a container has said *line*."""
    assert process.stdout is not None
    assert process.stdout.readline() == line


def goes_on(process: subprocess.Popen[str]) -> str:
    """What a container says after one more line of input, up to its end."""
    return process.communicate("\n", timeout=PATIENCE)[0]


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_agent_is_killed(name: str, desk: Desk, place: Place) -> None:
    """Without its agent a container gets ENOSYS for each notified call, and goes on."""
    runtime = place.runtime(name)
    _, process = runtime.begins(runtime.bundle().supervised(POLICY, desk.agent).runs(WAITING))
    says(process, "ready\n")
    desk.agent.end()
    assert goes_on(process) == NOT_THERE


def test_the_agent_is_killed_while_a_call_waits(desk: Desk, place: Place) -> None:
    """A call that the agent has received when it is killed fails with ENOSYS."""
    runtime = place.runtime("runc")
    _, process = runtime.begins(runtime.bundle().supervised(POLICY, desk.agent).runs(ASKING))
    desk.is_asked()
    desk.agent.end()
    out, _ = process.communicate(timeout=PATIENCE)
    assert out == f"hostname: sethostname: Function not implemented\nand on\n{NOT_THERE}"


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_agent_is_killed_before_it_takes_the_listener(
    name: str, desk: Desk, place: Place
) -> None:
    """A listener that was sent and not yet taken is closed: the container gets ENOSYS."""
    desk.agent.pause()
    runtime = place.runtime(name)
    _, process = runtime.begins(runtime.bundle().supervised(POLICY, desk.agent).runs(WAITING))
    # The runtime has connected when the queue of the socket is not empty.
    until(lambda: connected(desk.agent))
    desk.agent.end()
    out = goes_on(process)
    # A runtime whose message was not taken whole may refuse to start the container instead.
    assert out == f"ready\n{NOT_THERE}" or process.returncode, out
    assert until(lambda: runtime.containers() == [])


def connected(agent: Agent) -> bool:
    """Whether somebody has connected to an agent's socket, accepted or not."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(f" {agent.socket}") for line in lines) > 1


def test_the_agent_is_stopped_while_a_call_waits(desk: Desk, place: Place) -> None:
    """SIGTERM lets calls in flight end: the answer comes, and the agent goes with success."""
    runtime = place.runtime("runc")
    _, process = runtime.begins(runtime.bundle().supervised(POLICY, desk.agent).runs(ASKING))
    desk.is_asked()
    desk.agent.process.send_signal(signal.SIGTERM)
    desk.opens()
    out, _ = process.communicate(timeout=PATIENCE)
    # What the container asks after that comes in time, or too late.
    assert out in ("and on\na\n", f"and on\n{NOT_THERE}")
    assert desk.agent.process.wait(PATIENCE) == 0


def test_another_agent_takes_the_socket(desk: Desk, place: Place) -> None:
    """After a kill the next agent has the same socket, and serves new containers."""
    desk.agent.end()
    desk.agent = desk.start(desk.agent.socket)
    desk.serves(place.runtime("runc"))


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_keeper_is_there_when_the_agent_is_killed(name: str, desk: Desk, place: Place) -> None:
    """With a keeper the next agent decides what the killed one had received, and all that comes."""
    desk.agent.end()
    keeper = place.fresh("keeper")
    options = [f"--keeper={keeper}", "--keep-for=30"]
    desk.agent = desk.start(None, *options)
    try:
        runtime = place.runtime(name)
        _, process = runtime.begins(runtime.bundle().supervised(POLICY, desk.agent).runs(ASKING))
        desk.is_asked()
        desk.agent.end()
        desk.agent = desk.start(desk.agent.socket, *options)
        desk.is_asked()
        desk.opens()
        out, _ = process.communicate(timeout=PATIENCE)
        assert out == "and on\na\n", desk.agent.said
    finally:
        desk.agent.end()
        end_of(keeper)


def end_of(keeper: Path) -> None:
    """End the process that listens at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.connect(str(keeper))
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    os.kill(struct.unpack("=3i", credentials)[0], signal.SIGKILL)


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_container_is_killed_while_a_call_waits(name: str, lasting: Desk, place: Place) -> None:
    """A container that dies with a call in flight is forgotten; others are served meanwhile."""
    runtime = place.runtime(name)
    container, process = runtime.begins(
        runtime.bundle().supervised(POLICY, lasting.agent).runs(ASKING)
    )
    lasting.is_asked()
    runtime.does("kill", container, "KILL")
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGKILL
    lasting.agent.says(f"container {container} has ended")
    lasting.serves(runtime)
    lasting.opens()
    lasting.serves(runtime)


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_runtime_is_killed_while_it_hands_over(name: str, lasting: Desk, place: Place) -> None:
    """A runtime that dies while the agent is busy leaves a container that the agent can take."""
    lasting.agent.pause()
    runtime = place.runtime(name)
    container, process = runtime.begins(
        runtime.bundle().supervised(POLICY, lasting.agent).runs(WAITING)
    )
    until(lambda: connected(lasting.agent))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    lasting.agent.resume()
    runtime.delete(container)
    lasting.serves(runtime)
    assert lasting.agent.process.poll() is None


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_runtime_is_killed_later(name: str, lasting: Desk, place: Place) -> None:
    """A container is served by the agent alone: it needs no runtime any more."""
    runtime = place.runtime(name)
    bundle = runtime.bundle().supervised(POLICY, lasting.agent)
    container, process = runtime.begins(
        bundle.runs("trap 'mkdir /tmp/a; exit' USR1; echo ready; while sleep 0.1; do :; done")
    )
    says(process, "ready\n")
    # It takes note of a container that it has started.
    until(lambda: runtime.does("state", container).returncode == 0)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)
    runtime.does("kill", container, "USR1")
    until((bundle.rootfs / "tmp" / "a").exists)
    lasting.agent.says(f"container {container} has ended")


def test_nothing_is_left(lasting: Desk, place: Place) -> None:
    """When its containers have ended an agent has as many descriptors open as before."""
    runtimes = [place.runtime(name) for name in RUNTIMES]
    for runtime in runtimes:
        lasting.serves(runtime)
    before = lasting.agent.descriptors
    for _ in range(3):
        for runtime in runtimes:
            lasting.serves(runtime)
            container = runtime.detaches(
                runtime.bundle().supervised(POLICY, lasting.agent).runs("exec sleep 1000")
            )
            runtime.does("exec", container, "mkdir", "/tmp/b")
            runtime.delete(container)
    until(lambda: lasting.agent.descriptors <= before)
