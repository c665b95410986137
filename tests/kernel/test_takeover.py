"""From a running agent to the next, directly."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.targets import Target, nr, until
from unotify import Return, Supervisor
from unotify.oci.bundles import Bundle, PeerError, receive, require_peer, send
from unotify.oci.stores import NoStore
from unotify.oci.survival import Survival
from unotify.oci.takeover import hand_over, take_over


class Agent:
    """As much of an agent as there is to this."""

    def __init__(self, path: Path) -> None:
        self.survival = Survival(NoStore())
        self.supervisor = Supervisor()
        self.handling = threading.Event()
        self.finish = threading.Event()
        self.supervisor.on("getppid")(self.answer)
        self.given: bool | None = None
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.server.bind(str(path))
        self.server.listen()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def answer(self, call: object) -> Return:
        """Take a while."""
        self.handling.set()
        self.finish.wait(10)
        return Return(1)

    def serve(self, fd: int) -> None:
        """Serve a listener."""
        self.supervisor.attach(self.survival.keep(fd, b'{"id": "one"}'), wait_killable=True)

    def _serve(self) -> None:
        connection, _ = self.server.accept()
        with self.server, connection:
            require_peer(connection)
            assert receive(connection) == ({"do": "hand-over"}, ())
            self.given = hand_over(connection, self.survival.bundles)
            if self.given:
                self.supervisor.leave(drain=0.2)

    def close(self) -> None:
        """The end."""
        self.finish.set()
        self.supervisor.close()
        self.thread.join()


@pytest.fixture(name="agent")
def _agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path / "control")
    yield agent
    agent.close()


def test_a_call_under_way_is_decided_by_the_successor(agent: Agent, tmp_path: Path) -> None:
    """The old handler did not finish: the new one answers, and the target sees one answer."""
    with Target("getppid", killable=True) as target:
        agent.serve(os.dup(target.listener.fileno()))
        target.listener.close()
        target.call("getppid")
        assert agent.handling.wait(10)
        found = take_over(tmp_path / "control")
        agent.thread.join()
        assert agent.given
        (survivor,) = Survival(NoStore()).restore(found)
        assert survivor.record == {"id": "one"}
        assert len(survivor.again) == 1
        with Supervisor() as supervisor:
            supervisor.on("getppid")(lambda call: Return(2))
            supervisor.attach(survivor.listener, backlog=survivor.again)
            assert target.answer()["ret"] == 2
            assert target.ask("call", nr=nr("getppid"), args=[])["ret"] == 2


def test_what_is_finished_in_time_is_the_old_ones(agent: Agent, tmp_path: Path) -> None:
    """A handler that finishes while its agent leaves has answered; nothing is decided again."""
    agent.finish.set()
    with Target("getppid", killable=True) as target:
        agent.serve(os.dup(target.listener.fileno()))
        target.listener.close()
        assert target.ask("call", nr=nr("getppid"), args=[])["ret"] == 1
        (survivor,) = Survival(NoStore()).restore(take_over(tmp_path / "control"))
        assert not survivor.again
        survivor.listener.close()


def test_a_successor_that_dies_on_the_way_changes_nothing(agent: Agent, tmp_path: Path) -> None:
    """It has not said that it has everything: the agent goes on."""
    agent.finish.set()
    with Target("getppid", killable=True) as target:
        agent.serve(os.dup(target.listener.fileno()))
        target.listener.close()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as successor:
            successor.connect(str(tmp_path / "control"))
            send(successor, {"do": "hand-over"})
        agent.thread.join()
        assert agent.given is False
        assert target.ask("call", nr=nr("getppid"), args=[])["ret"] == 1


def test_sockets_go_along_with_who_waits_in_them(agent: Agent, tmp_path: Path) -> None:
    """A runtime that connected while there was no agent is accepted by the next one."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(tmp_path / "oci"))
    server.listen()
    agent.survival.keep_socket("oci", server)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as runtime:
        runtime.connect(str(tmp_path / "oci"))
        runtime.sendall(b"hello")
        survival = Survival(NoStore())
        assert survival.restore(take_over(tmp_path / "control")) == []
        server.close()
        again = survival.listening("oci")
        assert again is not None
        assert survival.listening("other") is None
        with again:
            connection, _ = again.accept()
            with connection:
                assert connection.recv(5) == b"hello"


def test_an_agent_that_does_not_end_is_told(tmp_path: Path) -> None:
    """Two would receive each other's calls: the successor gives up, and closes what it got."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(str(tmp_path / "control"))
    server.listen()
    before = len(os.listdir("/proc/self/fd"))
    connections: list[socket.socket] = []

    def stubborn() -> None:
        connection, _ = server.accept()
        connections.append(connection)
        receive(connection)
        hand_over(connection, lambda: [Bundle("a", (0,))])

    with server:
        thread = threading.Thread(target=stubborn)
        thread.start()
        with pytest.raises(PeerError, match="did not end within"):
            take_over(tmp_path / "control", timeout=0.1)
        thread.join()
        connections[0].close()
        until(lambda: len(os.listdir("/proc/self/fd")) == before, "the end of all descriptors")


def test_an_agent_of_another_user_is_asked_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who listens there may be anybody: the successor looks first."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(tmp_path / "control"))
        server.listen()
        uid = os.geteuid()
        monkeypatch.setattr("unotify.oci.bundles.peer_of", lambda sock: (1, uid + 1))
        with pytest.raises(PeerError, match=f"runs as user {uid + 1}"):
            take_over(tmp_path / "control")
        connection, _ = server.accept()
        with connection:
            assert receive(connection) is None
