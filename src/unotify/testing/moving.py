"""Everything moves on that can, in an order that is always the same.

Theory of operation. One lock guards one world. Whatever changes it does so under the lock, and
then lets all go on that can (`Moving.settle`): threads inside the facility, and programs,
which are Python generators that yield the calls they make. So with ``Supervisor(embedded=True)``
all happens in the caller's thread, in the same order each time; with threads, readers sleep on the
lock's condition. A *seed* makes the order of what may happen at the same time a random one, and
always the same one.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from threading import Condition, RLock

from unotify.testing.facility import natives, signals, stepping, tasks
from unotify.testing.facility.entering import enter
from unotify.testing.facility.state import CallData, Task, World
from unotify.testing.facility.traits import Trait
from unotify.testing.listener import SimulatedPoller
from unotify.testing.processes import Running

__all__ = ["Moving"]


class Moving:
    """A world, its clock, and the programs in it."""

    def __init__(self, traits: Iterable[Trait], seed: int | None) -> None:
        self.changed = Condition(RLock())
        self.world = World(traits)
        self.supervisor = tasks.boot(self.world, comm="supervisor")
        self.clock = 0.0
        self._sleepers: dict[int, float] = {}
        self._running: dict[int, Running] = {}
        self._pollers: list[SimulatedPoller] = []
        self._chance = None if seed is None else random.Random(seed)

    def settle(self) -> None:
        """Let all go on that can, until nobody can; then ring the bell. The lock is held."""
        while movable := self._movable():
            tid = self._chance.choice(movable) if self._chance else movable[0]
            task = self.world.tasks[tid]
            if tid in self._running and stepping.is_free(task):
                self._go_on(tid, task)
            else:
                stepping.advance(self.world, tid)
        self.changed.notify_all()
        for poller in self._pollers:
            poller.refresh()

    def begin(self, tid: int, call: CallData) -> None:
        """Let a thread make a call."""
        with self.changed:
            enter(self.world, self.world.tasks[tid], call)
            self.settle()

    def advance(self, seconds: float) -> None:
        """Let simulated time pass: sleeps of targets that are over by then end."""
        with self.changed:
            self.clock += seconds
            for task in list(self.world.tasks.values()):
                until = natives.sleeps_until(self.world, task)
                if until is None:
                    self._sleepers.pop(task.tid, None)
                    continue
                # A sleep is noted when time passes for the first time in it.
                due = self._sleepers.setdefault(task.tid, self.clock - seconds + until)
                if due <= self.clock:
                    del self._sleepers[task.tid]
                    stepping.wake_sleeper(self.world, task)
            self.settle()

    def kill(self, pid: int, signal: int, *, tid: int = 0) -> None:
        """Send a signal to a process, or to one of its threads."""
        with self.changed:
            process = self.world.processes.get(pid)
            if process is not None:
                signals.send_signal(self.world, process, signal, tid=tid)
                self.settle()

    def _movable(self) -> list[int]:
        found = stepping.movable(self.world)
        ready = [
            tid
            for tid in self._running
            if tid not in found
            and (task := self.world.tasks.get(tid)) is not None
            and stepping.is_free(task)
        ]
        return found + ready

    def _go_on(self, tid: int, task: Task) -> None:
        running = self._running[tid]
        answer = task.result if running.began else None
        call = running.go_on(answer)
        if call is None:
            self._running.pop(tid, None)
            tasks.end_process(self.world, self.world.process_of(task), running.code)
        else:
            enter(self.world, task, call)
