"""Calls that go on, and what they do: the same acts as are performed, by the target itself."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from unotify.abi import tables
from unotify.calls import class_for
from unotify.calls.acts import plan
from unotify.errors import NotExpressible, TargetError
from unotify.testing.facility import descriptors, memory
from unotify.testing.facility.state import CallData, Task, World
from unotify.testing.performing import perform
from unotify.testing.reading import Reader

if TYPE_CHECKING:
    from unotify.testing.kernel import SimulatedKernel

__all__ = ["run_performable"]


class _Exchange:
    """What a typed call knows of a notification; nobody was asked here."""

    def __init__(self, task: Task, call: CallData) -> None:
        self.id = 0
        self.tid = task.tid
        self.nr, self.args = call.nr, call.args


def run_performable(kernel: SimulatedKernel, world: World, task: Task, call: CallData) -> int:
    """Run a call of *task* whose act is known; the result, or a negative errno."""
    try:
        return _run(kernel, world, task, call)
    except TargetError as error:
        return -error.errno
    except NotExpressible:
        return -errno.ENOSYS


def _run(kernel: SimulatedKernel, world: World, task: Task, call: CallData) -> int:
    identity = tables.identify(call.arch, call.nr)
    assert identity.name is not None
    assert identity.arch is not None
    exchange: Any = _Exchange(task, call)
    reader: Any = Reader(world.memory_of(task))
    typed = class_for(identity.name, identity.arch)(exchange, identity.arch, lambda _: reader)
    act = plan(typed)
    done = perform(kernel, task, act)
    if done.value < 0:
        return done.value
    if done.fd >= 0:
        try:
            file = kernel.adopt(done.fd)
        finally:
            os.close(done.fd)
        if int(act.values.get("flags") or 0) & 0o10000000:
            file.kind = "path"
        return descriptors.install(world, task, file.key, cloexec=act.cloexec)
    for name, data in done.outs.items():
        out = act.outs[name]
        if memory.vm_write(world.memory_of(task), out.address, out.answer.of(data)) < 0:
            return -errno.EFAULT
    return done.value
