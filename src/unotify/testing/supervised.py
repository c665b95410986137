"""A supervisor on a simulated kernel, with one target that makes calls."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from unotify.calls import Call, Condition
from unotify.protocol import Continue, Fail, InstallFd, Reply, Return
from unotify.supervisor import Supervisor
from unotify.testing.facility import listening, noting, stepping
from unotify.testing.facility.traits import LATEST
from unotify.testing.kernel import SimulatedKernel
from unotify.testing.listener import Sent, SimulatedListener
from unotify.testing.target import Answer, FakeTarget
from unotify.testing.timing import simulated_time

__all__ = ["Supervised"]

H = TypeVar("H", bound=Callable[..., Any])


class Supervised:
    """An embedded supervisor, its handlers, and a target under its filter.

    All happens in the thread that calls, in the same order each time. The target starts with the
    first call, so handlers can be added until then.

    Args:
        *addons: Modules or objects with handlers, as for :meth:`Supervisor.add`.
        version: Of the simulated kernel.
        wait_killable: Whether the filter asks for WAIT_KILLABLE_RECV.
        no_new_privs: Whether the target has the bit.
        **options: As for :class:`unotify.Supervisor`: ``policy=``, ``deadline=`` and so on.

    Attributes:
        kernel: The simulated kernel.
        supervisor: The supervisor.
        reply: What the supervisor sent for the last call; ``None`` if the filter decided.

    Example:
        >>> import errno
        >>> from unotify import Fail
        >>> with Supervised() as supervised:
        ...     @supervised.on("mkdir")
        ...     def only_below_tmp(call):
        ...         if call.path.is_relative_to("/tmp"):
        ...             return call.perform()
        ...         return Fail(errno.EPERM)
        ...     print(supervised.call("mkdir", "/etc/new", 0o755))
        ...     print(supervised.call("mkdir", "/tmp/new", 0o755))
        ...     "/tmp/new/" in supervised.kernel.files
        -1 EPERM
        0
        True
    """

    def __init__(
        self,
        *addons: object,
        version: str = LATEST,
        wait_killable: bool = True,
        no_new_privs: bool = True,
        **options: Any,
    ) -> None:
        self.kernel = SimulatedKernel(version)
        self._stack = ExitStack()
        self._clock = self._stack.enter_context(simulated_time())
        self.supervisor = Supervisor(kernel=self.kernel, embedded=True, **options)
        self._stack.callback(self.supervisor.close)
        self.supervisor.add(*addons)
        self._options = {"wait_killable": wait_killable, "no_new_privs": no_new_privs}
        self._target: FakeTarget | None = None
        self.reply: Reply | None = None

    # -- handlers --------------------------------------------------------------

    def on(
        self,
        *calls: type[Call] | str,
        where: Condition | None = None,
        deadline: float | None = None,
    ) -> Callable[[H], H]:
        """Register the decorated function, as :meth:`Supervisor.on` does."""
        return self.supervisor.on(*calls, where=where, deadline=deadline)

    def add(self, *addons: object) -> None:
        """Register handlers, as :meth:`Supervisor.add` does."""
        self.supervisor.add(*addons)

    # -- the target --------------------------------------------------------------

    @property
    def target(self) -> FakeTarget:
        """The target; it starts when it is first asked for."""
        if self._target is None:
            made: list[FakeTarget] = []
            self.supervisor.popen(made.append, **self._options)
            self._target = made[0]
            self._target.task.comm = "target"
        return self._target

    @property
    def listener(self) -> SimulatedListener:
        """The listener of its filter."""
        _ = self.target
        found = next(iter(self.supervisor._readers.sources))
        assert isinstance(found, SimulatedListener)
        return found

    def start(self, call: str | int | type[Call], *args: Any, **named: Any) -> None:
        """Let the target make a call, which waits; :meth:`serve` goes on."""
        self.target.start(call, *args, **named)

    def serve(self) -> int:
        """Let the supervisor do what there is to do; how many notifications it received."""
        return self.supervisor.process_pending()

    def call(self, call: str | int | type[Call], *args: Any, **named: Any) -> Answer:
        """Let the target make a call, serve it, and return what the target got.

        Arguments are as of :meth:`FakeTarget.begin`. Afterwards `reply` is what the supervisor
        sent.

        Raises:
            TimeoutError: It was not answered: a handler holds it.
        """
        self.reply = None
        target, listener = self.target, self.listener
        before = set(listener.sent)
        target.start(call, *args, **named)
        self.serve()
        for id in listener.sent.keys() - before:
            self.reply = self.reply_to(id)
        if not target.ended and not stepping.is_free(target.task):
            note = noting.note_of(self.kernel.world, target.task)
            why = "nobody has answered it: a handler holds it" if note else "it sleeps"
            raise TimeoutError(f"the target's call has not returned: {why}")
        return target.answer()

    def reply_to(self, id: int) -> Reply | None:
        """What was sent for a notification, by its id; ``None`` if nothing was, or not yet."""
        sent = self.listener.sent.get(id)
        return None if sent is None else _reply(sent)

    def advance(self, seconds: float) -> None:
        """Let simulated time pass, for deadlines and for sleeps; then serve."""
        self._clock.advance(seconds)
        self.kernel.advance(seconds)
        self.serve()

    @property
    def pending(self) -> bool:
        """Whether a notification waits to be received."""
        return bool(self.listener.bits() & listening.IN)

    def close(self) -> None:
        """Stop the supervisor."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _reply(sent: list[Sent]) -> Reply | None:
    """What was sent as one reply: a descriptor is two steps (A14)."""
    last = sent[-1]
    if last.kind == "continue":
        return Continue()
    if last.kind == "fail":
        return Fail(last.number)
    installed = [one for one in sent if one.kind == "add-fd"]
    if installed:
        return InstallFd.of_bytes(installed[-1].content, cloexec=installed[-1].cloexec)
    return Return(last.number)
