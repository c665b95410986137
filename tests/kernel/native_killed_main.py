"""Supervisors that are killed while they answer without Python: ``native_killed_main.py``.

Arguments: the descriptors of a listener and of its journal, a policy, and how many are killed. Each
is a fork, so that there are many of them in little time. Prints how many calls they answered
without Python at least; the last one serves until the end of the input.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

from unotify import Quota, Supervisor
from unotify.kernel.journaled import JournaledListener

TOLD = 16
PATIENCE = 20.0


def serve(fds: list[int], policy: str, told: int) -> None:
    """Be one supervisor, and tell again and again what was done."""
    listener = JournaledListener.revive([os.dup(fd) for fd in fds])
    assert listener is not None
    again, hopeless = listener.recover()
    assert not hopeless
    supervisor = Supervisor(policy=policy, deadline=60.0)
    supervisor.attach(listener, quota=Quota(64), backlog=again)
    while True:
        os.pwrite(told, supervisor.statistics().native.to_bytes(TOLD, "little"), 0)
        time.sleep(0.001)


def start(fds: list[int], policy: str, told: int) -> int:
    """Fork one, and wait until it has answered something without Python."""
    os.pwrite(told, bytes(TOLD), 0)
    pid = os.fork()
    if not pid:
        try:
            serve(fds, policy, told)
        finally:
            os._exit(1)
    end = time.monotonic() + PATIENCE
    while not native(told):
        if os.waitpid(pid, os.WNOHANG)[0]:
            sys.exit("a supervisor has failed")
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            sys.exit("targets wait in vain")
        time.sleep(0.001)
    return pid


def native(told: int) -> int:
    """What the last one has told."""
    return int.from_bytes(os.pread(told, TOLD, 0), "little")


def main() -> None:
    """Kill them."""
    *numbers, policy, kills = sys.argv[1:]
    fds, told, total = [int(number) for number in numbers], os.memfd_create("told"), 0
    for _ in range(int(kills)):
        pid = start(fds, policy, told)
        time.sleep(random.random() / 50)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        total += native(told)
    pid = start(fds, policy, told)
    print(total, flush=True)
    sys.stdin.read()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
