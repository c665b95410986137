"""ptrace(2), where seccomp meets it: entries of calls, RET_TRACE, interrupts, flags of filters.

A tracer stops a thread at these alone; signals are delivered without asking it.
"""

from __future__ import annotations

import errno
from typing import Final

from unotify.abi.seccomp import FilterFlag, Mode
from unotify.testing.facility.credentials import FIRST, capable, may_attach
from unotify.testing.facility.rules import check, effect
from unotify.testing.facility.signals import disturb
from unotify.testing.facility.state import Task, World

__all__ = ["attach", "detach", "interrupt", "metadata", "stops_at_entry", "stops_at_filter"]

ENTRIES: Final = "entries"
"""PTRACE_SYSCALL: the thread stops at the entry of each call."""
FILTERS: Final = "filters"
"""PTRACE_O_TRACESECCOMP: it stops where a filter returns TRACE."""
INTERRUPTED: Final = "interrupted"
"""PTRACE_INTERRUPT: it stops as soon as it can."""


def attach(world: World, tracer: Task, task: Task, *traces: str) -> int:
    """PTRACE_SEIZE: 0, or -EPERM. It disturbs nobody by itself (I4)."""
    if task.tracer or may_attach(world, tracer, task):
        return -errno.EPERM
    task.tracer, task.traces = tracer.tid, frozenset(traces)
    return 0


@effect("I4")
def interrupt(task: Task) -> None:
    """PTRACE_INTERRUPT wakes a thread, as a signal does, and stops it."""
    task.traces |= {INTERRUPTED}
    disturb(task)


def detach(task: Task) -> None:
    """PTRACE_DETACH; whoever is stopped is let go by `entering.resume`."""
    task.tracer, task.traces = 0, frozenset()


@effect("B10", otherwise=False)
def stops_at_entry(task: Task) -> bool:
    """A tracer stops a thread at the entry of a call, before any filter."""
    return ENTRIES in task.traces


@effect("F3", otherwise=False)
def stops_at_filter(task: Task) -> bool:
    """TRACE asks a tracer that wants to be asked."""
    return FILTERS in task.traces


# -- what it can ask -----------------------------------------------------------------


@check("C6")
def asker_is_free(world: World, tracer: Task) -> int:
    """Who asks for filters has CAP_SYS_ADMIN and no filter of its own."""
    free = capable(world, tracer, FIRST) and tracer.mode == Mode.DISABLED
    return 0 if free else errno.EACCES


@effect("C6", otherwise=0)
def metadata(world: World, tracer: Task, task: Task, offset: int) -> int:
    """PTRACE_SECCOMP_GET_METADATA: whether a filter logs; 0 is the oldest one."""
    if refused := asker_is_free(world, tracer):
        return -refused
    chain = world.chain(task)
    if not chain:
        return -errno.EINVAL
    if offset >= len(chain):
        return -errno.ENOENT
    return int(FilterFlag.LOG) if chain[len(chain) - 1 - offset].log else 0
