"""Listening sockets: who connects is looked at, and let in while there is room."""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable, Collection
from typing import Final

from unotify.oci.sockets import Peer, peer_of

__all__ = ["Door"]

_log = logging.getLogger("unotify.agent")

_AT_ONCE: Final = 64
"""Connections that are accepted in one go, before others get their turn."""

_BREATH: Final = 0.1
"""Seconds without accepting when no descriptor is left."""


class Door:
    """Accepts connections at listening sockets.

    Args:
        selector: The agent's; whoever selects calls ``key.data(key.fileobj)``.
        uids: Users that may connect.

    Attributes:
        greet: Is given each connection and who made it; owns it.
        has_room: Whether one more may come.
        refused: Connections that brought nothing, so far.
    """

    def __init__(self, selector: selectors.BaseSelector, *, uids: Collection[int]) -> None:
        self.selector = selector
        self.greet: Callable[[socket.socket, Peer], None] = lambda connected, _: connected.close()
        self.has_room: Callable[[], bool] = lambda: True
        self.refused = 0
        self._uids = frozenset(uids)
        self._listening: list[socket.socket] = []
        self._accepting = False
        self._held = False
        self._accept_at = 0.0

    def open(self, listening: socket.socket) -> None:
        """Accept at *listening* from now on; it is closed at the end."""
        listening.setblocking(False)
        self._listening.append(listening)
        if self._accepting:
            self.selector.register(listening, selectors.EVENT_READ, self._accept)
        self.balance()

    def hold(self, *, held: bool = True) -> None:
        """Accept nobody for now, or again; those who come meanwhile wait in the kernel."""
        self._held = held
        self.balance()

    def close(self) -> None:
        """Accept no more."""
        self._pause()
        for listening in self._listening:
            listening.close()
        self._listening.clear()

    def balance(self) -> float | None:
        """Accept if there is room, and not otherwise.

        Returns:
            When (time.monotonic) to ask again, if not when a connection is over.
        """
        ready = time.monotonic() >= self._accept_at
        if self._held or not ready or not self.has_room():
            self._pause()
        elif not self._accepting:
            for listening in self._listening:
                self.selector.register(listening, selectors.EVENT_READ, self._accept)
            self._accepting = True
        return None if ready else self._accept_at

    def refuse(self, peer: Peer | None, why: str) -> None:
        """Say that a connection was for nothing."""
        who = "a connection" if peer is None else f"a connection of process {peer.pid}"
        _log.warning("%s is refused: %s", who, why)
        self.refused += 1

    def _pause(self) -> None:
        if self._accepting:
            for listening in self._listening:
                self.selector.unregister(listening)
            self._accepting = False

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            if not self.has_room():
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
            self._look_at(connected)
        self.balance()

    def _look_at(self, connected: socket.socket) -> None:
        try:
            peer = peer_of(connected)
        except OSError as error:
            connected.close()
            self.refuse(None, f"who it is cannot be told: {error.strerror}")
            return
        if peer.uid not in self._uids:
            connected.close()
            self.refuse(peer, f"user {peer.uid} may not connect; see --allow-uid")
            return
        connected.setblocking(False)
        self.greet(connected, peer)
