"""The audit log: each call as a line of JSON, with its container and its decoded arguments."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from unotify.calls import Call
from unotify.errors import KernelError
from unotify.oci.attending import Attendant
from unotify.supervisor.telling import CallTelling

if TYPE_CHECKING:
    from unotify.oci.containers import Container

__all__ = ["AuditLog"]

_log = logging.getLogger("unotify.agent")

_LONGEST: Final = 1 << 16
"""Bytes of a line; a longer one goes without its arguments."""


class AuditLog(CallTelling, Attendant):
    """Writes what containers ask, and what they are answered.

    Each line is one write(2) to a file that is open for appending, so lines of several agents do
    not mix. The file is opened again when the policies are loaded: rotate it, then SIGHUP. One that
    cannot be written any more is told once, until it can be.

    Args:
        path: The file, made with mode 0600; ``-`` is standard error.
        container_of: Whose a call is; ``None`` if its container has ended.

    Raises:
        KernelError: It cannot be opened.
    """

    def __init__(self, path: str, container_of: Callable[[Call], Container | None]) -> None:
        super().__init__()
        self._path = path
        self._container_of = container_of
        self._fd = self._open()
        self._lost = 0

    def more(self, call: Call) -> dict[str, Any]:
        """The container of a call, and the policy that it has."""
        container = self._container_of(call)
        if container is None:
            return {"container": None}
        return {"container": container.id, "container_policy": container.ward.name}

    def tell(self, entry: dict[str, Any]) -> None:
        """Write a line."""
        data = json.dumps(entry).encode()
        if len(data) > _LONGEST:
            data = json.dumps(entry | {"args": None, "cut": True}).encode()
        try:
            os.write(self._fd, data + b"\n")
        except OSError as error:
            self._lost += 1
            if self._lost == 1:
                _log.error("the audit log %s cannot be written: %s", self._path, error.strerror)
            return
        if self._lost:
            _log.error("the audit log %s lacks %d lines", self._path, self._lost)
            self._lost = 0

    def reloaded(self, *, done: bool) -> None:
        """Open the file again: the old one may have been moved."""
        if self._path == "-":
            return
        try:
            fd = self._open()
        except KernelError as error:
            _log.error("%s; the one before is still written", error)
            return
        with self._lock:
            before, self._fd = self._fd, fd
        os.close(before)

    def close(self) -> None:
        """Write nothing more."""
        if self._path != "-":
            with self._lock, suppress(OSError):
                os.close(self._fd)

    def _open(self) -> int:
        if self._path == "-":
            return sys.stderr.fileno()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        try:
            return os.open(self._path, flags, 0o600)
        except OSError as error:
            message = f"cannot open the audit log {self._path}: {error.strerror}"
            raise KernelError(error.errno or 0, "open(2)", message) from error
