"""What type checkers know of the fixtures and helpers of `unotify.testing`."""

from collections.abc import Callable
from typing import Any, assert_type

from unotify import Fail, Reply, Return, Supervisor
from unotify.calls import Call, OpenAt, TargetPath
from unotify.testing import (
    Answer,
    FakeTarget,
    SimulatedKernel,
    SimulatedListener,
    Supervised,
    assert_reply,
    make_call,
)


def made() -> None:
    """A call that is made of its class is of that class."""
    call = make_call(OpenAt, path="/etc/passwd")
    assert_type(call, OpenAt)
    assert_type(call.path, TargetPath)
    assert_type(make_call("openat", path="/"), Any)


def supervised(make: Callable[..., Supervised]) -> None:
    """The fixture ``supervised``, and what it makes."""
    rig = make(version="5.9")

    @rig.on(OpenAt)
    def handler(call: OpenAt) -> Return:
        return Return(3)

    assert_type(handler(make_call(OpenAt)), Return)
    assert_type(rig.call(OpenAt, path="/"), Answer)
    assert_type(rig.reply, Reply | None)
    assert_type(rig.target, FakeTarget)
    assert_type(rig.listener, SimulatedListener)
    assert_reply(rig.reply, Fail)
    assert_reply(None, None)


def simulated(simulated_kernel: SimulatedKernel) -> None:
    """The fixture ``simulated_kernel`` is a kernel for a supervisor."""
    supervisor = Supervisor(kernel=simulated_kernel, embedded=True)

    @supervisor.on("getpid")
    def handler(call: Call) -> Return:
        return Return(1)

    assert_type(supervisor.process_pending(), int)
