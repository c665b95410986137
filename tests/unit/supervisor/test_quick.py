"""`unotify.supervisor.quick`: whom the leader asks first, and what becomes of the stuck."""

# ruff: noqa: D102 - see the interface

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import pytest

from tests.unit.supervisor.fake_kernel import FakeKernel
from unotify.kernel.interface import Came, Listener, Shortcut
from unotify.supervisor.quick import Quick
from unotify.supervisor.sources import Source

RULES = (Shortcut(257, -1),)


class FakeServer:
    """Comes back for the reasons that it was given; see `unotify.kernel.interface.Server`."""

    def __init__(self, rig: Bench, sources: Mapping[Listener, bool], rules: object) -> None:
        self.rig = rig
        self.sources = dict(sources)
        self.rules = rules
        self.came = [Came.LOOK]
        self.takes = Came.LOOK
        self.retired = self.closed = False
        self.dozing: list[bool] = []

    def serve(self) -> int:
        return self.came.pop(0)

    def received(self) -> tuple[int, bytearray]:
        pending = self.rig.listener.notification("openat", -100)
        return self.rig.listener.fileno(), bytearray(pending.raw)

    def take(self) -> int:
        return self.takes

    def since(self) -> int:
        return 5

    def doze(self, dozing: bool) -> None:
        self.dozing.append(dozing)

    def retire(self) -> None:
        self.retired = True

    def counts(self) -> tuple[int, int, list[int]]:
        return 1, 3, [2] + [0] * 63

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class Bench:
    """One `Quick` over a fake kernel, and the servers that were made for it."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.kernel.make_server = self.make
        self.listener = self.kernel.listener()
        self.source = Source(self.listener, self.kernel, quiet=True, ours=True)
        self.sources: dict[Listener, Source] = {self.listener: self.source}
        self.lock = Lock()
        poller = self.kernel.poller()
        self.quick = Quick(self.kernel, poller, poller, self.sources, self.lock)
        self.quick.shortcuts = lambda: RULES
        self.servers: list[FakeServer] = []
        self.revealed: list[Any] = []

    def make(self, sources: Mapping[Listener, bool], rules: Sequence[Shortcut]) -> FakeServer:
        self.servers.append(FakeServer(self, sources, rules))
        return self.servers[-1]

    def take(self, came: Came) -> bool:
        """Somebody takes what the last server is busy with."""
        self.servers[-1].takes = came
        with self.lock:
            return self.quick.take(self.revealed.append)


@pytest.fixture(name="bench")
def _bench() -> Bench:
    """A fresh one."""
    return Bench()


def test_nothing_to_answer(bench: Bench) -> None:
    """Without rules, or without a listener whose calls only death ends, nobody is asked."""
    bench.quick.shortcuts = tuple
    assert bench.quick.serve() == (Came.LOOK, None)
    bench.quick.shortcuts = lambda: RULES
    bench.source.quiet = False
    bench.quick.retire()
    assert bench.quick.serve() == (Came.LOOK, None)
    assert not bench.servers
    assert bench.quick.since() == 0


def test_a_change_makes_another(bench: Bench) -> None:
    """What was told is old at once; the next one learns what is true then."""
    bench.quick.serve()
    (first,) = bench.servers
    assert (first.sources, first.rules) == ({bench.listener: True}, RULES)
    bench.source.ours = False
    bench.quick.retire()
    assert first.retired
    assert not first.closed
    bench.quick.serve()
    assert first.closed
    assert bench.servers[1].sources == {bench.listener: False}


def test_a_change_while_another_is_made(bench: Bench) -> None:
    """Whoever changes something while a server is made cannot retire it; it is not asked."""

    def changing() -> tuple[Shortcut, ...]:
        bench.quick.shortcuts = lambda: RULES
        bench.quick.retire()
        return RULES

    bench.quick.shortcuts = changing
    assert bench.quick.serve() == (Came.LOOK, None)
    (first,) = bench.servers
    assert first.came == [Came.LOOK]
    bench.quick.serve()
    assert first.closed
    assert bench.servers[1].came == []


def test_rules_that_cannot_be_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong there, the leader goes on without; a change is another chance."""

    def failing() -> tuple[Shortcut, ...]:
        raise OSError("no descriptors")

    bench.quick.shortcuts = failing
    assert bench.quick.serve() == (Came.LOOK, None)
    assert bench.quick.serve() == (Came.LOOK, None)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    bench.quick.shortcuts = lambda: RULES
    bench.quick.retire()
    bench.quick.serve()
    assert len(bench.servers) == 1


def test_what_takes_more(bench: Bench) -> None:
    """A call that is not decided comes back with its listener, to be served as ever."""
    bench.quick.serve()
    bench.servers[0].came = [Came.YOURS]
    came, work = bench.quick.serve()
    assert came is Came.YOURS
    assert work is not None
    assert work[0] is bench.source
    assert work[1].nr == 257


def test_a_call_that_is_taken_away(bench: Bench) -> None:
    """Whoever takes it makes it known, and whoever was stuck gets that very exchange to serve."""
    bench.quick.serve()
    (first,) = bench.servers
    assert not bench.take(Came.LOOK)
    assert bench.take(Came.TAKEN)
    bench.quick.serve()
    assert len(bench.servers) == 2
    # What was taken away is known elsewhere; what the second is busy with is not.
    assert (bench.quick.stuck, bench.quick.in_flight) == (1, 1)
    # The one that was stuck comes back.
    bench.quick._server, first.came = first, [Came.TAKEN]  # type: ignore[assignment]
    came, work = bench.quick.serve()
    assert came is Came.TAKEN
    assert [work] == bench.revealed
    assert bench.quick.stuck == 0


def test_a_lead_that_is_taken_away(bench: Bench) -> None:
    """A call that is being answered stays with whoever does it, and nobody else knows of it."""
    bench.quick.serve()
    assert bench.take(Came.LOST)
    assert not bench.revealed
    assert bench.quick.since() == 0
    assert (bench.quick.stuck, bench.quick.in_flight) == (1, 1)


def test_no_more_than_two_are_stuck(bench: Bench) -> None:
    """Then all calls take the long way, which has bounds of its own."""
    for _ in range(2):
        bench.quick.serve()
        assert bench.take(Came.TAKEN)
    assert bench.quick.serve() == (Came.LOOK, None)
    assert len(bench.servers) == 2


def test_all_is_counted_once(bench: Bench) -> None:
    """Also what was answered by servers that are closed, or stuck."""
    bench.quick.serve()
    bench.quick.retire()
    bench.quick.serve()
    bench.take(Came.LOST)
    bench.quick.serve()
    counted = bench.quick.counters()
    assert (counted.gone, counted.buckets[0]) == (3, 6)
    bench.quick.close()
    assert bench.servers[2].closed


def test_dozing_outlives_a_change(bench: Bench) -> None:
    """Somebody who dozes is rung by whichever server comes next."""
    bench.quick.serve()
    bench.quick.doze(True)
    bench.quick.retire()
    bench.quick.serve()
    assert bench.servers[0].dozing == [False, True]
    assert bench.servers[1].dozing == [True]
