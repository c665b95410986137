"""The thread that answers for those who take too long."""

from __future__ import annotations

import logging
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
        engine.on_watch = self.look

    def look(self) -> None:
        """Something new is due some time."""
        if not self._threaded:
            return
        with self._changed:
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
                due = self._engine.next_due()
                self._changed.wait(due if due is None else min(due, _LONGEST))
