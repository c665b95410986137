"""A call that waits for somebody other than its handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unotify.protocol import Continue

if TYPE_CHECKING:
    from unotify.calls import Call
    from unotify.protocol import Reply
    from unotify.supervisor.holding import Holding

__all__ = ["Held"]


class Held:
    """Returned by a handler instead of a reply: the answer comes later, from anywhere.

    The handler's thread is free at once, other targets go on, and the held
    target waits until :meth:`release` or until its deadline, which answers it
    with the supervisor's fault reply. Made by :meth:`unotify.Supervisor.hold`.

    Attributes:
        call: The call that is held.
        deadline: Seconds until it is answered anyway, or ``None``.
    """

    __slots__ = ("_early", "_engine", "_settled", "call", "deadline", "gate")

    def __init__(self, call: Call, deadline: float | None, engine: Holding) -> None:
        self.call = call
        self.deadline = deadline
        self._engine = engine
        self._settled = False
        self._early: Callable[[], object] | None = None
        self.gate: Callable[[Continue], bool] | None = None
        """For the supervisor: false if others are to be asked before the call may go on."""

    def release(self, reply: Reply) -> bool:
        """Answer it; thread-safe, also before the handler has returned it.

        Returns:
            False if nobody waits any more: the target has gone, the deadline
            has passed, or it was released before.

        Raises:
            LocalProtocolError: *reply* is not allowed for this call; the call
                stays held.
        """
        return self._do(lambda: self._release(reply))

    def pass_on(self) -> bool:
        """Not mine after all: ask the handlers that were registered later."""
        return self._do(lambda: self._engine.pass_on(self))

    def fail(self, error: BaseException) -> bool:
        """Answer with what *error* stands for, as if the handler had raised it."""
        return self._do(lambda: self._engine.fail(self, error))

    def _release(self, reply: Reply) -> bool:
        if isinstance(reply, Continue) and self.gate is not None and not self.gate(reply):
            return self._engine.pass_on(self)
        return self._engine.release(self, reply)

    def _do(self, act: Callable[[], bool]) -> bool:
        with self._engine.lock:
            if not self._settled:
                # The handler has not returned yet: remembered until it has.
                first, self._early = self._early is None, self._early or act
                return first
        return act()

    def settle(self) -> None:
        """The engine holds it now: do what was asked for too early."""
        with self._engine.lock:
            self._settled = True
            early = self._early
        if early is not None:
            early()

    def __repr__(self) -> str:
        return f"<Held {self.call!r}>"
