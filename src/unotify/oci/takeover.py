"""From one running agent to the next, without anybody in between.

The successor connects to the agent's control socket and asks. Then

1. the agent takes no more containers, and sends all that it keeps, and a pidfd of its own;
2. the successor says that it has everything;
3. the agent says that it leaves, receives no more calls, lets handlers finish for a while, and
   ends;
4. its end closes the connection: only now the successor serves.

`unotify.oci.restart` has the order, and what follows if one of the two dies on the way or loses
patience with the other. A connection that ends without the promise of step 3 is no sign that the
agent has ended: the pidfd tells. Both look who the other one is: of the same user, or root.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from unotify.oci.bundles import Bundle, PeerError, close_all, receive, require_peer, send
from unotify.oci.restart import (
    HUNG_UP,
    SILENT,
    AskLife,
    Hear,
    Message,
    Nothing,
    Say,
    ask,
    give,
    run,
)

__all__ = ["hand_over", "take_over"]

_log = logging.getLogger("unotify.agent")

_PATIENCE: Final = 10.0

_LONG: Final = 60.0
"""Seconds after which a successor says that it still waits."""

_LAST: Final = 5.0
"""Seconds that a process that was killed may take from its last descriptor to its end."""


def hand_over(connection: socket.socket, bundles: Callable[[], list[Bundle]]) -> bool:
    """Give everything to a successor; the caller has checked who it is.

    Args:
        connection: Whoever asked.
        bundles: What there is to give; no more may be added once this is called.

    Returns:
        Whether the successor has it and was promised our end: then the caller is to receive nothing
        more, and to end. The connection is to stay open until nothing more is received.
    """
    connection.settimeout(_PATIENCE)
    given = {bundle.name: bundle for bundle in bundles()}

    def do(step: Say | Hear) -> Any:
        if isinstance(step, Hear):
            try:
                received = receive(connection)
            except OSError:
                return SILENT
            if received is None:
                return HUNG_UP
            close_all(received[1])
            return received[0]
        fds = given[step.bundle].fds if step.bundle else ()
        life = _ourselves() if step.life else ()
        try:
            send(connection, dict(step.message), fds or life)
        except OSError:
            return False
        finally:
            close_all(life)
        return True

    return run(give(given), do)


def _ourselves() -> tuple[int, ...]:
    # Before Linux 5.3 there are none: then the successor takes us for alive.
    with suppress(OSError):
        return (os.pidfd_open(os.getpid()),)
    return ()


def take_over(path: Path) -> list[Bundle]:
    """Ask the agent at *path* for all that it has, and wait for its end, however long it takes.

    Args:
        path: Its control socket.

    Returns:
        What it kept; the descriptors are the caller's.

    Raises:
        PeerError: It is of another user, refuses, or goes on.
        OSError: There is none at *path*.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(_PATIENCE)
        sock.connect(str(path))
        require_peer(sock)
        taking = _Taking(sock)
        try:
            taken = run(ask(), taking.do)
            if not taken.serve:
                raise PeerError(taken.why)
        except BaseException:
            for bundle in taking.found:
                bundle.close()
            raise
        finally:
            close_all(taking.life)
    if taken.why:
        _log.warning("%s: what it had handed over by then is served", taken.why)
    return taking.found


class _Taking:
    """What a successor has by now."""

    def __init__(self, sock: socket.socket) -> None:
        self.found: list[Bundle] = []
        self.life: tuple[int, ...] = ()
        self._socket = sock

    def do(self, step: Say | Hear | AskLife) -> Any:
        """Do one step."""
        match step:
            case Say(message):
                try:
                    send(self._socket, dict(message))
                except OSError:
                    return False  # it will be heard that it has hung up
                return True
            case Hear(ending):
                while (heard := self._hear(_LONG if ending else _PATIENCE)) is SILENT and ending:
                    _log.warning("the agent before has been asked to end, and has not yet")
                return heard
            case AskLife():
                return not (self.life and _readable(self.life[0], _LAST))

    def _hear(self, timeout: float) -> Message | Nothing:
        # Its end, whatever holds the connection open: a helper process perhaps.
        if not _readable(self._socket.fileno(), timeout, *self.life):
            return SILENT
        if not _readable(self._socket.fileno(), 0):
            return HUNG_UP
        try:
            received = receive(self._socket)
        except ConnectionResetError:
            return HUNG_UP  # with words of ours unread
        if received is None:
            return HUNG_UP
        message, fds = received
        if "name" in message:
            self.found.append(Bundle(str(message["name"]), fds))
        elif "agent" in message and not self.life:
            self.life = fds
        else:
            close_all(fds)
        return message


def _readable(fd: int, timeout: float, *others: int) -> bool:
    poll = select.poll()
    for each in (fd, *others):
        poll.register(each, select.POLLIN)
    return bool(poll.poll(timeout * 1000))
