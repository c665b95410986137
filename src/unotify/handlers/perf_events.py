"""Performance events of a program's own threads.

Theory of operation. perf_event_open(2) is a large door into the kernel, and closed to most
containers. With ``own`` it is opened for one thing: to count and sample what threads of the calling
process do in user space. The struct is copied once and checked, the kernel is left out of all that
is measured, and the supervisor opens the event for the thread and hands the descriptor over.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from typing import Any, Final

from unotify.abi.types import Address
from unotify.calls import Call
from unotify.errors import Refused
from unotify.handlers.descriptors import stolen
from unotify.kernel.held import HeldThread
from unotify.kernel.privileged import open_event
from unotify.protocol import Fail, InstallFd, Reply
from unotify.supervisor.addons import verb

__all__ = ["KINDS", "emulate_perf"]

KINDS: Final[Mapping[str, int]] = {"hardware": 0, "software": 1, "cache": 3}
"""What can be measured; tracepoints, raw events and breakpoints cannot."""

_FIRST: Final = 64
_KNOWN: Final = 136
_LONGEST: Final = 4096
_CLOEXEC: Final = 8
_OF_CGROUP: Final = 4
_FLAGS: Final = 0xF
_SOFTWARE_MOST: Final = 9
_SAMPLES: Final = 0x10001 | 0x33FE  # IP to STREAM_ID, user registers and stack; IDENTIFIER
_NOT_RAW: Final = ~(0x400 | 0x800)

# Bits of the flags in the struct.
_EXCLUDE_KERNEL, _EXCLUDE_HV, _NO_KERNEL_CHAIN = 1 << 5, 1 << 6, 1 << 21
_REFUSED_BITS: Final = sum(1 << bit for bit in (28, 29, 30, 31, 32, 33, 37)) | ~((1 << 38) - 1)


def emulate_perf(
    call: Call, *, answer: str = "own", events: Collection[str] = ("software", "hardware", "cache")
) -> Reply:
    """Answer perf_event_open(2).

    Args:
        call: The call.
        answer: ``own`` opens the event for threads of the calling process, in user space only.
            ``deny`` is EACCES, as where ``perf_event_paranoid`` is high. ``absent`` is ENOSYS.
        events: Of `KINDS`, what may be measured.

    Returns:
        The descriptor, or the kernel's own errno.

    Raises:
        TargetError: EACCES for what is not one's own, or not in user space; E2BIG, EINVAL, EFAULT,
            ESRCH and EBADF as the kernel says them; ESRCH also for a thread that ends meanwhile.
        KernelError: The supervisor may not look at the caller.
    """
    if answer == "absent":
        return Fail(errno.ENOSYS)
    if answer == "deny":
        return Fail(errno.EACCES)
    flags = call.register("flags")
    if flags & ~_FLAGS:
        return Fail(errno.EINVAL)
    attr = _checked(_attributes(call), events, little=call.arch.little)
    pid, group = call.register("pid"), call.register("group_fd")
    if flags & _OF_CGROUP or pid == -1:
        return Fail(errno.EACCES)
    with ExitStack() as stack:
        thread = stack.enter_context(HeldThread(call.caller.around.thread_of(pid)))
        if thread.process != call.caller.pid:
            return Fail(errno.EACCES)
        leader = -1 if group == -1 else stack.enter_context(stolen(call, group))
        if not call.caller.is_waiting():
            return Fail(errno.EINTR)
        fd = open_event(attr, thread.tid, call.register("cpu"), leader, flags & ~_CLOEXEC)
        try:
            thread.require()  # else the number may be another's by now, and so is the event
        except BaseException:
            os.close(fd)
            raise
    return InstallFd(fd, cloexec=bool(flags & _CLOEXEC), owned=True)


def _attributes(call: Call) -> bytes:
    """The struct, of which no byte is read twice; as long as we know it."""
    start = call.register("attr")
    head: bytes = call.caller.read(Address(start), 8)
    (size,) = struct.unpack(("<" if call.arch.little else ">") + "4xI", head)
    size = size or _FIRST
    if not _FIRST <= size <= _LONGEST:
        raise Refused(f"a perf_event_attr of {size} bytes", errno=errno.E2BIG)
    raw: bytes = head + call.caller.read(Address(start + 8), size - 8)
    if any(raw[_KNOWN:]):
        raise Refused("fields of perf_event_attr that are not known", errno=errno.E2BIG)
    return raw[:_KNOWN].ljust(_KNOWN, b"\0")


def _checked(raw: bytes, events: Collection[str], *, little: bool) -> bytes:
    order = "<" if little else ">"
    kind, _, config, period, sample, read, bits = struct.unpack_from(order + "IIQQQQQ", raw)
    listed = {KINDS[name] for name in events}
    bad = (
        kind not in listed
        or config >> 32
        or (kind == KINDS["software"] and config > _SOFTWARE_MOST)
        or sample & ~(_SAMPLES & _NOT_RAW)
        or bits & _REFUSED_BITS
    )
    if bad:
        raise Refused("an event that is not for everybody", errno=errno.EACCES)
    bits |= _EXCLUDE_KERNEL | _EXCLUDE_HV | _NO_KERNEL_CHAIN
    made = struct.pack(order + "IIQQQQQ", kind, _KNOWN, config, period, sample, read, bits)
    return made + raw[len(made) :]


@verb("emulate-perf")
def _emulate_perf(call: Call, parameters: Mapping[str, Any]) -> Reply:
    return emulate_perf(call, **parameters)
