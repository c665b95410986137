"""The machine's clock, for programs that would set it.

Theory of operation. There is one real-time clock for all containers, and programs read it without
a system call (vDSO), so nobody can be given one of his own. A policy says whether setting it is
refused, said to be done, or done to the machine's clock. To *read* the state of the clock
(adjtimex without modes) is everybody's right, and is answered with the machine's.
"""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Mapping
from typing import Any, Final

from unotify.abi.arch import Arch
from unotify.abi.capabilities import Capability
from unotify.abi.types import Address
from unotify.calls import Call
from unotify.errors import Refused
from unotify.kernel.privileged import TIMEX_SIZE, adjust_clock
from unotify.protocol import Fail, Reply, Return
from unotify.supervisor.addons import verb

__all__ = ["emulate_clock"]

_REALTIME: Final = 0
_READING: Final = frozenset({0, 0xA001})  # and ADJ_OFFSET_SS_READ
_NANO: Final = 1_000_000_000
_FIELDS: Final = "Iqqqqiqqqqqqqqiqqqqqi"
"""``struct __kernel_timex``, and ``old_timex32`` with 32 bits for each."""


def emulate_clock(call: Call, *, answer: str = "deny") -> Reply:
    """Answer clock_settime, settimeofday, clock_adjtime, adjtimex and stime.

    Args:
        call: The call.
        answer: ``deny`` is EPERM. ``fake`` says that it was done. ``host`` does it: the
            machine's clock is set, for all.

    Raises:
        TargetError: EPERM without CAP_SYS_TIME in the container; EFAULT and EINVAL as the kernel.
        Unsupported: The state of the clock cannot be written safely (M8).
    """
    name = call.call_name
    if name in ("adjtimex", "clock_adjtime", "clock_adjtime64"):
        return _adjust(call, answer)
    if name == "settimeofday":
        return _set_time_of_day(call, answer)
    if name == "stime":
        return _set(call, answer, _stime(call), 0)
    if call.register("clockid") != _REALTIME:
        return Fail(errno.EINVAL)
    spec: Any = call.tp  # type: ignore[attr-defined]
    return _set(call, answer, spec.sec, spec.nsec)


def _set(call: Call, answer: str, seconds: int, nanoseconds: int) -> Reply:
    if not 0 <= nanoseconds < _NANO or not 0 <= seconds < 1 << 62:
        return Fail(errno.EINVAL)
    call.caller.around.require(Capability.CAP_SYS_TIME)
    if answer == "deny":
        return Fail(errno.EPERM)
    if answer == "host":
        if not call.caller.is_waiting():
            return Fail(errno.EINTR)
        try:
            time.clock_settime_ns(time.CLOCK_REALTIME, seconds * _NANO + nanoseconds)
        except OSError as error:
            return Fail(error.errno or errno.EPERM)
        except OverflowError:
            return Fail(errno.EINVAL)
    return Return(0)


def _stime(call: Call) -> int:
    order = "<" if call.arch.little else ">"
    raw: bytes = call.caller.read(Address(call.register("t")), call.arch.bits // 8)
    return int(struct.unpack(order + ("q" if call.arch.bits == 64 else "i"), raw)[0])


def _set_time_of_day(call: Call, answer: str) -> Reply:
    value: Any = call.tv  # type: ignore[attr-defined]
    zone = call.register("tz")
    if zone:
        call.caller.read(Address(zone), 8)
    if value is not None:
        if not 0 <= value.usec < 1_000_000:
            return Fail(errno.EINVAL)
        return _set(call, answer, value.sec, value.usec * 1000)
    call.caller.around.require(Capability.CAP_SYS_TIME)
    # Of the time zone of the kernel nobody is in need; it is not set for anybody.
    return Return(0) if answer != "deny" else Fail(errno.EPERM)


def _adjust(call: Call, answer: str) -> Reply:
    caller = call.caller
    caller.require_quiet()
    clock = _REALTIME if call.call_name == "adjtimex" else call.register("clockid")
    if clock != _REALTIME:
        return Fail(errno.EOPNOTSUPP if 0 < clock < 16 else errno.EINVAL)
    wide = call.call_name == "clock_adjtime64" or call.arch.bits == 64 or call.arch is Arch.X32
    layout = struct.Struct(_layout(call.arch, wide))
    where = Address(call.register("buf"))
    fields = layout.unpack(caller.read(where, layout.size))
    if fields[0] not in _READING:
        caller.around.require(Capability.CAP_SYS_TIME)
        if answer == "deny":
            return Fail(errno.EPERM)
        if answer == "fake":
            fields = (0, *fields[1:])
        if not caller.is_waiting():
            return Fail(errno.EINTR)
    native = struct.pack(_layout(None, True), *fields)
    state, told = adjust_clock(_REALTIME, native)
    found = struct.unpack(_layout(None, True), told)
    try:
        caller.write(where, layout.pack(fields[0], *found[1:]))
    except struct.error:
        raise Refused("it does not fit into the 32-bit struct", errno=errno.EOVERFLOW) from None
    return Return(state)


def _layout(arch: Arch | None, wide: bool) -> str:
    order = "@" if arch is None else "<" if arch.little else ">"
    if not wide:
        return f"{order}{_FIELDS.replace('q', 'i')}44x"
    if arch is None:
        return f"@{_FIELDS}44x"
    # Each long is aligned to 8 bytes, as the kernel has it for all.
    return f"{order}I4xqqqqi4xqqqqqqqqi4xqqqqqi44x"


assert struct.calcsize(_layout(None, True)) == TIMEX_SIZE


@verb("emulate-clock")
def _emulate_clock(call: Call, parameters: Mapping[str, Any]) -> Reply:
    return emulate_clock(call, **parameters)
