"""Small supervisors on the facility, move by move, for exploring all orders.

`World.extra` holds what the supervisor remembers, as a `Notes`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action, FilterFlag
from unotify.abi.tables import number
from unotify.bpf import compile_filter
from unotify.testing.exploring import Move, steps
from unotify.testing.facility import descriptors, giving, installing, listening, signals, tasks
from unotify.testing.facility.state import CallData, Task, World
from unotify.testing.facility.traits import VERSIONS, Trait

__all__ = ["Handover", "Life", "Notes"]

GETPPID = number("getppid", Arch.X86_64)
assert GETPPID is not None


class Notes(NamedTuple):
    """What the supervisor knows, and what may still happen to it.

    Attributes:
        received: ``(reader, id, thread, token)`` of what is received and not answered.
        accepted: ``(id, thread, token)`` of answers that the kernel took.
        budget: How often each trouble may still come, by name.
        phase: Where a hand-over is.
    """

    received: tuple[tuple[int, int, int, int], ...] = ()
    accepted: tuple[tuple[int, int, int], ...] = ()
    budget: tuple[tuple[str, int], ...] = ()
    phase: str = ""

    def spend(self, name: str) -> Notes:
        """One less."""
        return self._replace(budget=tuple((key, left - (key == name)) for key, left in self.budget))


def token(tid: int, turn: int) -> int:
    """The only right answer to one call of one thread."""
    return 1000 * tid + turn + 1


@dataclass(frozen=True)
class Life:
    """Two targets, and a supervisor with reading threads.

    Attributes:
        traits: Of the kernel.
        killable: Whether the filter has WAIT_KILLABLE_RECV.
        restart: Whether the targets' handlers have SA_RESTART.
        calls: How many calls each target makes.
        readers: How many threads receive.
        answer: ``plain``, ``send-fd`` (ADDFD_FLAG_SEND) or ``two-step``.
        trouble: What may happen, and how often: ``signal``, ``kill``, ``stop`` for targets,
            ``nudge`` (a signal to a reader), ``end`` (of the whole supervisor).
    """

    traits: frozenset[Trait] = VERSIONS["6.18"]
    killable: bool = False
    restart: bool = True
    targets: int = 2
    calls: int = 1
    readers: int = 2
    answer: str = "plain"
    trouble: tuple[tuple[str, int], ...] = (("signal", 1), ("kill", 1), ("end", 1))

    def world(self) -> World:
        """The beginning."""
        world = World(self.traits, first_id=1)
        supervisor = tasks.boot(world, comm="supervisor")
        first = tasks.fork(world, supervisor)
        flags = FilterFlag.NEW_LISTENER
        if self.killable:
            flags |= FilterFlag.WAIT_KILLABLE_RECV
        program = compile_filter(
            {Arch.X86_64: {GETPPID: int(Action.USER_NOTIF)}}, default=Action.ALLOW
        )
        fd = installing.add_filter(world, first, program, int(flags))
        assert fd >= 0
        file = descriptors.file_at(world, first, fd)
        assert file is not None
        descriptors.put(world, supervisor, 3, file.key, cloexec=True)
        descriptors.close(world, first, fd)
        source = descriptors.new_file(world, "file", "given")
        descriptors.put(world, supervisor, 4, source.key)
        for target in [first, *(tasks.fork(world, first) for _ in range(self.targets - 1))]:
            target.comm, target.scripted = "target", True
            kind = "restart" if self.restart else "handle"
            signals.set_action(world.processes[target.tid], signals.SIGUSR1, kind)
            target.script = tuple(
                CallData(GETPPID, Arch.X86_64.audit, (token(target.tid, turn), 0, 0, 0, 0, 0))
                for turn in range(self.calls)
            )
        for _ in range(self.readers - 1):
            tasks.new_thread(world, supervisor)
        signals.set_action(world.processes[supervisor.tid], signals.SIGUSR1, "handle")
        world.extra = Notes(budget=self.trouble)
        return world

    # -- who is who ----------------------------------------------------------

    def targets_of(self, world: World) -> list[Task]:
        """The targets that are there."""
        return [task for task in world.tasks.values() if task.comm == "target"]

    def readers_of(self, world: World) -> list[Task]:
        """The readers that live."""
        return [
            task for task in world.tasks.values() if task.comm == "supervisor" and not task.dead
        ]

    # -- what can happen -----------------------------------------------------

    def moves(self, world: World) -> Iterable[Move]:
        """All that can happen next."""
        found = steps(world)
        for reader in self.readers_of(world):
            if not reader.doing and not signals.fatal(reader):
                found += self.reader_moves(world, reader)
        if any(not done(target) for target in self.targets_of(world)):
            found += self.troubles(world)
        return found

    def reader_moves(self, world: World, reader: Task) -> list[Move]:
        """What a reader does next."""
        notes: Notes = world.extra
        tid = reader.tid
        if reader.received is not None:
            return [(f"reader {tid} looks at it", lambda other: self.look(other, tid))]
        mine = [row for row in notes.received if row[0] == tid]
        if not mine:
            return [(f"reader {tid} receives", lambda other: self.begin(other, tid))]
        return [(f"reader {tid} answers", lambda other: self.reply(other, tid, mine[0]))]

    def begin(self, world: World, tid: int) -> None:
        """RECV."""
        listening.begin_receive(world, world.tasks[tid], 3)

    def look(self, world: World, tid: int) -> None:
        """Note what came."""
        reader = world.tasks[tid]
        assert reader.received is not None
        id, thread, _, _, _, args, _ = reader.received
        reader.received = None
        notes: Notes = world.extra
        world.extra = notes._replace(received=(*notes.received, (tid, id, thread, args[0])))

    def reply(self, world: World, tid: int, row: tuple[int, int, int, int]) -> None:
        """SEND, or ADDFD."""
        _, id, thread, word = row
        reader = world.tasks[tid]
        notes: Notes = world.extra
        if self.answer == "send-fd":
            if reader.result is not None and reader.call is None:
                # Begun before? The mark is the call, which readers do not make otherwise.
                reader.call = CallData(0, 0)
                giving.begin_give(world, reader, 3, id, 4, flags=2)
                return
            reader.call = None
            if reader.result == -errno.EINTR:
                return  # it is tried again
            taken = (reader.result or 0) >= 0
        else:
            word = word * 100 + id  # so that one answer is told from another
            taken = listening.send(world, reader, 3, id, word) == 0
        accepted = (*notes.accepted, (id, thread, word)) if taken else notes.accepted
        others = tuple(one for one in notes.received if one != row)
        world.extra = notes._replace(received=others, accepted=accepted)

    def troubles(self, world: World) -> list[Move]:
        """What may go wrong."""
        found: list[Move] = []
        for name, left in world.extra.budget:
            if left:
                found += self.trouble_of(world, name)
        return found

    def trouble_of(self, world: World, name: str) -> list[Move]:
        """One kind of it, for each whom it can come to."""
        numbers = {"signal": signals.SIGUSR1, "kill": signals.SIGKILL, "stop": signals.SIGSTOP}
        found: list[Move] = []
        if name in numbers:
            for target in self.targets_of(world):
                process = world.processes[target.process]
                if done(target) or process.stopped:
                    continue
                found.append(
                    (f"{name} to {target.tid}", _send(target.process, numbers[name], name))
                )
            return found
        if name == "cont":
            return [
                (f"cont to {target.tid}", _send(target.process, signals.SIGCONT, name))
                for target in self.targets_of(world)
                if world.processes[target.process].stopped
            ]
        if name == "nudge":
            return [
                (f"nudge to reader {reader.tid}", _nudge(reader.tid))
                for reader in self.readers_of(world)
                if reader.doing and not reader.pending
            ]
        if name == "end" and (readers := self.readers_of(world)):
            return [("the supervisor is killed", _send(readers[0].process, signals.SIGKILL, name))]
        return found

    # -- what must hold ------------------------------------------------------

    def always(self, world: World) -> None:
        """No answer is doubled or misdirected."""
        notes: Notes = world.extra
        ids = [id for id, _, _ in notes.accepted]
        assert len(ids) == len(set(ids)), "an id was answered twice"
        for target in self.targets_of(world):
            for turn, value in enumerate(target.history):
                right = {-errno.ENOSYS}
                if self.answer == "plain":
                    right |= {word for _, tid, word in notes.accepted if tid == target.tid}
                    if value > 0:
                        assert value // 100 == token(target.tid, turn), f"{value} is another call's"
                if not self.restart:
                    right.add(-errno.EINTR)
                if self.answer != "plain":
                    fds = (
                        {fd for fd, _, _ in world.tables[target.table].fds}
                        if not target.dead
                        else set()
                    )
                    right = {-errno.ENOSYS, -errno.EINTR, *fds}
                assert value in right, f"target {target.tid} got {value}, not one of {right}"

    def at_end(self, world: World) -> None:
        """Nobody hangs; what was taken has arrived."""
        readers = self.readers_of(world)
        for target in self.targets_of(world):
            stopped = world.processes[target.process].stopped
            assert done(target) or stopped, f"target {target.tid} hangs with {len(readers)} readers"
            if readers:
                assert -errno.ENOSYS not in target.history, "ENOSYS though a supervisor lives"

    def nothing_is_lost(self, world: World) -> None:
        """Each answer that the kernel took is what the target got, unless it died."""
        for _, thread, word in world.extra.accepted:
            target = world.tasks.get(thread)
            if target is not None and not target.dead and done(target):
                assert word in target.history, f"the answer to {thread} is lost"


def done(target: Task) -> bool:
    """Whether it has made its calls, or is dead."""
    return target.dead or (not target.script and target.result is not None and not target.doing)


def _send(pid: int, number: int, name: str) -> Callable[[World], None]:
    def make(world: World) -> None:
        signals.send_signal(world, world.processes[pid], number)
        world.extra = world.extra.spend(name)

    return make


def _nudge(tid: int) -> Callable[[World], None]:
    def make(world: World) -> None:
        signals.send_signal(world, world.process_of(world.tasks[tid]), signals.SIGUSR1, tid=tid)
        world.extra = world.extra.spend("nudge")

    return make


@dataclass(frozen=True)
class Handover(Life):
    """A listener goes from one supervisor to its successor, with what is under way.

    The old one stops receiving, tells the successor of all that it has received and not answered
    and passes the listener in the same message, closes its own, and ends. Either may be killed at
    any time.

    Attributes:
        careless: The old one goes on receiving after it has told.
    """

    careless: bool = False
    readers: int = 1
    trouble: tuple[tuple[str, int], ...] = (("signal", 1), ("kill", 1), ("old", 1))

    def world(self) -> World:
        """The beginning, with the successor there."""
        world = replace(self).beginning()
        old = next(task for task in world.tasks.values() if task.comm == "supervisor")
        left, right = descriptors.socketpair(world, old)
        new = tasks.fork(world, old)
        new.comm = "successor"
        for fd in (3, 4, left):
            descriptors.close(world, new, fd)
        descriptors.put(world, new, 6, _file(world, new, right))
        descriptors.put(world, old, 5, _file(world, old, left))
        for task, keep in ((old, 5), (new, 6)):
            for fd in (left, right):
                if fd != keep:
                    descriptors.close(world, task, fd)
        world.extra = world.extra._replace(phase="old")
        return world

    def beginning(self) -> World:
        """As without a successor."""
        return Life.world(self)

    def readers_of(self, world: World) -> list[Task]:
        """Both, if they live."""
        return [
            task
            for task in world.tasks.values()
            if task.comm in ("supervisor", "successor") and not task.dead
        ]

    def reader_moves(self, world: World, reader: Task) -> list[Move]:
        """What one of them does next."""
        notes: Notes = world.extra
        tid = reader.tid
        if reader.comm == "successor":
            if descriptors.file_at(world, reader, 3) is None:
                end = descriptors.file_at(world, reader, 6)
                if end is not None and end.queue:
                    return [("the successor takes the listener", lambda other: _take(other, tid))]
                return []
            return super().reader_moves(world, reader)
        found: list[Move] = []
        receives = notes.phase == "old" or (self.careless and notes.phase == "told")
        if receives or reader.received is not None:
            found += super().reader_moves(world, reader)
        if reader.received is None and notes.phase == "old":
            found.append(
                ("the old one tells all and passes the listener", lambda other: _tell(other, tid))
            )
        elif notes.phase == "told" and reader.received is None:
            found.append(("the old one ends", lambda other: _end(other, tid)))
        return found

    def trouble_of(self, world: World, name: str) -> list[Move]:
        """The old one may be killed too."""
        if name == "old":
            return [
                ("the old one is killed", _send(task.process, signals.SIGKILL, name))
                for task in self.readers_of(world)
                if task.comm == "supervisor" and not signals.fatal(task)
            ]
        return super().trouble_of(world, name)

    def at_end(self, world: World) -> None:
        """Nobody hangs while a supervisor lives that has the listener, or none does."""
        for target in self.targets_of(world):
            assert done(target), f"target {target.tid} hangs"


def _file(world: World, task: Task, fd: int) -> int:
    file = descriptors.file_at(world, task, fd)
    assert file is not None
    return file.key


def _tell(world: World, tid: int) -> None:
    old = world.tasks[tid]
    notes: Notes = world.extra
    successor = next(
        (t for t in world.tasks.values() if t.comm == "successor" and not t.dead), None
    )
    if successor is None or descriptors.pass_on(world, old, 5, 3) < 0:
        return
    # One message has both: what is under way is the successor's from now on.
    handed = tuple((successor.tid, *row[1:]) for row in notes.received)
    world.extra = notes._replace(received=handed, phase="told")


def _take(world: World, tid: int) -> None:
    new = world.tasks[tid]
    fd = descriptors.take_in(world, new, 6)
    descriptors.put(world, new, 3, _file(world, new, fd))
    if fd != 3:
        descriptors.close(world, new, fd)


def _end(world: World, tid: int) -> None:
    world.extra = world.extra._replace(phase="new")
    tasks.end_process(world, world.process_of(world.tasks[tid]), 0)
