"""Acts that may take long, with acts that only pretend."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import pytest

from tests.unit.supervisor.fake_kernel import PATIENCE, until
from unotify.errors import Refused, TargetGone
from unotify.kernel import blocking
from unotify.kernel.blocking import Interrupter


def call(
    interrupter: Interrupter,
    act: Callable[[], int],
    process: int,
    still_valid: Callable[[], bool] = lambda: True,
) -> int:
    """Make one call that may take long."""
    with interrupter.entry(lambda: process, still_valid) as wait:
        return wait(act)


def test_results_pass() -> None:
    """A value or an errno is what the act returned."""
    interrupter = Interrupter()
    for result in (0, 7, -errno.ENXIO):
        assert call(interrupter, lambda result=result: result, 1) == result  # type: ignore[misc]
    assert interrupter.blocked == 0


def test_interrupted_and_wanted() -> None:
    """A signal for somebody else starts the act again as long as the target waits."""
    results = [-errno.EINTR, -errno.EINTR, 5]
    assert call(Interrupter(), lambda: results.pop(0), 1) == 5


def test_interrupted_and_in_vain() -> None:
    """If nobody waits any more it is over."""
    with pytest.raises(TargetGone):
        call(Interrupter(), lambda: -errno.EINTR, 1, lambda: False)


def test_an_act_that_raises_is_forgotten() -> None:
    """It does not count as one that takes long."""
    interrupter = Interrupter()

    def fails() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(interrupter, fails, 1)
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
                pool.submit(call, interrupter, act, process)
            until(lambda: interrupter.blocked == len(processes))
            yield
        finally:
            end.set()


@pytest.mark.parametrize(("processes", "refused", "served"), [((1, 1), 1, 2), ((1, 2), None, 1)])
def test_not_too_many(
    monkeypatch: pytest.MonkeyPatch,
    processes: tuple[int, ...],
    refused: int | None,
    served: int | None,
) -> None:
    """EAGAIN: one process may not take all threads; what is quick is done for the others."""
    monkeypatch.setattr(blocking, "MOST_OF_ONE", 2)
    interrupter = Interrupter()
    with waiting(interrupter, *processes):
        if refused is not None:
            with pytest.raises(Refused) as caught:
                call(interrupter, lambda: 0, refused)
            assert caught.value.errno == errno.EAGAIN
        if served is not None:
            assert call(interrupter, lambda: 3, served) == 3
    until(lambda: interrupter.blocked == 0)
