"""The agent on a simulated kernel: its registry, its policies, its listeners, and its restarts."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.oci.simulated_support import SimulatedStore, container, creating
from unotify import Return, Supervisor
from unotify.oci import Agent
from unotify.oci.survival import Survival
from unotify.testing import SimulatedKernel
from unotify.testing.facility import descriptors

POLICY = """
version = 1
default = "allow"

[[rule]]
calls = ["getppid"]
do = { return = %d }

[[rule]]
calls = ["mkdir"]
do = "notify"
"""


class Agents:
    """Agents on one kernel, one after the other; all in the test's thread."""

    def __init__(self, directory: Path) -> None:
        self.kernel = SimulatedKernel()
        self.store = SimulatedStore(self.kernel)
        self.directory = directory
        self.made: list[Agent] = []
        self.asked: list[Any] = []
        self.handler: Callable[[Any], Any] = lambda call: self.supervisor(call).hold(call)
        self.write(7)

    def write(self, answer: int) -> None:
        """Write the policy."""
        (self.directory / "default.toml").write_text(POLICY % answer)

    def start(self) -> Agent:
        """One more agent, which takes up what there is."""

        def prepare(supervisor: Supervisor) -> None:
            @supervisor.on("mkdir")
            def ask(call: Any) -> Any:
                self.asked.append(call)
                return self.handler(call)

        agent = Agent(self.directory, kernel=self.kernel, prepare=prepare, embedded=True, drain=0)
        self.made.append(agent)
        return agent

    def restart(self, before: Callable[[], None] = lambda: None) -> Agent:
        """One more, which survives."""
        agent = self.start()
        agent.survive(Survival(self.store, self.kernel), before=before)
        return agent

    def supervisor(self, call: Any) -> Supervisor:
        """Whoever has *call*."""
        found = self.made[-1].container_of(call)
        assert found is not None
        return found.ward.supervisor

    def kill(self, agent: Agent) -> None:
        """Let go of all that it has, as the kernel does for who is killed."""
        kernel = self.kernel
        with kernel.changed:
            for ours in agent.containers:
                for listener in list(ours.listeners):
                    fds = [listener.fileno(), listener.journal.fileno()]  # type: ignore[attr-defined]
                    for fd in fds:
                        descriptors.close(kernel.world, kernel.supervisor, fd)
            kernel.settle()

    def serve(self) -> None:
        """Let the last agent serve what pends."""
        for ward in self.made[-1].wards:
            ward.supervisor.process_pending()


@pytest.fixture(name="agents")
def _agents(tmp_path: Path) -> Iterator[Agents]:
    agents = Agents(tmp_path)
    yield agents
    for agent in agents.made:
        agent.close()


def test_containers_come_are_served_and_end(agents: Agents) -> None:
    """An agent serves by the policy that its table chooses, and sees when nobody is left."""
    agent = agents.start()
    target, listener = container(agents.kernel, "getppid")
    found = agent.adopt(creating("web"), listener)
    assert [each.id for each in agent.containers] == ["web"]
    assert found.ward.name == "default"
    target.start("getppid")
    agents.serve()
    assert str(target.answer()) == "7"
    target.kill(9)
    agents.serve()
    assert not len(agent.containers)


def test_a_policy_that_is_loaded_later(agents: Agents) -> None:
    """Containers keep the version that they began with; later ones get the new one."""
    agent = agents.start()
    first, listener = container(agents.kernel, "getppid")
    agent.adopt(creating("first"), listener)
    agents.write(8)
    assert agent.reload()
    second, listener = container(agents.kernel, "getppid")
    agent.adopt(creating("second"), listener)
    for target in (first, second):
        target.start("getppid")
    agents.serve()
    assert [str(target.answer()) for target in (first, second)] == ["7", "8"]


def test_a_call_under_way_is_decided_again_after_a_death(agents: Agents) -> None:
    """The next agent finds its listener, its journal, its policy and whose it is."""
    agent = agents.restart()
    target, listener = container(agents.kernel, "mkdir", "getppid")
    agent.adopt(creating("web"), listener)
    target.start("mkdir", "/x", 0o755)
    agents.serve()
    assert len(agents.asked) == 1
    assert target.waiting
    agents.write(8)  # for containers that come later
    agents.kill(agent)
    assert target.waiting, "the store has a copy: nobody gets ENOSYS"
    agents.handler = lambda call: Return(3)
    again = agents.restart()
    agents.serve()
    assert str(target.answer()) == "3"
    assert [each.id for each in again.containers] == ["web"]
    assert [call.exchange.id for call in agents.asked] == 2 * [agents.asked[0].exchange.id]
    target.start("getppid")
    agents.serve()
    assert str(target.answer()) == "7"


def test_what_was_answered_is_not_decided_again(agents: Agents) -> None:
    """Its slot is empty, and a later agent asks nobody anything."""
    agents.handler = lambda call: Return(3)
    agent = agents.restart()
    target, listener = container(agents.kernel, "mkdir")
    agent.adopt(creating("web"), listener)
    for _ in range(5):
        target.start("mkdir", "/x", 0o755)
        agents.serve()
        assert str(target.answer()) == "3"
    agents.kill(agent)
    agents.restart()
    agents.serve()
    assert len(agents.asked) == 5


def test_an_orderly_end(agents: Agents) -> None:
    """What is held when an agent leaves waits for the next one, and the store is left last."""
    agent = agents.restart()
    targets = []
    for number in range(5):  # more than the journal has room for at first
        target, listener = container(agents.kernel, "mkdir")
        agent.adopt(creating(f"c{number}"), listener)
        target.start("mkdir", "/x", 0o755)
        targets.append(target)
    agents.serve()
    agent.leave()
    assert agents.store.told[-1] == "close"
    assert all(target.waiting for target in targets)
    agents.handler = lambda call: Return(3)
    agents.restart()
    agents.serve()
    assert [str(target.answer()) for target in targets] == 5 * ["3"]


def test_it_is_kept_before_it_is_served(agents: Agents) -> None:
    """A call that waits already when a container comes is in the store's journal at once."""
    agent = agents.restart()
    target, listener = container(agents.kernel, "mkdir")
    target.start("mkdir", "/x", 0o755)
    buffer = bytearray(listener.sizes.notif)
    assert listener.receive_into(buffer)  # by whoever had the listener before
    agent.adopt(creating("web"), listener, [bytes(buffer)])
    assert agents.store.told == ["take", "put"]
    assert len(agents.asked) == 1
    agents.kill(agent)
    agents.handler = lambda call: Return(3)
    agents.restart()
    assert str(target.answer()) == "3"


def test_agents_that_cannot_start_kill_nobody(agents: Agents) -> None:
    """A call is refused when agents have died of it, and not when they had no socket."""
    agent = agents.restart()
    target, listener = container(agents.kernel, "mkdir")
    agent.adopt(creating("web"), listener)
    target.start("mkdir", "/x", 0o755)
    agents.serve()
    agents.kill(agent)

    def fail() -> None:
        raise OSError(errno.EADDRINUSE, "no socket")

    for _ in range(10):
        with pytest.raises(OSError, match="no socket"):
            agents.restart(before=fail)
    agents.handler = lambda call: Return(3)
    agents.restart()
    assert str(target.answer()) == "3"


def test_a_call_that_agents_die_of_is_refused(agents: Agents) -> None:
    """Five have begun to serve it and have ended: the next one says EPERM."""
    agent = agents.restart()
    target, listener = container(agents.kernel, "mkdir")
    agent.adopt(creating("web"), listener)
    target.start("mkdir", "/x", 0o755)
    agents.serve()
    for _ in range(4):
        agents.kill(agent)
        agent = agents.restart()
        assert target.waiting
    agents.kill(agent)
    agents.restart()
    assert str(target.answer()) == "-1 EPERM"
    assert len(agents.asked) == 5


def test_a_store_that_is_broken_breaks_nothing_else(
    agents: Agents, caplog: pytest.LogCaptureFixture
) -> None:
    """Containers are served all the same, can be handed over, and are forgotten in the end."""
    agent = agents.restart()
    agents.store.broken = True
    target, listener = container(agents.kernel, "getppid")
    agent.adopt(creating("web"), listener)
    assert "container web may not survive: the store is broken" in caplog.text
    target.start("getppid")
    agents.serve()
    assert str(target.answer()) == "7"
    assert agent.survival is not None
    assert [len(bundle.fds) for bundle in agent.survival.bundles()] == [2]
    target.kill(9)
    agents.serve()
    assert not len(agent.containers)
    assert "may still be kept: the store is broken" in caplog.text
