"""Where descriptors are kept while no agent runs: systemd's store, or a keeper's."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any, Final, Protocol

from unotify.oci.bundles import Bundle, PeerError, close_all, receive, require_peer, send
from unotify.oci.systemd import Inherited, Notifier

__all__ = ["KeeperStore", "NoStore", "Store", "SystemdStore"]

_PATIENCE: Final = 5.0
_PREFIX: Final = "unotify.kept."  # no unit is named so
_CODE: Final = (
    "import os, sys; sys.path.insert(0, os.environ.pop('UNOTIFY_PATH')); "
    "from unotify.oci.keeper import main; main(int(sys.argv[1]), float(sys.argv[2]))"
)


class Store(Protocol):
    """Keeps copies of descriptors for a successor, by name."""

    def put(self, name: str, fds: Sequence[int]) -> None:
        """Keep copies of *fds*; they are safe when it returns. Another of that name is let go.

        Raises:
            OSError: They are not kept.
        """

    def forget(self, name: str) -> None:
        """Keep *name* no more; no error if it is not kept."""

    def take(self) -> list[Bundle]:
        """Copies of all that is kept, which are the caller's; asked once, before any `put`."""

    def check(self) -> None:
        """See to it that what was put is still kept; call it now and then."""

    def close(self) -> None:
        """Keep as it is, and say nothing any more."""


class NoStore:
    """Keeps nothing: what an agent has goes to the next one directly, or ends with it."""

    def put(self, name: str, fds: Sequence[int]) -> None:
        """Nothing is kept."""

    def forget(self, name: str) -> None:
        """Nothing was."""

    def take(self) -> list[Bundle]:
        """There is nothing."""
        return []

    def check(self) -> None:
        """Nothing can be wrong with it."""

    def close(self) -> None:
        """Nothing is to be done."""


class SystemdStore:
    """systemd's file descriptor store.

    Args:
        notifier: Who tells systemd.
        passed: What it passed to this process; what is not of the store is left alone.
    """

    def __init__(self, notifier: Notifier, passed: Sequence[Inherited]) -> None:
        self._notifier = notifier
        self._passed: dict[str, list[int]] = {}
        for each in passed:
            if each.name.startswith(_PREFIX):
                self._passed.setdefault(each.name, []).append(each.fd)
        self._names: set[str] = set()

    @staticmethod
    def others(passed: Sequence[Inherited]) -> list[Inherited]:
        """Those of *passed* that are no part of the store: sockets of a socket unit."""
        return [each for each in passed if not each.name.startswith(_PREFIX)]

    def put(self, name: str, fds: Sequence[int]) -> None:
        """Keep copies of *fds*; see `Store.put`."""
        if name in self._names:
            self.forget(name)
        self._names.add(name)
        self._notifier.store(_PREFIX + name, fds)

    def forget(self, name: str) -> None:
        """Keep *name* no more; see `Store.forget`."""
        self._names.discard(name)
        self._notifier.forget(_PREFIX + name)

    def take(self) -> list[Bundle]:
        """What systemd passed; see `Store.take`. It keeps its own copies."""
        # systemd passes what was stored together in the order of the message's descriptors or in
        # the reverse one; whoever takes it has to look what each of them is.
        passed, self._passed = self._passed, {}
        found = [Bundle(name.removeprefix(_PREFIX), tuple(fds)) for name, fds in passed.items()]
        self._names.update(bundle.name for bundle in found)
        return found

    def check(self) -> None:
        """Nothing is to be done: systemd looks after itself."""

    def close(self) -> None:
        """Nothing is to be done: systemd keeps it as long as the unit is not stopped."""


class KeeperStore:
    """A keeper's store; the keeper is started if there is none.

    Thread-safe. If the keeper ends, another one is started and gets everything again.

    Args:
        path: The keeper's socket; made with mode 0600.
        hold: Seconds that a keeper which we start waits for an agent.

    Raises:
        PeerError: Another agent uses the keeper, or it is another user's.
        OSError: It can be neither reached nor started.
    """

    def __init__(self, path: Path, *, hold: float) -> None:
        self._path = path
        self._hold = hold
        self._lock = RLock()
        self._kept: dict[str, tuple[int, ...]] = {}
        self._socket: socket.socket | None = None
        self._connect()

    def put(self, name: str, fds: Sequence[int]) -> None:
        """Keep copies of *fds*; see `Store.put`. Ours are to stay open until `forget`."""
        with self._lock:
            self._kept[name] = tuple(fds)
            self._ask({"do": "store", "name": name}, fds)

    def forget(self, name: str) -> None:
        """Keep *name* no more; see `Store.forget`."""
        with self._lock:
            self._kept.pop(name, None)
            self._ask({"do": "forget", "name": name})

    def take(self) -> list[Bundle]:
        """Copies of all that the keeper has; see `Store.take`."""
        found: list[Bundle] = []
        with self._lock:
            try:
                sock = self._require()
                send(sock, {"do": "take"})
                while "done" not in (answer := _answer(sock))[0]:
                    found.append(Bundle(str(answer[0].get("name")), answer[1]))
            except BaseException:
                for bundle in found:
                    bundle.close()
                raise
            self._kept |= {bundle.name: bundle.fds for bundle in found}
        return found

    def check(self) -> None:
        """Start another keeper if the one that we had has ended."""
        with self._lock:
            if not self._is_there():
                self._reconnect()

    def close(self) -> None:
        """Leave the keeper alone with what it has; it waits *hold* seconds for a successor."""
        with self._lock:
            self._kept.clear()
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _is_there(self) -> bool:
        if self._socket is None:
            return False
        # It says nothing unasked: whatever can be read is its end.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def _ask(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        try:
            sock = self._require()
            send(sock, message, fds)
            _answer(sock)
        except OSError:
            self._reconnect()  # which stores all that there is, this too

    def _require(self) -> socket.socket:
        if self._socket is None:
            raise PeerError("the keeper is not connected")
        return self._socket

    def _reconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._connect()
        sock = self._require()
        for name, fds in self._kept.items():
            send(sock, {"do": "store", "name": name}, fds)
            _answer(sock)

    def _connect(self) -> None:
        # Two agents that start at the same time shall not start two keepers.
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            sock = _dial(self._path)
            if sock is None:
                _start(self._path, self._hold)
                sock = _dial(self._path)
            if sock is None:
                raise PeerError(f"the keeper at {self._path} ended at once")
        finally:
            os.close(lock)
        self._socket = sock


def _answer(sock: socket.socket) -> tuple[dict[str, Any], tuple[int, ...]]:
    received = receive(sock)
    if received is None:
        raise PeerError("the keeper has ended")
    message, fds = received
    if "error" in message:
        close_all(fds)
        raise PeerError(str(message["error"]))
    return message, fds


def _dial(path: Path) -> socket.socket | None:
    """A connection to the keeper, ``None`` if there is none that listens."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            sock.settimeout(_PATIENCE)
            sock.connect(str(path))
            require_peer(sock)
            _answer(sock)
            return sock
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        except PeerError as error:
            sock.close()
            # Our predecessor may be about to end, and its connection with it.
            if "agent is here" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        except OSError:
            sock.close()
            raise


def _start(path: Path, hold: float) -> None:
    with suppress(FileNotFoundError):
        path.unlink()  # of a keeper that has ended
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as server:
        server.bind(str(path))
        path.chmod(0o600)  # and who connects meanwhile is asked who he is
        source = str(Path(__file__).resolve().parents[2])
        # In a session of its own, so that a signal to our group is none to it. It is nobody's
        # child for long: the one in between ends at once.
        subprocess.run(
            [
                *(sys.executable, "-I", "-S", "-c"),
                "import os, sys; os.fork() and os._exit(0); os.setsid(); " + _CODE,
                *(str(server.fileno()), str(hold)),
            ],
            env={"UNOTIFY_PATH": source},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # which the keeper closes once it listens
            stderr=subprocess.DEVNULL,
            pass_fds=[server.fileno()],
            check=True,
        )
