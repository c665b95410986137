"""Listeners that are served, and calls that somebody else than their handler may answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from unotify.calls import Call
from unotify.kernel.interface import Kernel, Listener
from unotify.protocol import Exchange, ListenerProtocol
from unotify.supervisor.quotas import Quota
from unotify.supervisor.router import Step
from unotify.supervisor.target import Target

__all__ = ["Source", "Watch", "Work"]


class Source:
    """One listener, what is under way on it, and the buffer it is received into."""

    __slots__ = (
        "buffer",
        "container",
        "kernel",
        "leaving",
        "listener",
        "on_close",
        "open_target",
        "ours",
        "program",
        "protocol",
        "quiet",
        "quota",
        "response",
    )

    def __init__(
        self,
        listener: Listener,
        kernel: Kernel,
        *,
        quiet: bool = False,
        container: str | None = "",
        on_close: Callable[[Listener], None] | None = None,
        quota: Quota | None = None,
        ours: bool = False,
        program: bytes = b"",
    ) -> None:
        self.listener = listener
        self.kernel = kernel
        self.quiet = quiet
        """Whether only death ends a call once it was received (WAIT_KILLABLE_RECV)."""
        self.container = container
        """The user namespace that its programs began in; empty: unknown, None: ours."""
        self.on_close = on_close
        self.quota = quota
        self.leaving = False
        self.ours = ours
        """Whether we started its programs, and had no capability then."""
        self.program = program
        """Its filter, encoded; empty: not known."""
        self.protocol = ListenerProtocol()
        self.buffer = bytearray(listener.sizes.notif)
        self.response = bytearray(listener.sizes.response)
        """The leader's; answers that others give have a buffer of their own."""
        self.open_target = self._target

    def _target(self, exchange: Exchange) -> Target:
        """The thread behind *exchange*."""
        return Target(
            exchange, self.kernel, self.listener, quiet=self.quiet, container=self.container
        )


Work: TypeAlias = tuple[Source, Exchange]


@dataclass(slots=True)
class Watch:
    """A call that is answered by somebody else than its handler's thread, if need be.

    Attributes:
        due: When, in perf_counter_ns; -1 for never.
        rest: Handlers to ask if a hold turns out to be nobody's business.
    """

    source: Source
    call: Call
    handler: str
    started: int
    due: int = -1
    rest: tuple[Step, ...] = ()
