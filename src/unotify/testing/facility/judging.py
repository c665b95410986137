"""What the filters of a thread say of a call, and which calls they do not see."""

from __future__ import annotations

import errno
from typing import Final

from unotify.abi.seccomp import MAX_ERRNO, Action
from unotify.bpf.chain import severity
from unotify.bpf.simulator import SeccompData, simulate
from unotify.testing.facility.rules import effect
from unotify.testing.facility.state import CallData, Filter, Task, World
from unotify.testing.facility.traits import Trait

__all__ = ["capped", "in_vdso", "judge", "unseen_uprobe", "verdict", "without_tracer"]

_UPROBES: Final = (335, 336)
_X86_64: Final = 0xC000003E
_CPU_CLOCKS: Final = frozenset({2, 3})


@effect("B7", otherwise=False)
def in_vdso(clock: int) -> bool:
    """The vDSO has all clocks but those of processor time, which take a call."""
    return clock not in _CPU_CLOCKS


@effect("B1", otherwise=False)
def unseen_uprobe(world: World, call: CallData) -> bool:
    """Uretprobe and uprobe of x86-64 are made by the kernel's own trampolines: no filter runs."""
    return world.has(Trait.UPROBE_UNSEEN) and call.arch == _X86_64 and call.nr in _UPROBES


def verdict(world: World, filter: Filter, call: CallData) -> int:
    """What one filter returns; it always returns the same for the same."""
    key = (filter.program, call)
    found = world.verdicts.get(key)
    if found is None:
        data = SeccompData(call.nr, call.arch, call.args, call.ip)
        found = world.verdicts[key] = simulate(world.programs[filter.program], data)
    return found


@effect("F1", "F2", "B2", "B3", "B4", otherwise=(int(Action.ALLOW), None))
def judge(world: World, task: Task, call: CallData) -> tuple[int, Filter | None]:
    """All filters run, the newest first, on raw registers; the strongest action wins."""
    value, winner = int(Action.ALLOW), None
    for one in world.chain(task):
        answer = verdict(world, one, call)
        if severity(answer) < severity(value):
            value, winner = answer, one
    return value, winner


@effect("F1", otherwise=0)
def capped(data: int) -> int:
    """ERRNO's number is 4095 at most."""
    return min(data, MAX_ERRNO)


@effect("F3", otherwise=0)
def without_tracer() -> int:
    """TRACE where nobody traces is ENOSYS."""
    return -errno.ENOSYS
