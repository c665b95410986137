"""The stage of scenarios on the simulated kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tests.scenarios.simulated_listener import SimulatedLater, SimulatedListener
from tests.scenarios.simulated_memory import SimulatedMemory, read_now
from tests.scenarios.simulated_tracer import SimulatedTracer
from tests.scenarios.simulated_words import name_of
from tests.scenarios.simulated_worker import SimulatedWorker
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action, FilterFlag
from unotify.abi.tables import number
from unotify.testing.facility import (
    descriptors,
    looking,
    stepping,
    tasks,
)
from unotify.testing.facility.state import Task, World
from unotify.testing.facility.traits import LATEST, VERSIONS, Trait

__all__ = ["SimulatedStage"]


class SimulatedStage:
    """A simulated kernel."""

    real = False

    def __init__(self, traits: Iterable[Trait] = VERSIONS[LATEST]) -> None:
        self.world = World(traits)
        self.world.disk["/bin/true"] = b""
        self.world.disk["/etc/hostname"] = b"here\n"
        self.world.disk["/etc/passwd"] = b"root\n"
        self.supervisor = tasks.boot(self.world, comm="supervisor")
        self.file = descriptors.new_file(self.world, "file", "/etc/hostname")
        self.file.content = self.world.disk["/etc/hostname"]
        self.source = descriptors.install(self.world, self.supervisor, self.file.key)
        self.repeating: list[SimulatedWorker] = []
        self.starving: set[int] = set()

    def settle(self) -> None:
        """Let all go on that can; alarms ring before anybody goes on."""
        for worker in self.repeating:
            worker.ring()
        while True:
            while tids := [tid for tid in stepping.movable(self.world) if tid not in self.starving]:
                stepping.advance(self.world, tids[0])
            gone_on = [worker.go_on() for worker in tuple(self.repeating)]
            if not any(gone_on):
                return

    def worker(self) -> SimulatedWorker:
        """A new process."""
        task = tasks.fork(self.world, self.supervisor)
        # It has executed a program.
        for fd, _, cloexec in self.world.tables[task.table].fds:
            if cloexec:
                descriptors.close(self.world, task, fd)
        return SimulatedWorker(self, task)

    def take(self, worker: SimulatedWorker, fd: int) -> SimulatedListener:
        """As pidfd_getfd(2) does it."""
        file = descriptors.file_at(self.world, worker.task(), fd)
        assert file is not None
        own = descriptors.install(self.world, self.supervisor, file.key, cloexec=True)
        worker.close(fd)
        return SimulatedListener(self, own)

    def supervised(self, *names: str, flags: int = 0) -> tuple[SimulatedWorker, SimulatedListener]:
        """A worker whose calls are notified."""
        worker = self.worker()
        fd = worker.install(
            dict.fromkeys(names, int(Action.USER_NOTIF)), flags | FilterFlag.NEW_LISTENER
        )
        assert isinstance(fd, int), fd
        return worker, self.take(worker, fd)

    def nr(self, name: str, *, compat: bool = False) -> int:
        """A call's number."""
        found = number(name, Arch.I386 if compat else Arch.X86_64)
        assert found is not None
        return found

    def open_pidfd(self, tid: int, flags: int = 0) -> str:
        """pidfd_open(2)."""
        return name_of(tasks.open_pidfd(self.world, self.supervisor, tid, flags))

    def audit(self, *, compat: bool = False) -> int:
        """The number of the architecture."""
        return (Arch.I386 if compat else Arch.X86_64).audit

    def look(
        self, worker: SimulatedWorker, address: int, length: int, *, thread: str = ""
    ) -> bytes | str:
        """process_vm_readv(2)."""
        tid = worker._tids[thread]
        found: bytes | str = read_now(self, self.supervisor, tid, address, length)
        return found

    def look_later(self, worker: SimulatedWorker, address: int, length: int) -> SimulatedLater:
        """The same by a thread of its own."""
        task = self.helper()
        looking.begin_read(self.world, task, worker.pid, address, length)
        return SimulatedLater(self, task, lambda: (task.received or (b"",))[0])

    def memory(self, worker: SimulatedWorker) -> SimulatedMemory:
        """/proc/TID/mem."""
        return SimulatedMemory(self, worker.pid)

    def take_fd(
        self, worker: SimulatedWorker, fd: int, *, thread: str = "", whole: bool = False
    ) -> str:
        """pidfd_getfd(2)."""
        tid = worker._tids[thread]
        own = looking.take_fd(self.world, self.supervisor, tid, fd, of_thread=not whole)
        return name_of(own) or descriptors.link(self.world, self.supervisor, own)

    def same_file(self, worker: SimulatedWorker, fd: int) -> bool:
        """kcmp(2)."""
        task = self.supervisor
        return looking.same_file(self.world, task, self.source, worker.task(), fd)

    def audited(self, worker: SimulatedWorker) -> int:
        """As the kernel has logged."""
        count = sum(tid == worker.pid for tid, _, _ in self.world.audit)
        self.world.audit = ()
        return count

    @contextmanager
    def starved(self, worker: SimulatedWorker) -> Iterator[None]:
        """It makes no step."""
        self.starving |= {task.tid for task in self.world.threads(worker.pid)}
        yield
        self.starving.clear()
        self.settle()

    def trace(self, worker: SimulatedWorker, *traces: str) -> SimulatedTracer:
        """PTRACE_SEIZE."""
        return SimulatedTracer(self, worker, *traces)

    def offset(self) -> int:
        """Of the file."""
        return self.file.offset

    def close(self) -> None:
        """Nothing is left."""

    def helper(self) -> Task:
        """Another thread of the supervisor's."""
        return tasks.new_thread(self.world, self.supervisor)
