"""What is kept for targets between two calls, and for whom it is forgotten first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from unotify.handlers.keeping import MOST, MOST_OF_ONE, Kept, Pending


class _Caller:
    """A process of a container, which waits."""

    def __init__(self, listener: object, pid: int) -> None:
        self.listener = listener
        self.pid = pid

    def is_waiting(self) -> bool:
        return True


class _Process:
    """What `os.pidfd_open` says of a process that lives: a pipe that is silent."""

    def __init__(self) -> None:
        self.ends = os.pipe()

    def open(self, pid: int, flags: int = 0) -> int:
        return os.dup(self.ends[0])

    def close(self) -> None:
        for end in self.ends:
            os.close(end)


@pytest.fixture(name="kept")
def _kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with closing(_Process()) as process:
        monkeypatch.setattr(os, "pidfd_open", process.open)
        kept = Kept()
        kept.everything = []  # type: ignore[attr-defined]

        def add(listener: object, pid: int) -> Pending:
            what = Pending("tmpfs")
            kept.everything.append(what)  # type: ignore[attr-defined]
            kept.add(_Caller(listener, pid), process.ends[0], what)
            return what

        kept.put = add  # type: ignore[attr-defined]
        yield kept
        for what in kept.everything:  # type: ignore[attr-defined]
            kept.drop(what)
        assert len(kept) == 0


def _has(kept: Any, what: Pending) -> bool:
    return any(entry.what is what for entry in kept._entries)


def test_a_process_has_so_many(kept: Any) -> None:
    """Of one process the oldest is forgotten."""
    own = [kept.put("box", 1) for _ in range(MOST_OF_ONE + 1)]
    assert [_has(kept, what) for what in own] == [False] + [True] * MOST_OF_ONE


def test_a_container_forgets_only_its_own(kept: Any) -> None:
    """Who has very many processes loses the oldest of its own; others keep what is older."""
    other = kept.put("quiet", 1)
    first = kept.put("greedy", 2)
    for number in range(MOST):
        kept.put("greedy", 3 + number)
    assert len(kept) == MOST
    assert _has(kept, other)
    assert not _has(kept, first)
