"""`unotify.supervisor.quick`: whom the leader asks first, and what becomes of the stuck."""

# ruff: noqa: D102 - see the interface

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread
from time import perf_counter_ns
from typing import Any

import pytest

from tests.unit.supervisor.fake_kernel import FakeKernel
from unotify import Counted, Instrument
from unotify.kernel.interface import MAKE, Came, Listener, Making, Origin, Shortcut, Tally
from unotify.supervisor.instruments import Instruments
from unotify.supervisor.quick import Quick
from unotify.supervisor.quotas import Quota
from unotify.supervisor.sources import Source

RULES = (Shortcut(257, -1),)


class FakeServer:
    """Comes back for the reasons that it was given; see `unotify.kernel.interface.Server`."""

    def __init__(self, rig: Bench, rules: object, counting: bool) -> None:
        self.rig = rig
        self.counting = counting
        self.sources: dict[Listener, Origin] = {}
        self.held: set[Listener] = set()
        self.rules = rules
        self.came = [Came.LOOK]
        self.takes = Came.LOOK
        self.busy_since = 5
        self.retired = self.closed = False
        self.dozing: list[bool] = []
        self.made: list[Tally] = []
        self.meanwhile: Callable[[], object] = lambda: None
        """What others do while it serves."""

    def count(self, nr: int, outcome: str, times: int) -> None:
        """Answer a call *times* times."""
        assert self.counting
        self.made.append(Tally(self.rig.listener, nr, outcome, 3, times, 5 * times))

    def serve(self) -> int:
        self.meanwhile()
        return self.came.pop(0)

    def add(self, listener: Listener, origin: Origin) -> bool:
        if listener in self.rig.odd:
            return False
        self.sources[listener] = origin
        return True

    def drop(self, listener: Listener) -> None:
        del self.sources[listener]

    def hold(self, listener: Listener, held: bool) -> None:
        (self.held.add if held else self.held.discard)(listener)

    def received(self) -> tuple[Listener, bytearray] | None:
        pending = self.rig.listener.notification("openat", -100)
        return self.rig.listener, bytearray(pending.raw)

    def whose(self) -> Listener | None:
        return self.rig.listener

    def take(self) -> int:
        return self.takes

    def since(self) -> int:
        return self.busy_since

    def doze(self, dozing: bool) -> None:
        self.dozing.append(dozing)

    def retire(self) -> None:
        self.retired = True

    def counts(self) -> tuple[int, int, list[int]]:
        return 1, 3, [2] + [0] * 63

    def tallies(self) -> list[Tally]:
        assert not self.closed
        made, self.made = self.made, []
        return made

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class Bench:
    """One `Quick` over a fake kernel, and the servers that were made for it."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.kernel.make_server = self.make
        self.listener = self.kernel.listener()
        self.source = Source(self.listener, self.kernel, ours=True)
        self.odd: set[Listener] = set()
        self.sources: dict[Listener, Source] = {self.listener: self.source}
        self.lock = Lock()
        poller = self.kernel.poller()
        self.instruments = Instruments()
        self.quick = Quick(self.kernel, poller, poller, self.sources, self.lock, self.instruments)
        self.quick.shortcuts = lambda: RULES
        self.servers: list[FakeServer] = []
        self.found: list[tuple[Source, Any, int]] = []

    def make(self, rules: Sequence[Shortcut], counting: bool) -> FakeServer:
        self.servers.append(FakeServer(self, rules, counting))
        return self.servers[-1]

    def another(self, quota: Quota | None = None) -> Source:
        """One more source, which comes now."""
        source = Source(self.kernel.listener(), self.kernel, quota=quota)
        if quota is not None:
            quota.sources |= {source}
        with self.lock:
            self.sources[source.listener] = source
            self.quick.add(source)
        return source

    def take(self, came: Came) -> bool:
        """Somebody takes what the last server is busy with."""
        self.servers[-1].takes = came
        with self.lock:
            return self.quick.take(lambda *found: self.found.append(found))


@pytest.fixture(name="bench")
def _bench() -> Bench:
    """A fresh one."""
    return Bench()


def test_nothing_to_answer(bench: Bench) -> None:
    """Without rules nobody is asked, nor where all listeners want to be asked themselves."""
    bench.quick.shortcuts = tuple
    assert bench.quick.serve() == (Came.LOOK, None)
    assert not bench.servers
    bench.quick.shortcuts = lambda: RULES
    bench.odd = {bench.listener}
    bench.quick.retire()
    assert bench.quick.serve() == (Came.LOOK, None)
    assert [server.closed for server in bench.servers] == [True]
    assert bench.quick.since() == 0


def test_listeners_come_and_go(bench: Bench) -> None:
    """The same server learns of them one by one; nothing else is made anew."""
    bench.quick.serve()
    (server,) = bench.servers
    other = bench.another()
    assert server.sources == {bench.listener: Origin.OURS, other.listener: Origin(0)}
    with bench.lock:
        bench.quick.drop(bench.source)
    assert server.sources == {other.listener: Origin(0)}
    assert not server.retired
    server.came = [Came.LOOK]
    bench.quick.serve()
    assert not server.closed


def test_after_the_last_listener(bench: Bench) -> None:
    """Nothing is kept for those who have gone; the next that comes has a server again."""
    bench.quick.serve()
    with bench.lock:
        del bench.sources[bench.listener]
        bench.quick.drop(bench.source)
    assert bench.quick.serve() == (Came.LOOK, None)
    assert bench.servers[0].closed
    bench.another()
    bench.quick.serve()
    assert len(bench.servers) == 2


def test_the_first_that_can_be_served(bench: Bench) -> None:
    """Where nobody could be asked so far, a listener that comes is another chance."""
    bench.odd = {bench.listener}
    bench.quick.serve()
    bench.quick.serve()
    assert len(bench.servers) == 1
    other = bench.another()
    bench.quick.serve()
    assert bench.servers[1].sources == {other.listener: Origin(0)}


def test_rules_are_asked_for_once(bench: Bench) -> None:
    """Not for each listener that comes, and each lead that is lost."""
    asked: list[int] = []

    def ask() -> tuple[Shortcut, ...]:
        asked.append(1)
        return RULES

    bench.quick.shortcuts = ask
    bench.quick.serve()
    bench.take(Came.LOST)
    bench.another()
    bench.quick.serve()
    assert len(bench.servers) == 2
    assert asked == [1]


def test_a_quota_that_is_held(bench: Bench) -> None:
    """All its listeners are, those that come later and whatever server there is."""
    quota = Quota(2)
    bench.quick.serve()
    first = bench.another(quota)
    with bench.lock:
        bench.quick.hold(quota, True)
    second = bench.another(quota)
    bench.another()
    both = {first.listener, second.listener}
    assert bench.servers[0].held == both
    bench.take(Came.LOST)
    bench.quick.serve()
    assert bench.servers[1].held == both
    with bench.lock:
        bench.quick.hold(quota, False)
    assert not bench.servers[1].held


def test_a_change_makes_another(bench: Bench) -> None:
    """What was told is old at once; the next one learns what is true then."""
    bench.quick.serve()
    (first,) = bench.servers
    assert (first.sources, first.rules) == ({bench.listener: Origin.OURS}, RULES)
    bench.source.ours = False
    bench.quick.retire()
    assert first.retired
    assert not first.closed
    bench.quick.serve()
    assert first.closed
    assert bench.servers[1].sources == {bench.listener: Origin(0)}


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
    assert work is not None
    assert bench.found == [(*work, 5)]
    assert bench.quick.stuck == 0


def test_a_lead_that_is_taken_away(bench: Bench) -> None:
    """A call that is being answered stays with whoever does it, and nobody else knows of it."""
    bench.quick.serve()
    assert bench.take(Came.LOST)
    assert bench.found == [(bench.source, None, 5)]
    assert bench.quick.since() == 0
    assert (bench.quick.stuck, bench.quick.in_flight) == (1, 1)


@pytest.mark.parametrize("came", [Came.TAKEN, Came.LOST])
def test_who_is_acted_for_already(bench: Bench, came: Came) -> None:
    """It is known to others from then on; its listener is held until it is over."""
    bench.quick.serve()
    (first,) = bench.servers
    assert bench.take(Came.TAKEN)
    bench.quick.serve()
    assert bench.servers[1].held == {bench.listener}
    second = bench.quick._server
    bench.quick._server, bench.quick._stale = first, False
    first.came = [came]
    ((source, exchange, _),) = bench.found
    assert bench.quick.serve() == (came, (source, exchange))
    bench.quick._server = second
    assert bench.quick.stuck == 0
    assert not bench.quick._taken


def test_since_when_a_call_that_is_taken_is_under_way(bench: Bench) -> None:
    """What is over but for its end has begun now, not when the clock did."""
    bench.quick.serve()
    before = perf_counter_ns()
    bench.servers[0].busy_since = 0
    assert bench.take(Came.TAKEN)
    ((_, _, since),) = bench.found
    assert before <= since <= perf_counter_ns()


@pytest.mark.parametrize("came", [Came.TAKEN, Came.LOST])
def test_who_holds_a_thread_is_held(bench: Bench, came: Came) -> None:
    """A container has one thread stuck at most: all else of it is received by who counts."""
    quota = bench.source.quota = Quota(4)
    quota.sources |= {bench.source}
    bench.quick.serve()
    (first,) = bench.servers
    assert quota.idle
    assert bench.take(came)
    assert quota.held
    assert not quota.idle
    bench.quick.serve()
    assert bench.servers[1].held == {bench.listener}
    bench.quick._server, first.came = first, [came]  # type: ignore[assignment]
    bench.quick.serve()
    assert quota.idle


@pytest.mark.parametrize(
    ("container", "home"), [(None, True), ("user:[1]", True), ("user:[2]", False), ("", False)]
)
def test_containers_that_began_at_home(bench: Bench, container: str | None, home: bool) -> None:
    """What counts is what has been told of their user namespace, where nodes are made."""
    made = Shortcut(259, MAKE, making=Making((), 0, 0, 0))
    bench.source.container = container
    bench.quick.serve()
    assert Origin.HOME not in bench.servers[0].sources[bench.listener]
    bench.quick.shortcuts = lambda: (made,)
    bench.quick.retire()
    bench.quick.serve()
    assert (Origin.HOME in bench.servers[1].sources[bench.listener]) is home


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


def test_dozing_begins_while_another_is_made(bench: Bench) -> None:
    """Whoever falls asleep before the new one is seen is rung by it all the same."""
    made = bench.quick._made

    def made_and_asleep() -> Any:
        server = made()
        bench.quick.doze(True)
        return server

    bench.quick._made = made_and_asleep  # type: ignore[method-assign]
    bench.quick.serve()
    assert bench.servers[0].dozing[-1:] == [True]


class Counting(Instrument):
    """Adds up what it is told of."""

    def __init__(self) -> None:
        self.told: list[tuple[Listener, str, str, int]] = []

    def counted(self, counts: Sequence[Counted]) -> None:
        self.told += [(c.listener, c.call_name, c.outcome, c.count) for c in counts]


@pytest.fixture(name="counting")
def _counting(bench: Bench) -> Counting:
    """One that watches, and a server that counts for it."""
    counting = Counting()
    bench.instruments.add(counting)
    bench.quick.serve()
    return counting


def test_nobody_counts_for_nobody(bench: Bench) -> None:
    """Only where an instrument wants to hear of it a server keeps tallies."""
    bench.instruments.add(Instrument())
    bench.quick.serve()
    bench.quick.settle()
    assert not bench.servers[0].counting


def test_whoever_counts_is_told(bench: Bench, counting: Counting) -> None:
    """When somebody asks, by listener and name, and of each call once."""
    bench.servers[0].count(257, "installed", 3)
    bench.servers[0].count(257, "installed", 1)
    bench.servers[0].count(257, "failed", 2)
    assert counting.told == []
    bench.quick.settle()
    bench.quick.settle()
    assert counting.told == [
        (bench.listener, "openat", "installed", 4),
        (bench.listener, "openat", "failed", 2),
    ]


def test_whoever_has_no_room_left_goes_on(bench: Bench, counting: Counting) -> None:
    """The leader tells what there is, and lets the same server answer more."""
    (server,) = bench.servers
    server.count(39, "failed", 7)
    server.came = [Came.FULL, Came.YOURS]
    assert bench.quick.serve()[0] is Came.YOURS
    assert counting.told == [(bench.listener, "getpid", "failed", 7)]
    assert bench.servers == [server]


def test_a_full_server_that_is_old(bench: Bench, counting: Counting) -> None:
    """What was retired meanwhile is closed, and its successor asked."""
    (server,) = bench.servers
    server.count(39, "failed", 7)
    server.came = [Came.FULL]
    server.meanwhile = bench.quick.retire
    assert bench.quick.serve()[0] is Came.LOOK
    assert server.closed
    assert counting.told == [(bench.listener, "getpid", "failed", 7)]
    assert len(bench.servers) == 2


def test_a_descriptor_that_is_another_listener_by_now(bench: Bench, counting: Counting) -> None:
    """What a closed server has answered is told of the listener that it had."""
    first = bench.listener
    bench.servers[0].count(39, "failed", 1)
    del bench.sources[first]
    bench.listener = bench.kernel.listener()
    bench.listener.fileno = first.fileno  # type: ignore[method-assign]
    bench.source = Source(bench.listener, bench.kernel, quiet=True)
    bench.sources[bench.listener] = bench.source
    bench.quick.retire()
    bench.quick.serve()
    bench.servers[1].count(39, "failed", 2)
    bench.quick.settle()
    assert counting.told == [
        (first, "getpid", "failed", 1),
        (bench.listener, "getpid", "failed", 2),
    ]


def test_the_stuck_count_too(bench: Bench, counting: Counting) -> None:
    """While they are stuck, when they come back, and at the end of all."""
    (first,) = bench.servers

    def others() -> None:
        first.count(39, "failed", 1)
        assert bench.take(Came.LOST)
        bench.quick.settle()
        assert [times for *_, times in counting.told] == [1]
        bench.quick.serve()
        first.count(39, "failed", 10)
        bench.servers[1].count(39, "failed", 100)

    first.came, first.meanwhile = [Came.LOST], others
    assert bench.quick.serve() == (Came.LOST, None)
    assert first.closed
    assert sum(times for *_, times in counting.told) == 111
    bench.servers[1].count(39, "failed", 1000)
    bench.quick.close()
    assert sum(times for *_, times in counting.told) == 1111
    bench.quick.settle()
    assert sum(times for *_, times in counting.told) == 1111


def test_one_that_raises_is_told_no_more(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged and removed; others hear of all, and what is counted has room again."""

    class Broken(Instrument):
        def counted(self, counts: Sequence[Counted]) -> None:
            raise ValueError("observer")

    counting = Counting()
    bench.instruments.add(Broken())
    bench.instruments.add(counting)
    bench.quick.serve()
    for _ in range(2):
        bench.servers[0].count(39, "failed", 1)
        bench.quick.settle()
    assert [times for *_, times in counting.told] == [1, 1]
    assert caplog.text.count("ValueError: observer") == 1
    bench.instruments.remove(counting)
    bench.servers[0].count(39, "failed", 1)
    bench.quick.settle()
    assert not bench.servers[0].made


def test_whoever_asks_while_it_is_told_waits(bench: Bench) -> None:
    """Once `settle` is back everything is told, whoever told it; and one that is told may ask."""
    begun, go_on, told = Event(), Event(), []

    class Slow(Instrument):
        def counted(self, counts: Sequence[Counted]) -> None:
            begun.set()
            bench.quick.settle()
            assert go_on.wait(20)
            told.append(counts)

    bench.instruments.add(Slow())
    bench.quick.serve()
    bench.servers[0].count(39, "failed", 1)
    first = Thread(target=bench.quick.settle)
    first.start()
    assert begun.wait(20)
    seen: list[int] = []
    second = Thread(target=lambda: (bench.quick.settle(), seen.append(len(told))))
    second.start()
    # Not under the lock: others can serve meanwhile.
    assert bench.lock.acquire(timeout=20)
    bench.lock.release()
    assert seen == []
    go_on.set()
    first.join()
    second.join()
    assert seen == [1]
