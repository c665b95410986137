"""libseccomp's own Python binding."""

from __future__ import annotations

from itertools import repeat

import seccomp  # type: ignore[import-not-found]

from benchmarks.peers.start import fork_target, sync_wake_up, wait_for
from benchmarks.peers.target import ANSWER, TOTAL

# The filter is on this process too: its own getppid would be for itself to answer.
syscalls = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
syscalls.add_rule(seccomp.NOTIFY, "getppid")
syscalls.load()
sync_wake_up()
target = fork_target()
for _ in repeat(None, TOTAL):
    notification = syscalls.receive_notify()
    syscalls.respond_notify(seccomp.NotificationResponse(notification, ANSWER, 0, 0))
wait_for(target)
