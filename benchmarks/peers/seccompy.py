"""The package seccompy."""

from __future__ import annotations

from itertools import repeat

from seccompy import Action, Filter, FilterFlag  # type: ignore[import-not-found]

from benchmarks.peers.start import fork_target, sync_wake_up, wait_for
from benchmarks.peers.target import ANSWER, TOTAL

syscalls = Filter(default=Action.ALLOW, flags=FilterFlag.NEW_LISTENER)
syscalls.notify("getppid")
listener = syscalls.load()
sync_wake_up()
target = fork_target()
for _ in repeat(None, TOTAL):
    notification = listener.recv()
    listener.respond(notification.id, val=ANSWER)
wait_for(target)
