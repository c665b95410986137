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
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from unotify.errors import KernelError
from unotify.kernel.listener import LinuxListener
from unotify.oci.process_state import ProcessState, ProcessStateReader
from unotify.oci.sockets import Peer, peer_of, receive

__all__ = ["MOST", "PATIENCE", "Reception"]

_log = logging.getLogger("unotify.agent")

MOST: Final = 256
"""Connections that may be open at once."""

PATIENCE: Final = 10.0
"""Seconds that a runtime has from its connection to the last byte of its state."""

_CHUNK: Final = 65536
_ACCEPTED: Final = 64
"""Connections that are accepted in one go, before others get their turn."""

_BREATH: Final = 0.1
"""Seconds without accepting when no descriptor is left."""


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    peer: Peer
    due: float
    reader: ProcessStateReader = field(default_factory=ProcessStateReader)


class Reception:
    """Accepts runtimes at listening sockets, and hands over what they bring.

    Args:
        selector: The agent's; whoever selects calls ``key.data(key.fileobj)``.
        uids: Users that may connect.
        welcome: Is given each state with its listener and the peer; owns the listener.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        *,
        uids: Collection[int],
        welcome: Callable[[ProcessState, LinuxListener, Peer], None],
        most: int = MOST,
        patience: float = PATIENCE,
    ) -> None:
        self.refused = 0
        """Connections that brought nothing, so far."""
        self._selector = selector
        self._uids = frozenset(uids)
        self._welcome = welcome
        self._most = most
        self._patience = patience
        self._listening: list[socket.socket] = []
        self._connections: dict[socket.socket, _Connection] = {}
        self._accepting = False
        self._accept_at = 0.0

    def __len__(self) -> int:
        return len(self._connections)

    def open(self, listening: socket.socket) -> None:
        """Accept at *listening* from now on; it is closed at the end."""
        self._listening.append(listening)
        if self._accepting:
            self._selector.register(listening, selectors.EVENT_READ, self._accept)
        self._balance()

    def close(self) -> None:
        """Accept no more, and give up the connections that are not over."""
        self._pause()
        for listening in self._listening:
            listening.close()
        self._listening.clear()
        for connection in list(self._connections.values()):
            self._end(connection, "the agent stops")

    def expire(self, now: float) -> float | None:
        """Give up who takes too long; returns when (time.monotonic) to ask again."""
        for connection in [c for c in self._connections.values() if c.due <= now]:
            self._end(connection, f"no whole state came within {self._patience:g} seconds")
        self._balance()
        dues = [connection.due for connection in self._connections.values()]
        if not self._accepting and self._accept_at > now:
            dues.append(self._accept_at)
        return min(dues, default=None)

    def _balance(self) -> None:
        room = len(self._connections) < self._most and time.monotonic() >= self._accept_at
        if room and not self._accepting:
            for listening in self._listening:
                self._selector.register(listening, selectors.EVENT_READ, self._accept)
            self._accepting = True
        elif not room:
            self._pause()

    def _pause(self) -> None:
        if self._accepting:
            for listening in self._listening:
                self._selector.unregister(listening)
            self._accepting = False

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTED):
            if len(self._connections) >= self._most:
                break
            try:
                connected, _ = listening.accept()
            except BlockingIOError:
                break
            except ConnectionAbortedError:
                continue
            except OSError as error:
                # EMFILE and the like: those who wait keep waiting, and we do not spin.
                _log.error("cannot accept a connection: %s", error.strerror)
                self._accept_at = time.monotonic() + _BREATH
                break
            self._greet(connected)
        self._balance()

    def _greet(self, connected: socket.socket) -> None:
        try:
            peer = peer_of(connected)
        except OSError as error:
            connected.close()
            self._refused(None, f"who it is cannot be told: {error.strerror}")
            return
        if peer.uid not in self._uids:
            connected.close()
            self._refused(peer, f"user {peer.uid} may not connect; --allow-uid lets it")
            return
        connected.setblocking(False)
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
            self._hand_over(connection, piece.state, piece.listener)

    def _hand_over(self, connection: _Connection, state: ProcessState, fd: int) -> None:
        try:
            listener = LinuxListener.from_fd(fd)
        except KernelError as error:
            with suppress(OSError):
                os.close(fd)
            self._refused(connection.peer, f"of container {state.id}: {error.strerror}")
            return
        self._welcome(state, listener, connection.peer)

    def _end(self, connection: _Connection, why: str | None = None) -> None:
        self._selector.unregister(connection.socket)
        del self._connections[connection.socket]
        for fd in connection.reader.abandon():
            with suppress(OSError):
                os.close(fd)
        connection.socket.close()
        if why is not None:
            self._refused(connection.peer, why)
        self._balance()

    def _refused(self, peer: Peer | None, why: str) -> None:
        who = "a connection" if peer is None else f"a connection of process {peer.pid}"
        _log.warning("%s is refused: %s", who, why)
        self.refused += 1
