"""A program that was started under a filter, and what that filter got."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from unotify.abi.features import Feature
from unotify.abi.seccomp import FilterFlag
from unotify.kernel.interface.listening import Listener

__all__ = ["Enforcement", "Process", "Spawned"]


class Process(Protocol):
    """What a spawn returns: the part of :class:`subprocess.Popen` that is used above."""

    pid: int
    returncode: int | None
    args: Any

    def poll(self) -> int | None:
        """The exit status if it has ended, as in subprocess."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, as in subprocess."""

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Talk to it until its end, as in subprocess."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


@dataclass(frozen=True)
class Enforcement:
    """What an installed filter really got.

    Attributes:
        flags: The filter flags that the kernel took.
        missing: Preferred features that this kernel does not have.
        no_new_privs: Whether the target can no longer gain privileges by exec.
        instructions: Length of the program.
    """

    flags: FilterFlag
    missing: frozenset[Feature]
    no_new_privs: bool
    instructions: int


@dataclass
class Spawned:
    """A program that runs under a filter, and that filter's listener.

    Attributes:
        backlog: Notifications of the *program* that were received during the
            hand-over; serve them before anything else.
        unprivileged: We had no capability when it was started, so that in our user
            namespace it, and what it starts, can be nobody else than we are.
        program: The filter, encoded.
    """

    process: Any
    listener: Listener
    enforcement: Enforcement
    backlog: list[bytes] = field(default_factory=list)
    unprivileged: bool = False
    program: bytes = b""
