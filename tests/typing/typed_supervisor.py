"""What type checkers know of handlers, of replies, and of the supervisor."""

import asyncio
import errno
import subprocess
from collections.abc import Mapping
from typing import Any, assert_type

import unotify.aio
from unotify import (
    Continue,
    Fail,
    Held,
    InstallFd,
    Instrument,
    Quota,
    Reply,
    Return,
    Statistics,
    Supervisor,
    on,
    verb,
)
from unotify.calls import Call, OpenAt
from unotify.kernel.interface import Listener


def replies(reply: Reply) -> None:
    """A reply is one of four, so that a match over them is complete."""
    assert_type(Continue.racy(because="it protects nothing"), Continue)
    assert_type(InstallFd.of_bytes(b"x"), InstallFd)
    match reply:
        case Return():
            assert_type(reply.value, int)
        case Fail():
            assert_type(reply.errno, int)
        case Continue():
            assert_type(reply.because, str | None)
        case _:
            assert_type(reply, InstallFd)


def handlers(supervisor: Supervisor, call: OpenAt) -> None:
    """A decorated function keeps its type."""

    @supervisor.on(OpenAt, where=OpenAt.dirfd == 3, deadline=1.0)
    def opens(call: OpenAt) -> Reply | None:
        return Fail(errno.EPERM) if call.path.name == "x" else None

    @supervisor.on("openat", "openat2")
    def holds(call: Call) -> Held:
        return supervisor.hold(call, deadline=2)

    @on("getpid")
    def marked(call: Call) -> Return:
        return Return(1)

    @verb("answer")
    def answers(call: Call, parameters: Mapping[str, Any]) -> Return:
        return Return(42)

    assert_type(opens(call), Reply | None)
    assert_type(holds(call), Held)
    assert_type(marked(call), Return)
    assert_type(answers(call, {}), Return)
    supervisor.add(unotify.aio, spare=True)
    supervisor.add_verb("answer", answers)


def held(held: Held, reply: Reply) -> None:
    """A hold tells whether somebody still waited."""
    assert_type(held.call, Call)
    assert_type(held.release(reply), bool)
    assert_type(held.pass_on(), bool)
    assert_type(held.fail(OSError(errno.EIO, "")), bool)


def programs(listener: Listener) -> None:
    """Programs are those of `subprocess`, and are waited for as such."""
    with Supervisor(policy="policy.toml", deadline=1, unhandled=Return(0)) as supervisor:
        assert_type(supervisor, Supervisor)
        assert_type(supervisor.popen(["true"]), subprocess.Popen[Any])
        assert_type(supervisor.run(["true"], check=True), subprocess.CompletedProcess[Any])
        supervisor.attach(listener, quota=Quota(3))
        supervisor.add_instrument(Instrument())
        assert_type(supervisor.statistics(), Statistics)
        assert_type(supervisor.wait(timeout=1), bool)
        assert_type(supervisor.leave(), bool)


async def in_a_loop() -> None:
    """The supervisor of an event loop has coroutines in their place."""
    async with unotify.aio.Supervisor() as supervisor:
        assert_type(supervisor, unotify.aio.Supervisor)

        @supervisor.on(OpenAt)
        async def opens(call: OpenAt) -> Reply | None:
            await asyncio.sleep(0)
            return None

        completed = await supervisor.run(["true"])
        assert_type(completed, subprocess.CompletedProcess[Any])
        await supervisor.join()
