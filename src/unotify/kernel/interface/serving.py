"""Answering without Python what rules decide in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple, Protocol

from unotify.kernel.interface.listening import Listener

__all__ = [
    "ASK",
    "CONTINUE",
    "MAKE",
    "OUTCOMES",
    "PERFORM",
    "RETURN",
    "Came",
    "Making",
    "Origin",
    "Server",
    "Shortcut",
    "Tally",
]

ASK: Final = 0
"""The verdict of a `Shortcut`: not decided here."""
PERFORM: Final = 1
"""Perform this open."""
CONTINUE: Final = 2
"""Let the call go on, which counts as racy if the path was read."""
MAKE: Final = 3
"""Make this device node: see `Making`."""
RETURN: Final = 4
"""Give this value."""

OUTCOMES: Final = ("answered", "failed", "continued", "installed", "gone")
"""What may come of a call: a value, an errno, on it went, a descriptor, nobody waited."""


class Came(IntEnum):
    """Why a `Server` came back."""

    LOOK = 0
    """Something else is ready: wait as usual."""
    YOURS = 1
    """A notification was received that takes more; it is in `Server.received`."""
    TAKEN = 2
    """A notification was received and taken away by `Server.take`: serve what it was made."""
    LOST = 3
    """It was answered; but somebody else waits for the listeners by now. If it was taken away by
    `Server.take` it was acted for already, and what it was made is over."""
    FULL = 4
    """It can count no more before `Server.tallies` was asked; then serve again."""


class Origin(IntFlag):
    """What is known of all targets of one listener."""

    OURS = 1
    """We started them while we had no capability: see `Spawned`."""
    STAYS = 2
    """Their filter lets none of them leave the user namespace and the root directory that it has
    (`unotify.policy.staying`), so where one of them is there are all."""
    HOME = 4
    """The user namespace that they began in, which is that of their container, is our own."""


@dataclass(frozen=True, slots=True)
class Making:
    """Which device nodes are made for a target, by whom, and where.

    The node gets the target's ids and umask, and is removed again if nobody takes the answer.

    Attributes:
        devices: ``S_IFCHR`` or ``S_IFBLK``, the first and the last major number, and the first and
            the last minor number; what is not among them is not decided here.
        needed: Capabilities that the target has to have in its container, as a bit set.
        lent: Those of the supervisor that are lent for this call.
        refused: ``ST_*`` flags (statvfs(3)) of mounts that this is not for.
    """

    devices: tuple[tuple[int, tuple[int, int], tuple[int, int]], ...]
    needed: int
    lent: int
    refused: int


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A rule about one call of the kernel's own architecture, in the plainest words.

    Attributes:
        nr: The call's number.
        verdict: `ASK`, `PERFORM`, `CONTINUE`, `MAKE`, `RETURN`, or a negative errno.
        program: A filter that allows if the rule is about these registers; empty for any.
        tests: Of the path: whether it has to lie below one of the texts or be one; whether
            that is to be false; the texts.
        path: Which argument the path is; likewise *dirfd*, *flags*, *mode* and *dev*.
        making: What `MAKE` is about.
        value: What `RETURN` gives, 0 to 2**63 - 1.
    """

    nr: int
    verdict: int
    program: bytes = b""
    tests: tuple[tuple[bool, bool, tuple[bytes, ...]], ...] = ()
    path: int = 0
    dirfd: int | None = None
    flags: int = 0
    mode: int = 0
    dev: int = 0
    making: Making | None = None
    value: int = 0


class Tally(NamedTuple):
    """How often one thing came of one call.

    Attributes:
        listener: Whose target made it.
        nr: The call's number.
        outcome: One of `OUTCOMES`.
        bits: The bit length of the microseconds that each took.
        times: How often.
        nanoseconds: What they took together.
    """

    listener: Listener
    nr: int
    outcome: str
    bits: int
    times: int
    nanoseconds: int


class Server(Protocol):
    """Answers notifications by shortcuts, without Python.

    One thread serves; the other methods may be called by any.
    """

    def serve(self) -> int:
        """Wait for listeners, and answer until something takes more: see `Came`."""

    def add(self, listener: Listener, origin: Origin) -> bool:
        """Receive from *listener* too, of whose targets *origin* is known.

        Returns:
            False: it is of a kind that wants to be asked itself.
        """

    def drop(self, listener: Listener) -> None:
        """Receive from *listener* no more; by who serves, or when nobody does."""

    def hold(self, listener: Listener, held: bool) -> None:
        """Whether `serve` comes back for *listener*, and receives nothing from it."""

    def received(self) -> tuple[Listener, bytearray] | None:
        """The listener and the notification that came last; ``None`` if it was dropped."""

    def whose(self) -> Listener | None:
        """Where the notification came from that came last; as `received`, which takes it over."""

    def take(self) -> int:
        """Take away what is under way; a `Came`.

        Returns:
            TAKEN: a notification without an answer, which nobody but the caller knows of.
            LOST: one that is being answered. Either way `serve` comes back after it.
            LOOK: nothing is.
        """

    def since(self) -> int:
        """Since when it is busy with one notification, as perf_counter_ns; 0: it is not."""

    def doze(self, dozing: bool) -> None:
        """Whether the next notification is to ring."""

    def retire(self) -> None:
        """Answer nothing more: the rules have changed."""

    def counts(self) -> tuple[int, int, list[int]]:
        """Targets that were gone; racy continues; answers by bit length of their microseconds."""

    def tallies(self) -> list[Tally]:
        """What was answered since this was asked last, or targets gone; by one thread at a time.

        Nothing, if nobody wanted it when the server was made.
        """

    def close(self) -> None:
        """Free what it keeps; it serves no more, and has no tallies."""
