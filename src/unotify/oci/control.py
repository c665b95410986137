"""The control socket: what people and the next agent ask a running agent.

SOCK_SEQPACKET with the messages of `unotify.oci.bundles`. One question for each connection::

    {"do": "status"}     several messages, the last has "done"
    {"do": "reload"}     {"done": true, "loaded": true or false}
    {"do": "hand-over"}  see `unotify.oci.takeover`

Only the agent's own user and root may ask. So it is served in the agent's own thread: that it is
answered tells that the agent is alive.
"""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from unotify.oci.bundles import PeerError, close_all, receive, require_peer, send

__all__ = ["Control", "ask"]

_log = logging.getLogger("unotify.agent")

_PATIENCE: Final = 2.0
"""Seconds that the agent waits for who asks, and for no longer."""


class Control:
    """Answers at a control socket.

    Args:
        selector: The agent's.
        server: The listening socket; not closed here.
        status: All that there is to tell, in messages.
        reload: Loads the policies again.
        hand_over: Gives everything to whoever is connected.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        server: socket.socket,
        *,
        status: Callable[[], Iterator[dict[str, Any]]],
        reload: Callable[[], bool],
        hand_over: Callable[[socket.socket], None],
    ) -> None:
        self._selector = selector
        self._server = server
        self._status = status
        self._reload = reload
        self._hand_over = hand_over
        self._connections: set[socket.socket] = set()
        server.setblocking(False)
        selector.register(server, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Answer nobody any more."""
        for connection in [self._server, *self._connections]:
            self._selector.unregister(connection)
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _accept(self, server: socket.socket) -> None:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        try:
            require_peer(connection)
        except OSError as error:
            _log.warning("at the control socket: %s", error)
            connection.close()
            return
        connection.settimeout(_PATIENCE)
        self._connections.add(connection)
        self._selector.register(connection, selectors.EVENT_READ, self._answer)

    def _answer(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        self._connections.discard(connection)
        with connection:
            try:
                received = receive(connection)
                if received is not None:
                    message, fds = received
                    close_all(fds)
                    self._do(connection, message)
            except OSError as error:
                _log.warning("at the control socket: %s", error)

    def _do(self, connection: socket.socket, message: dict[str, Any]) -> None:
        match message.get("do"):
            case "status":
                for each in self._status():
                    send(connection, each)
                send(connection, {"done": True})
            case "reload":
                send(connection, {"done": True, "loaded": self._reload()})
            case "hand-over":
                self._hand_over(connection)
            case _:
                send(connection, {"error": f"there is no such question: {message.get('do')}"})


def ask(path: Path, what: str, *, timeout: float = 10.0) -> list[dict[str, Any]]:
    """Ask the agent at *path*.

    Returns:
        The messages that it answered with.

    Raises:
        PeerError: It is of another user, refuses, or ended meanwhile.
        OSError: There is no agent at *path*, or it does not answer.
    """
    answers: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(timeout)
        sock.connect(str(path))
        require_peer(sock)
        send(sock, {"do": what})
        while True:
            received = receive(sock)
            if received is None:
                raise PeerError("the agent ended before it had answered")
            message, fds = received
            close_all(fds)
            if "error" in message:
                raise PeerError(str(message["error"]))
            answers.append(message)
            if "done" in message:
                return answers
