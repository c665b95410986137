"""Observers of a supervisor: they see everything and decide nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from unotify.calls import Call
from unotify.errors import HandlerFault
from unotify.protocol import Reply

if TYPE_CHECKING:
    from unotify.supervisor.counting import Counted
    from unotify.supervisor.judging import Judgement

__all__ = ["EVENTS", "Instrument", "Instruments"]

_log = logging.getLogger("unotify")


class Instrument:
    """Override what you want to see; what is not overridden costs nothing.

    Methods are called in the thread that serves the call, while the target
    waits (but for `replied` and `gone`), so they should be quick. One that
    raises is logged and removed: an observer must not change what it observes.

    Most calls that a policy decides in plain words are answered without Python. Whoever overrides
    `received`, `judged`, `held` or `deciding`, or `replied` or `gone` without `counted`, is to see
    each of them, so that they all take Python. With `counted` they need not: each call is told of
    once, by `replied` or `gone`, or by `counted` later.
    """

    def received(self, call: Call) -> None:
        """A notification was received."""

    def judged(self, call: Call, judgement: Judgement) -> None:
        """A policy said what is to be done; `deciding` follows, if that is a reply."""

    def held(self, call: Call) -> None:
        """A handler put the call on hold."""

    def deciding(self, call: Call, reply: Reply, handler: str) -> None:
        """*handler* decided; the target still waits, its memory can still be described."""

    def replied(self, call: Call, reply: Reply, handler: str, nanoseconds: int) -> None:
        """The reply was sent and somebody was there to take it."""

    def gone(self, call: Call) -> None:
        """The target did not wait for the reply any more."""

    def fault(self, fault: HandlerFault) -> None:
        """A handler raised, timed out or returned nonsense."""

    def counted(self, counts: Sequence[Counted]) -> None:
        """Calls were answered without Python, since this was called last; many at once.

        When it has to be, when a listener is closed or the supervisor stops, and whenever
        somebody calls `Supervisor.settle_counts`. In any thread, one at a time; no target waits,
        but others may be received only later, so it should be quick nevertheless.
        """


EVENTS: Final = ("received", "judged", "held", "deciding", "replied", "gone", "fault")


_EACH: Final = ("received", "judged", "held", "deciding")
"""What is about a call that is not answered yet; who wants to hear of it wants to of each."""


class Instruments:
    """The instruments of one supervisor, sorted by what they override.

    Each event is an attribute: a tuple of bound methods, empty for most, so
    that asking "does anybody want to know" is one look.

    Attributes:
        present: Whether there are any.
        needs_python: Whether there are any that have to see each call.
    """

    present: bool
    needs_python: bool
    received: tuple[Callable[..., None], ...]
    judged: tuple[Callable[..., None], ...]
    held: tuple[Callable[..., None], ...]
    deciding: tuple[Callable[..., None], ...]
    replied: tuple[Callable[..., None], ...]
    gone: tuple[Callable[..., None], ...]
    fault: tuple[Callable[..., None], ...]
    counted: tuple[Callable[..., None], ...]

    def __init__(self) -> None:
        self._all: tuple[Instrument, ...] = ()
        self._sort()

    def add(self, instrument: Instrument) -> None:
        """Call *instrument* from now on."""
        self._all = (*self._all, instrument)
        self._sort()

    def remove(self, instrument: Instrument) -> None:
        """Call it no more."""
        self._all = tuple(other for other in self._all if other is not instrument)
        self._sort()

    def _sort(self) -> None:
        self.present = bool(self._all)
        self.needs_python = any(map(_needs_python, self._all))
        for event in (*EVENTS, "counted"):
            methods = tuple(
                getattr(instrument, event)
                for instrument in self._all
                if _overrides(instrument, event)
            )
            setattr(self, event, methods)

    def tell(self, methods: Iterable[Callable[..., None]], *arguments: Any) -> None:
        """Call *methods*; remove an instrument that raises."""
        for method in methods:
            try:
                method(*arguments)
            except Exception:
                instrument = method.__self__  # type: ignore[attr-defined]
                _log.exception("instrument %r raised and is removed", instrument)
                self.remove(instrument)


def _overrides(instrument: Instrument, event: str) -> bool:
    default = getattr(Instrument, event)
    return getattr(type(instrument), event, default) is not default


def _needs_python(instrument: Instrument) -> bool:
    # No handler fails where none is asked, so `fault` alone misses nothing.
    told = ("replied", "gone") if not _overrides(instrument, "counted") else ()
    return any(_overrides(instrument, event) for event in (*_EACH, *told))
