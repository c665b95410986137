"""What calls do when they run: the few that the facility's rules are about.

Others are ENOSYS, as on a kernel that does not have them; `World.natives` takes more.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from unotify.abi import tables
from unotify.testing.facility.descriptors import close, copy, file_at, install, new_file
from unotify.testing.facility.memory import read_text, vm_read, vm_write
from unotify.testing.facility.rules import effect
from unotify.testing.facility.state import CallData, Task, World
from unotify.testing.facility.tasks import become, die, end_process, fork, number_for

__all__ = ["run", "sleeps_until"]

_O_PATH: Final = 0o10000000
_O_CLOEXEC: Final = 0o2000000
_CLONE_FILES: Final = 0x400
_VFORK: Final = 0x4000 | 0x100


def run(world: World, task: Task, call: CallData) -> int | None:
    """Run a call; ``None`` if it sleeps, or if its thread has died."""
    name = tables.identify(call.arch, call.nr).name
    native = None if name is None else world.natives.get(name, _NATIVES.get(name))
    return -errno.ENOSYS if native is None else native(world, task, call)


def _parent(world: World, task: Task, call: CallData) -> int:
    parent = world.tasks.get(world.process_of(task).parent)
    return 0 if parent is None else number_for(world, parent, task)


def _open_at(world: World, task: Task, call: CallData) -> int:
    return open_as_it_is_now(world, task, call.args[1], call.args[2])


@effect("C2", otherwise=0)
def open_as_it_is_now(world: World, task: Task, address: int, flags: int) -> int:
    """A call that runs reads memory as it is then, whatever it was when somebody looked."""
    path = read_text(world.memory_of(task), address, 4096)
    if isinstance(path, int):
        return path
    name = path.decode("utf-8", "surrogateescape")
    if name not in world.disk:
        return -errno.ENOENT
    file = new_file(world, "path" if flags & _O_PATH else "file", name)
    file.content = world.disk[name]
    return install(world, task, file.key, cloexec=bool(flags & _O_CLOEXEC))


@effect("A1", otherwise=0)
def read_on(world: World, task: Task, call: CallData) -> int:
    """Who shares a description shares its offset."""
    file = file_at(world, task, call.args[0])
    if file is None or file.kind == "path":
        return -errno.EBADF
    data = file.content[file.offset : file.offset + call.args[2]]
    if data and vm_write(world.memory_of(task), call.args[1], data) < 0:
        return -errno.EFAULT
    file.offset += len(data)
    return len(data)


def _execute(world: World, task: Task, call: CallData) -> int | None:
    path = read_text(world.memory_of(task), call.args[0], 4096)
    if isinstance(path, int):
        return path
    name = path.decode("utf-8", "surrogateescape")
    if name not in world.disk:
        return -errno.ENOENT
    become(world, task, name)
    return 0


def _sleep(world: World, task: Task, call: CallData) -> None:
    # One that is restarted sleeps its whole span again.
    span = vm_read(world.memory_of(task), call.args[0], 16)
    seconds = None
    if len(span) == 16:
        whole, nanoseconds = struct.unpack("=qq", span)
        seconds = whole + nanoseconds / 1e9
    task.doing = ("sleeping", seconds)


def _pause(world: World, task: Task, call: CallData) -> None:
    task.doing = ("sleeping", None)


def sleeps_until(world: World, task: Task) -> float | None:
    """How many seconds a thread sleeps in all, if it does and that ends."""
    if task.doing and task.doing[0] == "sleeping" and task.doing[1] is not None:
        return float(task.doing[1])
    return None


def _exit(world: World, task: Task, call: CallData) -> None:
    if len(world.threads(task.process)) == 1:
        end_process(world, world.process_of(task), call.args[0] & 0xFF)
    die(world, task)


def _exit_group(world: World, task: Task, call: CallData) -> None:
    end_process(world, world.process_of(task), call.args[0] & 0xFF)
    die(world, task)


def _fork(world: World, task: Task, call: CallData) -> int:
    child = fork(world, task)
    child.result = 0
    return number_for(world, child, task)


def _clone(world: World, task: Task, call: CallData) -> int:
    child = fork(world, task, share_files=bool(call.args[0] & _CLONE_FILES))
    child.result = 0
    return number_for(world, child, task)


def _space_number(world: World, task: Task, tid: int) -> int:
    return number_for(world, world.tasks[tid], task)


_NATIVES: Final = MappingProxyType[str, Callable[[World, Task, CallData], int | None]](
    {
        "getpid": lambda world, task, call: _space_number(world, task, task.process),
        "gettid": lambda world, task, call: _space_number(world, task, task.tid),
        "getppid": _parent,
        "getuid": lambda world, task, call: task.uid,
        "geteuid": lambda world, task, call: task.uid,
        "getgid": lambda world, task, call: task.gid,
        "getegid": lambda world, task, call: task.gid,
        "umask": lambda world, task, call: 0o022,
        "close": lambda world, task, call: close(world, task, call.args[0]),
        "dup": lambda world, task, call: copy(world, task, call.args[0]),
        "read": read_on,
        "openat": _open_at,
        "open": lambda world, task, call: open_as_it_is_now(
            world, task, call.args[0], call.args[1]
        ),
        "execve": _execute,
        "nanosleep": _sleep,
        "pause": _pause,
        "restart_syscall": _sleep,
        "exit": _exit,
        "exit_group": _exit_group,
        "fork": _fork,
        "clone": _clone,
    }
)
