"""A listener of the simulated kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.scenarios.language import Seen
from tests.scenarios.simulated_words import name_of, seen, value_of
from unotify.testing.facility import (
    descriptors,
    giving,
    listeners,
    listening,
)
from unotify.testing.facility.state import Task

if TYPE_CHECKING:
    from tests.scenarios.simulated import SimulatedStage

__all__ = ["SimulatedLater", "SimulatedListener"]


class SimulatedLater:
    """An ioctl that sleeps."""

    def __init__(
        self, stage: SimulatedStage, task: Task, value: Callable[[], Any] | None = None
    ) -> None:
        self.stage, self.task, self.value = stage, task, value

    def sleeps(self) -> None:
        """It does."""
        self.stage.settle()
        assert self.task.doing

    def result(self) -> Any:
        """What came."""
        self.stage.settle()
        assert self.task.result is not None, "it sleeps"
        failed = name_of(self.task.result)
        if self.value is not None:
            return failed or self.value()
        return failed or (seen(self.task) if self.task.received else "")


class SimulatedListener:
    """The supervisor's end."""

    def __init__(
        self, stage: SimulatedStage, fd: int, task: Task | None = None, *, compat: bool = False
    ) -> None:
        self.stage, self.world, self.fd = stage, stage.world, fd
        self.task = task or stage.supervisor
        self.arrivals = 0
        self.known = not compat or listeners.compat_ioctls_are_the_same()

    def receive(self) -> Seen:
        """The oldest."""
        assert "IN" in self.poll(), "nothing pends"
        found = self.recv()
        if found == "ENOENT" and self.stage.repeating:
            return self.receive()
        assert isinstance(found, Seen)
        return found

    def recv(self, buffer: str = "clean") -> Seen | str:
        """RECV that does not sleep."""
        assert self.known
        listening.begin_receive(self.world, self.task, self.fd, listening.Buffer(buffer))
        self.stage.settle()
        assert self.task.result is not None, "RECV sleeps"
        return name_of(self.task.result) or seen(self.task)

    def recv_later(self) -> SimulatedLater:
        """RECV that sleeps."""
        task = self.stage.helper() if self.task is self.stage.supervisor else self.task
        listening.begin_receive(self.world, task, self.fd)
        return SimulatedLater(self.stage, task)

    def addfd_later(self, id: int, **options: Any) -> SimulatedLater:
        """ADDFD that sleeps."""
        task = self.stage.helper() if self.task is self.stage.supervisor else self.task
        giving.begin_give(self.world, task, self.fd, id, self.source, **options)
        return SimulatedLater(self.stage, task, lambda: task.result)

    @property
    def source(self) -> int:
        """What is given as *file*: of a worker its descriptor 0."""
        return self.stage.source if self.task is self.stage.supervisor else 0

    def send(self, id: int, value: int = 0, error: int = 0, flags: int = 0) -> str:
        """SEND."""
        done = listening.send(self.world, self.task, self.fd, id, value, error, flags)
        self.stage.settle()
        return name_of(done)

    def send_nothing(self) -> str:
        """SEND of a bad pointer."""
        return name_of(listening.send(self.world, self.task, self.fd, 0, readable=False))

    def valid(self, id: int, *, old: bool = False) -> str:
        """ID_VALID."""
        number = 0x80082102 if old else 0x40082102
        if listeners.ioctl_number(self.world, number) != "valid":
            return "EINVAL"
        return name_of(listening.is_valid(self.world, self.task, self.fd, id))

    def addfd(self, id: int, *, source: str = "file", **options: Any) -> int | str:
        """ADDFD."""
        world, task = self.world, self.task
        made = -1
        if source == "path":
            path = descriptors.new_file(world, "path", "/etc/hostname")
            made = descriptors.install(world, task, path.key)
        fd = {"file": self.source, "path": made, "closed": 999, "listener": self.fd}[source]
        giving.begin_give(world, task, self.fd, id, fd, **options)
        self.stage.settle()
        assert task.result is not None
        if made >= 0:
            descriptors.close(world, task, made)
        return value_of(task.result)

    def set_flags(self, flags: int) -> str:
        """SET_FLAGS."""
        return name_of(listening.set_flags(self.world, self.task, self.fd, flags))

    def other(self, number: int) -> str:
        """An ioctl on zeros."""
        which = listeners.ioctl_number(self.world, number)
        if not which:
            return "EINVAL"
        if which == "addfd":
            size = number >> 16 & 0x3FFF
            found = self.addfd(0, size=size)
            return found if isinstance(found, str) else ""
        return self.valid(0) if which == "valid" else ""

    def plain(self, operation: str) -> str:
        """No ioctl."""
        return name_of(descriptors.listener_operation(self.world, self.task, self.fd, operation))

    def link(self) -> str:
        """As /proc says."""
        return descriptors.link(self.world, self.task, self.fd)

    def cloexec(self) -> bool:
        """The flag of the descriptor."""
        return {fd: flag for fd, _, flag in self.world.tables[self.task.table].fds}[self.fd]

    def poll(self) -> set[str]:
        """The bits."""
        self.stage.settle()
        bits = listening.poll(self.world, self.task, self.fd)
        assert bits >= 0
        return {name for name, bit in (("IN", 1), ("OUT", 4), ("HUP", 16)) if bits & bit}

    def edges(self) -> int:
        """Events since the last look."""
        file = descriptors.file_at(self.world, self.task, self.fd)
        assert file is not None
        filter = self.world.filters[file.filter]
        found = listening.edge(self.world, filter, self.arrivals)
        self.arrivals = filter.arrivals
        return int(found)

    def until(self, *bits: str) -> None:
        """They are so at once."""
        assert set(bits) == self.poll()

    def copy(self) -> SimulatedListener:
        """dup(2)."""
        return SimulatedListener(self.stage, descriptors.copy(self.world, self.task, self.fd))

    def close(self) -> None:
        """Close it."""
        descriptors.close(self.world, self.task, self.fd)
        self.stage.settle()
