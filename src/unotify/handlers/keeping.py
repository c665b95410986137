"""What targets are about to mount by the new calls, kept from one call to the next."""

from __future__ import annotations

import os
import select
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from unotify.calls.lookups import Spot
from unotify.errors import TargetGone
from unotify.handlers.filesystems import Made
from unotify.handlers.options import Option
from unotify.kernel.standins import same_file

__all__ = ["KEPT", "Detached", "Kept", "Pending"]

MOST_OF_ONE: Final = 16
"""How many one process may have; the oldest is forgotten."""

MOST: Final = 512
"""How many all may have; then the oldest of that container is forgotten which has most."""

T = TypeVar("T", "Pending", "Detached")


@dataclass(eq=False)
class Pending:
    """A file system that is being described (fsopen, fsconfig).

    Attributes:
        fstype: Its type.
        source: What is set as its source.
        options: What else is set.
        made: It, from FSCONFIG_CMD_CREATE until fsmount.
        over: Whether it was mounted.
        lock: Held by who uses it.
    """

    fstype: str
    source: Spot | None = None
    options: list[Option] = field(default_factory=list)
    made: Made | None = None
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        """Free what was made."""
        made, self.made = self.made, None
        if made is not None:
            made.mount.close()


@dataclass(eq=False)
class Detached:
    """A mount that is in no namespace yet (fsmount, open_tree).

    Attributes:
        made: It.
        is_new: Whether it is of a new file system.
        finished: Whether it is the target's already; see `unotify.handlers.filesystems.finish`.
        lock: Held by who uses it.
    """

    made: Made
    is_new: bool = True
    finished: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        """Free it."""
        self.made.mount.close()


@dataclass(eq=False)
class _Entry:
    file: int
    listener: object
    process: int
    pidfd: int
    what: Any


class Kept:
    """What is kept for all targets, known by the open file that stands for it."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, caller: Any, file: int, what: Pending | Detached) -> None:
        """Keep *what* until its caller's process has ended.

        Args:
            caller: A `unotify.Target`.
            file: What stands for it; a duplicate is kept.
            what: It is freed here from now on.

        Raises:
            TargetGone: The caller does not wait any more.
        """
        process = caller.pid
        try:
            pidfd = os.pidfd_open(process)
        except ProcessLookupError:
            what.close()
            raise TargetGone(f"process {process} has ended") from None
        if not caller.is_waiting():  # the number may be another's by now
            os.close(pidfd)
            what.close()
            raise TargetGone("it does not wait any more")
        entry = _Entry(os.dup(file), caller.listener, process, pidfd, what)
        with self._lock:
            self._entries.append(entry)
            gone = self._take(self._ended())
            own = [known for known in self._entries if known.process == process]
            gone += self._take(own[:-MOST_OF_ONE])
            while len(self._entries) > MOST:
                # Nobody can push out what is another's by having many processes.
                many, _ = Counter(id(known.listener) for known in self._entries).most_common(1)[0]
                oldest = next(known for known in self._entries if id(known.listener) == many)
                gone += self._take([oldest])
        for left in gone:
            _free(left)

    def find(self, file: int, kind: type[T]) -> T | None:
        """What *file*, a descriptor of ours, stands for, if it is of this *kind*."""
        with self._lock:
            for entry in reversed(self._entries):
                if isinstance(entry.what, kind) and same_file(entry.file, file):
                    return entry.what
        return None

    def drop(self, what: object) -> None:
        """Forget *what*, and free it."""
        with self._lock:
            gone = self._take([entry for entry in self._entries if entry.what is what])
        for entry in gone:
            _free(entry)

    def _ended(self) -> list[_Entry]:
        waiting = select.poll()
        for entry in self._entries:
            waiting.register(entry.pidfd, select.POLLIN)
        ready = {fd for fd, _ in waiting.poll(0)}
        return [entry for entry in self._entries if entry.pidfd in ready]

    def _take(self, entries: list[_Entry]) -> list[_Entry]:
        for entry in entries:
            self._entries.remove(entry)
        return list(entries)


def _free(entry: _Entry) -> None:
    os.close(entry.file)
    os.close(entry.pidfd)
    with entry.what.lock:
        entry.what.close()


KEPT: Final = Kept()
"""Of all supervisors in this process."""
