"""Looking into somebody else: process_vm_readv(2), ``/proc/TID/mem``, pidfd_getfd(2).

A read of a page that nobody delivers sleeps (`begin_read`), and goes on by a step (`end_read`).
"""

from __future__ import annotations

import errno

from unotify.testing.facility.credentials import may_attach
from unotify.testing.facility.descriptors import file_at, install, new_file
from unotify.testing.facility.memory import deliver, force, mapped, vm_read
from unotify.testing.facility.rules import check, effect
from unotify.testing.facility.state import Memory, Task, World
from unotify.testing.facility.traits import Trait

__all__ = [
    "answer_fault",
    "begin_read",
    "end_read",
    "open_mem",
    "read_mem",
    "reader_would_wake",
    "same_file",
    "take_fd",
    "write_mem",
]


def begin_read(world: World, reader: Task, tid: int, address: int, length: int) -> None:
    """process_vm_readv(2): `Task.result` is a length, with the bytes in `received`, or an errno."""
    reader.result, reader.received = None, None
    target = world.tasks.get(tid)
    if target is None or target.dead:
        reader.result = -errno.ESRCH
    elif refused := may_attach(world, reader, target):
        reader.result = -refused
    elif stalls(world.memory_of(target), address, length):
        reader.doing = ("reading", tid, address, length)
    else:
        _read(world, reader, target, address, length)


def _read(world: World, reader: Task, target: Task, address: int, length: int) -> None:
    found = vm_read(world.memory_of(target), address, length)
    if length and not found:
        reader.result = -errno.EFAULT
    else:
        reader.result, reader.received = len(found), (found,)


@effect("M4", otherwise=False)
def stalls(memory: Memory, address: int, length: int) -> bool:
    """A page that a handler of faults has not delivered stalls whoever reads it."""
    parts = (mapped(memory, at) for at in (address, address + max(length, 1) - 1))
    return any(part is not None and part[0] in memory.guarded for part in parts)


def reader_would_wake(world: World, reader: Task) -> bool:
    """Whether the page has come, or the target has gone."""
    _, tid, address, length = reader.doing
    target = world.tasks.get(tid)
    return target is None or target.dead or not stalls(world.memory_of(target), address, length)


def end_read(world: World, reader: Task) -> None:
    """Go on with what is there now; of the dead there is nothing."""
    _, tid, address, length = reader.doing
    reader.doing = ()
    target = world.tasks.get(tid)
    if target is None or target.dead:
        reader.result = -errno.EFAULT
    else:
        _read(world, reader, target, address, length)


def answer_fault(memory: Memory, address: int, data: bytes) -> None:
    """UFFDIO_COPY: the page has come."""
    part = mapped(memory, address)
    assert part is not None
    memory.guarded = tuple(start for start in memory.guarded if start != part[0])
    deliver(memory, part[0], data)


# -- /proc/TID/mem ----------------------------------------------------------------


@check("M3")
def mem_may_be_opened(world: World, reader: Task, target: Task) -> int:
    """Whoever may not attach gets EACCES from /proc, where system calls say EPERM."""
    return errno.EACCES if may_attach(world, reader, target) else 0


def open_mem(world: World, reader: Task, tid: int) -> int:
    """open(2) of ``/proc/TID/mem``: a descriptor, or a negative errno."""
    target = world.tasks.get(tid)
    if target is None or target.dead:
        return -errno.ENOENT
    if refused := mem_may_be_opened(world, reader, target):
        return -refused
    file = new_file(world, "mem", f"/proc/{tid}/mem")
    bind(world, file.key, target)
    return install(world, reader, file.key, cloexec=True)


@effect("M2")
def bind(world: World, file: int, target: Task) -> None:
    """What was opened is the memory that the thread has then."""
    world.files[file].memory = world.memory_of(target).key


@effect("M2", otherwise=True)
def in_use(world: World, key: int) -> bool:
    """Memory that nobody runs in any more, after exec or death, is empty."""
    return any(
        process.memory == key and world.threads(process.pid) for process in world.processes.values()
    )


def read_mem(world: World, reader: Task, fd: int, address: int, length: int) -> bytes | int:
    """pread(2) of it: bytes, or a negative errno."""
    file = file_at(world, reader, fd)
    if file is None or file.kind != "mem":
        return -errno.EBADF
    if file.memory not in world.memories or not in_use(world, file.memory):
        return b""
    return force(world.memories[file.memory], address, length)


def write_mem(world: World, reader: Task, fd: int, address: int, data: bytes) -> int:
    """pwrite(2) of it: a length, or a negative errno."""
    found = read_mem(world, reader, fd, address, len(data))
    if isinstance(found, int) or not found:
        return found if isinstance(found, int) else 0
    file = file_at(world, reader, fd)
    assert file is not None
    deliver(world.memories[file.memory], address, data[: len(found)])
    return len(found)


# -- descriptors ---------------------------------------------------------------------


def take_fd(world: World, reader: Task, tid: int, fd: int, *, of_thread: bool) -> int:
    """pidfd_getfd(2) through a pidfd of the thread, or of its process."""
    if not world.has(Trait.PIDFD_GETFD):
        return -errno.ENOSYS
    target = world.tasks.get(tid)
    if target is None or target.dead:
        return -errno.ESRCH
    if refused := may_attach(world, reader, target):
        return -refused
    file = file_at(world, owner_of_table(world, target, of_thread), fd)
    return -errno.EBADF if file is None else install(world, reader, file.key, cloexec=True)


@effect("P7", otherwise=None)
def owner_of_table(world: World, target: Task, of_thread: bool) -> Task:
    """A pidfd of a process looks into the table of the thread that leads it."""
    return target if of_thread else world.tasks[target.process]


@effect("A1", otherwise=False)
def same_file(world: World, task: Task, fd: int, other: Task, other_fd: int) -> bool:
    """kcmp(KCMP_FILE): whether both descriptors share one open file description."""
    found = file_at(world, task, fd), file_at(world, other, other_fd)
    return found[0] is not None and found[0] is found[1]
