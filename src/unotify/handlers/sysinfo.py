"""sysinfo(2) as a container should see it: its own limits, not the machine's.

Theory of operation. The kernel answers with the machine's memory, whatever control group asks; a
program that sizes itself by that is killed for it. Here the answer is made of the control group's
limits, where they are less than what the machine has, and of its own usage, in the layout of
the caller's ABI. It is read anew ten times a second at most: some programs ask in a loop.
"""

from __future__ import annotations

import os
import struct
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from unotify.abi.arch import Arch
from unotify.abi.types import Address
from unotify.calls import Call
from unotify.errors import TargetError
from unotify.handlers.cgroups import Usage, hierarchies
from unotify.protocol import Reply, Return
from unotify.supervisor.addons import verb

__all__ = ["SysInfo", "emulate_sysinfo"]

_FRESH: Final = 0.1
_MOST: Final = 1024
_PAGE: Final = os.sysconf("SC_PAGESIZE")
_CLK_TCK: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class SysInfo:
    """What ``struct sysinfo`` says; sizes in bytes.

    Attributes:
        uptime: Seconds since the start.
        loads: Of 1, 5 and 15 minutes.
        totalram: Memory that can be used.
        freeram: That nobody uses, not even for a cache.
        sharedram: In tmpfs and shared memory.
        bufferram: The cache of files.
        totalswap: Swap that can be used.
        freeswap: That nobody uses.
        procs: Tasks.
    """

    uptime: int
    loads: tuple[float, float, float]
    totalram: int
    freeram: int
    sharedram: int
    bufferram: int
    totalswap: int
    freeswap: int
    procs: int

    def limited(self, usage: Usage) -> SysInfo:
        """What is left of this machine for a control group."""
        total = self.totalram if usage.limit is None else min(self.totalram, usage.limit)
        swap = self.totalswap if usage.swap_limit is None else min(self.totalswap, usage.swap_limit)
        bounded = usage.limit is not None and usage.limit < self.totalram
        made = replace(
            self,
            totalram=total,
            totalswap=swap,
            procs=self.procs if usage.processes is None else usage.processes,
            freeswap=min(self.freeswap, max(0, swap - (usage.swap_used or 0))),
        )
        if not bounded or usage.used is None:
            return made
        return replace(
            made,
            # What it uses has the cache of files in it, as all that is not free has.
            freeram=min(self.freeram, max(0, total - usage.used)),
            sharedram=usage.shared or 0,
            bufferram=usage.cache or 0,
        )

    def pack(self, arch: Arch) -> bytes:
        """The struct as *arch* has it: 112 bytes, or 64 where a long has 32 bits."""
        wide = arch.pointer == 8 or arch is Arch.X32
        sizes = [
            *(self.totalram, self.freeram, self.sharedram, self.bufferram),
            *(self.totalswap, self.freeswap),
        ]
        unit = 1
        if not wide and max(self.totalram, self.totalswap) >> 32:
            # As the kernel does: in larger units, up to a page, until it fits.
            while unit < _PAGE:
                unit <<= 1
            sizes = [size // unit for size in sizes]
        word = 64 if wide else 32
        most = (1 << word) - 1
        order = "<" if arch.little else ">"
        long = "Q" if wide else "I"
        return struct.pack(
            f"{order}{long}3{long}6{long}HH{'4x' if wide else ''}2{long}I{'4x' if wide else '8x'}",
            min(self.uptime, most),
            *(min(int(load * (1 << 16)), most) for load in self.loads),
            *(min(size, most) for size in sizes),
            min(self.procs, 0xFFFF),
            *(0, 0, 0, unit),
        )


def emulate_sysinfo(call: Call) -> Reply:
    """Answer sysinfo with the limits of the caller's control group, version 1 or 2.

    Memory and swap are the least that the group or one above it may use, never more than the
    machine has; free memory is what is left of that; the uptime is that of the first process of
    the caller's pid namespace. The loads are the machine's.

    Raises:
        BadAddress: The caller cannot write there itself.
        Unsupported: Writing to its memory is not defensible (M8).
        TargetGone: It does not wait any more.
    """
    caller = call.caller
    caller.require_quiet()
    groups: dict[str, str] = caller.around.cgroups()
    found = _cached(groups)
    started = _started(caller)
    if started:
        found = replace(found, uptime=max(0, int(time.clock_gettime(_BOOT) - started)))
    caller.write(Address(call.register("info")), found.pack(call.arch))
    return Return(0)


_BOOT: Final = time.CLOCK_BOOTTIME

_known: OrderedDict[tuple[str, ...], tuple[float, SysInfo]] = OrderedDict()


def _cached(groups: Mapping[str, str]) -> SysInfo:
    key = (groups.get("memory", ""), groups.get("pids", ""), groups.get("", ""))
    known = _known.get(key)
    now = time.monotonic()
    if known is not None and now - known[0] < _FRESH:
        return known[1]
    found = machine().limited(hierarchies().usage(groups))
    _known[key] = now, found
    while len(_known) > _MOST:
        try:
            _known.popitem(last=False)
        except KeyError:  # another thread was quicker
            break
    return found


def _started(caller: Any) -> float:
    """When the first process of the caller's pid namespace started, in seconds; 0: the machine."""
    if caller.around.shares("pid"):
        return 0.0
    try:
        first = caller.around.init()
        with open(f"/proc/{first}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19]) / _CLK_TCK
    except (OSError, TargetError):
        return 0.0  # it has ended: all in there are about to


def machine() -> SysInfo:
    """What the machine has, from ``/proc``."""
    with open("/proc/meminfo", encoding="ascii") as file:
        lines = (line.split() for line in file)
        memory = {words[0].rstrip(":"): int(words[1]) << 10 for words in lines}
    with open("/proc/loadavg", encoding="ascii") as file:
        tasks = int(file.read().split()[3].partition("/")[2])
    return SysInfo(
        int(time.clock_gettime(_BOOT)),
        os.getloadavg(),
        *(memory["MemTotal"], memory["MemFree"], memory.get("Shmem", 0), memory["Buffers"]),
        *(memory.get("SwapTotal", 0), memory.get("SwapFree", 0)),
        tasks,
    )


@verb("emulate-sysinfo")
def _emulate_sysinfo(call: Call, parameters: Mapping[str, Any]) -> Reply:
    return emulate_sysinfo(call)
