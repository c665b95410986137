"""A waiting target thread of the simulated kernel, as `unotify.kernel.interface` has it."""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from unotify.abi.types import Address, Tid
from unotify.calls.acts import Act
from unotify.calls.lookups import AT_FDCWD, Spot
from unotify.errors import BadAddress, KernelError, Refused, TargetGone
from unotify.testing import reading
from unotify.testing.facility import descriptors, memory, signals
from unotify.testing.facility.state import Task
from unotify.testing.facility.traits import Trait
from unotify.testing.performing import Outcome, located, perform
from unotify.testing.surroundings import SimulatedSurroundings

if TYPE_CHECKING:
    from unotify.testing.kernel import SimulatedKernel

__all__ = ["Outcome", "SimulatedPin", "SimulatedThread"]

_KINDS: Final = frozenset({"file", "directory", "socket", "pipe", "char", "block"})


@dataclass
class SimulatedPin:
    """What a path names, links followed."""

    text: str

    def close(self) -> None:
        """Let it go."""


class SimulatedThread:
    """A target thread; see `unotify.kernel.interface.Thread`.

    What can be performed is in `unotify.testing.performing`, and in `SimulatedKernel.acts`.
    """

    def __init__(
        self,
        kernel: SimulatedKernel,
        inner: int,
        tid: Tid,
        still_valid: Callable[[], bool],
    ) -> None:
        self.kernel = kernel
        self._inner = inner
        self._still_valid = still_valid
        self.tid = tid
        self.closed = False

    @property
    def memory(self) -> SimulatedThread:
        """Its memory."""
        return self

    @property
    def tgid(self) -> int:
        """The process it belongs to."""
        return self.task().process

    def task(self) -> Task:
        """Its record in the facility, if it still waits.

        Raises:
            TargetGone: It does not.
        """
        with self.kernel.changed:
            task = self.kernel.world.tasks.get(self._inner)
            if self.closed or task is None or not self._still_valid():
                raise TargetGone(f"thread {self.tid} does not wait any more")
            return task

    # -- memory ----------------------------------------------------------------

    def read(self, address: Address, length: int) -> bytes:
        """Read exactly *length* bytes, as process_vm_readv(2) does (M1)."""
        with self.kernel.changed:
            return reading.read(self.kernel.world.memory_of(self.task()), address, length)

    def read_string(self, address: Address, limit: int) -> bytes:
        """Read up to a NUL (M5)."""
        with self.kernel.changed:
            return reading.read_string(self.kernel.world.memory_of(self.task()), address, limit)

    def write(self, address: Address, data: bytes) -> None:
        """Write, as process_vm_writev(2) does (M8)."""
        with self.kernel.changed:
            if memory.vm_write(self.kernel.world.memory_of(self.task()), address, data) < 0:
                raise BadAddress(f"{len(data)} bytes at {address:#x}")

    # -- who it is -------------------------------------------------------------

    def fileno(self) -> int:
        """A pidfd, which nothing here can use: it has no number."""
        self.task()
        raise KernelError(errno.ENOSYS, "pidfd_open(2)", "the simulated kernel has no pidfds")

    def comm(self) -> str:
        """The thread's name."""
        return self.task().comm

    def ids(self) -> tuple[int, int]:
        """Its effective ids."""
        task = self.task()
        return task.uid, task.gid

    def started(self) -> int:
        """When its process started; ids are not reused, so the id does."""
        return self.task().process

    def exe(self) -> str:
        """The path of its program."""
        return self.kernel.world.process_of(self.task()).exe

    def cgroup(self) -> str:
        """What `SimulatedKernel.cgroup` says."""
        self.task()
        return self.kernel.cgroup

    def rights(self) -> Any:
        """Its credentials: those of an ordinary user, or of root if it is privileged."""
        from unotify.kernel.rights import Rights

        task = self.task()
        capabilities = (1 << 41) - 1 if task.privileged and not task.uid else 0
        ids = (task.uid, task.gid)
        return Rights(
            *ids, *ids, (), capabilities, capabilities, ids, ids, self.kernel.umask, True, 1
        )

    def argv(self) -> tuple[bytes, ...]:
        """The path of its program alone."""
        return (self.exe().encode(),)

    def namespaces(self) -> dict[str, int]:
        """The one kind that there is."""
        return {"pid": self.kernel.world.process_of(self.task()).active}

    def directory(self, name: str) -> str:
        """Both are the root."""
        self.task()
        return "/"

    def fd_kind(self, fd: int) -> str:
        """What its descriptor is open on."""
        file = descriptors.file_at(self.kernel.world, self.task(), fd)
        if file is None:
            return "none"
        if file.name.endswith("/"):
            return "directory"
        kind = "file" if file.kind == "path" else file.kind
        return kind if kind in _KINDS else "anon"

    def fd_path(self, fd: int) -> str:
        """As /proc says."""
        return descriptors.link(self.kernel.world, self.task(), fd)

    def fd_flags(self, fd: int) -> int:
        """O_CLOEXEC or nothing; -1 if it is not open."""
        task = self.task()
        for number, _, cloexec in self.kernel.world.tables[task.table].fds:
            if number == fd:
                return 0o2000000 if cloexec else 0
        return -1

    def around(self, container: str | None) -> SimulatedSurroundings:
        """What surrounds it."""
        return SimulatedSurroundings(self, container)

    def kill(self) -> None:
        """Send SIGKILL to its process."""
        self.kernel.kill(self.task().process, signals.SIGKILL)

    def steal_fd(self, fd: int) -> int:
        """A real descriptor with the content of the target's one; its process's table (P7)."""
        world = self.kernel.world
        if not world.has(Trait.PIDFD_GETFD):
            raise KernelError(errno.ENOSYS, "pidfd_getfd(2)")
        task = self.task()
        owner = task if world.has(Trait.PIDFD_THREAD) else world.tasks[task.process]
        file = descriptors.file_at(world, owner, fd)
        if file is None:
            raise KernelError(errno.EBADF, "pidfd_getfd(2)")
        return self.kernel.real(file.name, file.content, file.inode)

    # -- acting ----------------------------------------------------------------

    def defer(self) -> None:
        """Here it costs nothing to ask at once."""

    def forget(self) -> None:
        """Nothing was put off."""

    def pin(self, spot: Spot) -> SimulatedPin:
        """What *spot* names."""
        self.task()
        return SimulatedPin(self._path(spot))

    def _path(self, spot: Spot) -> str:
        """As far as there is something by that path, without links; the rest as it stands."""
        world, task, links = self.kernel.world, self.task(), self.kernel.links
        path = spot.path.decode("utf-8", "surrogateescape")
        try:
            return located(world, task, spot, links).path
        except Refused as refused:
            if (not path and not spot.empty) or refused.errno in (errno.EBADF, errno.ELOOP):
                raise
        start = "/" if spot.dirfd == AT_FDCWD else self.fd_path(spot.dirfd)
        found = posixpath.normpath(posixpath.join(start, path))
        return links.get(found, found)

    def act(self, act: Act, pins: Mapping[str, Any]) -> Outcome:
        """Do *act* on the files of the simulated kernel.

        Raises:
            NotExpressible: Nobody has told what this act does here.
        """
        self.task()
        special = self.kernel.acts.get(act.name)
        if special is not None:
            return special(self, act, pins)
        with self.kernel.changed:
            names = {name: pin.text for name, pin in pins.items()}
            return perform(self.kernel, self.task(), act, names)

    def close(self) -> None:
        """Free it."""
        self.closed = True
