"""Connections of LXC monitors: kept from accept(2) on, and served from their first packet on.

A monitor connects when its container starts, and keeps the connection; nothing says whose it is
before the first packet. So that packet is looked at where it is, which gives the policy; then a
supervisor receives it, and all others.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from unotify.kernel.interface import Listener
from unotify.kernel.listener import notif_sizes
from unotify.oci.door import Door
from unotify.oci.lxc_packets import MOST_BYTES, Question, parse
from unotify.oci.process_state import ProcessState
from unotify.oci.proxied import ProxiedListener
from unotify.oci.sockets import SO_TIMESTAMP, Peer

__all__ = ["MOST", "LxcReception"]

MOST: Final = 4096
"""Connections that may wait for their first packet."""

_TITLE: Final = re.compile(rb"\[lxc monitor\] \S+ (\S+)")


class LxcReception:
    """Waits for the first packet of each monitor, and hands its connection over.

    Args:
        door: Who accepts them.
        welcome: Is given a state made of what LXC tells, the connection as a listener, which it
            owns, and the peer.
    """

    def __init__(
        self,
        door: Door,
        *,
        welcome: Callable[[ProcessState, Listener, Peer], None],
        most: int = MOST,
    ) -> None:
        self.door = door
        door.greet, door.has_room = self._greet, self._has_room
        self._welcome = welcome
        self._most = most
        self._connections: dict[socket.socket, Peer] = {}
        self._served: list[ProxiedListener] = []

    def __len__(self) -> int:
        return len(self._connections)

    def close(self) -> None:
        """Accept no more; what is served already stays."""
        self.door.close()
        for connected in list(self._connections):
            self._release(connected)
            connected.close()

    def expire(self) -> float | None:
        """End connections whose answer is overdue; returns when to accept again, if not now."""
        self._served = [each for each in self._served if not each.closed]
        for each in self._served:
            if each.expire():
                self.door.refuse(None, "an answer to LXC is overdue, and not sent any more")
        return self.door.balance()

    def _has_room(self) -> bool:
        return len(self._connections) < self._most

    def _greet(self, connected: socket.socket, peer: Peer) -> None:
        connected.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)
        self._connections[connected] = peer
        self.door.selector.register(connected, selectors.EVENT_READ, self._look)

    def _look(self, connected: socket.socket) -> None:
        try:
            packet = connected.recv(MOST_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            self._refuse(connected, f"it broke: {error.strerror}")
            return
        try:
            question = parse(packet, notif_sizes()) if packet else None
        except ValueError as error:
            self._refuse(connected, f"LXC is not understood: {error}")
            return
        if question is None:
            # A container that ended before it asked anything.
            self._release(connected)
            connected.close()
            return
        peer = self._release(connected)
        listener = ProxiedListener(connected)
        self._served.append(listener)
        self._welcome(state_of(question, peer), listener, peer)

    def _release(self, connected: socket.socket) -> Peer:
        self.door.selector.unregister(connected)
        return self._connections.pop(connected)

    def _refuse(self, connected: socket.socket, why: str) -> None:
        peer = self._release(connected)
        connected.close()
        self.door.refuse(peer, why)
        self.door.balance()


def state_of(question: Question, peer: Peer) -> ProcessState:
    """What LXC tells of a container, as runtimes would: the cookie is the metadata.

    LXC does not tell the container's name; its monitor has it in its title.
    """
    name = b""
    with suppress(OSError):
        found = _TITLE.match(Path(f"/proc/{peer.pid}/cmdline").read_bytes().replace(b"\0", b" "))
        name = found[1] if found else b""
    return ProcessState(
        id=os.fsdecode(name) or f"lxc-{question.init}",
        pid=max(0, question.init),
        init=max(0, question.init),
        status="creating",
        metadata=question.cookie.decode("utf-8", "backslashreplace"),
        uid=peer.uid,
    )
