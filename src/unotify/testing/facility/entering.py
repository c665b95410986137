"""The way into a call and out of it: filters, actions, and the wait for a supervisor.

Theory of operation. A thread enters a call, is judged by its chain, and either runs the call,
fails, dies, or sleeps as a notification. Whoever sleeps goes on by a *step* (`wake`), never by
itself, so that somebody can decide in which order things happen. Each way out ends in `leave`,
where signals are delivered and calls are made again.
"""

from __future__ import annotations

import errno
from typing import Final

from unotify.abi import tables
from unotify.abi.seccomp import ACTION_MASK, DATA_MASK, Action, Mode
from unotify.testing.facility.ending import end_note, sleeps_killable
from unotify.testing.facility.judging import capped, in_vdso, judge, unseen_uprobe, without_tracer
from unotify.testing.facility.natives import run
from unotify.testing.facility.noting import begin_note, continues, log_reply, result_of, take_gift
from unotify.testing.facility.rules import effect
from unotify.testing.facility.signals import (
    ERESTART_RESTARTBLOCK,
    ERESTARTSYS,
    RESTART_CODES,
    SIGKILL,
    SIGSYS,
    WAKE,
    action,
    after_handler,
    fatal,
    interrupted,
    take_signal,
)
from unotify.testing.facility.state import CallData, Filter, Note, NoteState, Task, World
from unotify.testing.facility.tasks import die, end_process
from unotify.testing.facility.tracing import INTERRUPTED, stops_at_entry, stops_at_filter

__all__ = [
    "enter",
    "enter_unseen",
    "leave",
    "read_clock",
    "resume",
    "sleep_state",
    "wake",
    "would_wake",
]

_STRICT: Final = frozenset({"read", "write", "exit", "rt_sigreturn", "sigreturn"})


def enter(world: World, task: Task, call: CallData) -> None:
    """A running thread makes a call."""
    task.call, task.result = call, None
    if stops_at_entry(task):
        task.doing = ("traced", "entry")
    else:
        pass_filters(world, task, call)


def pass_filters(world: World, task: Task, call: CallData) -> None:
    """The call as filters see it, and what they say."""
    task.call = call
    if task.mode == Mode.STRICT:
        if tables.identify(call.arch, call.nr).name in _STRICT:
            finish(world, task, run(world, task, call))
        else:
            end_process(world, world.process_of(task), -SIGKILL)
            leave(world, task, 0)
        return
    if unseen_uprobe(world, call):
        finish(world, task, run(world, task, call))
        return
    value, winner = judge(world, task, call)
    act(world, task, call, value, winner)


def resume(world: World, task: Task, call: CallData | None = None, *, value: int = 0) -> None:
    """Let a thread go on that a tracer has stopped.

    Args:
        world: The world.
        task: The thread.
        call: What the tracer has put into its registers; one of a negative number is not made.
        value: What that returns instead.
    """
    _, kind, *_ = task.doing
    if kind == "interrupt":
        leave(world, task, task.doing[2], restarting=True)
        return
    call = call or task.call
    assert call is not None
    task.doing = ()
    if call.nr < 0 and call is not task.call:
        finish(world, task, value)
    elif kind == "entry":
        pass_filters(world, task, call)
    else:
        run_filters_again(world, task, call)


@effect("F3")
def run_filters_again(world: World, task: Task, call: CallData) -> None:
    """Filters run anew on what a tracer has made of a call; TRACE lets it run then."""
    task.call = call
    value, winner = judge(world, task, call)
    if value & ACTION_MASK == Action.TRACE:
        finish(world, task, run(world, task, call))
    else:
        act(world, task, call, value, winner)


@effect("B7", "B9")
def enter_unseen(world: World, task: Task, call: CallData) -> None:
    """What the vDSO answers, or what a ring carries out, passes by all filters."""
    task.call, task.result = call, None
    finish(world, task, run(world, task, call))


def read_clock(world: World, task: Task, call: CallData) -> None:
    """clock_gettime(2) as libc makes it."""
    (enter_unseen if in_vdso(call.args[0]) else enter)(world, task, call)


def act(world: World, task: Task, call: CallData, value: int, winner: Filter | None) -> None:
    """Do what the winner of the chain says."""
    kind, data = value & ACTION_MASK, value & DATA_MASK
    if kind == Action.ERRNO:
        finish(world, task, -capped(data))
    elif kind == Action.USER_NOTIF:
        assert winner is not None
        if not begin_note(world, task, call, winner):
            finish(world, task, -errno.ENOSYS)
    elif kind == Action.TRACE and stops_at_filter(task):
        task.doing = ("traced", "filter", data)
    elif kind == Action.TRACE:
        finish(world, task, without_tracer())
    elif kind in (Action.LOG, Action.ALLOW):
        if kind == Action.LOG:
            world.audit += ((task.tid, call.nr, int(kind)),)
        finish(world, task, run(world, task, call))
    elif kind == Action.TRAP:
        trap(world, task, data)
    else:
        kill(world, task, kind)


@effect("F2")
def trap(world: World, task: Task, data: int) -> None:
    """TRAP is SIGSYS, which kills where it is not caught, also where it is ignored or blocked."""
    process = world.process_of(task)
    caught = action(process, SIGSYS) in ("handle", "restart") and SIGSYS not in task.blocked
    if caught:
        task.handled += (SIGSYS,)
        leave(world, task, task.call.nr if task.call else 0)
    else:
        end_process(world, process, -SIGSYS)
        leave(world, task, 0)


@effect("F2")
def kill(world: World, task: Task, kind: int) -> None:
    """KILL_THREAD ends the thread; all else, also what is no action, the process, by SIGSYS."""
    if kind == Action.KILL_THREAD and len(world.threads(task.process)) > 1:
        die(world, task)
    else:
        end_process(world, world.process_of(task), -SIGSYS)
        leave(world, task, 0)


# -- steps of those who sleep ------------------------------------------------------


def sleep_state(world: World, task: Task) -> str:
    """The letter of its state: R, S, D, T or Z."""
    if task.dead:
        return "Z"
    if not task.doing:
        return "R"
    if task.doing[0] == "stopped":
        return "T"
    if task.doing[0] == "traced":
        return "t"
    return "D" if task.doing[0] == "notified" and task.doing[2] else "S"


def would_wake(world: World, task: Task) -> bool:
    """Whether a step can be made with it."""
    if task.dead:
        return False
    if fatal(task):
        return True
    match task.doing:
        case ("notified", key, killable):
            return world.notes[key].done > 0 or (interrupted(world, task) and not killable)
        case ("interrupted", *_):
            return True
        case ("stopped", *_):
            return not world.process_of(task).stopped
        case ("sleeping", *_) | ():
            return interrupted(world, task)
    return False


def wake(world: World, task: Task) -> None:
    """Make the step; `would_wake` says whether there is one."""
    match task.doing:
        case ("notified", key, killable):
            note = world.notes[key]
            if note.done:
                note.done -= 1
                _woken(world, task, note)
            else:
                # It has woken, and has not got the lock yet: somebody may still answer.
                task.doing = ("interrupted", key, killable)
        case ("interrupted", key, killable):
            note = world.notes[key]
            if not killable and sleeps_killable(world, note):
                _woken(world, task, note)
            else:
                end_note(world, note)
                leave(world, task, -ERESTARTSYS)
        case ("stopped", value, restarting):
            task.doing = ()
            leave(world, task, value, restarting=restarting)
        case ("sleeping", *_):
            leave(world, task, -ERESTART_RESTARTBLOCK)
        case _:
            leave(world, task, task.result or 0)


def _woken(world: World, task: Task, note: Note) -> None:
    if note.gifts:
        take_gift(world, task, note)
    if note.state == NoteState.REPLIED:
        take_reply(world, task, note)
    else:
        task.doing = ("notified", note.key, sleeps_killable(world, note))


def take_reply(world: World, task: Task, note: Note) -> None:
    """The reply becomes the call's result, or lets it run."""
    call = note.data
    end_note(world, note)
    if continues(note):
        task.doing = ()
        finish(world, task, run(world, task, call))
        return
    filter = world.filters[note.filter]
    if filter.log:
        log_reply(world, task, call)
    finish(world, task, result_of(note))


# -- back to the program -----------------------------------------------------------


def finish(world: World, task: Task, value: int | None) -> None:
    """The call has ended with *value*, or sleeps (``None``), or its thread has died."""
    if value is not None and not task.dead:
        leave(world, task, value)


def leave(world: World, task: Task, value: int, *, restarting: bool = False) -> None:
    """Deliver signals, and go back to the program or into the same call again.

    Args:
        world: The world.
        task: Who comes back.
        value: What the call returned.
        restarting: A signal has been delivered before, and the call is to be made again.
    """
    process = world.process_of(task)
    task.doing = ()
    while True:
        if fatal(task):
            die(world, task)
            return
        if process.stopped:
            task.doing = ("stopped", value, True)
            return
        signal = take_signal(world, task)
        if signal is None:
            break
        restarting = True
        kind = action(process, signal)
        if kind == "stop":
            process.stopped = True
        elif kind == "kill":
            end_process(world, process, -signal)
        elif kind in ("handle", "restart"):
            task.handled += (signal,)
            if value in RESTART_CODES and task.call is not None:
                answer = after_handler(value, kind)
                # A second handler finds a call that is over, or one that begins.
                value = -513 if answer is None else answer
        elif signal == WAKE and INTERRUPTED in task.traces:
            task.traces -= {INTERRUPTED}
            task.doing = ("traced", "interrupt", value)
            return
    if restarting and value in RESTART_CODES and task.result is None:
        again(world, task, value)
        return
    if task.scripted and task.result is None:
        task.history += (value,)
    task.result = value


@effect("I1", "I4", "C3", otherwise=None)
def again(world: World, task: Task, value: int) -> None:
    """The call is made again, a sleep that had begun as restart_syscall: filters run again."""
    call = task.call
    assert call is not None
    if value == -ERESTART_RESTARTBLOCK:
        arch = tables.identify(call.arch, call.nr).arch
        number = None if arch is None else tables.number("restart_syscall", arch)
        call = call._replace(nr=call.nr if number is None else number)
    enter(world, task, call)
