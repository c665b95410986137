"""What calls do to the target's world when the kernel carries them out, and what they come to."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Operation
from unotify.abi.types import Address
from unotify.bpf.instructions import Instruction, decode
from unotify.calls import Call
from unotify.calls.acts import act_of
from unotify.calls.lookups import Spot, spot_of
from unotify.errors import Error
from unotify.policy.offline import Memory, call_of
from unotify.testing import reading
from unotify.testing.facility import descriptors, installing, memory, tasks
from unotify.testing.facility.state import CallData, Task, World
from unotify.testing.hostile.effects import Effect, Places, observe
from unotify.testing.hostile.names import extra, named_fd, object_of, resolve

__all__ = ["UNTOUCHED", "carry_out", "received", "take_effect", "where"]

UNTOUCHED: Final = frozenset(
    [
        "getpid",
        "gettid",
        "getppid",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "umask",
        "close",
        "dup",
        "read",
        "nanosleep",
        "pause",
        "restart_syscall",
        "exit",
        "exit_group",
    ]
)
"""Calls that the facility itself carries out, and that get nobody anything."""

_O_PATH: Final = 0o10000000
_PR_SET_SECCOMP, _PR_SET_NAME = 22, 15
_OPEN_TREE_CLONE: Final = 1


class _Pages(Memory):
    """A target's memory as typed calls read it."""

    def __init__(self, world: World, task: Task, pointer: int) -> None:
        super().__init__(pointer)
        self._pages = world.memory_of(task)

    def read(self, address: Address, length: int) -> bytes:
        return reading.read(self._pages, address, length)

    def read_string(self, address: Address, limit: int) -> bytes:
        return reading.read_string(self._pages, address, limit)


def received(world: World, task: Task, call: CallData) -> Call | None:
    """The typed call that the kernel carries out, as memory is now; ``None`` if it has none."""
    identity = tables.identify(call.arch, call.nr)
    name, arch, args = identity.name, identity.arch, call.args
    if name is None or arch is None:
        return None
    pages = _Pages(world, task, arch.pointer)
    if name == "socketcall":
        part = tables.MULTIPLEXERS[name].get(args[0] & 0xFFFFFFFF)
        if part is None:
            return None
        raw = memory.vm_read(world.memory_of(task), args[1], 24)
        if len(raw) < 24:
            return None
        name, args = part, struct.unpack("<6I", raw)
        number = tables.number(part, arch)
        if number is None:
            return None
        return call_of(arch, name, number, args, pages)
    return call_of(arch, name, call.nr & 0xFFFFFFFF, args, pages)


def where(world: World, task: Task) -> Places:
    """Where the paths and descriptors of a task truly lead."""
    return Places(
        lambda spot: object_of(world, resolve(world, task, spot)),
        lambda fd: object_of(world, named_fd(world, task, fd)),
    )


def carry_out(
    world: World, task: Task, call: CallData, note: Callable[[World, Task, Effect, str], None]
) -> int | None:
    """Carry a call out: tell its effect, change the world, and return its result."""
    made = received(world, task, call)
    if made is None:
        return -errno.ENOSYS
    effect = observe(made, where(world, task))
    if effect is None:
        return -errno.EINVAL
    note(world, task, effect, made.call_name)
    special = _RESULTS.get(made.call_name)
    try:
        if special is not None:
            return special(world, task, made)
        act = act_of(made.call_name)
        names = {arg.name for arg in made.spec.args}
        spots = {name: spot_of(made, name) for name, _ in effect.paths if name in names}
    except Error:
        return -errno.EFAULT
    return take_effect(world, task, act or made.call_name, effect, spots)


def take_effect(world: World, task: Task, act: str, effect: Effect, spots: dict[str, Spot]) -> int:
    """Change the world as an act does that somebody has carried out; the call's result."""
    now = {name: resolve(world, task, spot) for name, spot in spots.items()}
    old = extra(world)
    match act:
        case "openat":
            bare = int(dict(effect.values).get("flags", 0)) & _O_PATH
            return _descriptor(world, task, now["path"], "path" if bare else "file")
        case "symlinkat":
            if now["linkpath"] in dict(old.links):
                return -errno.EEXIST
            target = str(dict(effect.values).get("target", ""))
            world.extra = old._replace(links=(*old.links, (now["linkpath"], target)))
        case "renameat2" | "linkat":
            links = dict(old.links)
            if now["oldpath"] in links:
                text = links[now["oldpath"]]
                if act == "renameat2":
                    del links[now["oldpath"]]
                links[now["newpath"]] = text
                world.extra = old._replace(links=tuple(sorted(links.items())))
            else:
                links.pop(now["newpath"], None)
                moved = dict(old.moved) | {now["newpath"]: object_of(world, now["oldpath"])}
                world.extra = old._replace(
                    moved=tuple(sorted(moved.items())), links=tuple(sorted(links.items()))
                )
        case "mount" if "source" in dict(effect.paths):
            moved = dict(old.moved) | {now["target"]: object_of(world, now["source"])}
            world.extra = old._replace(moved=tuple(sorted(moved.items())))
    return 0


def _descriptor(world: World, task: Task, name: str, kind: str = "file") -> int:
    file = descriptors.new_file(world, kind, name)
    return descriptors.install(world, task, file.key)


# -- calls with a result of their own ---------------------------------------------------------


def _handle(world: World, task: Task, made: Any) -> int:
    effect = observe(made, where(world, task))
    assert effect is not None
    return _descriptor(world, task, dict(effect.paths)["path"])


def _ring(world: World, task: Task, made: Any) -> int:
    world.extra = extra(world)._replace(ring=True)
    return _descriptor(world, task, "anon_inode:[io_uring]", "other")


def _socket(world: World, task: Task, made: Any) -> int:
    return _descriptor(world, task, f"socket:[{made.register('family')}]", "socket")


def _file_system(world: World, task: Task, made: Any) -> int:
    return _descriptor(world, task, f"fs:{made.fsname}", "other")


def _made_mount(world: World, task: Task, made: Any) -> int:
    what = named_fd(world, task, made.register("fsfd"))
    if not what.startswith("fs:"):
        return -errno.EBADF
    return _descriptor(world, task, "mount:" + what[3:], "other")


def _tree(world: World, task: Task, made: Any) -> int:
    kind = "tree:" if made.register("flags") & _OPEN_TREE_CLONE else ""
    return _descriptor(world, task, kind + resolve(world, task, spot_of(made, "path")), "path")


def _seccomp(world: World, task: Task, made: Any) -> int:
    if made.register("operation") != Operation.SET_MODE_FILTER:
        return -errno.EINVAL
    code = _program(world, task, made.exchange.args[2], made.arch)
    return installing.add_filter(world, task, code, made.register("flags"))


def _program(world: World, task: Task, address: int, arch: Arch) -> tuple[Instruction, ...] | None:
    """What a ``struct sock_fprog`` of the target's points to; ``None`` is a bad pointer."""
    pages = world.memory_of(task)
    form = "<H6xQ" if arch.pointer == 8 else "<H2xI"
    header = memory.vm_read(pages, address, struct.calcsize(form))
    if len(header) < struct.calcsize(form):
        return None
    length, at = struct.unpack(form, header)
    raw = memory.vm_read(pages, at, length * 8)
    return decode(raw) if len(raw) == length * 8 else None


def _prctl(world: World, task: Task, made: Any) -> int:
    option = made.register("option")
    if option == _PR_SET_NAME:
        name = memory.read_text(world.memory_of(task), made.exchange.args[1], 16)
        if isinstance(name, int):
            return name
        task.comm = name.decode("utf-8", "surrogateescape")
    elif option == _PR_SET_SECCOMP:
        code = _program(world, task, made.exchange.args[2], made.arch)
        return installing.prctl_filter(world, task, code)
    return 0


def _fork(world: World, task: Task, made: Any) -> int:
    child = tasks.fork(world, task)
    child.result = 0
    return tasks.number_for(world, child, task)


def _execute(world: World, task: Task, made: Any) -> int:
    # Its other threads are taken for started again by the new program.
    world.process_of(task).exe = resolve(world, task, spot_of(made, "path"))
    return 0


_RESULTS: Final = MappingProxyType[str, Callable[[World, Task, Any], int]](
    {
        "open_by_handle_at": _handle,
        "io_uring_setup": _ring,
        "socket": _socket,
        "fsopen": _file_system,
        "fsmount": _made_mount,
        "open_tree": _tree,
        "seccomp": _seccomp,
        "prctl": _prctl,
        "fork": _fork,
        "vfork": _fork,
        "clone": _fork,
        "clone3": _fork,
        "execve": _execute,
        "execveat": _execute,
    }
)
