"""Acts that may take long, with acts that only pretend."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import pytest

from tests.unit.supervisor.fake_kernel import PATIENCE, until
from unotify.errors import Refused, TargetGone
from unotify.kernel import blocking
from unotify.kernel.blocking import Interrupter


class Process(int):
    """A process id, or what tells it."""

    def __call__(self) -> int:
        """Tell it."""
        return int(self)


def test_results_pass() -> None:
    """A value or an errno is what the act returned."""
    interrupter = Interrupter()
    for result in (0, 7, -errno.ENXIO):
        assert interrupter.call(lambda result=result: result, Process(1), lambda: True) == result  # type: ignore[misc,arg-type]
    assert interrupter.blocked == 0


def test_interrupted_and_wanted() -> None:
    """A signal for somebody else starts the act again as long as the target waits."""
    results = [-errno.EINTR, -errno.EINTR, 5]
    assert Interrupter().call(lambda: results.pop(0), Process(1), lambda: True) == 5  # type: ignore[arg-type]


def test_interrupted_and_in_vain() -> None:
    """If nobody waits any more it is over."""
    with pytest.raises(TargetGone):
        Interrupter().call(lambda: -errno.EINTR, Process(1), lambda: False)  # type: ignore[arg-type]


def test_an_act_that_raises_is_forgotten() -> None:
    """It does not count as one that takes long."""
    interrupter = Interrupter()

    def fails() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupter.call(fails, Process(1), lambda: True)  # type: ignore[arg-type]
    assert not interrupter._entries


@contextmanager
def waiting(interrupter: Interrupter, *processes: int) -> Iterator[None]:
    """Acts of these processes that take long."""
    end = Event()

    def act() -> int:
        assert end.wait(PATIENCE)
        return 0

    with ThreadPoolExecutor(len(processes)) as pool:
        try:
            for process in processes:
                pool.submit(interrupter.call, act, Process(process), lambda: True)  # type: ignore[arg-type]
            until(lambda: interrupter.blocked == len(processes))
            yield
        finally:
            end.set()


@pytest.mark.parametrize(
    ("processes", "refused", "served"), [((1, 1), 1, 2), ((1, 2, 3), 4, None), ((1, 2), None, 1)]
)
def test_not_too_many(
    monkeypatch: pytest.MonkeyPatch,
    processes: tuple[int, ...],
    refused: int | None,
    served: int | None,
) -> None:
    """EAGAIN: neither all together nor one process alone may take all threads."""
    monkeypatch.setattr(blocking, "MOST_OF_ONE", 2)
    monkeypatch.setattr(blocking, "MOST_BLOCKED", 3)
    interrupter = Interrupter()
    with waiting(interrupter, *processes):
        if refused is not None:
            with pytest.raises(Refused) as caught:
                interrupter.call(lambda: 0, Process(refused), lambda: True)  # type: ignore[arg-type]
            assert caught.value.errno == errno.EAGAIN
        if served is not None:
            assert interrupter.call(lambda: 3, Process(served), lambda: True) == 3  # type: ignore[arg-type]
    until(lambda: interrupter.blocked == 0)
