"""The thread that answers for those who take too long."""

from __future__ import annotations

import logging
from math import inf
from threading import Condition, Thread, current_thread
from time import perf_counter_ns
from typing import Final

from unotify.supervisor.engine import Engine

__all__ = ["Deadlines"]

_log = logging.getLogger("unotify")

_LONGEST: Final = 3600.0
"""Seconds of one wait: a lock takes no arbitrarily long time-out."""


class Deadlines:
    """Calls :meth:`Engine.expire` when something is due; no thread until something can be."""

    def __init__(self, engine: Engine, *, threaded: bool) -> None:
        self._engine = engine
        self._threaded = threaded
        self._changed = Condition()
        self._thread: Thread | None = None
        self._stopping = False
        self._until = inf
        self._asked = 0
        engine.on_watch = self.look

    def look(self, due: int) -> None:
        """Something new is due at *due*, in perf_counter_ns; -1 for never."""
        # Most calls are due later than what the thread waits for already: to wake it for each
        # would cost more than the call.
        if not self._threaded or not 0 <= due < self._until:
            return
        with self._changed:
            self._asked = due
            if self._thread is None and not self._stopping:
                self._thread = Thread(target=self._run, name="unotify-deadlines", daemon=True)
                self._thread.start()
            self._changed.notify()

    def expire(self) -> None:
        """Answer what is due now; for those who have no threads."""
        self._engine.expire(perf_counter_ns())

    def stop(self) -> None:
        """End the thread; nothing expires any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not current_thread():
            thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._engine.expire(perf_counter_ns())
            except Exception:
                _log.exception("a call's deadline could not be kept")
            with self._changed:
                if self._stopping:
                    return
                # Whoever comes while we look has to wait for the lock, and to wake us.
                self._until = inf
                due, now = self._engine.next_due(), perf_counter_ns()
                if due is None and self._asked > now:
                    # That call is over. But others come, and shall not have to wake us.
                    due = (self._asked - now) / 1e9
                if due is not None:
                    due = min(due, _LONGEST)
                    self._until = now + int(due * 1e9)
                self._changed.wait(due)
