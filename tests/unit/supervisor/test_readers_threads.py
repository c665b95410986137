"""Order, slow handlers, deadlines: what threads do to each other."""

from __future__ import annotations

import errno
import time
from threading import Event, Thread, current_thread, main_thread
from typing import Any

import pytest

from tests.unit.supervisor.fake_kernel import PATIENCE, until
from tests.unit.supervisor.rig import Rig
from unotify.calls import Call, Getpid, Getppid, Gettid, Kill, Mount, OpenAt
from unotify.protocol import Fail, Return
from unotify.supervisor import crew


class Gate:
    """A handler that waits in there until the test lets it go."""

    def __init__(self, reply: Any = None) -> None:
        self.entered = Event()
        self.open = Event()
        self.reply = Return(1) if reply is None else reply

    def __call__(self, call: Call) -> Any:
        """Wait, then answer."""
        self.entered.set()
        assert self.open.wait(PATIENCE)
        if isinstance(self.reply, BaseException):
            raise self.reply
        return self.reply

    def wait(self) -> None:
        """Until the handler is in."""
        assert self.entered.wait(PATIENCE)


def test_a_slow_handler_holds_nobody_up(threaded: Rig) -> None:
    """Somebody else takes the lead, again and again, while it is busy."""
    gate = Gate()
    threaded.supervise().on(Mount)(gate)
    threaded.supervisor.on(Getpid)(lambda call: Return(2))
    slow = threaded.notify("mount", tid=1)
    gate.wait()
    for tid in range(2, 12):
        assert threaded.ask("getpid", tid=tid) == Return(2)
    assert not slow.done.is_set()
    gate.open.set()
    assert slow.answer() == Return(1)
    assert threaded.ask("getpid") == Return(2)


def test_a_slow_handler_after_a_quiet_time_holds_nobody_up(threaded: Rig) -> None:
    """The thread that stands by dozes without calls; the next call wakes it."""
    gate = Gate()
    threaded.supervise().on(Mount)(gate)
    threaded.supervisor.on(Getpid)(lambda call: Return(2))
    assert threaded.ask("getpid") == Return(2)
    readers = threaded.supervisor._readers
    until(lambda: readers._dozing)
    slow = threaded.notify("mount", tid=1)
    gate.wait()
    assert threaded.ask("getpid", tid=2) == Return(2)
    assert not readers._dozing
    gate.open.set()
    assert slow.answer() == Return(1)


def test_several_slow_handlers(threaded: Rig) -> None:
    """As many as there are readers, and each gets its own answer."""
    supervisor = threaded.supervise(readers=8)
    gates = {tid: Gate(Return(tid)) for tid in range(1, 7)}
    supervisor.on(Mount)(lambda call: gates[call.exchange.tid](call))
    supervisor.on(Getpid)(lambda call: Return(2))
    pendings = {tid: threaded.notify("mount", tid=tid) for tid in gates}
    for gate in gates.values():
        gate.wait()
    assert threaded.ask("getpid", tid=99) == Return(2)
    assert supervisor.statistics().in_flight == 6
    for tid in reversed(gates):
        gates[tid].open.set()
        assert pendings[tid].answer() == Return(tid)


def test_all_readers_busy_then_free(threaded: Rig) -> None:
    """With no thread to spare a call waits for one, and is not lost."""
    supervisor = threaded.supervise(readers=2)
    gates = [Gate(), Gate()]
    turns = iter(gates)
    supervisor.on(Mount)(lambda call: next(turns)(call))  # noqa: PLW0108 - one gate for each call
    supervisor.on(Getpid)(lambda call: Return(2))
    slow = [threaded.notify("mount", tid=tid) for tid in (1, 2)]
    for gate in gates:
        gate.wait()
    late = threaded.notify("getpid", tid=3)
    gates[1].open.set()
    assert late.answer() == Return(2)
    gates[0].open.set()
    assert [pending.answer() for pending in slow] == [Return(1), Return(1)]


def test_a_fast_handler_runs_in_one_thread(threaded: Rig) -> None:
    """The fast path has no hop: the thread that received also decides."""
    threads = set()

    def handler(call: Call) -> Return:
        threads.add(current_thread())
        return Return()

    threaded.supervise().on(Getpid)(handler)
    for _ in range(5):
        threaded.ask("getpid")
    assert main_thread() not in threads
    assert threaded.supervisor.statistics().readers >= 1


@pytest.mark.parametrize("first", [Return(1), ValueError("boom"), SystemExit()])
def test_calls_of_one_thread_are_served_in_order(threaded: Rig, first: Any) -> None:
    """A thread that was interrupted and calls again waits for the handler of its old call."""
    order: list[str] = []
    gate = Gate(first)

    def slow(call: Call) -> Any:
        try:
            return gate(call)
        finally:
            order.append("first")

    supervisor = threaded.supervise()
    supervisor.on(Mount)(slow)
    supervisor.on(Kill)(lambda call: order.append(f"kill {call.pid}") or Return(call.pid))
    supervisor.on(Getpid)(lambda call: Return(9))
    old = threaded.notify("mount", tid=7)
    gate.wait()
    threaded.listener.interrupt(old)
    followers = [threaded.notify("kill", n, tid=7) for n in (1, 2, 3)]
    # Others are served meanwhile, after those were received.
    assert threaded.ask("getpid", tid=8) == Return(9)
    assert order == []
    gate.open.set()
    assert [follower.answer() for follower in followers] == [Return(n) for n in (1, 2, 3)]
    assert order == ["first", "kill 1", "kill 2", "kill 3"]


def test_invisible_threads_have_no_order(threaded: Rig) -> None:
    """P3: tid 0 is many threads, which must not wait for each other."""
    gate = Gate()
    threaded.supervise().on(Mount)(gate)
    threaded.supervisor.on(Getpid)(lambda call: Return(2))
    slow = threaded.notify("mount", tid=0)
    gate.wait()
    assert threaded.ask("getpid", tid=0) == Return(2)
    assert threaded.ask("getpid", tid=0) == Return(2)
    gate.open.set()
    assert slow.answer() == Return(1)


@pytest.mark.parametrize("default", [True, False])
def test_deadline_of_a_handler(threaded: Rig, default: bool) -> None:
    """A handler that takes too long is answered for, and its late reply is dropped."""
    gate = Gate(Return(1))
    supervisor = threaded.supervise(deadline=0.01 if default else None)
    supervisor.on(Mount, deadline=None if default else 0.01)(gate)
    pending = threaded.notify("mount")
    assert pending.answer() == Fail(errno.EPERM)
    gate.open.set()
    threaded.settled(lambda: supervisor.statistics().in_flight == 0)
    numbers = supervisor.statistics()
    assert (numbers.expired, numbers.faults, numbers.answered, numbers.gone) == (1, 1, 1, 0)


def test_a_handlers_own_deadline_goes_before_the_default(threaded: Rig) -> None:
    """Unless it says otherwise."""
    gate = Gate(Return(1))
    supervisor = threaded.supervise(deadline=0.005)
    supervisor.on(Mount, deadline=1000)(gate)
    pending = threaded.notify("mount", tid=1)
    gate.wait()
    supervisor.on(Getpid)(lambda call: None)
    threaded.ask("getpid", tid=2)
    time.sleep(0)
    supervisor._engine.expire(time.perf_counter_ns() + 10**9)
    assert not pending.done.is_set()
    gate.open.set()
    assert pending.answer() == Return(1)


def test_a_deadline_frees_the_next_call_of_the_thread(threaded: Rig) -> None:
    """A call that waits for its thread's slow handler is served when that one has expired."""
    gate = Gate()
    supervisor = threaded.supervise()
    supervisor.on(Mount, deadline=1000)(gate)
    supervisor.on(Getpid)(lambda call: Return(2))
    slow = threaded.notify("mount", tid=7)
    gate.wait()
    follower = threaded.notify("getpid", tid=7)
    assert threaded.ask("getpid", tid=8) == Return(2)
    assert not follower.done.is_set()
    supervisor._engine.expire(1 << 62)
    assert slow.answer() == Fail(errno.EPERM)
    assert follower.answer() == Return(2)
    gate.open.set()


def test_each_handler_has_its_own_deadline(embedded: Rig) -> None:
    """The deadline of one that said None does not strike the next."""
    supervisor = embedded.supervise()
    engine = supervisor._engine
    supervisor.on(Getpid, deadline=1000)(lambda call: None)

    @supervisor.on(Getpid)
    def second(call: Call) -> Return:
        engine.expire(1 << 62)
        return Return(2)

    assert embedded.ask("getpid") == Return(2)
    assert supervisor.statistics().expired == 0


def test_a_deadline_counts_from_when_the_handler_is_asked(
    embedded: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time that an earlier handler took is not the next one's."""
    from unotify.supervisor import engine as module

    clock = [0]
    monkeypatch.setattr(module, "perf_counter_ns", lambda: clock[0])
    supervisor = embedded.supervise()

    @supervisor.on(Getpid)
    def first(call: Call) -> None:
        clock[0] += 60 * 10**9

    @supervisor.on(Getpid, deadline=10)
    def second(call: Call) -> Return:
        clock[0] += 5 * 10**9
        supervisor._engine.expire(clock[0])
        return Return(2)

    assert embedded.ask("getpid") == Return(2)


def test_late_reads_find_nobody(threaded: Rig) -> None:
    """After its deadline a handler cannot read what is no longer its target."""
    from unotify.errors import TargetGone

    results: list[Any] = []
    gate = Gate()

    def handler(call: Any) -> Any:
        gate(call)
        try:
            call.path  # noqa: B018
        except TargetGone as error:
            results.append(error)
        return Return()

    threaded.supervise().on(OpenAt, deadline=0.005)(handler)
    assert threaded.ask("openat", 0, 0x1000) == Fail(errno.EPERM)
    gate.open.set()
    until(lambda: results)


def test_a_slow_handler_that_exits_disturbs_nobody(threaded: Rig) -> None:
    """A thread that lost the lead and fails does not take part in somebody else's turn."""
    slow, other = Gate(SystemExit()), Gate(Return(5))
    supervisor = threaded.supervise()
    supervisor.on(Mount)(slow)
    supervisor.on(Gettid)(other)
    supervisor.on(Getpid)(lambda call: Return(2))
    first = threaded.notify("mount", tid=1)
    slow.wait()
    second = threaded.notify("gettid", tid=2)
    other.wait()
    slow.open.set()
    assert first.answer() == Fail(errno.EPERM)
    # The failed thread stands by again, or rests; a third call makes it look.
    assert threaded.ask("getpid", tid=3) == Return(2)
    other.open.set()
    assert second.answer() == Return(5)
    assert threaded.ask("getpid", tid=4) == Return(2)


@pytest.mark.parametrize("registrations", [1, 2])
def test_a_takeover_of_each_path(threaded: Rig, registrations: int) -> None:
    """The short way and the long way both survive losing the lead, many times in a row."""
    supervisor = threaded.supervise()
    gates: dict[int, Gate] = {}

    def handler(call: Call) -> Any:
        return gates[call.exchange.tid](call)

    for _ in range(registrations - 1):
        supervisor.on(Mount)(lambda call: None)
    supervisor.on(Mount)(handler)
    supervisor.on(Getppid)(lambda call: Return(3))
    for tid in range(1, 6):
        gates[tid] = Gate(Return(tid))
        pending = threaded.notify("mount", tid=tid)
        gates[tid].wait()
        assert threaded.ask("getppid", tid=50) == Return(3)
        gates[tid].open.set()
        assert pending.answer() == Return(tid)
    until(lambda: supervisor.statistics().answered == 10)
    assert supervisor.statistics().in_flight == 0


def test_many_targets_at_once(threaded: Rig) -> None:
    """Nothing is lost or answered twice when many call at the same time."""
    supervisor = threaded.supervise()
    supervisor.on(Kill)(lambda call: Return(call.pid))
    threaded.attach()
    wrong: list[Any] = []

    def target(tid: int) -> None:
        for n in range(50):
            reply = threaded.listener.notify("kill", n, tid=tid).answer()
            if reply != Return(n):
                wrong.append((tid, n, reply))

    threads = [Thread(target=target, args=(tid,)) for tid in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    until(lambda: supervisor.statistics().answered == 200)
    assert supervisor.statistics().received == 200


def test_a_thread_that_cannot_be_started(threaded: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told to whoever brought the listener, and nobody waits for it at the end."""

    class Refused(Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    supervisor = threaded.supervise()
    with monkeypatch.context() as patch:
        patch.setattr(crew, "Thread", Refused)
        with pytest.raises(RuntimeError, match="start new thread"):
            threaded.attach()
    assert supervisor._readers.count == 0
    supervisor.on(Getpid)(lambda call: Return(2))
    supervisor._readers._ensure()
    assert threaded.ask("getpid") == Return(2)


def test_who_waits_to_lead_looks_again(threaded: Rig) -> None:
    """What the leader does next may have a deadline that nobody else knows of."""
    readers = threaded.supervise(deadline=0.01)._readers
    wanted: list[bool] = []
    thread = Thread(target=lambda: wanted.append(readers._is_wanted(12345)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert wanted == [False]
