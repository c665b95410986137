"""From one running agent to the next, without anybody in between.

The successor connects to the agent's control socket and asks. Then

1. the agent takes no more containers, and sends all that it keeps;
2. the successor says that it has everything;
3. the agent receives no more calls, lets handlers finish for a while, and ends;
4. its end closes the connection: only now the successor serves.

So at no time two of them receive, and whoever of the two dies on the way, somebody has the
listeners: before step 2 the agent goes on as if nobody had asked. Both look who the other one is:
of the same user, or root.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from unotify.oci.bundles import Bundle, PeerError, receive, require_peer, send

__all__ = ["hand_over", "take_over"]

_PATIENCE: Final = 10.0


def hand_over(connection: socket.socket, bundles: Callable[[], list[Bundle]]) -> bool:
    """Give everything to a successor; the caller has checked who it is.

    Args:
        connection: Whoever asked.
        bundles: What there is to give; no more may be added once this is called.

    Returns:
        Whether the successor has it: then the caller is to receive nothing more, and to end.
    """
    connection.settimeout(_PATIENCE)
    try:
        given = bundles()
        for bundle in given:
            send(connection, {"name": bundle.name}, bundle.fds)
        send(connection, {"done": True, "count": len(given)})
        received = receive(connection)
    except OSError:
        return False
    return received is not None and received[0].get("have") == len(given)


def take_over(path: Path, *, timeout: float = 60.0) -> list[Bundle]:
    """Ask the agent at *path* for all that it has, and wait for its end.

    Args:
        path: Its control socket.
        timeout: Seconds until it has to have ended.

    Returns:
        What it kept; the descriptors are the caller's.

    Raises:
        PeerError: It is of another user, refuses, or does not end.
        OSError: There is none at *path*.
    """
    found: list[Bundle] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(_PATIENCE)
        sock.connect(str(path))
        require_peer(sock)
        try:
            send(sock, {"do": "hand-over"})
            while True:
                received = receive(sock)
                if received is None:
                    raise PeerError("the agent ended while it handed over")
                message, fds = received
                if "error" in message:
                    raise PeerError(str(message["error"]))
                if "done" in message:
                    break
                found.append(Bundle(str(message.get("name")), fds))
            if message.get("count") != len(found):
                raise PeerError(f"the agent sent {message.get('count')} bundles, {len(found)} came")
            send(sock, {"have": len(found)})
            _wait_for_end(sock, timeout)
        except BaseException:
            for bundle in found:
                bundle.close()
            raise
    return found


def _wait_for_end(sock: socket.socket, timeout: float) -> None:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    # It says nothing more: what comes is its end.
    if not poll.poll(timeout * 1000):
        raise PeerError(f"the agent did not end within {timeout:g} s after it had handed over")
