"""From a running agent to the next, directly."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.targets import Target, nr, until
from unotify import Return, Supervisor
from unotify.kernel.interface import Listener
from unotify.oci.bundles import Bundle, PeerError, receive, require_peer, send
from unotify.oci.stores import NoStore
from unotify.oci.survival import Survival, Survivor
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

    def serve(self, listener: Listener) -> None:
        """Serve a listener."""
        kept = self.survival.write_down(self.survival.new_name(), listener, b'{"id": "one"}')
        assert kept is not None
        self.supervisor.attach(kept, wait_killable=True)

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


def restored(found: list[Bundle]) -> Survivor:
    """The only listener of what was handed over."""
    survival = Survival(NoStore())
    (name,) = survival.accept(found)
    survivor = survival.recover(name)
    assert survivor is not None
    return survivor


@pytest.fixture(name="agent")
def _agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path / "control")
    yield agent
    agent.close()


def test_a_call_under_way_is_decided_by_the_successor(agent: Agent, tmp_path: Path) -> None:
    """The old handler did not finish: the new one answers, and the target sees one answer."""
    with Target("getppid", killable=True) as target:
        agent.serve(target.listener)
        target.call("getppid")
        assert agent.handling.wait(10)
        found = take_over(tmp_path / "control")
        agent.thread.join()
        assert agent.given
        survivor = restored(found)
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
        agent.serve(target.listener)
        assert target.ask("call", nr=nr("getppid"), args=[])["ret"] == 1
        survivor = restored(take_over(tmp_path / "control"))
        assert not survivor.again
        survivor.listener.close()


def test_a_successor_that_dies_on_the_way_changes_nothing(agent: Agent, tmp_path: Path) -> None:
    """It has not said that it has everything: the agent goes on."""
    agent.finish.set()
    with Target("getppid", killable=True) as target:
        agent.serve(target.listener)
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
        (name,) = survival.accept(take_over(tmp_path / "control"))
        assert survival.recover(name) is None
        server.close()
        again = survival.listening("oci")
        assert again is not None
        assert survival.listening("other") is None
        with again:
            connection, _ = again.accept()
            with connection:
                assert connection.recv(5) == b"hello"


def test_an_agent_that_takes_long_to_end_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two would receive each other's calls, and it relies on us by now: we wait, and say so."""
    monkeypatch.setattr("unotify.oci.takeover._LONG", 0.05)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(str(tmp_path / "control"))
    server.listen()

    def slow() -> None:
        connection, _ = server.accept()
        with connection, open(os.memfd_create("kept"), "rb") as file:
            receive(connection)
            assert hand_over(connection, lambda: [Bundle("a", (file.fileno(),))])
            until(lambda: "and has not yet" in caplog.text, "a word about it")

    with server:
        thread = threading.Thread(target=slow)
        thread.start()
        (found,) = take_over(tmp_path / "control")
        thread.join()
    assert "and has not yet" in caplog.text
    found.close()


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


class Asked:
    """A successor's side of a hand-over, word by word."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        send(self.socket, {"do": "hand-over"})

    def hear(self, word: str) -> None:
        """Wait for a message with *word*."""
        while True:
            received = receive(self.socket)
            assert received is not None
            message, fds = received
            for fd in fds:
                os.close(fd)
            if word in message:
                return


def test_an_agent_that_lost_patience_goes_on_alone(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hung up and never promised to leave: that is no end of it, and the successor gives up."""
    monkeypatch.setattr("unotify.oci.takeover._LAST", 0.1)
    agent.finish.set()
    held, asked = threading.Event(), threading.Event()

    def slowly(sock: socket.socket, message: dict[str, object], fds: object = ()) -> None:
        if "have" in message:
            # The agent has waited for this for too long, and is about to hang up.
            asked.set()
            held.wait(10)
        send(sock, message, fds)  # type: ignore[arg-type]

    monkeypatch.setattr("unotify.oci.takeover._PATIENCE", 0.2)
    monkeypatch.setattr("unotify.oci.takeover.send", slowly)
    with Target("getppid", killable=True) as target:
        agent.serve(target.listener)

        def release() -> None:
            asked.wait(10)
            agent.thread.join()
            held.set()

        releasing = threading.Thread(target=release)
        releasing.start()
        with pytest.raises(PeerError, match="the agent hung up before it said that it leaves"):
            take_over(tmp_path / "control")
        releasing.join()
        assert agent.given is False
        assert target.ask("call", nr=nr("getppid"), args=[])["ret"] == 1


def test_a_successor_that_dies_before_it_is_promised_anything(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said that it has everything, and is gone before the promise: the agent goes on."""
    agent.finish.set()
    successors: list[Asked] = []

    def late(sock: socket.socket, message: dict[str, object], fds: object = ()) -> None:
        if "leaving" in message:
            successors[0].socket.close()
        send(sock, message, fds)  # type: ignore[arg-type]

    monkeypatch.setattr("unotify.oci.takeover.send", late)
    with Target("getppid", killable=True) as target:
        agent.serve(target.listener)
        successors.append(Asked(tmp_path / "control"))
        successors[0].hear("done")
        send(successors[0].socket, {"have": 1})
        agent.thread.join()
        assert agent.given is False
        assert target.ask("call", nr=nr("getppid"), args=[])["ret"] == 1


@pytest.mark.parametrize("said", [0, 1, 2, 3])
def test_an_agent_that_is_killed_while_it_hands_over(tmp_path: Path, said: int) -> None:
    """Its pidfd tells that it has ended: what it gave by then is served, and not thrown away."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(str(tmp_path / "control"))
    server.listen()
    with open(os.memfd_create("kept"), "rb") as file:
        pid = os.fork()
        if not pid:
            connection, _ = server.accept()
            receive(connection)
            words: list[tuple[dict[str, object], list[int]]] = [
                ({"agent": True}, [os.pidfd_open(os.getpid())]),
                ({"name": "a"}, [file.fileno()]),
                ({"done": True, "count": 1}, []),
                ({"leaving": True}, []),
            ]
            for message, fds in words[: said + 1]:
                send(connection, message, fds)
            os.kill(os.getpid(), signal.SIGKILL)
        with server:
            found = take_over(tmp_path / "control")
        os.waitpid(pid, 0)
        assert [bundle.name for bundle in found] == (["a"] if said else [])
        for bundle in found:
            assert os.path.sameopenfile(bundle.fds[0], file.fileno())
            bundle.close()
