"""What an agent does so that its containers survive it.

Theory of operation. Each listener gets a journal (`unotify.kernel.journal`), which also says whose
it is. Both are put into a store before the first call is received, under one name. Whatever ends
the agent, the store has them; the next agent takes them out, asks each journal what was under way,
and has it decided again. So are the sockets that runtimes connect to: who connects while there is
no agent waits in their queue.

What was done for a call that was not answered any more is done again: a directory is there already
then, a message is sent twice. Answers are not given twice, since the kernel takes but one.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

from unotify.errors import KernelError
from unotify.kernel.journal import Journal
from unotify.kernel.journaled import JournaledListener
from unotify.kernel.listener import LISTENER_LINK
from unotify.oci.bundles import Bundle
from unotify.oci.stores import Store

__all__ = ["Survival", "Survivor"]

_LISTENER: Final = "listener-"
_SOCKET: Final = "socket-"


@dataclass(frozen=True)
class Survivor:
    """A listener that a predecessor served.

    Attributes:
        listener: It, with its journal.
        record: What `Survival.keep` was told of it; empty if that cannot be read.
        again: Notifications that were under way, to be decided again before any other.
        hopeless: Notifications that several agents have died of, to be refused.
    """

    listener: JournaledListener
    record: Mapping[str, Any]
    again: Sequence[bytes]
    hopeless: Sequence[bytes]


class Survival:
    """Keeps what a successor needs.

    Thread-safe, but for `restore`.

    Args:
        store: Where.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = Lock()
        self._names: dict[JournaledListener, str] = {}
        self._sockets: dict[str, socket.socket] = {}

    def restore(self, handed: Iterable[Bundle] = ()) -> list[Survivor]:
        """Take what the predecessor left; once, before anything is kept.

        Args:
            handed: What it handed over itself (`unotify.oci.takeover`).
        """
        bundles = {bundle.name: bundle for bundle in handed}
        for bundle in bundles.values():
            self.store.put(bundle.name, bundle.fds)
        for bundle in self.store.take():
            if bundle.name in bundles:
                bundle.close()  # copies of the same
            else:
                bundles[bundle.name] = bundle
        survivors = []
        for name, bundle in bundles.items():
            if name.startswith(_SOCKET) and len(bundle.fds) == 1:
                with suppress(OSError):
                    self._sockets[name] = socket.socket(fileno=bundle.fds[0])
                    continue
            elif (survivor := self._survivor(bundle)) is not None:
                survivors.append(survivor)
                continue
            bundle.close()
            self.store.forget(name)
        return survivors

    def _survivor(self, bundle: Bundle) -> Survivor | None:
        # The order in which they come back is the store's own.
        fds = sorted(bundle.fds, key=lambda fd: _link(fd) != LISTENER_LINK)
        if len(fds) != 2 or _link(fds[0]) != LISTENER_LINK:
            return None
        try:
            journal = Journal.adopt(fds[1])
        except KernelError:
            return None
        listener = JournaledListener(fds[0], journal)
        self._names[listener] = bundle.name
        again, hopeless = listener.recover()
        return Survivor(listener, _record(journal), again, hopeless)

    def keep(self, fd: int, record: bytes) -> JournaledListener:
        """Make the listener *fd* one that survives; it is kept when this returns.

        Args:
            fd: A listener, taken over unless this raises.
            record: What to tell the successor about it: a JSON object.

        Raises:
            KernelError: *fd* is no listener, or there is no room for a journal.
            OSError: It cannot be kept.
        """
        name = _LISTENER + secrets.token_hex(8)
        listener = JournaledListener.from_fd(fd)
        try:
            listener.journal.record = record
            self.store.put(name, [listener.fileno(), listener.journal.fileno()])
        except BaseException:
            listener.detach()
            raise
        with self._lock:
            self._names[listener] = name
        return listener

    def release(self, listener: JournaledListener) -> None:
        """Keep *listener* no more: nobody uses its filter, or it is let go."""
        with self._lock:
            name = self._names.pop(listener, None)
        if name is not None:
            self.store.forget(name)

    def bundles(self) -> list[Bundle]:
        """All that is kept, for a successor who asks for it; the descriptors stay ours."""
        with self._lock:
            return [
                *(
                    Bundle(name, (listener.fileno(), listener.journal.fileno()))
                    for listener, name in self._names.items()
                    if not listener.closed
                ),
                *(Bundle(name, (sock.fileno(),)) for name, sock in self._sockets.items()),
            ]

    # -- sockets -------------------------------------------------------------

    def listening(self, name: str) -> socket.socket | None:
        """The predecessor's listening socket *name*, or ``None`` if there is none."""
        return self._sockets.get(_SOCKET + name)

    def keep_socket(self, name: str, sock: socket.socket) -> None:
        """Keep a listening socket, so that nobody who connects meanwhile is turned away."""
        self._sockets[_SOCKET + name] = sock
        self.store.put(_SOCKET + name, [sock.fileno()])

    def release_socket(self, name: str) -> None:
        """Keep that socket no more; it is not closed here."""
        if self._sockets.pop(_SOCKET + name, None) is not None:
            self.store.forget(_SOCKET + name)


def _link(fd: int) -> str:
    try:
        return os.readlink(f"/proc/thread-self/fd/{fd}")
    except OSError:
        return ""


def _record(journal: Journal) -> Mapping[str, Any]:
    try:
        found = json.loads(journal.record)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
