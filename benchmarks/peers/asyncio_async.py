"""`unotify.aio.Supervisor` with an ``async def`` handler."""

from __future__ import annotations

import asyncio

from benchmarks.peers.target import ANSWER, COMMAND
from unotify import Reply, Return
from unotify.aio import Supervisor
from unotify.calls import Getppid


async def main() -> None:
    """Supervise the target in this loop."""
    async with Supervisor() as supervisor:

        @supervisor.on(Getppid)
        async def getppid(call: Getppid) -> Reply:
            """Answer."""
            return Return(ANSWER)

        await supervisor.run(COMMAND, check=True)


asyncio.run(main())
