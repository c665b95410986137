"""Tables of descriptors, and what happens when the last one of a file is closed."""

from __future__ import annotations

import errno
from typing import Final

from unotify.testing.facility.rules import effect
from unotify.testing.facility.state import (
    File,
    Filter,
    Gift,
    NoteState,
    Process,
    Table,
    Task,
    World,
)

__all__ = [
    "close",
    "copy",
    "end_call",
    "file_at",
    "install",
    "link",
    "listener_operation",
    "lowest",
    "new_file",
    "new_table",
    "pass_on",
    "put",
    "references",
    "release",
    "settle_file",
    "socketpair",
    "take_in",
]

NR_OPEN: Final = 1 << 20


def new_table(world: World, fds: tuple[tuple[int, int, bool], ...] = ()) -> Table:
    """A new table."""
    table = Table(world.key(), fds)
    world.tables[table.key] = table
    return table


def new_file(world: World, kind: str, name: str = "", *, filter: int = 0) -> File:
    """A new open file description that nothing refers to yet."""
    file = File(world.key(), kind, name, filter)
    world.files[file.key] = file
    return file


def file_at(world: World, task: Task, fd: int) -> File | None:
    """What a descriptor of *task* is open on."""
    for number, file, _ in world.tables[task.table].fds:
        if number == fd:
            return world.files[file]
    return None


def lowest(world: World, task: Task) -> int:
    """The lowest free number, or -EMFILE if it is not below the process's limit."""
    taken = {number for number, _, _ in world.tables[task.table].fds}
    free = 0
    while free in taken:
        free += 1
    return free if free < world.process_of(task).limit else -errno.EMFILE


def put(world: World, task: Task, fd: int, file: int, *, cloexec: bool = False) -> None:
    """Let *fd* be *file*, whatever it was before."""
    table = world.tables[task.table]
    old = file_at(world, task, fd)
    others = tuple(row for row in table.fds if row[0] != fd)
    table.fds = tuple(sorted((*others, (fd, file, cloexec))))
    if old is not None:
        settle_file(world, old.key)


def install(world: World, task: Task, file: int, *, cloexec: bool = False) -> int:
    """Give *file* the lowest free number, or return -EMFILE."""
    fd = lowest(world, task)
    if fd >= 0:
        put(world, task, fd, file, cloexec=cloexec)
    return fd


def copy(world: World, task: Task, fd: int) -> int:
    """dup(2)."""
    file = file_at(world, task, fd)
    return -errno.EBADF if file is None else install(world, task, file.key)


def close(world: World, task: Task, fd: int) -> int:
    """Close a descriptor."""
    file = file_at(world, task, fd)
    if file is None:
        return -errno.EBADF
    table = world.tables[task.table]
    table.fds = tuple(row for row in table.fds if row[0] != fd)
    settle_file(world, file.key)
    return 0


def references(world: World, file: int) -> int:
    """How much holds a file open: descriptors, running calls, messages under way."""
    return (
        sum(row[1] == file for table in world.tables.values() for row in table.fds)
        + sum(other.queue.count(file) for other in world.files.values())
        + world.files[file].held
    )


def settle_file(world: World, file: int) -> None:
    """Release *file* if nothing holds it any more (R3)."""
    if file in world.files and not references(world, file):
        release(world, world.files.pop(file))


def end_call(world: World, task: Task, file: int, result: int) -> None:
    """A call of *task* that slept, and held *file* open, returns."""
    task.doing, task.result = (), result
    world.files[file].held -= 1
    settle_file(world, file)


def release(world: World, file: File) -> None:
    """The last reference has gone."""
    for queued in file.queue:
        settle_file(world, queued)
    if file.kind == "listener":
        detach(world, world.filters[file.filter])


@effect("R4", "F6")
def detach(world: World, filter: Filter) -> None:
    """The last close answers all who are unanswered with ENOSYS, and the filter has no listener."""
    filter.listener = False
    for key in filter.notes:
        note = world.notes[key]
        if note.state != NoteState.REPLIED:
            note.state = NoteState.REPLIED
            note.error, note.value, note.flags = -errno.ENOSYS, 0, 0
            note.done += 1
    filter.notes = ()


# -- to other processes ----------------------------------------------------------


def socketpair(world: World, task: Task) -> tuple[int, int]:
    """Two connected sockets that pass descriptors."""
    left, right = new_file(world, "socket"), new_file(world, "socket")
    left.peer, right.peer = right.key, left.key
    return install(world, task, left.key), install(world, task, right.key)


def pass_on(world: World, task: Task, socket: int, fd: int) -> int:
    """sendmsg(2) of one descriptor (SCM_RIGHTS): it is held from now on by the message."""
    end, file = file_at(world, task, socket), file_at(world, task, fd)
    if end is None or file is None:
        return -errno.EBADF
    if end.peer not in world.files:
        return -errno.EPIPE
    world.files[end.peer].queue += (file.key,)
    return 0


def take_in(world: World, task: Task, socket: int) -> int:
    """recvmsg(2) of one descriptor: its number here, or -EAGAIN if none has come."""
    end = file_at(world, task, socket)
    if end is None:
        return -errno.EBADF
    if not end.queue:
        return -errno.EAGAIN
    file, end.queue = end.queue[0], end.queue[1:]
    fd = install(world, task, file, cloexec=True)
    settle_file(world, file)
    return fd


# -- as /proc and plain calls see a listener --------------------------------------


@effect("N13")
def link(world: World, task: Task, fd: int) -> str:
    """What ``/proc/PID/fd/N`` of a listener says."""
    file = file_at(world, task, fd)
    if file is None:
        return ""
    return (
        "anon_inode:seccomp notify" if file.kind == "listener" else file.name or f"{file.kind}:[]"
    )


@effect("N13", otherwise=0)
def listener_operation(world: World, task: Task, fd: int, operation: str) -> int:
    """What is no ioctl: read and write are EINVAL, lseek ESPIPE, mmap ENODEV."""
    refused = {
        "read": errno.EINVAL,
        "write": errno.EINVAL,
        "lseek": errno.ESPIPE,
        "mmap": errno.ENODEV,
    }
    return -refused[operation]


# -- what ADDFD does in the target -------------------------------------------------


@effect("A3", "A7", otherwise=0)
def receive_lowest(world: World, task: Task, gift: Gift) -> int:
    """Without SETFD the lowest free number of the target's own table, EMFILE without room."""
    return install(world, task, gift.file, cloexec=gift.cloexec)


@effect("A3", "A7", "A15", otherwise=0)
def receive_exactly(world: World, task: Task, gift: Gift) -> int:
    """With SETFD exactly that number, replacing what is there; EBADF beyond the target's limit."""
    if not beyond_limit(world.process_of(task), gift.at):
        put(world, task, gift.at, gift.file, cloexec=gift.cloexec)
        return gift.at
    return -errno.EBADF


@effect("A7", otherwise=False)
def beyond_limit(process: Process, fd: int) -> bool:
    """A number that RLIMIT_NOFILE forbids, or that no table reaches."""
    return fd >= min(process.limit, NR_OPEN)
