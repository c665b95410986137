"""The supervisor in an asyncio event loop."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.supervisor.fake_kernel import PATIENCE, FakeKernel, FakeListener, Pending
from tests.unit.supervisor.policies_by_hand import act, policy, rule
from unotify import aio
from unotify.calls import Call, Getpid, Getppid, Mount, OpenAt
from unotify.errors import Conflict, Refused
from unotify.protocol import Continue, Fail, PlainReply, Return
from unotify.supervisor import Supervisor


class Loop:
    """A supervisor in the running loop, and a target."""

    def __init__(self, **options: Any) -> None:
        self.kernel = FakeKernel()
        self.listener: FakeListener = self.kernel.listener()
        self.supervisor = aio.Supervisor(kernel=self.kernel, **options)
        self.supervisor.attach(self.listener)

    async def answer(self, pending: Pending) -> PlainReply:
        """Wait for a reply, with the loop running."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().run_in_executor(None, pending.done.wait, PATIENCE)
        return pending.answer()

    async def ask(self, call: str, *args: int, **options: Any) -> PlainReply:
        """A target makes a call and gets its answer."""
        return await self.answer(self.listener.notify(call, *args, **options))


def in_loop(test: Callable[[Loop], Awaitable[None]], **options: Any) -> Loop:
    """Run *test* in a fresh loop; nothing may be left open."""

    async def main() -> Loop:
        loop = Loop(**options)
        async with loop.supervisor:
            await test(loop)
        assert not loop.supervisor._tasks
        return loop

    loop = asyncio.run(main())
    assert all(poller.closed for poller in loop.kernel.pollers)
    assert all(thread.closed for thread in loop.kernel.threads)
    assert loop.listener.closed
    return loop


def test_plain_and_async_handlers() -> None:
    """Both are asked in order, in the loop's thread."""

    async def test(loop: Loop) -> None:
        running = asyncio.get_running_loop()
        loop.supervisor.on(Getppid)(lambda call: Return(1))

        @loop.supervisor.on(Getpid)
        async def first(call: Call) -> None:
            assert asyncio.get_running_loop() is running
            await asyncio.sleep(0)

        @loop.supervisor.on(Getpid)
        async def second(call: Call) -> Return:
            await asyncio.sleep(0)
            return Return(2)

        assert await loop.ask("getppid") == Return(1)
        assert await loop.ask("getpid") == Return(2)
        assert await loop.ask("getpid") == Return(2)
        assert loop.supervisor.statistics().readers == 0

    in_loop(test)


def test_nobodys_call_is_unhandled() -> None:
    """Async handlers that say None lead to the default answer."""

    async def test(loop: Loop) -> None:
        @loop.supervisor.on(Getpid)
        async def handler(call: Call) -> None:
            pass

        assert await loop.ask("getpid") == Fail(errno.EPERM)
        assert await loop.ask("getppid") == Fail(errno.EPERM)

    in_loop(test)


def test_a_waiting_handler_holds_nobody_up() -> None:
    """Others are served while one awaits."""

    async def test(loop: Loop) -> None:
        gate = asyncio.Event()

        @loop.supervisor.on(Mount)
        async def slow(call: Call) -> Return:
            await gate.wait()
            return Return(7)

        loop.supervisor.on(Getpid)(lambda call: Return(1))
        pending = loop.listener.notify("mount", tid=1)
        assert await loop.ask("getpid", tid=2) == Return(1)
        assert not pending.done.is_set()
        assert loop.supervisor.statistics().held == 1
        gate.set()
        assert await loop.answer(pending) == Return(7)

    in_loop(test)


@pytest.mark.parametrize(
    ("outcome", "reply", "faults"),
    [
        (Refused(errno=errno.EROFS), Fail(errno.EROFS), 0),
        (ValueError("boom"), Fail(errno.EPERM), 1),
        (77, Fail(errno.EPERM), 1),
    ],
)
def test_the_funnel_is_the_same(outcome: Any, reply: Fail, faults: int) -> None:
    """What an async handler raises, or returns by mistake, is answered as usual."""

    async def test(loop: Loop) -> None:
        @loop.supervisor.on(Getpid)
        async def handler(call: Call) -> Any:
            await asyncio.sleep(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        assert await loop.ask("getpid") == reply
        assert loop.supervisor.statistics().faults == faults
        assert loop.supervisor.statistics().held == 0

    in_loop(test)


def test_plain_continue_after_a_read_is_a_fault() -> None:
    """C2: the rule holds for async handlers too."""

    async def test(loop: Loop) -> None:
        loop.kernel.memory.pieces[0x1000] = b"/x\0"

        @loop.supervisor.on(OpenAt)
        async def handler(call: OpenAt) -> Continue:
            assert call.path
            return Continue()

        assert await loop.ask("openat", 0, 0x1000) == Fail(errno.EPERM)
        assert loop.supervisor.statistics().faults == 1

    in_loop(test)


@pytest.mark.parametrize("default", [True, False])
def test_deadline_of_an_async_handler(default: bool) -> None:
    """It is kept by the loop's timer, and the late reply is dropped."""

    async def test(loop: Loop) -> None:
        gate = asyncio.Event()

        @loop.supervisor.on(Getpid, deadline=None if default else 0.01)
        async def handler(call: Call) -> Return:
            await gate.wait()
            return Return(1)

        assert await loop.ask("getpid") == Fail(errno.EPERM)
        gate.set()
        assert loop.supervisor.statistics().expired == 1

    in_loop(test, deadline=0.01 if default else None)


def test_stop_cancels_tasks() -> None:
    """Targets of handlers that still run get the fault reply, and the tasks end."""
    cancelled: list[int] = []

    async def test(loop: Loop) -> None:
        started = asyncio.Event()

        @loop.supervisor.on(Getpid)
        async def handler(call: Call) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

        pending = loop.listener.notify("getpid")
        async with asyncio.timeout(PATIENCE):
            await started.wait()
        loop.supervisor.stop()
        assert pending.answer() == Fail(errno.EPERM)

    in_loop(test)
    assert cancelled == [1]


def test_a_cancelled_handler_is_a_fault() -> None:
    """Somebody else's cancellation answers the target; the loop goes on."""

    async def test(loop: Loop) -> None:
        @loop.supervisor.on(Getpid)
        async def handler(call: Call) -> None:
            raise asyncio.CancelledError

        loop.supervisor.on(Getppid)(lambda call: Return(1))
        assert await loop.ask("getpid") == Fail(errno.EPERM)
        assert await loop.ask("getppid") == Return(1)

    in_loop(test)


def test_join_waits_for_the_last_task() -> None:
    """E3: it returns at hang-up."""

    async def test(loop: Loop) -> None:
        joining = asyncio.ensure_future(loop.supervisor.join())
        await asyncio.sleep(0)
        assert not joining.done()
        loop.listener.hang_up()
        async with asyncio.timeout(PATIENCE):
            await joining
        await loop.supervisor.join()

    in_loop(test)


def test_join_ends_with_stop() -> None:
    """Also when targets are left."""

    async def test(loop: Loop) -> None:
        joining = asyncio.ensure_future(loop.supervisor.join())
        await asyncio.sleep(0)
        loop.supervisor.stop()
        loop.supervisor.stop()
        async with asyncio.timeout(PATIENCE):
            await joining

    in_loop(test)


def test_run_and_start_do_not_block_the_loop() -> None:
    """They spawn in a thread, and hand over pipes as subprocess would."""

    async def test(loop: Loop) -> None:
        done = await loop.supervisor.run(["prog"], input="in", capture_output=True)
        assert (done.returncode, done.stdout) == (0, "in")
        process = await loop.supervisor.start(["other"], cwd="/")
        assert process.args == ["other"]
        assert [spawn["args"] for spawn in loop.kernel.spawns] == [["prog"], ["other"]]
        assert loop.supervisor.statistics().listeners == 3

    in_loop(test)


@pytest.mark.parametrize("option", ["embedded", "readers"])
def test_options_that_make_no_sense(option: str) -> None:
    """There are no threads to count."""

    async def main() -> None:
        with pytest.raises(Conflict, match=option):
            aio.Supervisor(kernel=FakeKernel(), **{option: 2})

    asyncio.run(main())


def test_it_wants_a_running_loop() -> None:
    """Outside of a coroutine there is none."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        aio.Supervisor(kernel=FakeKernel())


def test_a_busy_target_does_not_starve_the_loop() -> None:
    """Other callbacks get their turns while one target calls without a pause."""

    async def test(loop: Loop) -> None:
        loop.supervisor.on(Getpid)(lambda call: Return(1))
        stop = False

        def again() -> None:
            if not stop:
                loop.listener.notify("getpid")

        loop.listener.on_send = again
        again()
        for _ in range(5):
            await asyncio.sleep(0)
        stop = True
        assert loop.supervisor.statistics().answered

    in_loop(test)


def test_verbs_may_be_coroutines() -> None:
    """A policy's verb that waits holds its call; one that passes leaves it to the next."""
    made = policy(rule("openat getpid", act("perform", value=4)))

    async def perform(call: Call, parameters: Any) -> Return | None:
        await asyncio.sleep(0)
        return Return(parameters["value"]) if call.call_name == "openat" else None

    async def test(loop: Loop) -> None:
        assert await loop.ask("openat") == Return(4)
        assert await loop.ask("getpid") == Fail(errno.EPERM)

    async def main() -> None:
        async with aio.Supervisor(kernel=(kernel := FakeKernel()), policy=made) as supervisor:
            supervisor.add_verb("perform", perform)
            loop = Loop.__new__(Loop)
            loop.kernel, loop.listener, loop.supervisor = kernel, kernel.listener(), supervisor
            supervisor.attach(loop.listener)
            await test(loop)

    asyncio.run(main())
    with (
        Supervisor(kernel=FakeKernel(), embedded=True, policy=made) as plain,
        pytest.raises(Conflict, match="async def"),
    ):
        plain.add_verb("perform", perform)
