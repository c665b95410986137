"""What the supervisor knows of a call that waits, for the policy to ask."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

from unotify.calls import Call
from unotify.calls.lookups import spot_of
from unotify.supervisor.counters import Counters

__all__ = ["CallFacts"]

T = TypeVar("T")


class CallFacts:
    """Implements :class:`unotify.policy.conditions.Facts` for one call.

    Each thing is looked at when it is first asked for, and once: a policy decides about
    one state of the caller. What another thread can change marks the call, so that it
    is not let go by accident (C2).

    Args:
        call: The call.
        counters: Those of the supervisor.
        clock: Seconds; only goes forward.
        chance: A number from 0 up to, not including, 1.
    """

    def __init__(
        self,
        call: Call,
        counters: Counters,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.call: Final = call
        self._counters = counters
        self.now = clock
        self.random = chance
        self._known: dict[Hashable, Any] = {}
        self.policy = 0
        """Which of several policies asks now: each has counters of its own."""

    @property
    def uid(self) -> int:
        """The caller's effective user id, as the supervisor's user namespace numbers it."""
        return self._once("uid", lambda: int(self.call.caller.uid))

    @property
    def gid(self) -> int:
        """The caller's effective group id."""
        return self._once("gid", lambda: int(self.call.caller.gid))

    @property
    def pid(self) -> int:
        """The process (thread group)."""
        return self._once("pid", lambda: int(self.call.caller.pid))

    @property
    def tid(self) -> int:
        """The thread."""
        return int(self.call.exchange.tid)

    @property
    def comm(self) -> str:
        """The thread's name."""
        return self._once("comm", lambda: str(self.call.caller.comm))

    @property
    def exe(self) -> str:
        """The path of the program it runs."""
        return self._once("exe", lambda: str(self.call.caller.exe))

    @property
    def cgroup(self) -> str:
        """Its path in the unified hierarchy."""
        return self._once("cgroup", lambda: str(self.call.caller.cgroup))

    def resolved(self, argument: str) -> str:
        """What the path argument names, symlinks and ``..`` followed, seen from its root."""
        self.call.exchange.memory_read = True

        def look() -> str:
            found: str = self.call.caller.pin(argument, spot_of(self.call, argument))
            return found

        return self._once(("resolved", argument), look)

    def fd_kind(self, fd: int) -> str:
        """One of file, directory, socket, pipe, char, block, anon, none."""
        self.call.exchange.memory_read = True
        return self._once(("fd_kind", fd), lambda: str(self.call.caller.fd_kind(fd)))

    def fd_path(self, fd: int) -> str:
        """What ``/proc/PID/fd/N`` links to; empty if it is not open."""
        self.call.exchange.memory_read = True
        return self._once(("fd_path", fd), lambda: str(self.call.caller.fd_path(fd)))

    def count(self, key: str, scope: str) -> int:
        """Count one more call for *key* in ``process``, ``program`` or ``rule``; the new count."""
        return self._counters.count(scope, (self.policy, key, self._whose(scope)))

    def take(self, key: str, scope: str, rate: float, burst: float) -> bool:
        """Whether a token is left in the bucket of *key* that fills *rate* times a second."""
        return self._counters.take(
            scope, (self.policy, key, self._whose(scope)), rate, burst, self.now()
        )

    def _whose(self, scope: str) -> Hashable:
        match scope:
            case "process":
                # With its start: a number alone may be that of an earlier process.
                return self._once("process", lambda: (self.pid, int(self.call.caller.started)))
            case "program":
                return self.exe
            case _:
                return None

    def _once(self, key: Hashable, look: Callable[[], T]) -> T:
        if key not in self._known:
            self._known[key] = look()
        found: T = self._known[key]
        return found
