"""The filters of other processes, read back through ptrace(2).

Theory of operation. A filter can only be read from a thread that is stopped under
ptrace, by a process that has CAP_SYS_ADMIN and is itself unfiltered. A thread that
runs is seized, interrupted, read and let go. That ends its call as a signal without
a handler does: most calls go on by themselves (I4).

A command is seized before its exec and followed call by call, with all its children:
at each exit from seccomp(2) or prctl(2) that installed a filter, it is read.

Whoever traces is a thread, and when that thread ends the kernel lets go all it
traces. So each dump has a thread of its own: whatever goes wrong, nothing stays
stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Final, TypeVar

from unotify.kernel.command import StrOrBytesPath
from unotify.kernel.ptrace import DETACH, INTERRUPT, attach, ptrace, signal_of, wait_stopped
from unotify.kernel.readback import Caught, DumpedFilter, check_rights, read_filters
from unotify.kernel.tracing import Tracing

__all__ = ["dump_command", "dump_thread"]

T = TypeVar("T")

_PATIENCE: Final = 1.0


def dump_thread(tid: int) -> tuple[DumpedFilter, ...]:
    """Read the filters of a thread, the newest first; empty if it has none.

    The thread is stopped for a moment, by PTRACE_INTERRUPT: a call that it sleeps in is
    interrupted as by a stop signal (I4).

    Args:
        tid: Of any thread; a process's id is that of its first one.

    Raises:
        KernelError: There is no such thread, it cannot be traced, or it does not stop.
        Unsupported: The kernel cannot do it.
    """
    check_rights()
    return _apart(lambda: _dump(tid))


def dump_command(
    args: Sequence[StrOrBytesPath], *, limit: int | None = None
) -> Generator[Caught, None, None]:
    """Run a command and yield each filter that it, or a child of it, installs.

    Ends when the command ends; children that it leaves behind are let go. Close the
    iterator to let all go at once.

    Args:
        args: The command.
        limit: After so many filters let go, and only wait for the end.

    Raises:
        OSError: The command cannot be run.
        KernelError: It cannot be traced.
        Unsupported: The kernel cannot do it.
    """
    check_rights()
    tracing = Tracing(args, limit)
    found: SimpleQueue[Caught | Exception | None] = SimpleQueue()
    thread = Thread(target=tracing.run, args=(found.put,), name="unotify-dump", daemon=True)
    thread.start()
    try:
        while (item := found.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        # A target may be stopped for good; then it is let go when this process ends. And a
        # command that goes on keeps the thread, which waits for its end.
        tracing.stop(_PATIENCE)


def _apart(work: Callable[[], T]) -> T:
    """Do *work* in a thread of its own: when it ends the kernel lets go what it traced."""
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            errors.append(error)

    thread = Thread(target=run, name="unotify-dump", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _dump(tid: int) -> tuple[DumpedFilter, ...]:
    attach(tid)
    ptrace(INTERRUPT, tid)
    status = wait_stopped(tid)
    try:
        return read_filters(tid)
    finally:
        ptrace(DETACH, tid, 0, signal_of(status))
