"""Threads that take roles: one leads, one stands by, others rest or have work of their own.

What the roles are is for a subclass to say (`readers`).
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from threading import Lock, Semaphore, Thread, current_thread
from typing import Final

from unotify.kernel.interface import Kernel

__all__ = ["Crew"]

_log = logging.getLogger("unotify")

_RETRY: Final = 0.05
"""Seconds until it is looked again for a thread to spare."""

_REST: Final = 2.0
"""Seconds that a spare thread rests before it ends."""


class Crew(ABC):
    """The threads of one supervisor.

    Args:
        kernel: Tells how many threads are lost to their targets (M4); these do not count.
        most: How many there may be at a time.
    """

    def __init__(self, kernel: Kernel, *, most: int) -> None:
        self._kernel = kernel
        self._most = most
        self._lock = Lock()
        self._threads: set[Thread] = set()
        self._leader: Thread | None = None
        self._understudy: Thread | None = None
        self._resting = 0
        self._errands: deque[Callable[[], None]] = deque()
        self._wanted = Semaphore(0)
        self._stopping = False
        self._retrying = False
        self._closing = False

    @property
    def count(self) -> int:
        """How many threads there are."""
        return len(self._threads)

    def _limit(self) -> int:
        return self._most + self._kernel.stalled()

    @abstractmethod
    def _lead(self, me: Thread) -> None:
        """Lead until somebody else does."""

    @abstractmethod
    def _stand_by(self, me: Thread) -> None:
        """Stand by until there is nothing to stand by for, or take the lead."""

    @abstractmethod
    def _take_over(self, me: Thread) -> bool:
        """Take the lead from a leader that is busy; False if it has just finished."""

    @abstractmethod
    def _end(self) -> None:
        """The last thread has ended, after :meth:`close`."""

    # -- the end -------------------------------------------------------------

    def _begin_stop(self) -> list[Thread]:
        """Take no roles any more; returns the threads that are to be dismissed."""
        with self._lock:
            self._stopping = True
            return list(self._threads)

    def _dismiss(self, threads: list[Thread]) -> None:
        for _ in threads:
            self._wanted.release()

    def join(self, timeout: float) -> bool:
        """Wait until all other threads have ended; False if some handler still runs.

        What that handler is busy with can then be answered by others.
        """
        end, me = time.monotonic() + timeout, current_thread()
        while True:
            with self._lock:
                threads = [thread for thread in self._threads if thread is not me]
            if not threads:
                return True
            left = end - time.monotonic()
            if left <= 0:
                self._take_over(me)
                return False
            threads[0].join(left)

    def close(self) -> None:
        """Free what the threads use, now or when the last of them ends; after a stop."""
        with self._lock:
            self._closing = True
            last = not self._threads
        if last:
            self._end()

    # -- threads -------------------------------------------------------------

    def _ensure(self) -> None:
        """See to it that there is a leader and somebody who stands by."""
        while True:
            with self._lock:
                missing = (self._leader is None) + (self._understudy is None)
                if self._stopping or not missing:
                    return
                if len(self._threads) >= self._limit():
                    # All are busy. The next that finishes has work to do; but none
                    # may ever finish, and stalled ones count only until it shows.
                    if not self._retrying:
                        self._retrying = True
                        Thread(target=self._retry, name="unotify-retry", daemon=True).start()
                    return
                if self._at_hand():
                    for _ in range(min(missing, self._at_hand())):
                        self._wanted.release()
                    return
                role = "lead" if self._leader is None else "stand by"
                thread = Thread(target=self._work, name=f"unotify-{role}", daemon=True)
                if role == "lead":
                    self._leader = thread
                else:
                    self._understudy = thread
                self._launch(thread)

    def _retry(self) -> None:
        time.sleep(_RETRY)
        self._retrying = False
        self._ensure()

    def _start(self, errand: Callable[[], None]) -> None:
        """Do *errand* in a thread that has nothing else to do; to start one takes much longer."""
        with self._lock:
            if self._at_hand():
                self._errands.append(errand)
                self._wanted.release()
                return
            thread = Thread(target=self._work, args=(errand,), name="unotify-spare", daemon=True)
            self._launch(thread)

    def _at_hand(self) -> int:
        """How many rest, and have nothing to do yet."""
        return self._resting - len(self._errands)

    def _launch(self, thread: Thread) -> None:
        # Under the lock: nobody can join one that has not begun.
        self._threads.add(thread)
        try:
            thread.start()
        except BaseException:
            self._threads.discard(thread)
            self._leader = None if self._leader is thread else self._leader
            self._understudy = None if self._understudy is thread else self._understudy
            raise

    def _work(self, errand: Callable[[], None] | None = None) -> None:
        me = current_thread()
        try:
            while errand is not None or self._take_role(me):
                if errand is not None or (errand := self._errand(me)) is not None:
                    try:
                        errand()
                    except Exception:
                        _log.exception("a reader failed")
                    errand = None
                elif self._leader is me:
                    self._lead(me)
                elif self._understudy is me:
                    self._stand_by(me)
        finally:
            self._leave(me)

    def _errand(self, me: Thread) -> Callable[[], None] | None:
        with self._lock:
            # Whoever has just taken a role was not at hand: it is somebody else's.
            if not self._errands or me in (self._leader, self._understudy):
                return None
            errand = self._errands.popleft()
            missing = self._leader is None or self._understudy is None
        if missing:
            self._ensure()  # we may have been woken for that
        return errand

    def _leave(self, me: Thread) -> None:
        with self._lock:
            self._threads.discard(me)
            if self._leader is me:
                self._leader = None
            if self._understudy is me:
                self._understudy = None
            last = self._closing and not self._threads
        if last:
            self._end()

    def _take_role(self, me: Thread) -> bool:
        with self._lock:
            if self._stopping:
                return False
            if self._leader is None:
                self._leader = me
            elif self._understudy is None and self._leader is not me:
                self._understudy = me
            if me in (self._leader, self._understudy):
                return True
            self._resting += 1
        wanted = self._wanted.acquire(timeout=_REST)
        with self._lock:
            self._resting -= 1
            # Somebody may have asked for us in the moment we gave up waiting.
            asked = wanted or bool(self._errands)
            return asked or self._leader is None or self._understudy is None
