"""Where runtimes come in: of containers by streams, of LXC by packets."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Callable, Collection
from typing import Final

from unotify.errors import KernelError
from unotify.kernel.interface import Listener
from unotify.oci.door import Door
from unotify.oci.lxc_reception import LxcReception
from unotify.oci.process_state import ProcessState
from unotify.oci.reception import Reception
from unotify.oci.sockets import Peer

__all__ = ["Entrance"]

_LAST: Final = 1.0
"""Seconds that a runtime has to finish when the agent is to leave."""


class Entrance:
    """Both receptions of an agent.

    Args:
        selector: The agent's.
        uids: Users that may connect; of LXC only ourselves and root, if they may.
        welcome: Is given each state with its listener and the peer; owns the listener.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        *,
        uids: Collection[int],
        welcome: Callable[[ProcessState, Listener, Peer], None],
    ) -> None:
        self._selector = selector
        self.reception = Reception(Door(selector, uids=uids), welcome=welcome)
        # A kernel's listener cannot lie about who calls; a packet can, and its word would count.
        trusted = {0, os.geteuid()}.intersection(uids)
        self.lxc = LxcReception(Door(selector, uids=trusted), welcome=welcome)

    def open(self, listening: socket.socket) -> None:
        """Accept at *listening*, which is closed at the end.

        Raises:
            KernelError: EPROTOTYPE: it is of no kind that runtimes connect to.
        """
        match listening.type:
            case socket.SOCK_STREAM:
                self.reception.door.open(listening)
            case socket.SOCK_SEQPACKET:
                self.lxc.door.open(listening)
            case _:
                raise KernelError(
                    errno.EPROTOTYPE,
                    "getsockopt(2)",
                    f"nobody connects to a socket such as {listening.getsockname()}",
                    hint="ListenStream= for container runtimes, ListenSequentialPacket= for LXC",
                )

    @property
    def refused(self) -> int:
        """Connections that brought nothing, so far."""
        return self.reception.door.refused + self.lxc.door.refused

    def expire(self, now: float) -> float | None:
        """Give up who takes too long; returns when (time.monotonic) to ask again."""
        dues = (self.reception.expire(now), self.lxc.expire())
        return min((due for due in dues if due is not None), default=None)

    def hold(self, *, held: bool = True) -> None:
        """Accept nobody for now, or again; those who come meanwhile wait in the kernel."""
        self.reception.door.hold(held=held)
        self.lxc.door.hold(held=held)

    def quiesce(self) -> None:
        """Take no more containers, but those that runtimes are about to hand over."""
        self.hold()
        end = time.monotonic() + _LAST
        while len(self.reception) and (left := end - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                if key.data.__self__ is self.reception:
                    key.data(key.fileobj)

    def close(self) -> None:
        """Accept no more, and give up the connections that are not over."""
        self.reception.close()
        self.lxc.close()
