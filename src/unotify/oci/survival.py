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
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

from unotify.kernel import default_kernel
from unotify.kernel.interface import Journaled, Kernel, Listener
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
        record: What `Survival.write_down` was told of it; empty if that cannot be read.
        again: Notifications that were under way, to be decided again before any other.
        hopeless: Notifications that several agents have died of, to be refused.
    """

    listener: Journaled
    record: Mapping[str, Any]
    again: Sequence[bytes]
    hopeless: Sequence[bytes]


class Survival:
    """Keeps what a successor needs.

    Thread-safe, but for what is done with bundles of a predecessor.

    Args:
        store: Where.
        kernel: Whose listeners they are; the running one by default.
    """

    def __init__(self, store: Store, kernel: Kernel | None = None) -> None:
        self.store = store
        self._kernel = default_kernel() if kernel is None else kernel
        self._lock = Lock()
        self._names: dict[Journaled, str] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._left: dict[str, Bundle] = {}

    # -- what a predecessor left -----------------------------------------------

    def accept(self, handed: Iterable[Bundle]) -> list[str]:
        """Take what a predecessor has handed over itself; once, before all else.

        Returns:
            What it is called.
        """
        self._left = {bundle.name: bundle for bundle in handed}
        return list(self._left)

    def take(self) -> list[str]:
        """Take what is in the store; what is it all called?

        Raises:
            OSError: The store does not say what it has.
        """
        taken = self.store.take()
        for bundle in taken:
            if bundle.name in self._left:
                bundle.close()  # copies of the same
            else:
                self._left[bundle.name] = bundle
        return [bundle.name for bundle in taken]

    def recover(self, name: str) -> Survivor | None:
        """What the bundle *name* is, if it is a listener; a socket waits for `listening`.

        What is neither is closed and forgotten.
        """
        bundle = self._left.pop(name)
        if name.startswith(_SOCKET) and len(bundle.fds) == 1:
            with suppress(OSError):
                self._sockets[name] = socket.socket(fileno=bundle.fds[0])
                return None
        elif (listener := self._kernel.revive(bundle.fds)) is not None:
            self._names[listener] = name
            again, hopeless = listener.recover()
            return Survivor(listener, _record(listener), again, hopeless)
        bundle.close()
        self.store.forget(name)
        return None

    # -- what a successor needs ------------------------------------------------

    @staticmethod
    def new_name() -> str:
        """A name for one more listener."""
        return _LISTENER + secrets.token_hex(8)

    def write_down(self, name: str, listener: Listener, record: bytes) -> Journaled | None:
        """Make *listener* one that survives once it is `put`.

        Args:
            name: What to call it.
            listener: It; not to be used any more afterwards.
            record: What to tell the successor about it: a JSON object.

        Returns:
            ``None`` if it is of a kind that cannot survive, and is as it was.

        Raises:
            KernelError: There is no room for a journal; *listener* is as it was.
            ValueError: *record* is too long.
        """
        made = self._kernel.journaled(listener)
        if made is not None:
            with self._lock:
                self._names[made] = name
            made.journal.record = record
        return made

    def put(self, name: str) -> None:
        """Put the listener or the handed bundle *name* into the store: it is kept afterwards.

        Raises:
            OSError: It is not, for now.
        """
        if name in self._left:
            self.store.put(name, self._left[name].fds)
            return
        with self._lock:
            listener = next(each for each, called in self._names.items() if called == name)
        self.store.put(name, [listener.fileno(), listener.journal.fileno()])

    def release(self, listener: Listener) -> None:
        """Keep *listener* no more: nobody uses its filter, or it is let go.

        Raises:
            OSError: The store cannot be told.
        """
        with self._lock:
            name = self._names.pop(listener, None)  # type: ignore[call-overload]
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


def _record(listener: Journaled) -> Mapping[str, Any]:
    try:
        found = json.loads(listener.journal.record)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
