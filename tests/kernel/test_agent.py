"""The agent, with runtimes that are played and targets that are real."""

from __future__ import annotations

import array
import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.agent_support import Running, bring, connect, policy, ppid, send, state
from tests.kernel.perform_support import descriptors
from tests.kernel.targets import Target, until
from unotify.calls import Call
from unotify.errors import InvalidPolicy
from unotify.oci import Agent
from unotify.protocol import Fail, Reply, Return
from unotify.supervisor import Instrument

Policies = dict[str, str]


@pytest.fixture(name="running")
def _running(tmp_path: Path) -> Iterator[Running]:
    before = descriptors()
    with Running(tmp_path, policies={"web": policy(11), "default": policy(22)}) as running:
        yield running
    until(lambda: descriptors() == before, "the end of all that was open")


@pytest.fixture(name="said")
def _said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="unotify.agent")
    return caplog


def test_by_metadata_or_default(running: Running) -> None:
    """A container gets the policy that its metadata names, and others the default."""
    with Target("getppid") as one, Target("getppid") as other:
        bring(running.path, one, "one", metadata="web")
        bring(running.path, other, "other")
        assert (ppid(one), ppid(other)) == (11, 22)
        assert running.container("one").ward.name == "web"
        assert running.container("one").state.uid == os.geteuid()
    running.ended()


def test_in_pieces(running: Running) -> None:
    """A state of 300 kB comes in many pieces, of a runtime that keeps its end open."""
    data = json.dumps(state(annotations={"k": "x" * 300_000}, metadata="web"), indent=4).encode()
    with Target("getppid") as target, connect(running.path) as connected:
        send(connected, data[:7], target.listener.fileno())
        target.listener.close()
        for at in range(7, len(data), 40_000):
            connected.sendall(data[at : at + 40_000])
        assert ppid(target) == 11
        assert connected.recv(1) == b""


def test_exec_joins_its_container(running: Running) -> None:
    """An exec belongs to its container and has that one's policy, however little it says."""
    with Target("getppid") as first, Target("getppid") as second:
        bring(running.path, first, metadata="web")
        container = running.container()
        bring(running.path, second, status="running", pid=0, bundle=".", metadata="")
        until(lambda: len(container.listeners) == 2)
        assert ppid(second) == 11
        first.close()
        until(lambda: len(container.listeners) == 1)
        assert ppid(second) == 11
        assert running.container() is container
    running.ended()


def test_an_id_that_comes_again(running: Running) -> None:
    """Another container of the same id, of another runtime perhaps, is another container."""
    with Target("getppid") as first, Target("getppid") as second:
        bring(running.path, first, metadata="web")
        bring(running.path, second)
        assert (ppid(first), ppid(second)) == (11, 22)
        assert len(running.agent.containers) == 2
    running.ended()


def test_no_policy(tmp_path: Path) -> None:
    """A container that no policy is for gets EPERM for whatever is notified."""
    with Running(tmp_path, policies={"web": policy(11)}) as running, Target("getppid") as target:
        bring(running.path, target, metadata="other")
        target.call("getppid")
        assert target.answer() == {"ret": -1, "errno": errno.EPERM}


def test_reload(running: Running, said: pytest.LogCaptureFixture) -> None:
    """A changed policy is for new containers; old ones keep theirs until they end."""
    with Target("getppid") as old, Target("getppid") as new, Target("getppid") as process:
        bring(running.path, old, "old", metadata="web")
        ward = running.container("old").ward
        running.write("web", policy(33))
        running.agent.ask_reload()
        until(lambda: ward.outdated)
        bring(running.path, new, "new", metadata="web")
        assert (ppid(old), ppid(new)) == (11, 33)
        bring(running.path, process, "old", status="running", metadata="web")
        assert ppid(process) == 11
        assert ward in list(running.agent.wards)
    running.ended()
    until(lambda: ward not in list(running.agent.wards))
    assert "policies are loaded: web is changed" in said.messages


def test_reload_that_moves(tmp_path: Path) -> None:
    """Containers that are to move get the new version, once their calls in flight are over."""
    held: list[Any] = []

    def prepare(supervisor: Any) -> None:
        @supervisor.on("getuid")
        def hold(call: Call) -> Any:
            held.append(supervisor.hold(call))
            return held[-1]

    asking = '[[rule]]\ncalls = ["getuid"]\ndo = "notify"\n'
    policies = {
        "web": policy(11) + asking,
        "containers": 'version = 1\ndefault = "web"\non-reload = "move"\n',
    }
    with (
        Running(tmp_path, policies=policies, prepare=prepare) as running,
        Target("getppid", "getuid") as busy,
        Target("getppid") as process,
        Target("getppid") as quick,
    ):
        bring(running.path, busy)
        bring(running.path, process, status="running")
        bring(running.path, quick, "quick")
        until(lambda: len(running.container().listeners) == 2)
        old = running.container().ward
        assert (ppid(busy), ppid(process), ppid(quick)) == (11, 11, 11)
        busy.call("getuid")
        until(lambda: held)
        running.load("web", policy(33) + asking)
        until(lambda: (ppid(process), ppid(quick)) == (33, 33))
        assert running.container().ward is not old
        assert old in list(running.agent.wards)
        held[0].release(Return(5))
        assert busy.answer()["ret"] == 5
        until(lambda: ppid(busy) == 33)
        until(lambda: old not in list(running.agent.wards))
        running.load("containers", 'version = 1\ndefault = "refuse"\n')
        until(lambda: running.container().ward is running.agent.wards.refusing)
        until(lambda: ppid(process) == -1)
    running.ended()
    assert running.agent.wards.refusing.containers == 0


def test_reload_by_itself(running: Running) -> None:
    """A change of the directory is seen without a signal."""
    running.write("new", policy(44))
    until(lambda: "new" in running.agent.shelf.loaded.policies)
    with Target("getppid") as target:
        bring(running.path, target, metadata="new")
        assert ppid(target) == 44


def test_a_broken_policy_changes_nothing(running: Running, said: pytest.LogCaptureFixture) -> None:
    """A mistake is told with its place, and all policies stay as they were."""
    running.write("web", policy(33))
    running.write("default", "version = 1\ndefault = 7\n")
    running.agent.ask_reload()
    until(lambda: "the policies stay as they were" in said.messages)
    assert any("default.toml:2:" in message for message in said.messages)
    with Target("getppid") as one, Target("getppid") as other:
        bring(running.path, one, "one", metadata="web")
        bring(running.path, other, "other")
        assert (ppid(one), ppid(other)) == (11, 22)


def test_what_cannot_be_done(tmp_path: Path) -> None:
    """A policy that wants what nobody can do is refused before anything is served."""
    (tmp_path / "bad.toml").write_text(
        'version = 1\ndefault = "kill-thread"\n'
        '[[rule]]\ncalls = ["openat"]\nwhere = \'path == "/a"\'\ndo = { fail = "EPERM" }\n'
    )
    with pytest.raises(InvalidPolicy) as raised:
        Agent(tmp_path)
    assert raised.value.source == str(tmp_path / "bad.toml")


def test_what_is_no_state_is_refused(running: Running, said: pytest.LogCaptureFixture) -> None:
    """Junk, silence and things that are no listeners are refused, and leave nothing open."""
    before = descriptors()
    with open(os.devnull) as null, open(os.devnull, "w") as other:
        fds = (null.fileno(), other.fileno())
        whole = json.dumps(state()).encode()
        for data, sent in (
            (b"junk", fds),
            (whole, ()),
            (whole, fds),
            (json.dumps(state(fds=["a", "b"])).encode(), fds),
            (json.dumps(state(fds=["seccompFd"] * 2)).encode(), fds),
            (whole[:-1], fds),
            (b"", ()),
        ):
            with connect(running.path) as connected:
                if data:
                    send(connected, data, *sent)
                connected.shutdown(socket.SHUT_WR)
                assert connected.recv(1) == b""
        until(lambda: running.agent.entrance.reception.door.refused == 7)
    assert set(descriptors()) <= set(before)
    assert len(running.agent.containers) == 0
    assert "no seccomp listener" in said.text


def test_lost_descriptors(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose descriptors the kernel could not hand out is refused."""
    monkeypatch.setattr("unotify.oci.sockets._MOST_FDS", 1)
    with Target("getppid") as target, connect(running.path) as connected:
        fds = [target.listener.fileno()] * 20
        send(connected, json.dumps(state()).encode(), *fds)
        assert connected.recv(1) == b""
    assert len(running.agent.containers) == 0


def test_slow_runtimes(tmp_path: Path) -> None:
    """Who brings nothing in time is refused; and who stands behind many that wait gets a turn."""
    with Running(tmp_path, policies={"default": policy(5)}) as running:
        reception = running.agent.entrance.reception
        reception._patience, reception._most = 0.3, 3
        silent = [connect(running.path) for _ in range(3)]
        with Target("getppid") as target:
            send(silent[0], b'{"fds":', target.listener.fileno())
            bring(running.path, target)
            assert ppid(target) == 5
        for connected in silent:
            with connected:
                assert connected.recv(1) == b""
        assert reception.door.refused == 3


def test_strangers(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    """A user that is not listed is refused, whatever the socket's permissions."""
    with Running(tmp_path, policies={}, uids={os.getuid() + 1}) as running:
        with connect(running.path) as connected:
            assert connected.recv(1) == b""
        until(lambda: running.agent.entrance.reception.door.refused)
        assert "may not connect" in said.text


def test_stop_answers_what_is_in_flight(tmp_path: Path) -> None:
    """At the end calls in flight are answered, and whoever lives on gets ENOSYS."""
    asked: list[Call] = []

    def prepare(supervisor: Any) -> None:
        @supervisor.on("getppid")
        def hold(call: Call) -> Any:
            asked.append(call)
            return supervisor.hold(call)

    running = Running(tmp_path, policies={"default": policy(5)}, prepare=prepare)
    text = 'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["getppid"]\ndo = "notify"\n'
    with running:
        running.load("held", text)
        target = Target("getppid")
        bring(running.path, target, metadata="held")
        target.call("getppid")
        until(lambda: asked)
    with target:
        assert target.answer() == {"ret": -1, "errno": errno.EPERM}
        target.call("getppid")
        assert target.answer() == {"ret": -1, "errno": errno.ENOSYS}


def test_instruments(running: Running) -> None:
    """An instrument sees all containers' calls, those of later policies too, and whose they are."""
    seen: list[str | None] = []

    class Watching(Instrument):
        def deciding(self, call: Call, reply: Reply, handler: str) -> None:
            container = running.agent.container_of(call)
            seen.append(container and container.id)

    running.agent.add_instrument(Watching())
    running.load("later", policy(6))
    with Target("getppid") as one, Target("getppid") as other:
        bring(running.path, one, "one", metadata="web")
        bring(running.path, other, "other", metadata="later")
        assert (ppid(one), ppid(other)) == (11, 6)
    assert seen == ["one", "other"]


def test_wait_killable(running: Running, tmp_path: Path) -> None:
    """What the bundle says of the filter is believed, for an exec that does not say it too."""
    flags = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps({"linux": {"seccomp": {"flags": flags}}}))
    with Target("getppid") as first, Target("getppid") as second, Target("getppid") as other:
        bring(running.path, first, bundle=str(bundle))
        bring(running.path, second, status="running", bundle=".")
        bring(running.path, other, "other")
        container = running.container()
        until(lambda: len(container.listeners) == 2)
        assert all(served.wait_killable for served in container.listeners.values())
        listeners = running.container("other").listeners
        assert [served.wait_killable for served in listeners.values()] == [False]


def test_a_deadline(tmp_path: Path) -> None:
    """A call that takes too long fails as the agent was told."""

    def prepare(supervisor: Any) -> None:
        supervisor.on("getppid")(supervisor.hold)

    text = 'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["getppid"]\ndo = "notify"\n'
    options: dict[str, Any] = {"deadline": 0.05, "fault_reply": Fail(errno.ETIMEDOUT)}
    with (
        Running(tmp_path, policies={"default": text}, prepare=prepare, **options) as running,
        Target("getppid") as target,
    ):
        bring(running.path, target)
        target.call("getppid")
        assert target.answer()["errno"] == errno.ETIMEDOUT


def test_a_mistake_of_its_own(running: Running, said: pytest.LogCaptureFixture) -> None:
    """A bug in serving one connection does not end the agent."""
    welcome = running.agent.entrance.reception._welcome
    running.agent.entrance.reception._welcome = lambda *_: 1 / 0  # type: ignore[assignment, return-value]
    with Target("getppid") as target:
        with connect(running.path) as connected:
            send(connected, json.dumps(state()).encode(), target.listener.fileno())
            assert connected.recv(1) == b""
        until(lambda: "mistake of its own" in said.text)
        running.agent.entrance.reception._welcome = welcome
        bring(running.path, target)
        assert ppid(target) == 22


def test_a_quota(tmp_path: Path) -> None:
    """No more calls of a container are in flight than it may have, its execs included."""
    held: list[Any] = []

    def prepare(supervisor: Any) -> None:
        @supervisor.on("getppid")
        def hold(call: Call) -> Any:
            held.append(supervisor.hold(call))
            return held[-1]

    text = 'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["getppid"]\ndo = "notify"\n'
    with (
        Running(tmp_path, policies={"default": text}, prepare=prepare, calls=1) as running,
        Target("getppid") as first,
        Target("getppid") as second,
        Target("getppid") as other,
    ):
        bring(running.path, first)
        bring(running.path, second, status="running")
        bring(running.path, other, "other")
        first.call("getppid")
        until(lambda: len(held) == 1)
        second.call("getppid")
        other.call("getppid")
        until(lambda: len(held) == 2)  # the other container's
        assert held[1].call.caller.tid == other.pid
        held[0].release(Return(1))
        assert first.answer()["ret"] == 1
        until(lambda: len(held) == 3)
        assert held[2].call.caller.tid == second.pid
        held[1].release(Return(2))
        held[2].release(Return(3))
        assert (other.answer()["ret"], second.answer()["ret"]) == (2, 3)


def test_verbs_of_handlers(tmp_path: Path) -> None:
    """The verbs of `unotify.handlers` are there for all policies."""
    text = (
        'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["mknodat"]\n'
        'do = { emulate-mknod = ["c:1:3"] }\n'
    )
    with Running(tmp_path, policies={"default": text}) as running:
        assert list(running.agent.shelf.loaded.policies) == ["default"]


def test_many(running: Running) -> None:
    """Threads do not grow with containers."""
    with Target("getppid") as target:
        rights = array.array("i", [target.listener.fileno()])
        for number in range(100):
            with connect(running.path) as connected:
                data = json.dumps(state(f"c{number}", metadata="web")).encode()
                connected.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                assert connected.recv(1) == b""
        until(lambda: len(running.agent.containers) == 100)
        ward = running.container("c0").ward
        assert ward.containers == 100
        assert ward.supervisor.statistics().readers <= 3
        assert ppid(target) == 11
    running.ended()
    assert ward.containers == 0
