"""Of the stage on the simulated kernel: workers that supervise, tracers, looks into memory."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from unotify.abi.arch import Arch
from unotify.abi.tables import number
from unotify.testing.facility import descriptors, entering, looking, tracing
from unotify.testing.facility.state import CallData, Task

if TYPE_CHECKING:
    from tests.scenarios.simulated import SimulatedStage, SimulatedWorker

__all__ = ["SimulatedMemory", "SimulatedTracer", "look", "read_now"]


def name_of(result: int) -> str:
    """The name of a negative errno, or "" for a success."""
    return "" if result >= 0 else errno.errorcode[-result]


def read_now(stage: SimulatedStage, reader: Task, tid: int, address: int, length: int) -> Any:
    """process_vm_readv(2) that does not sleep."""
    looking.begin_read(stage.world, reader, tid, address, length)
    assert reader.result is not None, "it sleeps"
    return name_of(reader.result) or (reader.received or (b"",))[0]


def look(
    stage: SimulatedStage, reader: Task, other: SimulatedWorker, address: int, length: int, way: str
) -> bytes | str:
    """One worker into another."""
    world = stage.world
    if way == "vm":
        found: bytes | str = read_now(stage, reader, other.pid, address, length)
        return found
    if way == "fd":
        fd = looking.take_fd(world, reader, other.pid, address, of_thread=False)
        return name_of(fd)
    fd = looking.open_mem(world, reader, other.pid)
    if fd < 0:
        return name_of(fd)
    data = looking.read_mem(world, reader, fd, address, length)
    descriptors.close(world, reader, fd)
    return name_of(data) if isinstance(data, int) else data


class SimulatedMemory:
    """``/proc/TID/mem``, open."""

    def __init__(self, stage: SimulatedStage, tid: int) -> None:
        self.world, self.task = stage.world, stage.supervisor
        self.fd = looking.open_mem(self.world, self.task, tid)
        assert self.fd >= 0

    def read(self, address: int, length: int) -> bytes | str:
        """pread(2)."""
        found = looking.read_mem(self.world, self.task, self.fd, address, length)
        return name_of(found) if isinstance(found, int) else found

    def write(self, address: int, data: bytes) -> int | str:
        """pwrite(2)."""
        found = looking.write_mem(self.world, self.task, self.fd, address, data)
        return name_of(found) or found


class SimulatedTracer:
    """What the supervisor does by ptrace(2)."""

    def __init__(self, stage: SimulatedStage, worker: SimulatedWorker, *traces: str) -> None:
        self.stage, self.world, self.worker = stage, stage.world, worker
        assert tracing.attach(self.world, stage.supervisor, worker.task(), *traces) == 0

    def wait(self, call: str = "") -> int:
        """It has stopped at once."""
        task = self.worker.task()
        assert task.doing[0] == "traced", task.doing
        if call:
            assert task.call is not None
            assert (task.doing[1], task.call.nr) == ("entry", self.stage.nr(call))
            return 0
        assert task.doing[1] == "filter"
        return int(task.doing[2])

    def interrupt(self) -> None:
        """PTRACE_INTERRUPT."""
        tracing.interrupt(self.worker.task())
        self.stage.settle()
        assert self.worker.task().doing[:2] == ("traced", "interrupt")

    def quiet(self) -> bool:
        """Whether there is no stop."""
        self.stage.settle()
        return self.worker.task().doing[:1] != ("traced",)

    def go_on(self, call: str = "", *args: int, value: int | None = None) -> None:
        """Let it go on."""
        changed: CallData | None = None
        if value is not None:
            changed = CallData(-1, self.stage.audit())
        elif call:
            found = number(call, Arch.X86_64)
            assert found is not None
            changed = CallData(found, self.stage.audit(), (*args, *(0,) * (6 - len(args))))
        self.worker.task().traces -= {tracing.ENTRIES}
        entering.resume(self.world, self.worker.task(), changed, value=value or 0)
        self.stage.settle()

    def metadata(self, offset: int) -> int | str:
        """The flags of a filter."""
        found = tracing.metadata(self.world, self.stage.supervisor, self.worker.task(), offset)
        return name_of(found) or found

    def detach(self) -> None:
        """PTRACE_DETACH."""
        if self.quiet():
            self.interrupt()
        tracing.detach(self.worker.task())
        entering.resume(self.world, self.worker.task())
        self.stage.settle()
