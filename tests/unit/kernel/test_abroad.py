"""The processes in other user namespaces: which are kept, and how they end."""
# ruff: noqa: D102 - small fakes

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from threading import Event, Lock, Thread
from typing import Any

import pytest

from unotify.errors import KernelError
from unotify.kernel import abroad as module
from unotify.kernel.abroad import Abroad
from unotify.kernel.acts import Outcome

PATIENCE = 20.0


class FakeHelper:
    """A process that is none."""

    made: list[FakeHelper]
    refuse = 0

    def __init__(self, namespace: int, ids: str) -> None:
        self.ids = ids
        self.process = self
        self.lock = Lock()
        self.socket, self.theirs = socket.socketpair()
        self.users = 0
        self.refusal = FakeHelper.refuse
        self.ended = False
        self.closed = 0
        FakeHelper.made.append(self)

    def poll(self) -> int | None:
        return 0 if self.ended else None

    def close(self) -> None:
        self.closed += 1
        self.socket.close()
        self.theirs.close()


class FakeThread:
    """A target in the namespace that a file stands for."""

    def __init__(self, namespace: Any, maps: bytes = b"0 0 1\n") -> None:
        self._namespace = namespace
        self.maps = maps

    def open_user_namespace(self) -> int:
        return os.open(self._namespace, os.O_RDONLY)

    def id_map(self, kind: str) -> bytes:
        return self.maps

    def rights(self) -> Any:
        class Rights:
            uid, gid, groups = 5, 6, (7,)

        return Rights


@pytest.fixture(name="abroad")
def _abroad(monkeypatch: pytest.MonkeyPatch) -> Iterator[Abroad]:
    FakeHelper.made = []
    monkeypatch.setattr(FakeHelper, "refuse", 0)
    monkeypatch.setattr(module, "_Helper", FakeHelper)
    abroad = Abroad()
    yield abroad
    abroad.rest()
    assert [helper.closed for helper in FakeHelper.made] == [1] * len(FakeHelper.made)


@pytest.fixture(name="acts")
def _acts(monkeypatch: pytest.MonkeyPatch) -> list[FakeHelper]:
    """Who acted; at once."""
    acted: list[FakeHelper] = []

    def act(_: Abroad, helper: Any, *__: Any) -> Outcome:
        acted.append(helper)
        return Outcome(0)

    monkeypatch.setattr(Abroad, "_act", act)
    return acted


def act(abroad: Abroad, thread: FakeThread) -> Outcome:
    """Do something; what, is the fake's business."""
    nothing: Any = {}
    return abroad.act(thread, nothing, {}, {}, {}, lambda call: call())


@pytest.fixture(name="threads")
def _threads(tmp_path: Any) -> list[FakeThread]:
    found = []
    for number in range(20):
        (tmp_path / str(number)).touch()
        found.append(FakeThread(tmp_path / str(number)))
    return found


def test_one_for_each_namespace(
    abroad: Abroad, acts: list[FakeHelper], threads: list[FakeThread]
) -> None:
    """It is started with the first act, and acts for all who are there."""
    for thread in (threads[0], threads[1], threads[0]):
        act(abroad, thread)
    assert acts == [FakeHelper.made[0], FakeHelper.made[1], FakeHelper.made[0]]
    assert [helper.users for helper in acts] == [0, 0, 0]


def test_rest_ends_them(abroad: Abroad, acts: list[FakeHelper], threads: list[FakeThread]) -> None:
    """All that nobody uses; the next act starts another."""
    for thread in threads[:3]:
        act(abroad, thread)
    abroad.rest()
    assert [helper.closed for helper in FakeHelper.made] == [1, 1, 1]
    act(abroad, threads[0])
    assert acts[-1] is FakeHelper.made[3]


def test_one_in_use_is_left_alone(
    abroad: Abroad, monkeypatch: pytest.MonkeyPatch, threads: list[FakeThread]
) -> None:
    """It is ended by a later rest, when its act is over."""
    entered, leave = Event(), Event()

    def slow(*_: Any) -> Outcome:
        entered.set()
        assert leave.wait(PATIENCE)
        return Outcome(0)

    monkeypatch.setattr(Abroad, "_act", slow)
    acting = Thread(target=act, args=(abroad, threads[0]))
    acting.start()
    try:
        assert entered.wait(PATIENCE)
        (helper,) = FakeHelper.made
        abroad.rest()
        assert (helper.users, helper.closed) == (1, 0)
    finally:
        leave.set()
        acting.join()
    assert helper.users == 0
    abroad.rest()
    assert helper.closed == 1


def test_a_bounded_number_is_kept(
    abroad: Abroad, acts: list[FakeHelper], threads: list[FakeThread]
) -> None:
    """Those that were used longest ago end."""
    for thread in threads[:16]:
        act(abroad, thread)
    act(abroad, threads[0])
    act(abroad, threads[16])
    assert [helper.closed for helper in FakeHelper.made] == [0, 1] + [0] * 15


def test_none_in_use_ends_for_want_of_room(
    abroad: Abroad, monkeypatch: pytest.MonkeyPatch, threads: list[FakeThread]
) -> None:
    """What is at work for a target is not ended, however many others come."""
    entered, leave = Event(), Event()

    def once(*_: Any) -> Outcome:
        if not entered.is_set():
            entered.set()
            assert leave.wait(PATIENCE)
        return Outcome(0)

    monkeypatch.setattr(Abroad, "_act", once)
    acting = Thread(target=act, args=(abroad, threads[0]))
    acting.start()
    try:
        assert entered.wait(PATIENCE)
        for thread in threads[1:]:
            act(abroad, thread)
        assert FakeHelper.made[0].closed == 0
        assert sum(not helper.closed for helper in FakeHelper.made) == 16
    finally:
        leave.set()
        acting.join()


def test_one_that_has_ended(
    abroad: Abroad, acts: list[FakeHelper], threads: list[FakeThread]
) -> None:
    """A target that is root there may kill it; the next act starts another."""
    act(abroad, threads[0])
    FakeHelper.made[0].ended = True
    act(abroad, threads[0])
    assert acts == FakeHelper.made
    assert len(acts) == 2
    assert FakeHelper.made[0].closed == 1


def test_a_namespace_without_ids(
    abroad: Abroad, acts: list[FakeHelper], threads: list[FakeThread]
) -> None:
    """It is entered with the target's; once it has its own, by another, and the first one ends."""
    threads[0].maps = b""
    act(abroad, threads[0])
    act(abroad, threads[0])
    threads[0].maps = b"0 0 1\n"
    act(abroad, threads[0])
    assert [helper.ids for helper in FakeHelper.made] == ["5 6 7", ""]
    assert [helper.closed for helper in FakeHelper.made] == [1, 0]


def test_a_namespace_that_cannot_be_entered(
    abroad: Abroad,
    acts: list[FakeHelper],
    threads: list[FakeThread],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The errno is the kernel's, and nothing is kept; it is tried again."""
    monkeypatch.setattr(FakeHelper, "refuse", errno.EPERM)
    for count in (1, 2):
        with pytest.raises(KernelError, match="cannot be entered") as caught:
            act(abroad, threads[0])
        assert caught.value.errno == errno.EPERM
        assert [helper.closed for helper in FakeHelper.made] == [1] * count
    assert acts == []


def test_one_that_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch, threads: list[FakeThread]
) -> None:
    """Without processes left it is an error that says so, and nothing stays open."""

    def fail(*_: Any, **__: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(module.subprocess, "Popen", fail)
    before = len(os.listdir("/proc/self/fd"))
    abroad = Abroad()
    for _ in range(2):
        with pytest.raises(KernelError, match="user namespace") as caught:
            act(abroad, threads[0])
        assert caught.value.errno == errno.EAGAIN
    assert len(os.listdir("/proc/self/fd")) == before
