"""What is answered without Python is counted, once: `unotify.Instrument.counted`."""
# ruff: noqa: D102 - instruments

from __future__ import annotations

import errno
import os
import select
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import pytest

from tests.kernel.perform_support import PYTHON, attempt, start
from unotify import Counted, Instrument, Supervisor
from unotify.abi.seccomp import Action
from unotify.bpf import compile_filter
from unotify.calls import Call
from unotify.kernel import native
from unotify.kernel._libc import NATIVE
from unotify.kernel.interface import OUTCOMES, Came, Origin, Shortcut, Tally
from unotify.kernel.linux import LinuxKernel
from unotify.oci.accounts import Accounts, outcome
from unotify.oci.containers import Containers
from unotify.protocol import Reply

pytestmark = pytest.mark.usefixtures("needs_native")

POLICY = """
version = 1
default = "allow"

[[rule]]
calls = ["open", "openat"]
do = "perform"

[[rule]]
calls = ["unlink"]
where = 'under(path, "/nowhere")'
do = { fail = "EXDEV" }
racy = true
because = "only the careless are to be stopped"
"""

CALLS = """
import resource
for _ in range(300): os.close(called(2, b"/usr\\0", 0, 0))
for _ in range(40): assert called(2, b"/nowhere/x\\0", 0, 0) == "ENOENT"
for _ in range(200): assert called(87, b"/nowhere/x\\0") == "EXDEV"
for _ in range(100): assert called(87, b"/none/x\\0") == "ENOENT"
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
for _ in range(50): assert called(2, b"/usr\\0", 0, 0) == "EMFILE"
say(0)
"""
EXPECTED = {
    ("open", "installed"): 350,
    ("open", "failed"): 40,
    ("unlink", "failed"): 200,
    ("unlink", "continued"): 100,
}
"""Beside what Python itself opens to start."""


@pytest.fixture(name="policy")
def _policy(tmp_path: Path) -> str:
    """The rules above."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    return str(policy)


class Counting(Instrument):
    """Counts what is told either way."""

    def __init__(self) -> None:
        self.python = self.native = 0
        self.by: Counter[tuple[Any, str, str]] = Counter()
        self.outcomes: Counter[str] = Counter()
        """Of what was told afterwards."""
        self.latencies: Counter[int] = Counter()
        self.nanoseconds = 0

    def replied(self, call: Call, reply: Reply, handler: str, nanoseconds: int) -> None:
        self.python += 1
        self.by[call.caller.listener, call.call_name, outcome(reply)] += 1

    def gone(self, call: Call) -> None:
        self.python += 1

    def counted(self, counts: Sequence[Counted]) -> None:
        for each in counts:
            assert each.count > 0
            self.native += each.count
            self.outcomes[each.outcome] += each.count
            self.by[each.listener, each.call_name, each.outcome] += each.count
            if each.outcome != "gone":
                self.latencies.update(each.latencies)
                self.nanoseconds += each.nanoseconds


def test_both_backends_give_the_same_accounts(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an agent tells of its calls does not depend on who answers them."""
    found = []
    for backend in ("python", "native"):
        monkeypatch.setenv("UNOTIFY_BACKEND", backend)
        with Supervisor(policy=policy) as supervisor:
            accounts = Accounts(Containers(), supervisor.settle_counts, most=1)
            supervisor.add_instrument(accounts)
            assert attempt(supervisor, "import resource\nsay(0)") == 0
            assert supervisor.wait(20)
            begun = Counter(accounts.outcomes())
            assert attempt(supervisor, CALLS) == 0
            assert supervisor.wait(20)
            outcomes = accounts.outcomes()
            answered = supervisor.statistics()
        assert (answered.native > 600) is (backend == "native")
        assert sum(outcomes.values()) == answered.answered
        calls = accounts.calls()
        assert {name: account.count for name, account in calls.items()} == {
            name: sum(times for (call, *_), times in outcomes.items() if call == name)
            for name in calls
        }
        assert all(account.nanoseconds > 1000 * account.count for account in calls.values())
        found.append(outcomes)
    assert found[0] == found[1]
    made = Counter(found[1]) - begun
    told = Counter({(name, what): n for (name, _, what), n in made.items() if name != "openat"})
    # glibc may look at a file when it takes or frees memory.
    assert told["open", "installed"] - EXPECTED["open", "installed"] in (0, 1, 2)
    told["open", "installed"] = EXPECTED["open", "installed"]
    assert told == EXPECTED


def test_counts_are_exact_while_somebody_asks(policy: str) -> None:
    """Of thousands of calls none is lost or told of twice, by listener and in any thread."""
    counting, over = Counting(), Event()
    code = "for _ in range(int(sys.argv[1])): os.close(os.open('/usr', 0))\nsay(0)"
    with Supervisor(policy=policy) as supervisor:
        supervisor.add_instrument(counting)

        def ask() -> None:
            while not over.wait(0.0005):
                supervisor.settle_counts()

        askers = [Thread(target=ask) for _ in range(2)]
        for asker in askers:
            asker.start()
        try:
            targets = [start(supervisor, code, times) for times in (0, 3000, 3000)]
            for target in targets:
                assert target.communicate(timeout=60)[0] == b"0\n"
            assert supervisor.wait(20)
        finally:
            over.set()
            for asker in askers:
                asker.join()
        supervisor.settle_counts()
        found = supervisor.statistics()
    # One of them only starts.
    opened = sorted(n for (_, *what), n in counting.by.items() if what == ["openat", "installed"])
    assert opened[0] == opened[1] - 3000 == opened[2] - 3000
    assert counting.native == found.native >= 6000
    assert counting.python == found.answered - found.native


def test_all_is_told_at_the_end(policy: str) -> None:
    """When a listener is closed, and when the supervisor ends, without anybody who asks."""
    counting = Counting()
    supervisor = Supervisor(policy=policy)
    supervisor.add_instrument(counting)
    assert attempt(supervisor, CALLS) == 0
    assert supervisor.wait(20)
    told = counting.native
    assert told == supervisor.statistics().native > 600
    code = "called(2, b'/usr\\0', 0, 0)\nsay(0)\nsys.stdin.readline()"
    with start(supervisor, code, stdin=subprocess.PIPE) as target:
        target.stdout.readline()
        supervisor.stop()
        target.communicate(b"\n")
    assert counting.native == supervisor.statistics().native > told
    assert len({listener for listener, *_ in counting.by}) == 2
    assert sum(counting.latencies.values()) == counting.native
    assert counting.nanoseconds > 1000 * counting.native


def test_only_what_happens_while_it_watches(policy: str) -> None:
    """Whoever comes later, or leaves, is told of nothing before or after."""
    early, late = Counting(), Counting()
    # By the last call all before it are counted.
    code = """
for line in sys.stdin:
    for _ in range(100): called(2, b"/none\\0", 0, 0)
    called(87, b"/nowhere/x\\0")
    say(0)
"""
    with Supervisor(policy=policy) as supervisor:
        assert attempt(supervisor, CALLS) == 0
        assert supervisor.wait(20)
        supervisor.add_instrument(early)
        with start(supervisor, code, stdin=subprocess.PIPE) as target:

            def hundred() -> None:
                target.stdin.write(b"\n")
                target.stdin.flush()
                assert target.stdout.readline() == b"0\n"

            hundred()
            supervisor.add_instrument(late)
            hundred()
            supervisor.remove_instrument(early)
            hundred()
            target.stdin.close()
        assert supervisor.wait(20)
    listener = next(iter(late.by))[0]
    assert early.by[listener, "open", "failed"] == late.by[listener, "open", "failed"] == 200


@pytest.mark.parametrize("event", ["received", "judged", "deciding", "replied", "gone"])
def test_whoever_needs_each_call_sees_it(policy: str, event: str) -> None:
    """An instrument that does not count afterwards keeps calls from being answered without it."""
    watch: Instrument = type("Watch", (Instrument,), {event: lambda *_: None})()
    counting = Counting()
    code = "for _ in range(20): called(87, b'/nowhere/x\\0')\nsay(0)"
    with Supervisor(policy=policy) as supervisor:
        supervisor.add_instrument(counting)
        attempt(supervisor, code)
        assert supervisor.wait(20)
        quietly = supervisor.statistics()
        supervisor.add_instrument(watch)
        attempt(supervisor, code)
        assert supervisor.wait(20)
        found = supervisor.statistics()
        assert found.native == quietly.native > 0
        assert counting.native + counting.python == found.answered > quietly.answered
        supervisor.remove_instrument(watch)
        attempt(supervisor, code)
        assert supervisor.wait(20)
        assert supervisor.statistics().native > quietly.native


def test_targets_that_are_killed_are_counted_as_gone(policy: str) -> None:
    """Whoever dies in the middle of a call is told of as statistics count it."""
    counting = Counting()
    code = """
import signal
def one():
    print(".", end="", flush=True)
    while True: os.close(called(2, b"/usr\\0", 0, 0))
for line in sys.stdin:
    pid = os.fork()
    pid or one()
    sys.stdin.readline()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    say(0)
"""
    with Supervisor(policy=policy) as supervisor:
        supervisor.add_instrument(counting)
        with start(supervisor, code, stdin=subprocess.PIPE) as target:
            for _ in range(2000):
                target.stdin.write(b"\n")
                target.stdin.flush()
                assert target.stdout.read(1) == b"."
                target.stdin.write(b"\n")
                target.stdin.flush()
                target.stdout.readline()
                supervisor.settle_counts()
                if counting.outcomes["gone"]:
                    break
            target.stdin.close()
        assert supervisor.wait(20)
        found = supervisor.statistics()
    told = counting.outcomes
    assert set(told) <= set(OUTCOMES)
    assert 0 < told["gone"] <= found.gone
    assert told.total() - told["gone"] == found.native
    assert sum(counting.latencies.values()) == found.native


# -- the server itself ---------------------------------------------------------

FIRST, KINDS, ROUNDS = 1000, 1000, 6
"""Calls that there are not have numbers enough: more kinds of them than there is room for."""

_TARGET = f"""
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
sys.stdin.readline()
for _ in range({ROUNDS}):
    for nr in range({FIRST}, {FIRST + KINDS}):
        assert libc.syscall(nr) == -1 and ctypes.get_errno() == 1 + nr % 100
libc.syscall({FIRST + KINDS})
"""


class Bench:
    """A target whose calls are answered by a server, and one call that is not."""

    def __init__(self) -> None:
        numbers = range(FIRST, FIRST + KINDS + 1)
        program = compile_filter(
            {NATIVE: {nr: int(Action.USER_NOTIF) for nr in numbers}},
            default=Action.ALLOW,
            bad_arch=Action.ALLOW,
        )
        spawned = LinuxKernel().spawn(
            program.encode(),
            [PYTHON, "-I", "-S", "-c", _TARGET],
            popen_options={"stdin": subprocess.PIPE, "stderr": subprocess.PIPE},
        )
        self.process, self.listener = spawned.process, spawned.listener
        self.epoll = select.epoll()
        self.epoll.register(self.listener.fileno(), select.EPOLLIN)
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def server(self, *, counting: bool) -> native.NativeServer:
        """One that refuses them all."""
        rules = [Shortcut(nr, -1 - nr % 100) for nr in range(FIRST, FIRST + KINDS)]
        server = native.NativeServer(self.epoll.fileno(), self.bell, rules, counting=counting)
        assert server.add(self.listener, Origin(0))
        return server

    def serve(self, server: native.NativeServer, on_full: Callable[[], object]) -> int:
        """Serve to the end; how often there was no room."""
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        full = 0
        while (came := server.serve()) == Came.FULL:
            full += 1
            on_full()
        assert came == Came.YOURS
        _, notification = server.received()
        refused = (-errno.EPERM).to_bytes(4, "little", signed=True)
        assert self.listener.send(notification[:8] + bytes(8) + refused + bytes(4))
        assert self.process.communicate(timeout=20)[1] == b""
        return full

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate(timeout=20)
        self.epoll.close()
        os.close(self.bell)
        self.listener.close()


@pytest.fixture(name="bench")
def _bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def test_more_kinds_than_there_is_room_for(bench: Bench) -> None:
    """The server comes back, is asked and goes on; what another thread takes meanwhile is whole."""
    server, lock, over = bench.server(counting=True), Lock(), Event()
    found: list[Tally] = []

    def take() -> None:
        with lock:
            found.extend(server.tallies())

    def ask() -> None:
        while not over.wait(0.0005):
            take()

    asker = Thread(target=ask)
    asker.start()
    try:
        full = bench.serve(server, take)
    finally:
        over.set()
        asker.join()
    take()
    # Each round has more kinds than there is room for, whatever somebody takes meanwhile.
    assert full >= ROUNDS
    assert server.tallies() == []
    times: Counter[int] = Counter()
    buckets = [0] * 64
    for tally in found:
        assert tally.listener is bench.listener
        assert tally.outcome == "failed"
        assert tally.nanoseconds > 0
        times[tally.nr] += tally.times
        buckets[tally.bits] += tally.times
    assert times == dict.fromkeys(range(FIRST, FIRST + KINDS), ROUNDS)
    assert server.counts() == (0, 0, buckets)
    server.close()


def test_time_is_in_the_bucket_that_it_belongs_to(bench: Bench) -> None:
    """What was not taken between is told of in few pieces, each with the time of all its calls."""
    server, found = bench.server(counting=True), []
    bench.serve(server, lambda: found.extend(server.tallies()))
    found += server.tallies()
    for tally in found:
        least = 1000 << tally.bits >> 1 if tally.bits else 0
        assert least * tally.times <= tally.nanoseconds < (1000 << tally.bits) * tally.times
    server.close()


def test_whoever_does_not_count_has_room_for_all(bench: Bench) -> None:
    """A server that nobody asks for tallies keeps none, and comes back for nothing."""
    server = bench.server(counting=False)
    assert bench.serve(server, lambda: pytest.fail("it has nothing that could be full")) == 0
    assert server.tallies() == []
    assert sum(server.counts()[2]) == ROUNDS * KINDS
    server.close()


def test_nobody_is_told_of_who_was_dropped(bench: Bench) -> None:
    """What is counted for a listener after it was dropped is nobody's, and no fault."""
    server = bench.server(counting=True)
    bench.serve(server, server.tallies)
    server.drop(bench.listener)
    assert server.tallies() == []
    assert sum(server.counts()[2]) == ROUNDS * KINDS
    server.close()
