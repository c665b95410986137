"""Agents that are killed, and what their targets notice of it: nothing."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from tests.kernel.targets import PATIENCE, Target, notifying, nr, until
from unotify.abi.seccomp import FilterFlag
from unotify.kernel.interface import Listener
from unotify.kernel.journaled import MOST_TRIES
from unotify.kernel.spawn import spawn
from unotify.oci.bundles import PeerError, peer_of, receive
from unotify.oci.stores import KeeperStore
from unotify.oci.survival import Survival

HERE = Path(__file__).parent
LONG = bool(os.environ.get("UNOTIFY_TEST_LONG"))
PYTHON = getattr(sys, "_base_executable", None) or sys.executable


def keeper_of(path: Path) -> int:
    """The process id of the keeper at *path*."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(str(path))
        return peer_of(sock)[0]


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Iterator[Path]:
    """Where the keeper listens; it ends with the test."""
    path = tmp_path / "keeper"
    yield path
    with suppress(OSError):
        keeper = keeper_of(path)
        assert keeper != os.getpid()
        os.kill(keeper, signal.SIGTERM)


def under_load(*arguments: object, calls: tuple[str, ...] = ("getppid",)) -> Any:
    """A target that makes calls all the time."""
    return spawn(
        notifying(*calls),
        [
            PYTHON,
            "-I",
            "-S",
            str(HERE / "loading_main.py"),
            str(nr("getppid")),
            *map(str, arguments),
        ],
        flags=FilterFlag(0),
        preferred=FilterFlag.WAIT_KILLABLE_RECV,
        popen_options={"stdout": subprocess.PIPE},
    )


def keep(survival: Survival, listener: Listener) -> None:
    """Keep a listener that has come."""
    name = survival.new_name()
    assert survival.write_down(name, listener, b"{}") is not None
    survival.put(name)


def kept(path: Path, *spawned: Any) -> None:
    """Give the listeners to the keeper, as an agent would that ends at once."""
    store = KeeperStore(path, hold=PATIENCE)
    survival = Survival(store)
    for each in spawned:
        assert not each.backlog
        keep(survival, each.listener)
    store.close()
    for listener in list(survival._names):
        listener.close()


class Agents:
    """Agents, one after the other."""

    def __init__(self, path: Path, *how: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "surviving_main.py"), str(path), *map(str, how)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self.lines: list[list[str]] = []

    def next(self) -> list[str]:
        """What the next one says: serving or done, its process id, and numbers."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        assert ready, "no agent says anything"
        line = self.process.stdout.readline().decode().split()
        if line:
            self.lines.append(line)
        return line

    def end(self) -> None:
        """Wait until the last one has ended, for want of targets."""
        while self.process.poll() is None and self.next():
            continue
        assert self.process.wait(PATIENCE) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        for line in self.lines[-1:]:
            if line[:1] == ["serving"]:
                with suppress(ProcessLookupError):
                    os.kill(int(line[1]), signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def said(process: Any) -> Any:
    """What the target says at its end."""
    ready, _, _ = select.select([process.stdout], [], [], 3 * PATIENCE)
    assert ready, "the target hangs"
    output = process.stdout.read()
    process.stdout.close()
    assert process.wait(PATIENCE) == 0
    return json.loads(output.split(b"\n")[1])


@pytest.mark.slow
def test_agents_that_are_killed_under_load(path: Path) -> None:
    """SIGKILL at any moment, again and again: each call gets its own answer, and never ENOSYS."""
    kills = 600 if LONG else 20
    targets = [under_load(4, 40 * kills) for _ in range(2)]
    kept(path, *targets)
    chance, recovered = random.Random(5), 0
    with Agents(path, "never") as agents:
        for _ in range(kills):
            line = agents.next()
            if line[:1] != ["serving"]:
                break
            recovered += int(line[3])
            assert line[4] == "0"
            time.sleep(chance.uniform(0, 0.05))
            os.kill(int(line[1]), signal.SIGKILL)
        agents.end()
    assert [said(each.process) for each in targets] == [{"wrong": [], "count": 0}] * 2
    assert recovered, "nobody was ever killed with a call under way"
    assert len(agents.lines) > kills // 2


@pytest.mark.parametrize("stage", ["receive", "handler", "sent"])
def test_an_agent_that_dies_at_each_step_of_a_call(path: Path, stage: str) -> None:
    """Received, with its handler, answered: whatever had been reached, the successor is right."""
    target = under_load(2, 60)
    kept(path, target)
    with Agents(path, stage, 20) as agents:
        agents.end()
    assert said(target.process) == {"wrong": [], "count": 0}
    serving = [line for line in agents.lines if line[0] == "serving"]
    assert len(serving) >= 4
    # What had been answered is not decided again; what had not is.
    again = sum(int(line[3]) for line in serving[1:])
    assert again >= len(serving) - 1 or stage == "sent"


def test_an_agent_that_dies_between_a_descriptor_and_its_answer(path: Path) -> None:
    """ADDFD is done and SEND is not (A9): the successor gives another one."""
    target = under_load(2, 20, "open", calls=("memfd_create",))
    kept(path, target)
    with Agents(path, "install", 6) as agents:
        agents.end()
    assert said(target.process) == {"wrong": [], "count": 0}
    assert len(agents.lines) >= 4


def test_a_call_that_kills_each_agent_is_refused_in_the_end(path: Path) -> None:
    """Five agents died of it: the next one answers EPERM, and goes on with the others."""
    target = under_load(1, 1)
    kept(path, target)
    with Agents(path, "handler", 1) as agents:
        agents.end()
    assert said(target.process) == {"wrong": ["EPERM"], "count": 1}
    assert [line[3:] for line in agents.lines if line[0] == "serving"] == [
        ["0", "0"],
        *(MOST_TRIES - 1) * [["1", "0"]],
        ["0", "1"],
    ]


RECEIVING = """
import ctypes, os, sys, threading
from unotify.kernel.journaled import JournaledListener
from unotify.kernel.journal import Journal
listener = JournaledListener(int(sys.argv[1]), Journal.adopt(int(sys.argv[2])))
buffer = bytearray(listener.sizes.notif)
thread = threading.Thread(target=listener.receive_into, args=(buffer,), daemon=True)
thread.start()
while open(f"/proc/self/task/{thread.native_id}/wchan").read().partition(".")[0] in ("0", ""):
    pass
hold = ctypes.PyDLL(None).pause  # with the interpreter's lock
print("held", flush=True)
hold()
"""


def test_a_notification_is_written_down_by_the_kernel_itself(path: Path) -> None:
    """Who dies after RECV, without having run again: it is in the journal all the same."""
    with Target("getppid", killable=True) as target:
        from unotify.kernel.journaled import JournaledListener

        ours = JournaledListener.from_fd(os.dup(target.listener.fileno()))
        fds = [ours.fileno(), ours.journal.fileno()]
        agent = subprocess.Popen(
            [sys.executable, "-c", RECEIVING, *map(str, fds)],
            pass_fds=fds,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        with agent:
            assert agent.stdout is not None
            assert agent.stdout.readline() == b"held\n"
            target.call("getppid", 7)
            until(lambda: target.events(0) == select.POLLOUT, "the receipt")
            agent.kill()
        again, hopeless = ours.recover()
        assert len(again) == 1
        assert not hopeless
        assert ours.refuse(again[0], 77)
        assert target.answer()["errno"] == 77
        assert ours.journal.entries() == []
        ours.close()


# -- the keeper ----------------------------------------------------------------


def test_what_the_keeper_holds_comes_back(path: Path) -> None:
    """Each bundle as it was put: its name, its descriptors in order, the last of a name alone."""
    store = KeeperStore(path, hold=PATIENCE)
    files = [os.memfd_create(f"file {number}") for number in range(3)]
    store.put("a", files[:2])
    store.put("b", files[2:])
    store.put("b", files[:1])
    store.put("c", files[1:2])
    store.forget("c")
    store.forget("never")
    store.close()
    again = KeeperStore(path, hold=PATIENCE)
    found = again.take()
    told = {
        bundle.name: [os.readlink(f"/proc/self/fd/{fd}") for fd in bundle.fds] for bundle in found
    }
    for bundle in found:
        bundle.close()
    for fd in files:
        os.close(fd)
    again.close()
    assert told == {
        "a": ["/memfd:file 0 (deleted)", "/memfd:file 1 (deleted)"],
        "b": ["/memfd:file 0 (deleted)"],
    }


def test_one_agent_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one is refused, with the first one's process id, as long as that lives."""
    monkeypatch.setattr("unotify.oci.stores._PATIENCE", 0.1)
    first = KeeperStore(path, hold=PATIENCE)
    with pytest.raises(PeerError, match=f"an agent is here already: process {os.getpid()}"):
        KeeperStore(path, hold=PATIENCE)
    first.close()
    KeeperStore(path, hold=PATIENCE).close()


def test_targets_do_not_wait_for_ever_for_an_agent_that_does_not_come(path: Path) -> None:
    """When its time is over the keeper ends, and its targets get ENOSYS (R4)."""
    target = under_load(1, 1)
    store = KeeperStore(path, hold=0.2)
    survival = Survival(store)
    keep(survival, target.listener)
    for listener in list(survival._names):
        listener.close()
    store.close()
    assert said(target.process) == {"wrong": ["ENOSYS"], "count": 1}
    with pytest.raises(ConnectionRefusedError):
        keeper_of(path)


def test_a_keeper_that_was_killed_is_replaced(path: Path) -> None:
    """The agent notices at its next look or its next word, and the new keeper has everything."""
    store = KeeperStore(path, hold=PATIENCE)
    with open(os.memfd_create("kept"), "rb") as file:
        store.put("a", [file.fileno()])
        for notice in (store.check, lambda: store.put("b", [file.fileno()])):
            os.kill(before := _pid(store), signal.SIGKILL)
            until(lambda: not store._is_there(), "its end")
            notice()
            assert _pid(store) != before
        store.close()
        again = KeeperStore(path, hold=PATIENCE)
        found = again.take()
    assert sorted(bundle.name for bundle in found) == ["a", "b"]
    for bundle in found:
        bundle.close()
    again.close()


def test_a_look_at_a_keeper_that_is_well_changes_nothing(path: Path) -> None:
    """It is the same connection, and takes no time: the agent's own thread looks."""
    store = KeeperStore(path, hold=PATIENCE)
    before, begun = store._socket, time.monotonic()
    for _ in range(10):
        store.check()
    assert store._socket is before
    assert time.monotonic() - begun < 1
    store.close()


def _pid(store: KeeperStore) -> int:
    assert store._socket is not None
    pid, _ = peer_of(store._socket)
    assert pid != os.getpid()
    return pid


@pytest.mark.parametrize(
    "message", [b"", b"no JSON", b"[]", b'{"do": "store", "name": 3}', b'{"do": "what"}']
)
def test_nonsense_ends_the_connection_and_not_the_keeper(path: Path, message: bytes) -> None:
    """Whoever talks so is hung up on; what is kept stays kept, and no descriptor stays behind."""
    store = KeeperStore(path, hold=PATIENCE)
    with open(os.memfd_create("kept"), "rb") as file:
        store.put("a", [file.fileno()])
        keeper = Path(f"/proc/{_pid(store)}/fd")
        store.close()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.connect(str(path))
            assert receive(sock) == ({"keeps": 1}, ())
            before = len(list(keeper.iterdir()))
            socket.send_fds(sock, [message], [file.fileno()])
            assert receive(sock) is None
        again = KeeperStore(path, hold=PATIENCE)
        assert len(list(keeper.iterdir())) == before
        for bundle in again.take():
            assert bundle.name == "a"
            bundle.close()
        again.close()


def test_the_keeper_of_another_user_is_not_trusted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither does the agent give its listeners to somebody else's process."""
    KeeperStore(path, hold=PATIENCE).close()
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    if uid == 0:
        monkeypatch.setattr("unotify.oci.bundles.peer_of", lambda sock: (1, uid + 2))
    with pytest.raises(PeerError, match=f"not as {uid + 1} or root"):
        KeeperStore(path, hold=PATIENCE)
