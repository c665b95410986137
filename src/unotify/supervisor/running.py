"""Listeners in, answers out: what runs from the first listener to the end.

The engine decides, the readers receive, the deadlines answer in place of who takes too long. Here
they are put together, and taken apart in an order in which nobody is left without an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from unotify.abi.seccomp import ListenerFlag
from unotify.calls import Call
from unotify.errors import Conflict, Unsupported
from unotify.kernel.interface import Listener, Shortcut
from unotify.supervisor.answering import FixedReply
from unotify.supervisor.deadlines import Deadlines
from unotify.supervisor.engine import Engine
from unotify.supervisor.holds import Held
from unotify.supervisor.instruments import Instrument
from unotify.supervisor.performing import VERBS
from unotify.supervisor.quotas import Quota
from unotify.supervisor.readers import Readers
from unotify.supervisor.registering import Registering
from unotify.supervisor.router import require_seconds
from unotify.supervisor.sources import Source
from unotify.supervisor.statistics import Statistics

if TYPE_CHECKING:
    from unotify.supervisor.judging import Judgement

__all__ = ["Running"]


class Running(Registering):
    """What a :class:`unotify.Supervisor` serves, for how long, and who may watch.

    Args:
        unhandled: The reply when no handler took a call.
        fault_reply: The reply when a handler fails.
        deadline: Seconds that any handler may take.
        readers: The most threads that handle calls at the same time.
        embedded: Start no threads.
        **registering: As for `Registering`.
    """

    def __init__(
        self,
        *,
        unhandled: FixedReply,
        fault_reply: FixedReply,
        deadline: float | None,
        readers: int,
        embedded: bool,
        **registering: Any,
    ) -> None:
        require_seconds(deadline)
        if readers < 2:
            raise Conflict("readers= is at least 2: one leads and one stands by")
        super().__init__(unhandled=unhandled, **registering)
        self._engine = Engine(
            self._router, unhandled=unhandled, fault_reply=fault_reply, deadline=deadline
        )
        self._embedded = embedded
        self._readers = Readers(self.kernel, self._engine, most=readers)
        self._engine.on_spare = self._spare
        self._deadlines = Deadlines(self._engine, threaded=not embedded)
        self._idle = Event()
        self._idle.set()
        self._readers.on_drained = self._idle.set
        self._readers.quick.shortcuts = self._shortcuts
        self._closed = False

    # -- listeners -----------------------------------------------------------

    def attach(
        self,
        listener: Listener,
        *,
        wait_killable: bool = False,
        container: str = "",
        on_close: Callable[[Listener], None] | None = None,
        quota: Quota | None = None,
        backlog: Iterable[bytes] = (),
    ) -> None:
        """Supervise whoever is behind *listener*; it belongs to the supervisor from now on.

        For listeners from a container runtime or another process. What this
        supervisor has no handler for gets *unhandled*.

        Args:
            listener: The listener.
            wait_killable: Its filter was installed with WAIT_KILLABLE_RECV, which cannot be
                asked of it: then answers may be written to the target's memory (M8).
            container: The user namespace that its programs begin in, as
                ``unotify.kernel.surroundings.user_namespace_of(pid)`` tells: a capability counts
                for handlers if it is one in there. If nobody tells it is the owner of the
                outermost pid namespace below the supervisor's own, if the supervisor's user made
                it; so tell it of containers that share the host's pid namespace.
            on_close: Called when the supervisor has closed it: its last target has gone, or the
                supervisor stops. In a thread of the supervisor, which waits for it.
            quota: How many of its calls may be in flight; listeners may share one.
            backlog: Notifications that somebody else has received and not answered; they are
                served before any other.

        Raises:
            Conflict: It belongs to a filter of this very process, which would
                have to wait for itself.
            PolicyError: As of :meth:`check`.
        """
        self._require_open()
        if getattr(listener, "own_filter", False):
            raise Conflict(
                "this listener's filter is on this process: a supervisor cannot be its own target",
                hint="start the target as another process, or supervise from one started before",
            )
        self.check()
        source = Source(
            listener,
            self.kernel,
            quiet=wait_killable,
            container=container,
            on_close=on_close,
            quota=quota,
        )
        self._serve(source, list(backlog))

    def release(self, listener: Listener, then: Callable[[Listener], None]) -> None:
        """Let go of *listener*, for another supervisor to attach it.

        Nothing is received from it any more; targets wait for whoever attaches it next. It is let
        go when none of its calls is in flight: those are still answered here.

        Args:
            listener: It; not closed.
            then: Called with it when it was let go, in a thread of this supervisor, which waits for
                it. Not if the supervisor stops before, which closes it.

        Raises:
            Conflict: It is not attached here.
        """
        source = self._readers.sources.get(listener)
        if source is None:
            raise Conflict(f"{listener!r} is not attached to this supervisor")
        self._readers.admission.release(source, then)

    def _serve(self, source: Source, backlog: list[bytes]) -> None:
        with suppress(Unsupported):  # only a scheduling hint (W3)
            source.listener.set_flags(ListenerFlag.SYNC_WAKE_UP)
        self._idle.clear()
        pending = [self._engine.admit(source, notification) for notification in backlog]
        self._readers.add(
            source, [exchange for exchange in pending if exchange], threads=not self._embedded
        )

    def _spare(self, source: Source, exchange: Any) -> None:
        if self._embedded:
            self._engine.serve(source, exchange)
        else:
            self._readers.spare(source, exchange)

    # -- running -------------------------------------------------------------

    def hold(self, call: Call, *, deadline: float | None = None) -> Held:
        """Make what a handler returns to answer *call* later, from anywhere.

        Args:
            call: The call that the handler was asked about.
            deadline: Seconds until it gets the fault reply anyway; without it
                the handler's own deadline holds.

        Raises:
            Conflict: *deadline* is no time span.
            TargetGone: The call is answered already.
        """
        return self._engine.hold(call, deadline)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no supervised task is left, background ones included, or :meth:`stop`.

        Returns:
            False if *timeout* seconds passed before.
        """
        return self._idle.wait(timeout)

    def fileno(self) -> int:
        """A descriptor that is readable while :meth:`process_pending` has work."""
        return self._readers.fileno()

    def process_pending(self) -> int:
        """Receive and serve what pends, in this thread, without waiting for more.

        Returns:
            How many notifications were received.
        """
        if not self._embedded:
            raise Conflict("process_pending() is for Supervisor(embedded=True)")
        served = self._readers.process_pending()
        self._deadlines.expire()
        return served

    # -- watching ------------------------------------------------------------

    def add_instrument(self, instrument: Instrument) -> None:
        """Show *instrument* what happens from now on."""
        self.settle_counts()
        self._engine.instruments.add(instrument)
        self._changed()

    def remove_instrument(self, instrument: Instrument) -> None:
        """Show it no more."""
        self.settle_counts()
        self._engine.instruments.remove(instrument)
        self._changed()

    def settle_counts(self) -> None:
        """Tell instruments what was answered without Python so far: see `Instrument.counted`.

        In this thread, or in another one that is about it, which is waited for. So hold no lock
        that `Instrument.counted` takes. Of calls whose answers are on their way it is told later.
        """
        self._readers.quick.settle()

    def statistics(self) -> Statistics:
        """What has been done so far."""
        readers = self._readers
        return self._engine.statistics(
            readers.quick.counters(),
            listeners=len(readers.sources),
            readers=readers.count,
            in_flight=readers.in_flight,
        )

    def _changed(self) -> None:
        self._readers.quick.retire()

    def _judged(self, call: Call, judgement: Judgement) -> None:
        instruments = self._engine.instruments
        if instruments.judged:
            instruments.tell(instruments.judged, call, judgement)

    def _shortcuts(self) -> tuple[Shortcut, ...]:
        """What is answered without Python: nothing that anybody but the policy has a say in."""
        judge, engine = self._judge, self._engine
        if judge is None or judge.dry_run or engine.instruments.needs_python:
            return ()
        if len(judge.policies) > 1 or judge.verbs["perform"] is not VERBS["perform"]:
            return ()
        from unotify.supervisor.shortcuts import shortcuts

        handled = frozenset(registration.call for registration in self._router.registrations)
        return shortcuts(judge.policies[0], self.kernel.arch, handled, judge.verbs)

    # -- the end -------------------------------------------------------------

    def stop(self, *, drain: float = 5.0) -> None:
        """Receive no more, answer what was received, and close all listeners.

        Handlers have *drain* seconds to finish; what is unanswered then, and
        what is held, gets the fault reply. Targets that live on get ENOSYS for
        each notified call from then on (R4).
        """
        if self._closed:
            return
        self._closed = True
        self._readers.stop()
        self._engine.abandon_held()
        self._readers.join(drain)
        for source in list(self._readers.sources.values()):
            self._engine.abandon(source)
        self._end()

    def leave(self, *, drain: float = 5.0) -> bool:
        """Receive no more, and leave what is unanswered to whoever has copies of the listeners.

        Handlers have *drain* seconds to finish. What they do not finish stays unanswered, as does
        what is held; targets go on waiting for the other copies' holder (R3). This process is to
        end soon after: a handler that still runs would act beside its successor.

        Returns:
            Whether all handlers have finished.
        """
        if self._closed:
            return True
        self._closed = True
        self._readers.stop()
        finished = self._readers.join(drain)
        self._end()
        return finished

    def close(self) -> None:
        """:meth:`stop`, for ``with`` and :func:`contextlib.closing`."""
        self.stop()

    def _end(self) -> None:
        self._deadlines.stop()
        for source in list(self._readers.sources.values()):
            with self._engine.lock:
                vanished = source.protocol.close()
            self._engine.vanished(vanished)
            self._readers.remove(source)
        self._readers.close()
        self._idle.set()

    def _require_open(self) -> None:
        if self._closed:
            raise Conflict("this supervisor is stopped; make another one")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
