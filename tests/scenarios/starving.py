"""A processor that ordinary processes get no time of."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["busy"]


@contextmanager
def busy(cpu: int) -> Iterator[None]:
    """A process that leaves no time of *cpu* to ordinary ones; we are quick elsewhere.

    The kernel gives ordinary ones some time all the same after about a second.
    """
    ours = os.sched_getaffinity(0)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {cpu})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.write(writing, b"x")
        while True:
            pass
    try:
        os.sched_setaffinity(0, ours - {cpu})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # threads inherit it
        assert os.read(reading, 1) == b"x"
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, ours)
        os.close(reading)
        os.close(writing)
