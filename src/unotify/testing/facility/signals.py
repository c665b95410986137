"""Signals: sending, what they wake, and what happens on the way back to the program."""

from __future__ import annotations

import errno
from typing import Final

from unotify.testing.facility.rules import effect
from unotify.testing.facility.state import Process, Task, World

__all__ = [
    "RESTART_CODES",
    "SIGALRM",
    "SIGCONT",
    "SIGKILL",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGUSR1",
    "action",
    "deliverable",
    "disturb",
    "fatal",
    "goes_on_after",
    "interrupted",
    "send_signal",
    "set_action",
    "take_signal",
]

SIGKILL, SIGUSR1, SIGALRM, SIGTERM, SIGCHLD, SIGCONT, SIGSTOP = 9, 10, 14, 15, 17, 18, 19
SIGURG, SIGWINCH, SIGSYS = 23, 28, 31
_STOPPING: Final = frozenset({19, 20, 21, 22})
_IGNORED: Final = frozenset({SIGCHLD, SIGCONT, SIGURG, SIGWINCH})
_CORE: Final = frozenset({3, 4, 5, 6, 7, 8, 11, 24, 25, 31})

ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK = 512, 513, 514, 516
RESTART_CODES: Final = frozenset({-512, -513, -514, -516})
"""What a call returns that is to be made again, unless a handler forbids it."""

WAKE: Final = 0
"""In the place of a signal: woken without one, by a freezer or a tracer (I4)."""


def action(process: Process, signal: int) -> str:
    """One of handle, restart, ignore, stop, kill."""
    for number, kind in process.actions:
        if number == signal and signal not in (SIGKILL, SIGSTOP):
            return kind
    if signal in _STOPPING:
        return "stop"
    return "ignore" if signal in _IGNORED or signal == WAKE else "kill"


def set_action(process: Process, signal: int, kind: str) -> None:
    """sigaction(2): *kind* is handle, restart, ignore or default."""
    others = tuple(pair for pair in process.actions if pair[0] != signal)
    process.actions = others if kind == "default" else (*others, (signal, kind))


def send_signal(world: World, process: Process, signal: int, *, tid: int = 0) -> None:
    """Send *signal* to a process, or to one thread of it."""
    threads = world.threads(process.pid)
    if process.status is not None or not threads:
        return
    if signal == SIGCONT:
        process.stopped = False
        for task in threads:
            task.pending = tuple(one for one in task.pending if one not in _STOPPING)
    if signal in _STOPPING:
        for task in threads:
            task.pending = tuple(one for one in task.pending if one != SIGCONT)
    candidates = [task for task in threads if not tid or task.tid == tid]
    willing = [task for task in candidates if signal not in task.blocked]
    if disturbs_nobody(process, signal, blocked=not willing):
        return
    if not willing:
        holder = candidates[0] if tid else process
        if signal not in holder.pending:
            holder.pending += (signal,)
        return
    if kills_at_once(process, signal):
        if any(number < 0 for number in process.pending):
            return  # it dies of another one
        process.pending = (*process.pending, -signal)  # how it will have ended
        for task in threads:
            task.pending = (SIGKILL, *task.pending)
    elif signal not in willing[0].pending:
        willing[0].pending += (signal,)


@effect("I3", otherwise=False)
def disturbs_nobody(process: Process, signal: int, *, blocked: bool) -> bool:
    """A signal that is ignored, or ignored by default, is not even kept; a blocked one is."""
    return not blocked and action(process, signal) == "ignore"


@effect("I7", otherwise=False)
def kills_at_once(process: Process, signal: int) -> bool:
    """A signal that kills without a core dump is SIGKILL for each thread."""
    return signal == SIGKILL or (action(process, signal) == "kill" and signal not in _CORE)


def disturb(task: Task) -> None:
    """Wake a thread without any signal, as a freezer does and a tracer's interrupt (I4)."""
    task.pending += (WAKE,)


def deliverable(world: World, task: Task) -> list[int]:
    """Signals that wait for it, or for its process, and are not blocked."""
    shared = [one for one in world.processes[task.process].pending if one > 0]
    waiting = (*task.pending, *shared)
    return [one for one in waiting if one not in task.blocked or one == SIGKILL]


def fatal(task: Task) -> bool:
    """Whether it is about to die."""
    return SIGKILL in task.pending


@effect("I1", "I4", otherwise=False)
def interrupted(world: World, task: Task) -> bool:
    """Any signal that is not blocked, or a stop of its process, ends a wait."""
    return bool(deliverable(world, task)) or world.processes[task.process].stopped


def take_signal(world: World, task: Task) -> int | None:
    """Take the next signal out, the most urgent first."""
    waiting = deliverable(world, task)
    if not waiting:
        return None
    signal = SIGKILL if SIGKILL in waiting else min(waiting)
    holder = task if signal in task.pending else world.processes[task.process]
    at = holder.pending.index(signal)
    holder.pending = holder.pending[:at] + holder.pending[at + 1 :]
    return signal


@effect("I12", "A13", otherwise=False)
def goes_on_after(world: World, task: Task) -> bool:
    """A supervisor's call goes on after a handler with SA_RESTART, which has run then."""
    waiting = deliverable(world, task)
    process = world.processes[task.process]
    if not waiting or fatal(task) or action(process, min(waiting)) != "restart":
        return False
    signal = take_signal(world, task)
    assert signal is not None
    task.handled += (signal,)
    return True


@effect("I1", "I2", "I11", otherwise=0)
def after_handler(value: int, kind: str) -> int | None:
    """What a call to be restarted returns when a handler ran: EINTR, or ``None``: make it again."""
    if value == -ERESTARTNOINTR or (value == -ERESTARTSYS and kind == "restart"):
        return None
    return -errno.EINTR
