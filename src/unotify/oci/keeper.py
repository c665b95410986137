"""The keeper: a process that does nothing but hold descriptors, where there is no systemd.

Theory of operation. The last close of a listener answers its targets with ENOSYS (R4), so somebody
has to hold a copy while an agent is away. That is all that this process does. It imports little,
reads nothing but short messages of its own user, and never looks at what it holds.

One agent is served at a time: two would receive each other's notifications. It says what to keep
(``store``, ``forget``), and may ask for all of it (``take``). When it has gone, however it ended,
the keeper waits *hold* seconds for the next one. If none comes it ends, and with it the copies:
a target shall not wait for ever for an agent that does not come back.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from typing import Any

from unotify.oci.bundles import Bundle, PeerError, close_all, peer_of, receive, require_peer, send
from unotify.oci.restart import Desk

__all__ = ["Keeper", "main"]

_PATIENCE = 5.0


class Keeper:
    """Holds bundles, by name, for one agent after the other.

    Args:
        server: A listening socket, SOCK_SEQPACKET; owned from now on.
        hold: Seconds without an agent after which everything is let go.
    """

    def __init__(self, server: socket.socket, *, hold: float) -> None:
        self._server = server
        self._hold = hold
        self._agent: socket.socket | None = None
        self._desk: Desk[Bundle] = Desk()

    def run(self) -> None:
        """Serve until nobody comes any more."""
        deadline = time.monotonic() + self._hold
        while True:
            poll = select.poll()
            poll.register(self._server, select.POLLIN)
            if self._agent is not None:
                poll.register(self._agent, select.POLLIN)
            left = None if self._agent else max(0.0, deadline - time.monotonic())
            ready = {fd for fd, _ in poll.poll(None if left is None else left * 1000)}
            # The one that is here first: it may be about to make room for the next.
            if self._agent is not None and self._agent.fileno() in ready:
                if not self._serve(self._agent):
                    self._agent.close()
                    self._agent = None
                    self._desk.go()
                    deadline = time.monotonic() + self._hold
            elif self._server.fileno() in ready:
                self._accept()
            elif self._agent is None and time.monotonic() >= deadline:
                break
        self.close()

    def close(self) -> None:
        """Let everything go."""
        for bundle in self._desk.bundles.values():
            bundle.close()
        self._desk.bundles.clear()
        self._server.close()
        if self._agent is not None:
            self._agent.close()

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        connection.settimeout(_PATIENCE)
        try:
            require_peer(connection)
            if self._desk.come():
                self._agent = connection
                send(connection, {"keeps": len(self._desk.bundles)})
                return
            if self._agent is not None:
                pid, _ = peer_of(self._agent)
                send(connection, {"error": f"an agent is here already: process {pid}"})
        except OSError:
            if self._agent is connection:
                self._agent = None
                self._desk.go()
        connection.close()

    def _serve(self, agent: socket.socket) -> bool:
        """Do what the agent asks for; False when it has gone, or talks nonsense."""
        try:
            received = receive(agent)
            if received is None:
                return False
            message, fds = received
            send(agent, self._done(agent, message, fds))
        except OSError:
            return False
        return True

    def _done(
        self, agent: socket.socket, message: dict[str, Any], fds: tuple[int, ...]
    ) -> dict[str, Any]:
        name = message.get("name")
        match message.get("do"):
            case "store" if isinstance(name, str) and fds:
                return _closing(self._desk.store(name, Bundle(name, fds)))
            case "forget" if isinstance(name, str) and not fds:
                return _closing(self._desk.forget(name))
            case "take" if not fds:
                for bundle in self._desk.bundles.values():
                    send(agent, {"name": bundle.name}, bundle.fds)
                return {"done": True}
        close_all(fds)
        raise PeerError(f"{message!r} is not understood")


def _closing(bundle: Bundle | None) -> dict[str, Any]:
    if bundle is not None:
        bundle.close()
    return {"done": True}


def main(fd: int, hold: float) -> None:
    """Be the keeper.

    Args:
        fd: A socket with a name, which was passed to this process.
        hold: As for `Keeper`.
    """
    # It ends with its socket and its time, not with a terminal; TERM is an operator's word.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")
    server = socket.socket(fileno=fd)
    server.listen(4)  # here, so that whoever connects sees our process id
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)  # our maker waits for its end, and knows that we listen
    Keeper(server, hold=hold).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
