"""Threads and processes: how they come, what they become, how they go."""

from __future__ import annotations

import errno
from typing import Final

from unotify.testing.facility.descriptors import close, new_table, settle_file
from unotify.testing.facility.ending import end_note
from unotify.testing.facility.rules import effect
from unotify.testing.facility.signals import SIGKILL
from unotify.testing.facility.state import Filter, Memory, Process, Space, Task, World
from unotify.testing.facility.traits import Trait

__all__ = [
    "become",
    "boot",
    "die",
    "end_process",
    "find",
    "fork",
    "new_space",
    "new_thread",
    "number_for",
    "open_pidfd",
    "reap",
    "unshare_files",
    "users",
]

ROOT_SPACE: Final = 1


def boot(world: World, *, comm: str = "init") -> Task:
    """The first process."""
    root = Space(world.key(), 0)
    world.spaces[root.key] = root
    memory = Memory(world.key())
    world.memories[memory.key] = memory
    numbers = _numbers(world, root.key)
    tid = numbers[-1][1]
    world.processes[tid] = Process(tid, 0, memory.key, root.key, root.key)
    task = Task(tid, tid, new_table(world).key, numbers, comm=comm)
    world.tasks[tid] = task
    return task


def new_space(world: World, task: Task) -> int:
    """unshare(CLONE_NEWPID): the caller's *next* processes are in a new namespace (P2)."""
    process = world.process_of(task)
    space = Space(world.key(), process.active)
    world.spaces[space.key] = space
    process.space = space.key
    return space.key


def _numbers(world: World, space: int) -> tuple[tuple[int, int], ...]:
    found = []
    while space:
        record = world.spaces[space]
        found.append((space, record.next))
        record.next += 1
        space = record.parent
    return tuple(found)


@effect("P2", "P3", "P4", otherwise=0)
def number_for(world: World, task: Task, reader: Task) -> int:
    """A thread's number as the reader's own namespace has it; 0 if it is not visible there."""
    return dict(task.numbers).get(world.process_of(reader).active, 0)


@effect("R1", "E5", "S6")
def inherit(child: Task, parent: Task) -> None:
    """A new thread or process has the chain, the mode and no_new_privs of who made it."""
    child.chain, child.mode = parent.chain, parent.mode
    child.no_new_privs = parent.no_new_privs


def _new_task(world: World, parent: Task, process: int, table: int, space: int) -> Task:
    numbers = _numbers(world, space)
    tid = numbers[-1][1]
    task = Task(tid, process or tid, table, numbers, comm=parent.comm)
    task.privileged, task.uid, task.gid = parent.privileged, parent.uid, parent.gid
    task.groups, task.user_space = parent.groups, parent.user_space
    task.blocked = parent.blocked
    world.tasks[tid] = task
    inherit(task, parent)
    return task


def new_thread(world: World, parent: Task) -> Task:
    """clone(2) of a thread: all is shared."""
    process = world.process_of(parent)
    return _new_task(world, parent, process.pid, parent.table, process.active)


def fork(world: World, parent: Task, *, share_files: bool = False) -> Task:
    """A new process; its descriptors are copies, or shared (CLONE_FILES)."""
    process = world.process_of(parent)
    table = parent.table if share_files else new_table(world, world.tables[parent.table].fds).key
    old = world.memories[process.memory]
    memory = Memory(world.key(), old.parts, old.next, old.guarded)
    world.memories[memory.key] = memory
    task = _new_task(world, parent, 0, table, process.space)
    world.processes[task.tid] = Process(
        task.tid,
        process.pid,
        memory.key,
        process.space,
        process.space,
        actions=process.actions,
        limit=process.limit,
        exe=process.exe,
        dumpable=process.dumpable,
    )
    return task


_PIDFD_THREAD: Final = 0o200


@effect("P6", otherwise=0)
def open_pidfd(world: World, reader: Task, number: int, flags: int = 0) -> int:
    """Of a thread that leads no process pidfd_open(2) wants PIDFD_THREAD, else it is ENOENT."""
    if flags & ~_PIDFD_THREAD or (flags and not world.has(Trait.PIDFD_THREAD)):
        return -errno.EINVAL
    task = find(world, reader, number)
    if task is None:
        return -errno.ESRCH
    if task.tid != task.process and not flags:
        return -errno.ENOENT if world.has(Trait.PIDFD_THREAD) else -errno.EINVAL
    return 0


def unshare_files(world: World, task: Task) -> None:
    """unshare(CLONE_FILES): a table of its own (P7)."""
    task.table = new_table(world, world.tables[task.table].fds).key


def become(world: World, task: Task, exe: str) -> None:
    """execve(2), where it succeeds: other threads die, memory is new, filters stay (C4)."""
    process = world.process_of(task)
    for other in world.threads(process.pid):
        if other.tid != task.tid:
            die(world, other)
    memory = Memory(world.key())
    world.memories[memory.key] = memory
    process.memory = memory.key
    process.actions = tuple(pair for pair in process.actions if pair[1] == "ignore")
    process.exe, task.comm = exe, exe.rpartition("/")[2][:15]
    process.dumpable = True
    unshare_files(world, task)
    for fd, _, cloexec in world.tables[task.table].fds:
        if cloexec:
            close(world, task, fd)
    take_leader_number(world, task)


@effect("P5")
def take_leader_number(world: World, task: Task) -> None:
    """Whoever executes a program has the process's own number afterwards."""
    if task.tid == task.process:
        return
    leader = world.tasks.get(task.process)
    numbers = leader.numbers if leader is not None else task.numbers
    del world.tasks[task.tid]
    task.tid, task.numbers = task.process, numbers
    world.tasks[task.tid] = task


def die(world: World, task: Task) -> None:
    """A thread ends; with the last one, its process."""
    for note in [note for note in world.notes.values() if note.task == task.tid]:
        end_note(world, note)
    task.dead, task.doing, task.pending = True, (), ()
    table = world.tables[task.table]
    if not any(other.table == task.table and not other.dead for other in world.tasks.values()):
        del world.tables[task.table]
        for _, file, _ in table.fds:
            settle_file(world, file)
    process = world.process_of(task)
    if task.tid != process.pid:
        # Nobody waits for a thread.
        world.tasks.pop(task.tid, None)
    if world.threads(process.pid):
        return
    if process.status is None:
        ended = [number for number in process.pending if number < 0]
        process.status = ended[0] if ended else 0
    parent = world.processes.get(process.parent)
    for child in list(world.processes.values()):
        if child.parent == process.pid:
            child.parent = 0
            if child.status is not None:
                reap(world, child.pid)
    if parent is None or parent.status is not None:
        reap(world, process.pid)


def end_process(world: World, process: Process, status: int) -> None:
    """exit_group(2), or a signal's end: all threads are killed."""
    if process.status is None:
        process.status = status
    for task in world.threads(process.pid):
        task.pending = (SIGKILL, *task.pending)


def reap(world: World, pid: int) -> int | None:
    """wait(2) for one: its exit code, or ``None`` while it lives; then it is forgotten."""
    process = world.processes.get(pid)
    if process is None or process.status is None or world.threads(pid):
        return None
    process.reaped = True
    for tid in [tid for tid, task in world.tasks.items() if task.process == pid]:
        del world.tasks[tid]
    del world.processes[pid]
    return process.status


@effect("E4", "E5", otherwise=1)
def users(world: World, filter: Filter) -> int:
    """How many tasks have it anywhere in their chain: until exit, before 6.11 until reaped."""
    until_exit = world.has(Trait.RELEASE_AT_EXIT)
    return sum(
        any(one.key == filter.key for one in world.chain(task))
        for task in world.tasks.values()
        if not (task.dead and until_exit)
    )


def find(world: World, reader: Task, number: int) -> Task | None:
    """The thread that the reader's namespace calls *number*."""
    if number > 0:
        for task in world.tasks.values():
            if number_for(world, task, reader) == number:
                return task
    return None
