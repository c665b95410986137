"""Random histories: whatever targets and supervisors do, both kernels show the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.scenarios.language import Seen
from tests.scenarios.real import RealStage
from tests.scenarios.real_waiting import until
from tests.scenarios.simulated import SimulatedStage
from unotify.abi.seccomp import FilterFlag
from unotify.testing.facility import noting, signals, stepping

LONG = bool(os.environ.get("UNOTIFY_TEST_LONG"))
THREADS = ("a", "b", "c")
USR1 = signals.SIGUSR1
REPLIES = ((3, 0, 0), (0, -13, 0), (0, 0, 1), (1, 0, 1), (0, 0, 2), (-5, 0, 0), (0, 7, 0))
GIFTS = ({}, {"flags": 2}, {"flags": 1, "newfd": 40}, {"newfd": 5}, {"source": "path"})


class Histories(RuleBasedStateMachine):
    """The same moves on both kernels, and the same to be seen after each."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = (SimulatedStage(), RealStage())
        self.workers: list[Any] = []
        self.listeners: list[Any] = []
        self.held: list[Any] = []
        """The same listeners, in another process."""
        self.places: list[dict[str, int]] = []
        self.first: list[int] = []
        self.ids: list[int] = []
        """Known ids, counted from the first."""
        self.asked: set[str] = set()
        self.closed = False

    @initialize(killable=st.booleans(), restart=st.booleans())
    def begin(self, killable: bool, restart: bool) -> None:
        """A worker with three threads on each."""
        flags = FilterFlag.WAIT_KILLABLE_RECV if killable else 0
        for stage in self.stages:
            worker, listener = stage.supervised("getppid", "dup", flags=flags)
            worker.handle(USR1, restart=restart)
            for name in THREADS:
                worker.thread(name)
            self.places.append(
                {"good": worker.text(b"text"), "hidden": worker.pages(b"text", 0), "nowhere": 16}
            )
            self.workers.append(worker)
            self.listeners.append(listener)
            self.held.append(stage.worker().holds(listener))

    # -- moves -----------------------------------------------------------------

    @precondition(lambda self: len(self.asked) < len(THREADS))
    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        """A free thread makes a call."""
        name = data.draw(st.sampled_from([name for name in THREADS if name not in self.asked]))
        for worker in self.workers:
            worker.call("getppid", 1, thread=name)
        self.asked.add(name)
        self.look()

    @precondition(lambda self: self.pends("IN"))
    @rule()
    def receive(self) -> None:
        """Receive the oldest."""
        seen: list[Seen] = [listener.receive() for listener in self.listeners]
        if not self.first:
            self.first = [one.id for one in seen]
        ids = [(one.id - first) % 2**64 for one, first in zip(seen, self.first, strict=True)]
        assert ids[0] == ids[1]
        assert self.who(0, seen[0].pid) == self.who(1, seen[1].pid)
        # What is in the other registers nobody has said.
        assert (seen[0].nr, seen[0].args[0]) == (seen[1].nr, seen[1].args[0])
        self.ids.append(ids[0])
        self.look()

    @precondition(lambda self: self.stale())
    @rule()
    def receive_nothing(self) -> None:
        """N8: a wake-up whose notification has died."""
        assert [listener.recv() for listener in self.listeners] == ["ENOENT", "ENOENT"]
        self.look()

    @precondition(lambda self: self.ids and not self.closed)
    @rule(data=st.data(), reply=st.sampled_from(REPLIES))
    def send(self, data: st.DataObject, reply: tuple[int, int, int]) -> None:
        """Answer an id that was seen, waiting or not."""
        id = data.draw(st.sampled_from(self.ids))
        found = [
            listener.send((id + first) % 2**64, *reply)
            for listener, first in zip(self.listeners, self.first, strict=True)
        ]
        assert found[0] == found[1]
        self.look()

    @precondition(lambda self: self.ids and not self.closed)
    @rule(data=st.data(), gift=st.sampled_from(GIFTS))
    def give(self, data: st.DataObject, gift: dict[str, Any]) -> None:
        """Give a descriptor for an id that was seen."""
        id = data.draw(st.sampled_from(self.ids))
        before = [set(worker.fds()) for worker in self.workers]
        found = [
            listener.addfd((id + first) % 2**64, **gift)
            for listener, first in zip(self.listeners, self.first, strict=True)
        ]
        if isinstance(found[0], str) or gift.get("newfd"):
            assert found[0] == found[1]
        else:
            # Each has the lowest that was free.
            assert found == [min(set(range(99)) - fds) for fds in before]
            for worker, fd in zip(self.workers, found, strict=True):
                assert worker.fds()[fd] == "/etc/hostname"
        self.look()

    @precondition(lambda self: self.asked and not self.closed)
    @rule(data=st.data())
    def signal(self, data: st.DataObject) -> None:
        """A signal to a thread that waits."""
        name = data.draw(st.sampled_from(sorted(self.asked)))
        for worker in self.workers:
            worker.kill(USR1, thread=name)
        self.look()

    # Who of several comes back first, nobody has said.
    @precondition(lambda self: len(self.asked) == 1 and not self.closed)
    @rule()
    def stop(self) -> None:
        """A stop, and its end: whoever may be disturbed calls again (I4, I8)."""
        for worker in self.workers:
            worker.kill(signals.SIGSTOP)
        disturbed = [
            name for name in sorted(self.asked) if self.workers[0].state(thread=name) == "T"
        ]
        for name in disturbed:
            self.workers[1].becomes("T", thread=name)
        for worker in self.workers:
            worker.kill(signals.SIGCONT)
        self.look()

    @precondition(lambda self: self.asked and not self.closed)
    @rule(address=st.sampled_from(("good", "hidden", "nowhere")))
    def look_into(self, address: str) -> None:
        """Read a target's memory."""
        found = []
        for stage, worker, places in zip(self.stages, self.workers, self.places, strict=True):
            found.append(stage.look(worker, places[address], 4))
        assert found[0] == found[1]

    @precondition(lambda self: self.ids and not self.closed)
    @rule(data=st.data(), reply=st.sampled_from(REPLIES))
    def send_by_another(self, data: st.DataObject, reply: tuple[int, int, int]) -> None:
        """Another process, which has a copy of the listener, answers."""
        id = data.draw(st.sampled_from(self.ids))
        found = [
            held.send((id + first) % 2**64, *reply)
            for held, first in zip(self.held, self.first, strict=True)
        ]
        assert found[0] == found[1]
        self.look()

    @precondition(lambda self: self.workers and not self.closed)
    @rule(go=st.integers(0, 9))
    def close(self, go: int) -> None:
        """Once in a while the last close."""
        if not go:
            self.closed = True
            for listener in (*self.held, *self.listeners):
                listener.close()
            self.look()

    # -- what is seen ------------------------------------------------------------

    def pends(self, bit: str) -> bool:
        """Whether poll says so, on the simulated one: `look` has compared."""
        return bool(self.listeners) and not self.closed and bit in self.listeners[0].poll()

    def stale(self) -> bool:
        """Whether RECV would find nothing, at once."""
        if not self.listeners or self.closed or self.pends("IN"):
            return False
        world = self.stages[0].world
        return any(filter.requests for filter in world.filters.values())

    def who(self, at: int, tid: int) -> str:
        """Which thread has that id."""
        return {number: name for name, number in self.workers[at]._tids.items()}[tid]

    def look(self) -> None:
        """Compare all that can be seen, as soon as the running kernel has come to rest."""
        simulated, real = self.workers
        world = self.stages[0].world
        for name in sorted(self.asked):
            task = simulated.task(name)
            if noting.note_of(world, task) is not None:
                until(lambda n=name, t=task: pending(real, n) == (USR1 in t.pending), "a signal")
                real.waiting(name)
        for name in sorted(self.asked):
            if stepping.is_free(simulated.task(name)):
                ours, theirs = simulated.answer(thread=name), real.answer(thread=name)
                if ours.errno or theirs.errno or not self.own(ours.ret):
                    assert ours == theirs or self.fd_pair(ours.ret, theirs.ret), name
                self.asked.discard(name)
        if self.closed:
            return
        expected = self.listeners[0].poll()
        self.listeners[1].until(*expected)
        for id in self.ids:
            found = [
                listener.valid((id + first) % 2**64)
                for listener, first in zip(self.listeners, self.first, strict=True)
            ]
            assert found[0] == found[1]

    def own(self, ret: int) -> bool:
        """Whether it may be a continued getppid, whose result is each one's own."""
        return ret == self.stages[0].supervisor.tid

    def fd_pair(self, ours: int, theirs: int) -> bool:
        """Whether both are descriptors that ADDFD_FLAG_SEND has put there."""
        fds = [worker.fds() for worker in self.workers]
        return [fds[at].get(fd) for at, fd in enumerate((ours, theirs))] == ["/etc/hostname"] * 2

    def teardown(self) -> None:
        """The end: whoever still waits gets ENOSYS on both."""
        try:
            if self.workers and not self.closed:
                self.closed = True
                for listener in (*self.held, *self.listeners):
                    listener.close()
                self.look()
                assert not self.asked
        finally:
            self.stages[1].close()


def pending(worker: Any, name: str) -> bool:
    """Whether the signal waits for that thread."""
    status = Path(f"/proc/{worker.pid}/task/{worker._tids[name]}/status").read_text()
    return bool(int(status.partition("SigPnd:")[2].split()[0], 16) >> (USR1 - 1) & 1)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=500 if LONG else 25,
    stateful_step_count=25,
    deadline=None,
    database=None,  # where it runs as somebody else it cannot be written
    suppress_health_check=list(HealthCheck),
)
