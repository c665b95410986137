"""Programs that decide which devices a control group may use: bpf(2), for containers in containers.

Theory of operation. Whoever manages control groups of version 2 sets which devices each may use by
a small program, and loading one takes rights over the machine. Here such a program is loaded for
the caller, of that one type, without calls of the kernel's functions and without maps: it can
compare numbers and answer yes or no. It may be attached to, and detached from, control groups
strictly below the root of the caller's cgroup namespace, so never to the container's own. A
container that shares the host's cgroup namespace, but not its user namespace, has none.

One way of attaching would widen what the container may do: a program that *overrides* one further
up, which was attached so that this can be done. So only such as are asked *besides* the others
(BPF_F_ALLOW_MULTI) are taken, and none below one that may be overridden.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Final

from unotify.abi.capabilities import Capability
from unotify.abi.types import Address
from unotify.calls import Call
from unotify.errors import Refused
from unotify.handlers.cgroups import hierarchies
from unotify.handlers.descriptors import stolen
from unotify.kernel.privileged import (
    attach_program,
    attached_programs,
    detach_program,
    load_device_program,
)
from unotify.protocol import Fail, InstallFd, Reply, Return
from unotify.supervisor.addons import verb

__all__ = ["emulate_device_programs"]

_LOAD, _ATTACH, _DETACH = 5, 8, 9
_TYPE, _ON = 15, 6  # BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE
_LONGEST: Final = 4096
_LOAD_KNOWN, _ATTACH_KNOWN = 144, 20
_LOG_MOST: Final = 1 << 20
_LICENSE_MOST: Final = 128
_ALLOW_OVERRIDE, _ALLOW_MULTI, _REPLACE = 1, 2, 4
_LONG_LOAD: Final = 0x18
_CLASS, _JUMP, _JUMP32, _CALL = 0x07, 0x05, 0x06, 0x80


def emulate_device_programs(call: Call, *, instructions: int = 4096) -> Reply:
    """Answer bpf(2) for programs of the type BPF_PROG_TYPE_CGROUP_DEVICE.

    Args:
        call: The call, with BPF_PROG_LOAD, BPF_PROG_ATTACH or BPF_PROG_DETACH.
        instructions: How many a program may have at most.

    Returns:
        The descriptor of the program, 0, or the kernel's own errno.

    Raises:
        TargetError: EPERM without CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, in the container;
            for other types, what a program may not have, and control groups that are not below the
            caller's own root. E2BIG, EFAULT, EBADF and EINVAL as the kernel.
        KernelError: The supervisor may not look at the caller.
    """
    command = call.register("cmd")
    if command not in (_LOAD, _ATTACH, _DETACH):
        return Fail(errno.EPERM)
    around = call.caller.around
    if not around.may(Capability.CAP_SYS_ADMIN):
        around.require(Capability.CAP_NET_ADMIN)
        if command == _LOAD:
            around.require(Capability.CAP_BPF)
    attr = _attributes(call, _LOAD_KNOWN if command == _LOAD else _ATTACH_KNOWN)
    if command == _LOAD:
        return _load(call, attr, instructions)
    return _place(call, attr, attaches=command == _ATTACH)


def _attributes(call: Call, known: int) -> bytes:
    """``union bpf_attr``, as long as we know it; what is beyond has to be zero."""
    size = call.register("size")
    if not 0 < size <= _LONGEST:
        raise Refused(f"a bpf_attr of {size} bytes", errno=errno.E2BIG)
    raw: bytes = call.caller.read(Address(call.register("attr")), size)
    if any(raw[known:]):
        # More than the fields of this command is EINVAL to the kernel, and to us more than we know.
        raise Refused("fields of bpf_attr that are not known", errno=errno.EINVAL)
    return raw[:known].ljust(known, b"\0")


# -- load ---------------------------------------------------------------------------


def _load(call: Call, attr: bytes, most: int) -> Reply:
    order = "<" if call.arch.little else ">"
    kind, count, code, license_, level, room, log, _, flags, name, *rest = struct.unpack_from(
        order + "IIQQIIQII16sII", attr
    )
    device, attach_type = rest
    if kind != _TYPE:
        raise Refused(f"a program of type {kind}", errno=errno.EPERM)
    if flags or device or attach_type not in (0, _ON) or any(attr[72:]):
        raise Refused("a program with more than instructions", errno=errno.EPERM)
    if not 0 < count <= most:
        raise Refused(f"a program of {count} instructions", errno=errno.E2BIG)
    if (bool(room) != bool(log) and level) or (level and not room):
        raise Refused("a log without a place", errno=errno.EINVAL)
    caller = call.caller
    program: bytes = caller.read(Address(code), count * 8)
    _require_plain(program, order)
    words: bytes = caller.read_string(Address(license_), _LICENSE_MOST)
    if level:
        caller.require_quiet()
    if not caller.is_waiting():
        return Fail(errno.EINTR)
    done = load_device_program(
        program,
        words,
        name,
        flags=0,
        log_level=level,
        log_size=min(room, _LOG_MOST),
    )
    try:
        if level:
            caller.write(Address(log), (done.log[: room - 1] + b"\0")[:room])
        if done.value < 0:
            return Fail(-done.value)
        # bpf(2) gives none that exec leaves open.
        return InstallFd(done.value, cloexec=True, owned=True)
    except BaseException:
        if done.value >= 0:
            os.close(done.value)
        raise


def _require_plain(program: bytes, order: str) -> None:
    """Raise EPERM for a program that does more than compare numbers and answer."""
    for at in range(0, len(program), 8):
        code, registers = struct.unpack_from(order + "BB", program, at)
        source = registers >> 4 if order == "<" else registers & 0xF
        if code == _LONG_LOAD and source:
            raise Refused("a program with maps", errno=errno.EPERM)
        if code & _CLASS in (_JUMP, _JUMP32) and code & 0xF0 == _CALL:
            raise Refused("a program that calls functions", errno=errno.EPERM)


# -- attach and detach --------------------------------------------------------------


def _place(call: Call, attr: bytes, *, attaches: bool) -> Reply:
    order = "<" if call.arch.little else ">"
    group, program, kind, flags, replaced = struct.unpack_from(order + "IIIII", attr)
    if kind != _ON:
        raise Refused("a program for something else than devices", errno=errno.EPERM)
    if attaches and flags & ~(_ALLOW_MULTI | _REPLACE):
        raise Refused("a program that could override another", errno=errno.EPERM)
    if attaches and not flags & _ALLOW_MULTI:
        raise Refused("a program that is not asked besides others", errno=errno.EPERM)
    if not attaches and flags:
        return Fail(errno.EINVAL)
    with ExitStack() as stack:
        target = stack.enter_context(stolen(call, _fd(group)))
        _require_below(call, target, attaches=attaches)
        ours = stack.enter_context(stolen(call, _fd(program))) if program or attaches else 0
        instead = 0
        if flags & _REPLACE:
            instead = stack.enter_context(stolen(call, _fd(replaced)))
        if not call.caller.is_waiting():
            return Fail(errno.EINTR)
        if attaches:
            attach_program(target, ours, flags, instead)
        else:
            detach_program(target, ours)
    return Return(0)


def _fd(word: int) -> int:
    if word >> 31:
        raise Refused("no descriptor", errno=errno.EBADF)
    return word


def _require_below(call: Call, fd: int, *, attaches: bool) -> None:
    """Raise EPERM unless *fd* is a control group that the container made itself."""
    around = call.caller.around
    if around.shares("cgroup") and not around.shares("user"):
        raise Refused("the container has no cgroup namespace of its own", errno=errno.EPERM)
    top = hierarchies().unified
    root: str = around.cgroup_root()
    path = os.readlink(f"/proc/self/fd/{fd}")
    if not top or os.fstat(fd).st_dev != os.stat(top).st_dev:
        raise Refused("no control group of version 2", errno=errno.EBADF)
    if not _is(path, fd) or not path.startswith(top):
        # The text is one of the container's mounts, which may say anything: it is told by what it
        # is.
        path = _found(top, fd)
    inside = path[len(top) :] or "/"
    if not inside.startswith(root.rstrip("/") + "/") or inside == root:
        raise Refused("a control group that is not the container's", errno=errno.EPERM)
    if attaches:
        _require_no_override(top, inside)


def _is(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except OSError:
        return False


def _found(top: str, fd: int) -> str:
    for directory, names, _ in os.walk(top):
        for name in names:
            if _is(os.path.join(directory, name), fd):
                return os.path.join(directory, name)
    raise Refused("a control group that cannot be seen", errno=errno.EPERM)


def _require_no_override(top: str, inside: str) -> None:
    above = os.path.dirname(inside)
    while True:
        fd = os.open(top + above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            count, flags = attached_programs(fd)
        finally:
            os.close(fd)
        if count and flags & _ALLOW_OVERRIDE:
            raise Refused("below a program that may be overridden", errno=errno.EPERM)
        if above == "/":
            return
        above = os.path.dirname(above)


@verb("emulate-device-programs")
def _emulate_device_programs(call: Call, parameters: Mapping[str, Any]) -> Reply:
    return emulate_device_programs(call, **parameters)
