"""Listeners whose calls under way outlive their supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from unotify.kernel.interface.listening import Listener

__all__ = ["Journal", "Journaled"]


class Journal(Protocol):
    """What a supervisor has received and not answered, in memory that outlives it."""

    record: bytes
    """What is said of the listener, for a successor."""

    def fileno(self) -> int:
        """Its descriptor, for who keeps a copy; -1 once closed."""


class Journaled(Listener, Protocol):
    """A listener whose calls under way are in a `Journal`.

    Copies of its descriptor and of the journal's are to be kept by somebody else before anything
    is received; a successor makes the same of them (`Kernel.revive`).
    """

    @property
    def journal(self) -> Journal:
        """The journal."""

    def note(self, notification: bytes) -> None:
        """Write down what somebody else has received, and is to be answered here."""

    def recover(self) -> tuple[list[bytes], list[bytes]]:
        """What a predecessor left: to be served again, and what several have died of."""

    def try_again(self, notifications: Sequence[bytes]) -> None:
        """Note that *notifications* are about to be served again."""

    def refuse(self, notification: bytes, number: int) -> bool:
        """Answer *notification* with the errno *number*; False if nobody waits for it."""
