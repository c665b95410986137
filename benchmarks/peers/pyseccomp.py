"""The package pyseccomp: libseccomp by way of ctypes."""

from __future__ import annotations

from itertools import repeat

import pyseccomp  # type: ignore[import-not-found]

from benchmarks.peers.start import fork_target, sync_wake_up, wait_for
from benchmarks.peers.target import ANSWER, TOTAL

syscalls = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
syscalls.add_rule(pyseccomp.NOTIFY, "getppid")
syscalls.load()
sync_wake_up()
target = fork_target()
for _ in repeat(None, TOTAL):
    notification = syscalls.receive_notify()
    syscalls.respond_notify(pyseccomp.NotificationResponse(0, 0, notification.id, ANSWER))
wait_for(target)
