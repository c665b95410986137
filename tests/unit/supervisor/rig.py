"""A supervisor over a fake kernel, and a target that makes calls."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tests.unit.supervisor.fake_kernel import FakeKernel, FakeListener, Pending, until
from unotify.protocol import PlainReply
from unotify.supervisor import Supervisor

__all__ = ["Rig", "is_open"]


class Rig:
    """A supervisor over a fake kernel, and a target to make calls."""

    def __init__(self, embedded: bool) -> None:
        self.embedded = embedded
        self.kernel = FakeKernel()
        self.listener: FakeListener = self.kernel.listener()
        self.supervisors: list[Supervisor] = []

    def supervise(self, **options: Any) -> Supervisor:
        """Make the supervisor."""
        options.setdefault("embedded", self.embedded)
        self.supervisors.append(Supervisor(kernel=self.kernel, **options))
        return self.supervisors[-1]

    @property
    def supervisor(self) -> Supervisor:
        """The one that was made last."""
        return self.supervisors[-1]

    def attach(self, *, wait_killable: bool = False) -> None:
        """Let it serve the listener."""
        if self.listener not in self.supervisor._readers.sources:
            self.supervisor.attach(self.listener, wait_killable=wait_killable)

    def notify(self, call: str | int, *args: int, **options: Any) -> Pending:
        """A target makes a call; it is served at once where there are no threads."""
        self.attach()
        pending = self.listener.notify(call, *args, **options)
        if self.embedded:
            self.supervisor.process_pending()
        return pending

    def ask(self, call: str | int, *args: int, **options: Any) -> PlainReply:
        """A target makes a call and gets its answer."""
        return self.notify(call, *args, **options).answer()

    def settled(self, condition: Callable[[], object]) -> None:
        """Wait until what follows an answer has been done too."""
        until(condition)

    def close(self) -> None:
        """Stop, and see to it that nothing is left over."""
        for supervisor in self.supervisors:
            supervisor.close()
        for supervisor in self.supervisors:
            until(lambda: not supervisor._readers.count)  # noqa: B023 - called at once
        until(lambda: all(thread.closed for thread in self.kernel.threads))
        until(lambda: all(poller.closed for poller in self.kernel.pollers))
        assert all(listener.closed for listener in self.kernel.listeners if listener.sent)


def is_open(fd: int) -> bool:
    """Whether *fd* is open here."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
