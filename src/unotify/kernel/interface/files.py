"""What a running kernel has besides: files and processes of targets that can be looked at.

A simulated thread need have none of it; whoever asks looks first, with `isinstance`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from unotify.calls.lookups import Spot
from unotify.kernel.interface.threads import Pinned
from unotify.kernel.lives import Life

__all__ = ["Entering", "Held", "Lookable", "Looking"]


class Held(Pinned, Protocol):
    """What a path names, as descriptors of a running kernel."""

    @property
    def fd(self) -> int:
        """An O_PATH descriptor of it, or of the directory that `name` is in."""

    @property
    def name(self) -> bytes:
        """A last name that does not exist or is not looked at; empty if it is `fd` itself."""

    def require_reached(self) -> None:
        """Raise :exc:`Refused`, EACCES, if only our rights led there."""


class Lookable(Held, Protocol):
    """What is held, and can be looked at."""

    def look(self, *, flags: int = 0, mask: int = 0) -> bytes:
        """``struct statx`` of it; raises :exc:`Refused`, ENOENT, if it is a mere name."""

    def named(self) -> Pinned | None:
        """Hold what the name stands for now, links not followed; ``None``: nothing."""

    def is_stacked(self) -> bool:
        """Whether it lies on an overlay: there another inode may come to stand for it."""

    def handle(self) -> bytes:
        """A name of the inode that no later one has; empty without one."""


@runtime_checkable
class Looking(Protocol):
    """A thread whose files and processes can be looked at; a simulated one need not have any."""

    def defer(self) -> None:
        """As of `Thread`."""

    def settle(self) -> None:
        """Ask now for all that was looked at since `defer`; raises :exc:`TargetGone`."""

    def forget(self) -> None:
        """As of `Thread`."""

    def look(self, spot: Spot, *, flags: int = 0, mask: int = 0) -> bytes:
        """``struct statx`` of what *spot* names, all of one thing; who asks settles afterwards.

        Raises:
            Refused: The kernel would refuse it too; has its errno.
        """

    def look_at_fd(self, fd: int) -> bytes:
        """``struct statx`` of a descriptor of our own."""

    def life(self) -> Life:
        """Its process, and whose child that is."""

    def life_of(self, pid: int) -> Life | None:
        """Another process, such as its parent: whose number *pid* is now; ``None``: nobody's."""

    def children_of(self, pid: int) -> list[int]:
        """The children of process *pid* that live."""


@runtime_checkable
class Entering(Protocol):
    """A thread whose namespaces can be entered; one of a simulated kernel need not have any."""

    def open_namespace(self, kind: str) -> int:
        """A descriptor of its namespace *kind*, which is the caller's."""
