"""What surrounds a simulated target: one container, the supervisor's namespaces, no cgroups."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from unotify.abi.capabilities import Capability
from unotify.errors import Refused
from unotify.testing.facility import tasks

if TYPE_CHECKING:
    from unotify.testing.thread import SimulatedThread

__all__ = ["SimulatedSurroundings"]

T = TypeVar("T")


class SimulatedSurroundings:
    """As `unotify.kernel.surroundings.Surroundings`, for one target thread."""

    def __init__(self, thread: SimulatedThread, container: str | None = "") -> None:
        self._thread = thread
        self._container = container or "user:[1]"

    def may(self, capability: Capability) -> bool:
        """Whether it has *capability*: all of them if it is privileged, or none."""
        return bool(self._thread.rights().effective >> capability & 1)

    def require(self, capability: Capability) -> None:
        """Raise `Refused`, EPERM, unless it has *capability*."""
        if not self.may(capability):
            raise Refused(f"it has no {capability.name} in its container", errno=errno.EPERM)

    def container(self) -> str:
        """The user namespace of its container."""
        return self._container

    def shares(self, kind: str) -> bool:
        """Whether its namespace is the supervisor's: all but those of pids always are."""
        task, kernel = self._thread.task(), self._thread.kernel
        mine = kernel.world.process_of(kernel.supervisor).active
        return kind != "pid" or kernel.world.process_of(task).active == mine

    def within(self, kind: str, work: Callable[[], T]) -> T:
        """Return ``work()``: there is nowhere else to be."""
        self._thread.task()
        return work()

    def thread_of(self, pid: int) -> int:
        """The thread that it calls *pid*, by its number for the supervisor; 0 is itself.

        Raises:
            Refused: ESRCH: there is none that it can see.
        """
        task, kernel = self._thread.task(), self._thread.kernel
        if pid == 0:
            return int(self._thread.tid)
        found = tasks.find(kernel.world, task, pid)
        if found is None:
            raise Refused(f"no process {pid}", errno=errno.ESRCH)
        return tasks.number_for(kernel.world, found, kernel.supervisor)

    def init(self) -> int:
        """The first process of its pid namespace, by its number for the supervisor."""
        return self.thread_of(1)

    def cgroups(self) -> dict[str, str]:
        """It is in the root of the unified hierarchy."""
        self._thread.task()
        return {"": "/"}

    def cgroup_root(self) -> str:
        """Its cgroup namespace is the supervisor's."""
        return "/"

    def has_mount(self, fd: int) -> bool:
        """There is one mount."""
        return True

    def watches(self, fd: int) -> bool:
        """There is no epoll."""
        return False
