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
from unotify.abi.seccomp import Mode, Operation
from unotify.bpf.instructions import Instruction, decode
from unotify.testing.facility.descriptors import close, copy, file_at, install, new_file
from unotify.testing.facility.filing import LARGEST, truncate
from unotify.testing.facility.installing import add_filter, operation, prctl_filter
from unotify.testing.facility.memory import read_text, vm_read, vm_write
from unotify.testing.facility.rules import effect
from unotify.testing.facility.state import CallData, Task, World
from unotify.testing.facility.tasks import become, die, end_process, fork, number_for
from unotify.testing.facility.tree import child

__all__ = ["run", "sleeps_until"]

_O_PATH: Final = 0o10000000
_O_CLOEXEC: Final = 0o2000000
_CLONE_FILES: Final = 0x400
_LOW: Final = 0xFFFFFFFF
_SYS_SOCKET: Final = 1
_PR_GET_SECCOMP, _PR_SET_SECCOMP = 21, 22
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39


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
    file.inode = inode_of(world, name)
    return install(world, task, file.key, cloexec=bool(flags & _O_CLOEXEC))


@effect("A1", otherwise=0)
def read_on(world: World, task: Task, call: CallData) -> int:
    """Who shares a description shares its offset."""
    file = file_at(world, task, call.args[0])
    if file is None or file.kind == "path":
        return -errno.EBADF
    content = world.inodes[file.inode].data if file.inode >= 0 else file.content
    data = content[file.offset : file.offset + call.args[2]]
    if data and vm_write(world.memory_of(task), call.args[1], data) < 0:
        return -errno.EFAULT
    file.offset += len(data)
    return len(data)


def inode_of(world: World, path: str) -> int:
    """The inode of a file that is there."""
    here = world.inodes[world.root]
    for name in path.strip("/").split("/"):
        found = child(world, here, name)
        assert found is not None
        here = found
    return here.key


def write_on(world: World, task: Task, call: CallData) -> int:
    """write(2) to a file of the tree."""
    file = file_at(world, task, call.args[0])
    if file is None or file.kind == "path":
        return -errno.EBADF
    data = vm_read(world.memory_of(task), call.args[1], call.args[2])
    if call.args[2] and not data:
        return -errno.EFAULT
    if file.inode < 0:
        return -errno.EINVAL
    inode = world.inodes[file.inode]
    end = file.offset + len(data)
    if end > LARGEST:
        return -errno.EFBIG
    inode.data = inode.data[: file.offset].ljust(file.offset, b"\0") + data + inode.data[end:]
    file.offset = end
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


def _truncate_in_halves(world: World, task: Task, call: CallData) -> int:
    file = file_at(world, task, call.args[0] & _LOW)
    size = joined(*call.args[1:3])
    if file is None or file.kind != "file":
        return -errno.EBADF
    return truncate(world.inodes[file.inode], size) if file.inode >= 0 else -errno.EINVAL


@effect("B6", "B3", otherwise=0)
def joined(low: int, high: int) -> int:
    """A 64-bit value of a 32-bit call fills two registers, the low half first."""
    return (high & _LOW) << 32 | low & _LOW


def _socket(world: World, task: Task, call: CallData) -> int:
    return install(world, task, new_file(world, "socket").key)


@effect("B6", otherwise=-errno.EINVAL)
def call_in_memory(world: World, task: Task, call: CallData) -> int:
    """socketcall(2) of i386: a number says which call it is, and its arguments are in memory."""
    words = vm_read(world.memory_of(task), call.args[1] & _LOW, 12)
    if len(words) < 12:
        return -errno.EFAULT
    inner = call._replace(args=(*struct.unpack("=III", words), 0, 0, 0))
    return _socket(world, task, inner) if call.args[0] & _LOW == _SYS_SOCKET else -errno.EINVAL


def _prctl(world: World, task: Task, call: CallData) -> int:
    option, first, second = call.args[:3]
    if option == _PR_SET_NO_NEW_PRIVS and first == 1:
        task.no_new_privs = True
        return 0
    if option == _PR_GET_NO_NEW_PRIVS:
        return int(task.no_new_privs)
    if option == _PR_GET_SECCOMP:
        return task.mode
    if option == _PR_SET_SECCOMP and first == Mode.FILTER:
        return prctl_filter(world, task, read_program(world, task, second))
    return -errno.EINVAL


def _seccomp(world: World, task: Task, call: CallData) -> int:
    number, flags, pointer = call.args[:3]
    if number == Operation.SET_MODE_FILTER:
        return add_filter(world, task, read_program(world, task, pointer), flags)
    return operation(world, task, number, flags, bare=not pointer)


@effect("F9", otherwise=None)
def read_program(world: World, task: Task, pointer: int) -> tuple[Instruction, ...] | None:
    """A ``struct sock_fprog`` and its instructions; ``None`` where they cannot be read."""
    head = vm_read(world.memory_of(task), pointer, 16)
    if len(head) < 16:
        return None
    count, address = struct.unpack("=HxxxxxxQ", head)
    code = vm_read(world.memory_of(task), address, 8 * count)
    return decode(code) if len(code) == 8 * count else None


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
        "write": write_on,
        "openat": _open_at,
        "open": lambda world, task, call: open_as_it_is_now(
            world, task, call.args[0], call.args[1]
        ),
        "execve": _execute,
        "nanosleep": _sleep,
        "pause": _pause,
        "restart_syscall": _sleep,
        "ftruncate64": _truncate_in_halves,
        "socketcall": call_in_memory,
        "socket": _socket,
        "clock_gettime": lambda world, task, call: 0,
        "time": lambda world, task, call: 1_700_000_000,
        "prctl": _prctl,
        "seccomp": _seccomp,
        "openat2": lambda world, task, call: open_as_it_is_now(world, task, call.args[1], 0),
        "exit": _exit,
        "exit_group": _exit_group,
        "fork": _fork,
        "clone": _clone,
    }
)
