"""Looks into the memory of processes of the simulated kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.scenarios.simulated_words import name_of
from unotify.testing.facility import descriptors, looking
from unotify.testing.facility.state import Task

if TYPE_CHECKING:
    from tests.scenarios.simulated import SimulatedStage
    from tests.scenarios.simulated_worker import SimulatedWorker

__all__ = ["SimulatedMemory", "look", "read_now"]


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
