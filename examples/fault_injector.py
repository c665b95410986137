"""Faults for a test rig: every third open of a database fails, and one port refuses connections.

    python examples/fault_injector.py --files '*.db' --every 3 --refuse 5432 -- ./run-tests

Or from the rig's own Python::

    with Supervisor() as sup:
        faults = Faults(files="*.db", every=3, refused={5432})
        faults.attach(sup)
        sup.run(["./run-tests"])
    print(faults.told)

The program, and whatever it starts, needs no change and may be of any language. A policy does the
same without code, `where = 'glob(path, "/**/*.db") and every(3)'`; this is for faults that depend
on what the rig knows.
"""

from __future__ import annotations

import argparse
import errno
import fnmatch
import sys
import threading
from collections.abc import Collection

from unotify import Continue, Fail, Reply, Supervisor
from unotify.abi.constants import OpenFlags
from unotify.calls import Connect, Inet6Address, InetAddress, Open, OpenAt, OpenAt2

# A program under test does not rewrite its arguments to get round a fault, so what no fault is for
# may go on after the look. Against a hostile program this would be `return call.perform()`.
GOES_ON = Continue.racy(because="faults are for a program that does not fight them")


class Faults:
    """What fails, and what has failed so far.

    Attributes:
        told: A line for each fault, in the order in which they happened.
    """

    def __init__(self, *, files: str, every: int, refused: Collection[int]) -> None:
        self.told: list[str] = []
        self._files = files
        self._every = every
        self._refused = refused
        self._opens = 0
        self._lock = threading.Lock()  # handlers run in several threads at a time

    def attach(self, sup: Supervisor) -> None:
        """Let *sup* ask about opens and connections."""
        # O_PATH opens nothing that could fail later; registers tell, so the kernel itself decides.
        sup.on(Open, where=~(Open.flags & OpenFlags.O_PATH))(self.opened)
        sup.on(OpenAt, where=~(OpenAt.flags & OpenFlags.O_PATH))(self.opened)
        sup.on(OpenAt2)(self.opened)
        sup.on(Connect)(self.connected)

    def opened(self, call: Open | OpenAt | OpenAt2) -> Reply:
        """Fail every so-manyth open of the files, whichever process makes it."""
        if not fnmatch.fnmatch(call.path.name, self._files):
            return GOES_ON
        with self._lock:
            self._opens += 1
            if self._opens % self._every != 0:
                return GOES_ON
            self.told.append(f"{call.caller.comm}: {call.path} fails with EIO")
        return Fail(errno.EIO)

    def connected(self, call: Connect) -> Reply:
        """Refuse connections to the ports, as a host does on which nobody listens."""
        match call.address:
            case InetAddress(port=port) | Inet6Address(port=port) if port in self._refused:
                with self._lock:
                    self.told.append(f"{call.caller.comm}: port {port} refuses")
                return Fail(errno.ECONNREFUSED)
        return GOES_ON


def main() -> int:
    """Run a command with faults; its exit status is ours."""
    parser = argparse.ArgumentParser(description="Run a command with faults.")
    parser.add_argument("--files", default="*.db", metavar="PATTERN", help="names whose opens fail")
    parser.add_argument("--every", default=3, type=int, metavar="N", help="every Nth of them does")
    parser.add_argument("--refuse", default=[], type=int, action="append", metavar="PORT")
    parser.add_argument("command", nargs="+", metavar="CMD")
    asked = parser.parse_args()
    faults = Faults(files=asked.files, every=asked.every, refused=asked.refuse)
    with Supervisor() as sup:
        faults.attach(sup)
        try:
            status = sup.run(asked.command).returncode
        except OSError as error:  # as of subprocess.run: no such program, for one
            parser.error(f"cannot run {asked.command[0]}: {error.strerror}")
    for line in faults.told:
        print(line, file=sys.stderr)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
