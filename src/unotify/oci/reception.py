"""Connections of container runtimes, from accept(2) to a listener or a refusal.

All of it happens in the agent's own thread and nothing blocks: a peer that is slow, silent
or malicious costs a descriptor for `PATIENCE` seconds. At `MOST` connections no more are
accepted until one is over; the kernel keeps the others waiting.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from unotify.errors import KernelError
from unotify.kernel.listener import LinuxListener
from unotify.oci.door import Door
from unotify.oci.process_state import ProcessState, ProcessStateReader
from unotify.oci.sockets import Peer, receive

__all__ = ["MOST", "PATIENCE", "Reception"]

_log = logging.getLogger("unotify.agent")

MOST: Final = 256
"""Connections that may be open at once."""

PATIENCE: Final = 10.0
"""Seconds that a runtime has from its connection to the last byte of its state."""

_CHUNK: Final = 65536


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    peer: Peer
    due: float
    reader: ProcessStateReader = field(default_factory=ProcessStateReader)


class Reception:
    """Reads what runtimes bring, one ContainerProcessState each, and hands it over.

    Args:
        door: Who accepts them.
        welcome: Is given each state with its listener and the peer; owns the listener.
    """

    def __init__(
        self,
        door: Door,
        *,
        welcome: Callable[[ProcessState, LinuxListener, Peer], None],
        most: int = MOST,
        patience: float = PATIENCE,
    ) -> None:
        self.door = door
        door.greet, door.has_room = self._greet, self._has_room
        self._selector = door.selector
        self._welcome = welcome
        self._most = most
        self._patience = patience
        self._connections: dict[socket.socket, _Connection] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def close(self) -> None:
        """Accept no more, and give up the connections that are not over."""
        self.door.close()
        for connection in list(self._connections.values()):
            self._end(connection, "the agent stops")

    def expire(self, now: float) -> float | None:
        """Give up who takes too long; returns when (time.monotonic) to ask again."""
        for connection in [c for c in self._connections.values() if c.due <= now]:
            self._end(connection, f"no whole state came within {self._patience:g} seconds")
        dues = [connection.due for connection in self._connections.values()]
        if (again := self.door.balance()) is not None:
            dues.append(again)
        return min(dues, default=None)

    def _has_room(self) -> bool:
        return len(self._connections) < self._most

    def _greet(self, connected: socket.socket, peer: Peer) -> None:
        connection = _Connection(connected, peer, time.monotonic() + self._patience)
        self._connections[connected] = connection
        self._selector.register(connected, selectors.EVENT_READ, self._read)

    def _read(self, readable: socket.socket) -> None:
        connection = self._connections.get(readable)
        if connection is None:
            return
        try:
            received = receive(readable, _CHUNK)
        except OSError as error:
            self._end(connection, f"it broke: {error.strerror}")
            return
        if received is None:
            return
        piece = connection.reader.receive(received.data, received.fds, truncated=received.truncated)
        for fd in piece.close:
            with suppress(OSError):
                os.close(fd)
        if piece.refused is not None:
            self._end(connection, piece.refused)
        elif piece.state is not None:
            self._end(connection)
            state = replace(piece.state, uid=connection.peer.uid)
            self._hand_over(connection, state, piece.listener)

    def _hand_over(self, connection: _Connection, state: ProcessState, fd: int) -> None:
        try:
            listener = LinuxListener.from_fd(fd)
        except KernelError as error:
            with suppress(OSError):
                os.close(fd)
            self.door.refuse(connection.peer, f"of container {state.id}: {error.strerror}")
            return
        try:
            self._welcome(state, listener, connection.peer)
        except BaseException:
            listener.close()
            raise

    def _end(self, connection: _Connection, why: str | None = None) -> None:
        self._selector.unregister(connection.socket)
        del self._connections[connection.socket]
        for fd in connection.reader.abandon():
            with suppress(OSError):
                os.close(fd)
        connection.socket.close()
        if why is not None:
            self.door.refuse(connection.peer, why)
        self.door.balance()
