"""The supervisor in an asyncio event loop, with ``async def`` handlers.

A plain handler runs in the loop at once, as any callback does; an ``async def``
one becomes a task, and the target waits on hold until it returns. All of them
run in the loop's thread, so handlers may touch what else lives there.

Example:
    .. code-block:: python

        async def main() -> None:
            async with unotify.aio.Supervisor() as supervisor:

                @supervisor.on(Connect)
                async def connect(call: Connect) -> Reply:
                    return Continue() if await allowed(call.fd) else Fail(errno.EACCES)

                process = await supervisor.run(["curl", "https://example.org"])
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import subprocess
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from unotify.calls import Call
from unotify.errors import Conflict
from unotify.supervisor import Held
from unotify.supervisor import Supervisor as _Supervisor
from unotify.supervisor.sources import Source

__all__ = ["Supervisor"]


class Supervisor(_Supervisor):
    """A :class:`unotify.Supervisor` that lives in the running event loop.

    Make it inside a coroutine. :meth:`popen`, :meth:`on`, :meth:`hold` and the
    rest are those of the base class; :meth:`run` and :meth:`join` are
    coroutines. ``popen`` waits some milliseconds for the program to start, in
    the loop; :meth:`start` does not.

    Args:
        **options: As for the base class, but for *embedded* and *readers*.
    """

    def __init__(self, **options: Any) -> None:
        for refused in ("embedded", "readers"):
            if refused in options:
                raise Conflict(f"{refused}= makes no sense in an event loop")
        self._loop = asyncio.get_running_loop()
        super().__init__(embedded=True, **options)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._readers.on_drained = self._drained.set
        self._engine.on_watch = self._schedule
        self._loop.add_reader(self.fileno(), self.process_pending)

    def _serve(self, source: Source, backlog: list[bytes]) -> None:
        self._drained.clear()
        super()._serve(source, backlog)

    def _schedule(self, due: int | None = None) -> None:
        # Something is due some time: look then. Holds are released from the loop too.
        if self._timer is not None:
            self._timer.cancel()
        left = self._engine.next_due()
        self._timer = None if left is None else self._loop.call_later(left, self._expire)

    def _expire(self) -> None:
        self._deadlines.expire()
        self._schedule()

    def _adapt(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.iscoroutinefunction(handler):
            return handler

        @functools.wraps(handler)
        def start(call: Call) -> Held:
            held = self.hold(call)
            task = self._loop.create_task(_answer(handler, call, held))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return held

        return start

    async def join(self) -> None:
        """Wait until no supervised task is left, background ones included, or :meth:`stop`."""
        await self._drained.wait()

    async def start(self, args: Any, **options: Any) -> subprocess.Popen[Any]:
        """:meth:`popen` without blocking the loop while the program starts."""
        spawned = await self._loop.run_in_executor(
            None, functools.partial(self._spawn, args, **options)
        )
        return self._adopt(spawned)

    async def run(  # type: ignore[override]
        self,
        args: Any,
        *,
        input: Any = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a program under supervision, as :func:`subprocess.run` would, in the loop."""
        if input is not None:
            options["stdin"] = subprocess.PIPE
        if capture_output:
            options["stdout"] = options["stderr"] = subprocess.PIPE
        process = await self.start(args, **options)
        # The pipes are served by a thread, the calls by the loop.
        talk = functools.partial(process.communicate, input, timeout)
        try:
            stdout, stderr = await self._loop.run_in_executor(None, talk)
        except BaseException:
            process.kill()
            await self._loop.run_in_executor(None, process.communicate)
            raise
        if check and process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args, stdout, stderr)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def stop(self, *, drain: float = 5.0) -> None:
        """As for the base class; tasks that still run are cancelled."""
        if self._closed:
            return
        for task in self._tasks:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self.fileno())
        super().stop(drain=drain)
        self._drained.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _answer(handler: Callable[..., Any], call: Call, held: Held) -> None:
    try:
        reply = await handler(call)
        if reply is None:
            held.pass_on()
        else:
            held.release(reply)
    except BaseException as error:
        held.fail(error)
        if not isinstance(error, Exception):
            raise
