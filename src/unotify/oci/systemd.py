"""What a service tells systemd, and what it gets from it: sd_notify(3) and sd_listen_fds(3).

Everything here does nothing, and says so, where nobody listens: an agent that was started by hand
is the same agent.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

__all__ = ["FIRST_FD", "Inherited", "Notifier", "inherited", "watchdog_seconds"]

FIRST_FD: Final = 3
"""SD_LISTEN_FDS_START: the first descriptor that was passed."""

_BARRIER: Final = 5.0


class Notifier:
    """Tells systemd how the service is.

    Args:
        address: Its socket, as NOTIFY_SOCKET names it: a path, or ``@`` and an abstract name.
            Without one nothing is told to anybody.
    """

    def __init__(self, address: str | None) -> None:
        self._socket: socket.socket | None = None
        if not address:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect("\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            self._socket.close()
            raise

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] | None = None) -> Notifier:
        """The one that NOTIFY_SOCKET names; the variable goes, as it is not for our children.

        Raises:
            OSError: It names a socket that nobody listens on.
        """
        environ = os.environ if environ is None else environ
        return cls(environ.pop("NOTIFY_SOCKET", None))

    def __bool__(self) -> bool:
        """Whether somebody listens."""
        return self._socket is not None

    def ready(self, status: str = "") -> None:
        """All is set up, or loaded again."""
        self._tell("READY=1", *_status(status))

    def reloading(self) -> None:
        """Files are being loaded again; `ready` follows. Type=notify-reload wants the time."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(1) // 1000}")

    def stopping(self, status: str = "") -> None:
        """This is the end."""
        self._tell("STOPPING=1", *_status(status))

    def status(self, status: str) -> None:
        """One line for ``systemctl status``."""
        self._tell(*_status(status))

    def alive(self) -> None:
        """The watchdog need not worry."""
        self._tell("WATCHDOG=1")

    def main_pid(self, pid: int) -> None:
        """From now on *pid* is the service."""
        self._tell(f"MAINPID={pid}")

    def store(self, name: str, fds: Sequence[int]) -> None:
        """Let systemd keep copies of *fds* under *name*; returns when it has them.

        Needs ``FileDescriptorStoreMax=`` in the unit; what is beyond that is dropped by systemd
        without a word.

        Raises:
            OSError: They could not be sent, or systemd took no notice in time.
        """
        # Not watched by it (FDPOLL): a listener and its journal are to go together.
        self._tell("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", fds=fds)
        self.barrier()

    def forget(self, name: str) -> None:
        """Let systemd close what it keeps under *name*."""
        self._tell("FDSTOREREMOVE=1", f"FDNAME={name}")

    def barrier(self, timeout: float = _BARRIER) -> None:
        """Wait until systemd has worked off what was told so far.

        Raises:
            TimeoutError: It has not, within *timeout* seconds.
        """
        if self._socket is None:
            return
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                self._tell("BARRIER=1", fds=[write])
            finally:
                os.close(write)
            poll = select.poll()
            poll.register(read, 0)  # its other end is closed when it is done
            if not poll.poll(timeout * 1000):
                raise TimeoutError(f"systemd did not take notice within {timeout:g} s")
        finally:
            os.close(read)

    def close(self) -> None:
        """Tell nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, *lines: str, fds: Sequence[int] = ()) -> None:
        if self._socket is not None and lines:
            socket.send_fds(self._socket, ["\n".join(lines).encode()], list(fds))


def _status(status: str) -> tuple[str, ...]:
    return (f"STATUS={' '.join(status.split())}",) if status else ()


@dataclass(frozen=True)
class Inherited:
    """A descriptor that a service manager passed.

    Attributes:
        name: What it is called there: of a socket unit, or what it was stored as.
        fd: The descriptor, ours now; close-on-exec.
    """

    name: str
    fd: int


def inherited(environ: MutableMapping[str, str] | None = None) -> list[Inherited]:
    """What was passed to this very process; asked once, since the variables go.

    Raises:
        ValueError: LISTEN_FDS is not a number, or there are not that many.
    """
    environ = os.environ if environ is None else environ
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "")
    # Of some other process's environment, which our parent had by accident.
    if pid != str(os.getpid()) or not count:
        return []
    if not count.isdecimal():
        raise ValueError(f"LISTEN_FDS={count!r} is not a number")
    named = names.split(":") if names else []
    named += ["unknown"] * (int(count) - len(named))
    found = [Inherited(named[number], FIRST_FD + number) for number in range(int(count))]
    for each in found:
        try:
            os.set_inheritable(each.fd, False)
        except OSError as error:
            raise ValueError(f"LISTEN_FDS={count}, but {each.fd} is not open") from error
    return found


def watchdog_seconds(environ: Mapping[str, str] | None = None) -> float | None:
    """How often to say that we are alive: half of WatchdogSec=; ``None`` if nobody asks."""
    environ = os.environ if environ is None else environ
    if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
        with suppress(ValueError):
            microseconds = int(environ.get("WATCHDOG_USEC", ""))
            if microseconds > 0:
                return microseconds / 2_000_000
    return None
