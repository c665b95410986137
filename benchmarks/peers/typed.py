"""`unotify.Supervisor` with a typed handler."""

from __future__ import annotations

from benchmarks.peers.target import ANSWER, COMMAND
from unotify import Reply, Return, Supervisor
from unotify.calls import Getppid

with Supervisor() as supervisor:

    @supervisor.on(Getppid)
    def getppid(call: Getppid) -> Reply:
        """Answer."""
        return Return(ANSWER)

    supervisor.run(COMMAND, check=True)
