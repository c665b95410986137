"""Acts that may take for ever: counted, and ended when nobody waits for them any more.

Theory of operation. Opening a FIFO waits for the other end, a connect for a peer, and any look at
a file system in user space for whoever serves that. Such an act happens in the thread that
serves the call; if it takes long others serve the rest, as with reads that a target stalls
(`unotify.kernel.stall`). The listener tells nobody that the target has gone (I9), so a watch
asks now and then, and ends the act with a signal whose handler does nothing: the system call
returns EINTR. The signal is a real-time one that nobody in this process uses, and is sent to one
thread.

Each act that takes long costs a thread, so there are bounds. A process that has reached its own is
refused at once. Where all processes together are above theirs, whatever is quick is done as
ever, and of what takes long the process that has most of it loses its youngest.
"""

from __future__ import annotations

import ctypes
import errno
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, TypeAlias

from unotify.errors import Refused, TargetGone
from unotify.kernel._libc import libc

__all__ = ["MOST_BLOCKED", "MOST_OF_ONE", "Interrupter", "Waiting"]

Waiting: TypeAlias = Callable[[Callable[[], int]], int]
"""Makes one system call that may take long; returns its result, or a negative errno."""

MOST_BLOCKED: Final = 128
"""How many acts may take long at a time; those above are ended, with EAGAIN."""

MOST_OF_ONE: Final = 64
"""How many of one process."""

_TICK: Final = 0.05
_QUIET: Final = 40


class _Entry:
    """One act, for as long as it is under way."""

    __slots__ = ("_keeper", "process", "since", "still_valid", "surplus", "thread")

    def __init__(
        self, keeper: Interrupter, process: Callable[[], int], still_valid: Callable[[], bool]
    ) -> None:
        self._keeper = keeper
        self.process = process
        self.still_valid = still_valid
        self.surplus = False

    def __enter__(self) -> Waiting:
        self.thread = threading.get_ident()
        self.since = time.monotonic()
        self._keeper.enter(self)
        return self._wait

    def __exit__(self, *error: object) -> None:
        self._keeper.leave(self)

    def _wait(self, call: Callable[[], int]) -> int:
        while (done := call()) == -errno.EINTR:
            if not self.still_valid():
                raise TargetGone("the target gave up while its call was performed")
            if self.surplus:
                raise Refused("too many calls that wait are performed", errno=errno.EAGAIN)
        return done


class Interrupter:
    """Keeps the books of acts, and ends those that are in vain."""

    def __init__(self) -> None:
        # Each step is one operation of the dictionary, but for the end.
        self._entries: dict[_Entry, None] = {}
        self._lock = threading.Lock()
        self._watch: threading.Thread | None = None
        self._signal = 0
        self._busy = False

    @property
    def blocked(self) -> int:
        """How many acts have been under way for a while, each with a thread."""
        return len(self._late())

    def _late(self) -> list[_Entry]:
        if not self._entries:
            return []
        late = time.monotonic() - _TICK
        return [entry for entry in list(self._entries) if entry.since < late]

    def entry(
        self, process: Callable[[], int], still_valid: Callable[[], bool]
    ) -> AbstractContextManager[Waiting]:
        """All that this thread does in here may take long.

        Args:
            process: Tells the target's process, 0 if it has gone: one may not take all threads.
            still_valid: Whether the target still waits.

        Returns:
            What makes one system call that may take long, and returns its result or a negative
            errno. It raises `TargetGone` if the target does not wait any more and the act was
            ended, and `Refused`, EAGAIN, if it was ended since too many take long.

        Raises:
            Refused: EAGAIN: too many acts of the process take long already.
        """
        late = self._late()
        if len(late) >= MOST_OF_ONE:
            own = process()
            if sum(entry.process() == own for entry in late) >= MOST_OF_ONE:
                raise Refused("too many calls that wait are performed already", errno=errno.EAGAIN)
        return _Entry(self, process, still_valid)

    def enter(self, entry: _Entry) -> None:
        """*entry* begins."""
        self._entries[entry] = None
        if not self._busy:
            self._ring()

    def leave(self, entry: _Entry) -> None:
        """*entry* is over: no signal is on its way to its thread."""
        with self._lock:
            del self._entries[entry]

    def _ring(self) -> None:
        with self._lock:
            self._busy = True
            if self._watch is None:
                self._signal = self._signal or _quiet_signal()
                self._watch = threading.Thread(target=self._run, name="unotify-watch", daemon=True)
                self._watch.start()

    def _run(self) -> None:
        quiet = 0
        while quiet < _QUIET or not self._ends():
            time.sleep(_TICK)
            quiet = 0 if self._entries else quiet + 1
            late = self._late()
            self._mark(late)
            for entry in late:
                if entry.surplus or not _is_wanted(entry):
                    self._end(entry)

    def _ends(self) -> bool:
        """Whether the watch is over; who comes afterwards rings for another one."""
        with self._lock:
            self._busy = False
            if self._entries:  # of somebody who has seen that it was busy
                self._busy = True
                return False
            self._watch = None
            return True

    def _mark(self, late: list[_Entry]) -> None:
        """Choose what is above the bound."""
        surplus = sum(not entry.surplus for entry in late) - MOST_BLOCKED
        if surplus <= 0:
            return
        of_process: dict[int, list[_Entry]] = {}
        for entry in sorted(late, key=lambda entry: entry.since):
            if not entry.surplus:
                of_process.setdefault(entry.process(), []).append(entry)
        for _ in range(surplus):
            max(of_process.values(), key=len).pop().surplus = True

    def _end(self, entry: _Entry) -> None:
        with self._lock:
            if entry in self._entries:
                signal.pthread_kill(entry.thread, self._signal)


def _is_wanted(entry: _Entry) -> bool:
    try:
        return entry.still_valid()
    except Exception:  # the listener was closed meanwhile: nobody waits
        return False


_SIG_DFL: Final = 0


def _quiet_signal() -> int:
    """A signal that nobody uses; from now on it interrupts a system call and does nothing else."""
    function = libc.signal
    function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
    # Any C function of an int that does nothing will do.
    nothing = ctypes.cast(libc.abs, ctypes.c_void_p).value
    for number in range(signal.SIGRTMAX - 1, signal.SIGRTMIN, -1):
        before = function(number, nothing)
        if (before or _SIG_DFL) == _SIG_DFL:
            libc.siginterrupt(number, 1)
            return number
        function(number, before)
    raise Refused("all real-time signals are in use", errno=errno.EAGAIN)
