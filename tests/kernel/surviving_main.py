"""An agent that is killed, and whoever starts it again: ``surviving_main.py SOCKET HOW [AT]``.

Each agent is a fork, so that there are many of them in little time. It answers getppid with a
function of its first register, and gives a file for each memfd_create. *HOW* says when it kills
itself: ``never``, or at the *AT*-th ``receive``, ``handler``, ``install``, ``sent``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from unotify import InstallFd, Reply, Return, Supervisor
from unotify.kernel.journaled import JournaledListener
from unotify.oci.stores import KeeperStore
from unotify.oci.survival import Survival

HOLD = 30.0


class Dying(JournaledListener):
    """Counts where it is, and dies there."""

    how = "never"
    left = 0

    def reach(self, where: str) -> None:
        """Die here, if it is time."""
        if where == Dying.how:
            Dying.left -= 1
            if Dying.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
                threading.Event().wait()

    def receive_into(self, buffer: bytearray) -> bool:
        """Receive."""
        received = super().receive_into(buffer)
        if received:
            self.reach("receive")
        return received

    def add_fd(self, *args: Any, **options: Any) -> int:
        """Install."""
        number = super().add_fd(*args, **options)
        self.reach("install")
        return number

    def _forget(self, number: int) -> None:
        # SEND is done, and the journal does not know yet.
        self.reach("sent")
        super()._forget(number)


def serve(path: Path) -> None:
    """Be one agent."""
    import unotify.kernel.journaled

    unotify.kernel.journaled.JournaledListener = Dying  # type: ignore[misc]
    survival = Survival(KeeperStore(path, hold=HOLD))
    supervisor = Supervisor()

    @supervisor.on("getppid")
    def known(call: Any) -> Reply:
        for listener in survival._names:
            if isinstance(listener, Dying):
                listener.reach("handler")
        number = call.exchange.args[0]
        if not number % 16:
            time.sleep(0.002)  # work, during which it may die
        return Return(number * 3 + 1)

    @supervisor.on("memfd_create")
    def opened(call: Any) -> Reply:
        return InstallFd.of_bytes(b"from the agent")

    survivors = [each for name in survival.take() if (each := survival.recover(name))]
    again = sum(len(each.again) for each in survivors)
    hopeless = sum(len(each.hopeless) for each in survivors)
    print("serving", os.getpid(), len(survivors), again, hopeless, flush=True)
    for each in survivors:
        for notification in each.hopeless:
            each.listener.refuse(notification, 1)
        each.listener.try_again(each.again)
        supervisor.attach(each.listener, wait_killable=True, backlog=each.again)
    supervisor.wait()
    for each in survivors:
        survival.release(each.listener)
    print("done", os.getpid(), flush=True)


def main() -> None:
    """Start one after the other."""
    path, Dying.how = Path(sys.argv[1]), sys.argv[2]
    Dying.left = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    while True:
        pid = os.fork()
        if not pid:
            serve(path)
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status == 0:
            return
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"the agent ended with {status:#x}")


if __name__ == "__main__":
    main()
