"""Who each process pretends to be: inherited by fork, changed by calls, and by exec.

Theory of operation. Nobody tells of a fork or of an exec. So a process that is not known yet is
looked up when it first asks: it is who its parent is. When a process changes who it is, its
children that have not asked yet are noted first, as what they were born as. A child whose parent
has ended before the child first asked is known by its process group or its session, whose number
is that of the process that began it; if that is not known either, it is root. A program has been
replaced by another if it begins elsewhere in memory (`unotify.kernel.lives`).

Until some process changes who it is all are root, and nobody is looked up.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Final, NamedTuple

from unotify.handlers.ownership.identities import ROOT, Identity
from unotify.kernel.lives import Life

__all__ = ["Processes"]

_MOST: Final = 4096
_DEPTH: Final = 256


class _Record(NamedTuple):
    started: int
    identity: Identity
    image: tuple[int, int]


class Processes:
    """Who each process is. Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[int, _Record] = {}
        self._lock = threading.RLock()
        self._changed = False

    def identity(self, target: Any) -> Identity:
        """Who the process of *target* pretends to be now."""
        if not self._changed:
            return ROOT
        life = target.life()
        with self._lock:
            return self._record(target, life).identity

    def of(self, target: Any, pid: int) -> Identity | None:
        """Who process *pid* pretends to be, as seen from here; ``None``: there is none."""
        life = target.life_of(pid)
        if life is None:
            return None
        if not self._changed:
            return ROOT
        with self._lock:
            return self._record(target, life).identity

    def become(self, target: Any, identity: Identity) -> None:
        """Note that the process of *target* is *identity* from now on."""
        life = target.life()
        with self._lock:
            if not self._changed and identity == ROOT:
                return
            self._changed = True
            self._record(target, life)
            self._note_children(target, life, 0)
            self._known[life.pid] = _Record(life.started, identity, life.image)
            if len(self._known) > _MOST:
                self._forget_dead(target)

    def _record(self, target: Any, life: Life) -> _Record:
        record = self._known.get(life.pid)
        if record is None or record.started != life.started:
            record = self._inherited(target, life)
        if record.image != life.image:
            record = _Record(life.started, record.identity.after_exec(), life.image)
        self._known[life.pid] = record
        return record

    def _inherited(self, target: Any, life: Life) -> _Record:
        found = self._ancestor(target, life) or self._leader(life)
        if found is None:
            return _Record(life.started, ROOT, life.image)
        return _Record(life.started, found.identity, found.image)

    def _ancestor(self, target: Any, life: Life) -> _Record | None:
        """The nearest one that is known, and what became of it by exec on the way down."""
        way: list[Life] = []
        child = life
        for _ in range(_DEPTH):
            if child.parent in (0, 1, os.getpid()):
                return None
            parent = target.life_of(child.parent)
            again = target.life_of(child.pid)
            if parent is None or again is None or again.parent != parent.pid:
                return None  # it has ended meanwhile, and its number may be another's
            record = self._known.get(parent.pid)
            if record is not None and record.started == parent.started:
                return self._down(record, [parent, *reversed(way)])
            way.append(parent)
            child = parent
        return None

    def _down(self, record: _Record, way: list[Life]) -> _Record:
        for life in way:
            identity = record.identity
            if record.image != life.image:
                identity = identity.after_exec()
            record = _Record(life.started, identity, life.image)
        return record

    def _leader(self, life: Life) -> _Record | None:
        for pid in (life.group, life.session):
            record = self._known.get(pid)
            # Nobody gets the number of a group or session that still has members.
            if pid != life.pid and record is not None and record.started <= life.started:
                return record
        return None

    def _note_children(self, target: Any, life: Life, depth: int) -> None:
        if depth > _DEPTH:
            return
        for pid in target.children_of(life.pid):
            child = target.life_of(pid)
            if child is None or child.parent != life.pid:
                continue
            known = self._known.get(pid)
            if known is None or known.started != child.started:
                parent = self._known[life.pid]
                self._known[pid] = _Record(child.started, parent.identity, parent.image)
                self._record(target, child)
                self._note_children(target, child, depth + 1)

    def _forget_dead(self, target: Any) -> None:
        for pid, record in list(self._known.items()):
            life = target.life_of(pid)
            if life is None or life.started != record.started:
                del self._known[pid]
