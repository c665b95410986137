"""Calls that only a privileged supervisor can make, with structs that were checked before.

Bare ones: who is asked for, and what may be in a struct, is decided by whoever calls. Each
raises `Refused` with the kernel's errno, which is what the target is to get.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final, NamedTuple

from unotify.errors import Refused
from unotify.kernel._libc import syscall
from unotify.kernel.acts import number

__all__ = [
    "TIMEX_SIZE",
    "Loaded",
    "adjust_clock",
    "attach_program",
    "attached_programs",
    "detach_program",
    "load_device_program",
    "open_event",
    "set_node_name",
]

_CLOEXEC: Final = 8  # PERF_FLAG_FD_CLOEXEC
_LOAD, _ATTACH, _DETACH, _QUERY = 5, 8, 9, 16
_CGROUP_DEVICE: Final = 15  # BPF_PROG_TYPE_CGROUP_DEVICE
_ON_DEVICE: Final = 6  # BPF_CGROUP_DEVICE

TIMEX_SIZE: Final = 208
"""Bytes of ``struct __kernel_timex``."""


def _done(result: int, call: str) -> int:
    if result < 0:
        raise Refused(f"{call}: {os.strerror(-result)}", errno=-result)
    return result


def set_node_name(name: bytes, *, domain: bool) -> None:
    """As sethostname(2) or setdomainname(2), in this thread's UTS namespace."""
    call = "setdomainname" if domain else "sethostname"
    _done(syscall(number(call), name, len(name)), call)


def adjust_clock(clock: int, timex: bytes) -> tuple[int, bytes]:
    """As clock_adjtime(2): the state of the clock, and the struct as it is afterwards."""
    buffer = ctypes.create_string_buffer(timex, TIMEX_SIZE)
    call = "clock_adjtime64" if number("clock_adjtime64") >= 0 else "clock_adjtime"
    return _done(syscall(number(call), clock, buffer), call), buffer.raw


def open_event(attr: bytes, tid: int, cpu: int, group: int, flags: int) -> int:
    """As perf_event_open(2), of thread *tid*; a descriptor, which is the caller's."""
    call = number("perf_event_open")
    return _done(syscall(call, attr, tid, cpu, group, flags | _CLOEXEC), "perf_event_open")


class Loaded(NamedTuple):
    """What came of loading a program: a descriptor or a negative errno, and the verifier's log."""

    value: int
    log: bytes


def load_device_program(
    instructions: bytes, license_: bytes, name: bytes, *, flags: int, log_level: int, log_size: int
) -> Loaded:
    """As bpf(2) with BPF_PROG_LOAD, of a program for devices of control groups."""
    log = ctypes.create_string_buffer(max(log_size, 1))
    held = ctypes.create_string_buffer(instructions, len(instructions)), license_ + b"\0"
    words = ctypes.create_string_buffer(held[1])
    attr = struct.pack(
        "=IIQQIIQII16sII",
        *(_CGROUP_DEVICE, len(instructions) // 8, ctypes.addressof(held[0])),
        *(ctypes.addressof(words), log_level, log_size if log_level else 0),
        *(ctypes.addressof(log) if log_level else 0, 0, flags, name, 0, _ON_DEVICE),
    )
    value = syscall(number("bpf"), _LOAD, attr, len(attr))
    return Loaded(value, log.raw.split(b"\0", 1)[0] if log_level else b"")


def attach_program(cgroup: int, program: int, flags: int, replaced: int) -> None:
    """As bpf(2) with BPF_PROG_ATTACH, of a program for devices."""
    attr = struct.pack("=IIIII", cgroup, program, _ON_DEVICE, flags, replaced)
    _done(syscall(number("bpf"), _ATTACH, attr, len(attr)), "bpf")


def detach_program(cgroup: int, program: int) -> None:
    """As bpf(2) with BPF_PROG_DETACH; *program* may be 0 for the only one."""
    attr = struct.pack("=IIII", cgroup, program, _ON_DEVICE, 0)
    _done(syscall(number("bpf"), _DETACH, attr, len(attr)), "bpf")


def attached_programs(cgroup: int) -> tuple[int, int]:
    """How many programs for devices a control group has itself, and how they were attached."""
    asked = struct.pack("=IIIIQII", cgroup, _ON_DEVICE, 0, 0, 0, 0, 0)
    attr = ctypes.create_string_buffer(asked, len(asked))
    done = syscall(number("bpf"), _QUERY, attr, len(asked))
    if done < 0 and done != -errno.ENOSPC:
        _done(done, "bpf")
    _, _, _, flags, _, count = struct.unpack_from("=IIIIQI", attr.raw)
    return count, flags
