"""What an agent on a simulated kernel needs: a store inside the facility, and containers."""

from __future__ import annotations

from collections.abc import Sequence

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.abi.tables import number
from unotify.bpf import compile_filter
from unotify.oci.bundles import Bundle
from unotify.oci.process_state import ProcessState
from unotify.testing import FakeTarget, SimulatedKernel
from unotify.testing.facility import descriptors
from unotify.testing.listener import SimulatedListener


class SimulatedStore:
    """Keeps copies of descriptors inside the facility, as a keeper does.

    Attributes:
        broken: Whether it refuses all that it is asked.
        told: What it was asked, in order.
    """

    def __init__(self, kernel: SimulatedKernel) -> None:
        self.kernel = kernel
        self.kept: dict[str, tuple[int, ...]] = {}
        self.broken = False
        self.told: list[str] = []

    def _copy(self, fd: int) -> int:
        file = descriptors.file_at(self.kernel.world, self.kernel.supervisor, fd)
        assert file is not None
        return self.kernel.place(file)

    def put(self, name: str, fds: Sequence[int]) -> None:
        """Keep copies of *fds*."""
        self.told.append("put")
        if self.broken:
            raise ConnectionResetError("the store is broken")
        self.kept[name] = tuple(self._copy(fd) for fd in fds)

    def forget(self, name: str) -> None:
        """Keep *name* no more."""
        self.told.append("forget")
        if self.broken:
            raise ConnectionResetError("the store is broken")
        with self.kernel.changed:
            for fd in self.kept.pop(name, ()):
                descriptors.close(self.kernel.world, self.kernel.supervisor, fd)
            self.kernel.settle()

    def take(self) -> list[Bundle]:
        """Copies of all that is kept, the last descriptor first."""
        self.told.append("take")
        return [
            Bundle(name, tuple(self._copy(fd) for fd in reversed(fds)))
            for name, fds in self.kept.items()
        ]

    def check(self) -> None:
        """It is there."""

    def close(self) -> None:
        """It keeps what it has."""
        self.told.append("close")


def container(kernel: SimulatedKernel, *calls: str) -> tuple[FakeTarget, SimulatedListener]:
    """A target whose *calls* are notified, and its listener."""
    numbers = [number(call, Arch.X86_64) for call in calls]
    program = compile_filter(
        {Arch.X86_64: {nr: int(Action.USER_NOTIF) for nr in numbers if nr is not None}},
        default=Action.ALLOW,
    )
    return kernel.target(program)


def creating(id: str) -> ProcessState:
    """What a runtime says of a container that it creates."""
    return ProcessState(id, status="creating")
