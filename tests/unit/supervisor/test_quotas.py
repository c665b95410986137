"""Quotas: how many calls of some listeners may be in flight."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import pytest

from tests.unit.supervisor.fake_kernel import FakeListener, Pending, until
from tests.unit.supervisor.rig import Rig
from unotify.calls import Call
from unotify.errors import Conflict, KernelError
from unotify.protocol import Fail, Return
from unotify.supervisor import Held, Quota, Supervisor, readers, turns
from unotify.supervisor.quotas import LONGEST_PROBATION, PROBATION
from unotify.supervisor.sources import Source


class Holding:
    """A supervisor that holds all calls, and the listeners of two containers."""

    def __init__(self, rig: Rig, limit: int, **options: Any) -> None:
        self.rig = rig
        self.supervisor: Supervisor = rig.supervise(**options)
        self.held: list[Held] = []
        self.quota = Quota(limit)
        self.listeners = [self.attach(self.quota), self.attach(self.quota)]
        self.other = self.attach(Quota(limit))
        self._tid = 100

        @self.supervisor.on("getppid")
        def hold(call: Call) -> Held:
            held = self.supervisor.hold(call)
            self.held.append(held)
            return held

    def attach(self, quota: Quota) -> FakeListener:
        """One more listener."""
        listener = self.rig.kernel.listener()
        self.supervisor.attach(listener, quota=quota)
        return listener

    def notify(self, listener: FakeListener) -> Pending:
        """A call of a thread of its own."""
        self._tid += 1
        pending = listener.notify("getppid", tid=self._tid)
        self.pump()
        return pending

    def pump(self) -> None:
        """Let what has no threads do its work."""
        if self.rig.embedded:
            self.supervisor.process_pending()

    def wait_for(self, count: int) -> None:
        """Wait until so many are held, and no more."""
        until(lambda: len(self.held) == count)


@pytest.fixture(name="holding")
def _holding(rig: Rig) -> Holding:
    return Holding(rig, 2)


def test_a_limit(holding: Holding) -> None:
    """No more is received than the quota lets, of all its listeners together."""
    one, two = holding.listeners
    first = holding.notify(one)
    holding.notify(two)
    holding.wait_for(2)
    third, other = holding.notify(one), holding.notify(holding.other)
    holding.wait_for(3)  # the other container's
    assert other.sent
    assert not third.sent
    assert holding.quota.in_flight == 2
    holding.held[0].release(Return(1))
    assert first.answer() == Return(1)
    holding.pump()
    holding.wait_for(4)
    assert third.sent
    assert holding.quota.throttled >= 1


def test_room_by_a_deadline(holding: Holding) -> None:
    """A call whose time is over makes room as one that is answered does."""
    one, _ = holding.listeners
    calls = [holding.notify(one) for _ in range(2)]
    holding.wait_for(2)
    third = holding.notify(one)
    holding.held[0].release(Fail(1))
    holding.held[1].fail(OSError())
    for call in calls:
        call.answer()
    holding.pump()
    holding.wait_for(3)
    assert third.sent


def test_room_by_an_end(holding: Holding) -> None:
    """Calls of a listener that has ended make room for those of the others."""
    one, two = holding.listeners
    holding.notify(one)
    holding.notify(one)
    holding.wait_for(2)
    third = holding.notify(two)
    assert not third.sent
    holding.supervisor._readers._hang_up(holding.supervisor._readers.sources[one])
    holding.pump()
    holding.wait_for(3)
    assert third.sent
    holding.supervisor.stop()
    assert holding.quota.in_flight == 0
    assert not holding.quota.sources


def test_a_limit_that_changes(holding: Holding) -> None:
    """A limit may be raised at any time; it counts from the next answer on."""
    one, _ = holding.listeners
    for _ in range(6):
        holding.notify(one)
    holding.wait_for(2)
    holding.quota.limit = 5
    holding.held[0].release(Return(0))
    holding.pump()
    holding.wait_for(6)
    assert holding.quota.in_flight == 5


@pytest.mark.parametrize("limit", [0, -1])
def test_no_quota_of_nothing(limit: int) -> None:
    """A quota that lets nothing be in flight is refused."""
    with pytest.raises(Conflict, match="at least 1"):
        Quota(limit)


def test_a_listener_that_breaks_while_it_is_full(holding: Holding) -> None:
    """A broken listener is closed once there is room to look at it."""
    one, _ = holding.listeners
    calls = [holding.notify(one) for _ in range(2)]
    holding.wait_for(2)
    holding.notify(one)
    one.receive_error = KernelError(5, "ioctl")
    for held in holding.held:
        held.release(Return(0))
    for call in calls:
        call.answer()
    holding.pump()
    until(lambda: one.closed)


def test_a_suspect_has_threads_of_its_own(threaded: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was slow once holds nobody up any more, until it was quick for a while."""
    # On a busy machine anybody may take four milliseconds.
    monkeypatch.setattr(turns, "TAKEOVER", 0.1)
    supervisor = threaded.supervise()
    slow, quick = threaded.kernel.listener(), threaded.kernel.listener()
    quota = Quota(4)
    go = threading.Event()
    names: list[str] = []

    @supervisor.on("getppid")
    def linger(call: Call) -> Return:
        names.append(threading.current_thread().name)
        go.wait(20)
        return Return(1)

    @supervisor.on("getuid")
    def instant(call: Call) -> Return:
        return Return(2)

    supervisor.attach(slow, quota=quota)
    supervisor.attach(quick, quota=Quota(4))
    first = slow.notify("getppid", tid=1)
    # Only who pends can make somebody else take the lead.
    assert quick.notify("getuid", tid=2).answer() == Return(2)
    assert quota.suspect == PROBATION
    second = slow.notify("getppid", tid=3)
    until(lambda: second.sent)
    assert quick.notify("getuid", tid=4).answer() == Return(2)
    until(lambda: len(names) == 2)
    assert names[0] != names[1] == "unotify-spare"
    since = time.monotonic()
    until(lambda: time.monotonic() > since + 2 * turns.TAKEOVER)
    go.set()
    first.answer()
    second.answer()
    until(lambda: quota.suspect == PROBATION)
    tids = itertools.count(100)

    def is_trusted() -> bool:
        slow.notify("getuid", tid=next(tids)).answer()
        return not quota.suspect

    until(is_trusted)
    assert next(tids) >= 100 + PROBATION


def test_who_was_slow_alone_is_no_suspect(threaded: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next call may pend before the turn of the last one is over: it has held up nobody."""
    monkeypatch.setattr(turns, "TAKEOVER", 0.1)
    looked = threading.Event()
    is_wanted = readers.Readers._is_wanted

    def pends(self: readers.Readers, since: int) -> bool:
        found = is_wanted(self, since)
        if found:
            looked.set()
        return found

    monkeypatch.setattr(readers.Readers, "_is_wanted", pends)
    supervisor = threaded.supervise(deadline=60.0)
    listener, quota = threaded.kernel.listener(), Quota(4)
    waits: list[bool] = []
    seconds: list[Pending] = []

    @supervisor.on("getppid")
    def linger(call: Call) -> Return:
        since = time.monotonic()
        until(lambda: time.monotonic() > since + 2 * turns.TAKEOVER)
        return Return(1)

    @supervisor.on("getuid")
    def instant(call: Call) -> Return:
        return Return(2)

    def answered() -> None:
        if not seconds:
            seconds.append(listener.notify("getuid", tid=1))
            waits.append(looked.wait(20))
            since = time.monotonic()
            until(lambda: quota.suspect or time.monotonic() > since + turns.TAKEOVER / 4)

    supervisor.attach(listener, quota=quota)
    listener.on_send = answered
    assert listener.notify("getppid", tid=1).answer() == Return(1)
    assert seconds[0].answer() == Return(2)
    assert (waits, quota.suspect) == ([True], 0)


def test_a_spare_thread_does_the_next_errand(threaded: Rig) -> None:
    """To start a thread takes longer than most calls: one that rests is asked first."""
    supervisor = threaded.supervise()
    listener, quota = threaded.kernel.listener(), Quota(4)
    names: list[str] = []

    @supervisor.on("getppid")
    def named(call: Call) -> Return:
        names.append(threading.current_thread().name)
        return Return(1)

    supervisor.attach(listener, quota=quota)
    for tid in range(1, 9):
        quota.suspect = PROBATION
        assert listener.notify("getppid", tid=tid).answer() == Return(1)
        until(lambda: supervisor._readers._resting >= 1)
    assert len(names) == 8
    assert supervisor.statistics().readers <= 4


def test_when_threads_are_scarce(threaded: Rig) -> None:
    """With half of the threads taken each container has one, so that there is one for others."""
    supervisor = threaded.supervise(readers=8)
    go = threading.Event()

    @supervisor.on("getppid")
    def linger(call: Call) -> Return:
        go.wait(20)
        return Return(1)

    greedy, modest = threaded.kernel.listener(), threaded.kernel.listener()
    quota = Quota(100)
    supervisor.attach(greedy, quota=quota)
    supervisor.attach(modest, quota=Quota(100))
    calls = [greedy.notify("getppid", tid=tid) for tid in range(1, 20)]
    until(lambda: quota.throttled)
    call = modest.notify("getppid", tid=50)
    until(lambda: call.sent)
    assert sum(each.sent for each in calls) < 8
    go.set()
    for each in [*calls, call]:
        assert each.answer() == Return(1)


def test_a_suspect_where_no_thread_is_to_spare(threaded: Rig) -> None:
    """The leader itself handles its calls then, and they count all the same."""
    supervisor = threaded.supervise(readers=2)
    listener, quota = threaded.kernel.listener(), Quota(4)

    @supervisor.on("getppid")
    def instant(call: Call) -> Return:
        return Return(1)

    supervisor.attach(listener, quota=quota)
    quota.suspect = PROBATION
    tids = itertools.count(1)

    def is_trusted() -> bool:
        listener.notify("getppid", tid=next(tids)).answer()
        return not quota.suspect

    until(is_trusted)
    assert next(tids) > PROBATION


def test_all_is_counted_while_something_is_held(threaded: Rig) -> None:
    """Whoever received it: the rest is not answered by who does not count, until it is over."""
    holding = Holding(threaded, 2)
    first = holding.notify(holding.listeners[0])
    holding.wait_for(1)
    until(lambda: holding.quota.held)
    holding.held[0].release(Return(1))
    assert first.answer() == Return(1)
    quick = holding.notify(holding.listeners[1])
    holding.wait_for(2)
    holding.held[1].release(Return(1))
    quick.answer()


def test_what_others_have_received_counts_at_once(threaded: Rig) -> None:
    """A backlog is in flight before the first of its listener's own calls is received."""
    holding = Holding(threaded, 2)
    late, quota = threaded.kernel.listener(), Quota(2)
    left = late.notification("getppid", tid=77)
    seen: list[bool] = []
    add = holding.supervisor._readers.quick.add

    def adding(source: Any) -> None:
        seen.append(source in quota.sources and quota.held)
        add(source)

    holding.supervisor._readers.quick.add = adding  # type: ignore[method-assign]
    holding.supervisor.attach(late, quota=quota, backlog=[late.accept(left)])
    assert seen == [True]
    holding.wait_for(1)
    holding.held[0].release(Return(1))
    assert left.answer() == Return(1)


def test_who_is_found_out_again_and_again() -> None:
    """Each time soon after another it has to be quick for longer; that is forgotten some day."""
    quota, second = Quota(4), 10**9
    terms = []
    for now in range(14):
        quota.suspect = 0
        quota.found_out(now * second, surely=True)
        terms.append(quota.suspect)
    assert terms[:3] == [PROBATION, 2 * PROBATION, 4 * PROBATION]
    assert terms[-2:] == [LONGEST_PROBATION, LONGEST_PROBATION]
    quota.took(long=False)
    quota.took(long=True)
    quota.found_out(15 * second, surely=False)
    assert quota.suspect == LONGEST_PROBATION - 1
    quota.suspect = 0
    quota.found_out(60 * second, surely=True)
    assert quota.suspect == PROBATION


def test_who_may_have_had_no_processor() -> None:
    """Where the machine may be to blame it is the same short time, however often."""
    quota = Quota(4)
    for now in range(5):
        quota.found_out(now, surely=False)
        assert quota.suspect == PROBATION
    quota.suspect = 3
    quota.took(long=True)
    assert quota.suspect == PROBATION


@pytest.mark.parametrize("lingering", [1, 2])
def test_who_lingers_in_each_call(
    threaded: Rig, monkeypatch: pytest.MonkeyPatch, lingering: int
) -> None:
    """Whoever is looked at again and again while others wait is a suspect, before it is late."""
    readers_ = threaded.supervise()._readers
    readers_._leader = threading.current_thread()
    quotas = Quota(4), Quota(4)
    sources = [Source(threaded.kernel.listener(), threaded.kernel, quota=quota) for quota in quotas]
    now = time.perf_counter_ns()
    monkeypatch.setattr(readers_._poller, "peek", lambda bell, timeout: True)
    monkeypatch.setattr(readers_.quick, "since", lambda: now - 2_000_000)
    looks = itertools.cycle(sources[:lingering])
    monkeypatch.setattr(readers_.quick, "whose", lambda: next(looks))
    threaded.kernel.sleeping = False
    for _ in range(8):
        readers_._note(now - 2_000_000)
    threaded.kernel.sleeping = True
    for _ in range(3 * lingering):
        readers_._note(now)  # of another call than what is under way by now
        readers_._note(0)
    assert not any(quota.suspect for quota in quotas)
    for _ in range(3 * lingering):
        readers_._note(now - 2_000_000)
    assert not any(quota.suspect for quota in quotas)
    readers_._note(now - 2_000_000)
    assert [bool(quota.suspect) for quota in quotas] == [True, False]
