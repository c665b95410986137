"""The HTTP server of metrics and probes: ``/metrics``, ``/healthz``, ``/readyz``.

A few connections at a time, a few seconds each, and GET only: whoever reaches it can neither change
anything nor keep others from it for long. At a TCP address, or at a unix socket of mode 0600.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from threading import BoundedSemaphore, Thread
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from unotify.errors import KernelError

if TYPE_CHECKING:
    from unotify.oci.agent import Agent

__all__ = ["Page", "Pages", "Web", "alive", "parse_address", "ready"]

_log = logging.getLogger("unotify.agent")

STALE: Final = 30.0
"""Seconds since the agent last looked around after which it is not alive."""

_MOST: Final = 8
_PATIENCE: Final = 5.0

Page: TypeAlias = tuple[int, str, bytes]
"""Status, content type, content."""

Pages: TypeAlias = Mapping[str, Callable[[], Page]]

Address: TypeAlias = tuple[str, int] | str


def parse_address(text: str) -> Address:
    """Where to listen: ``HOST:PORT``, ``[IPv6]:PORT``, or ``unix:PATH``.

    Hosts are addresses, since a name may mean more than its author thinks.

    Raises:
        ValueError: It is none of these.
    """
    if text.startswith("unix:") and len(text) > len("unix:"):
        return text.removeprefix("unix:")
    host, colon, port = text.rpartition(":")
    if colon and port.isdecimal() and 0 <= int(port) <= 65535:
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        with suppress(ValueError):
            found = ipaddress.ip_address(bare)
            if (found.version == 6) == (bare != host):
                return str(found), int(port)
    raise ValueError(f"{text!r} is no address: write 127.0.0.1:9273, [::1]:9273 or unix:/PATH")


def alive(agent: Agent) -> Page:
    """Whether the agent still looks around."""
    age = time.monotonic() - agent.beaten
    if age < STALE:
        return HTTPStatus.OK, "text/plain", b"alive\n"
    said = f"the agent has done nothing for {age:.0f} s\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", said.encode()


def ready(agent: Agent) -> Page:
    """Whether the agent takes containers."""
    if agent.accepting:
        return HTTPStatus.OK, "text/plain", b"ready\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"no containers are taken now\n"


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: Address, handler: type[BaseHTTPRequestHandler]) -> None:
        if isinstance(address, str):
            self.address_family = socket.AF_UNIX
        elif ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._room = BoundedSemaphore(_MOST)
        # Its own says addresses of TCP only.
        super().__init__(address, handler, bind_and_activate=False)  # type: ignore[arg-type]
        try:
            self.server_bind()
            if isinstance(address, str):
                # Nobody can connect before listen(), so nobody finds it with other permissions.
                os.chmod(address, 0o600)
            self.server_activate()
        except BaseException:
            self.server_close()
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Whoever asked has gone, or talks no HTTP.
        _log.debug("a request of metrics failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    pages: Pages
    timeout = _PATIENCE  # of each read and write
    server_version = "unotify"
    sys_version = ""

    def do_GET(self) -> None:
        make = self.pages.get(self.path.partition("?")[0])
        if make is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        status, kind, content = make()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return str(self.client_address[0]) if self.client_address else "unix"

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("metrics: %s", format % args)


class Web:
    """Serves pages, in a thread from `start` on.

    Args:
        address: Where, as `parse_address` tells.
        pages: What there is, by path.

    Raises:
        KernelError: It cannot listen there.
    """

    def __init__(self, address: Address, pages: Pages) -> None:
        handler = type("Handler", (_Handler,), {"pages": pages})
        self._path = address if isinstance(address, str) else None
        self._started = False
        if self._path is not None:
            _clear(Path(self._path))
        try:
            self._server = _Server(address, handler)
        except OSError as error:
            raise KernelError(
                error.errno or errno.EIO,
                "bind(2)",
                f"cannot listen at {address}: {error.strerror}",
            ) from error
        self._thread = Thread(target=self._server.serve_forever, name="unotify-web", daemon=True)

    def start(self) -> None:
        """Serve from now on; those who came before are waiting."""
        self._thread.start()
        self._started = True

    @property
    def port(self) -> int:
        """The TCP port, which the kernel has chosen if that was 0."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Serve no more."""
        if self._started:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        if self._path is not None:
            with suppress(OSError):
                os.unlink(self._path)


def _clear(path: Path) -> None:
    """Remove the socket of an agent that has ended."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                if sock.connect_ex(str(path)) == errno.ECONNREFUSED:
                    path.unlink()
