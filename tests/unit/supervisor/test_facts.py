"""What a policy may ask of a call."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.supervisor.fake_kernel import FakeKernel
from unotify.abi.arch import Arch
from unotify.calls import class_for
from unotify.errors import BadAddress, NotExpressible
from unotify.protocol import Exchange
from unotify.supervisor.counters import Counters
from unotify.supervisor.facts import CallFacts
from unotify.supervisor.sources import Source

PATH = 0x1000


def facts_of(
    kernel: FakeKernel,
    name: str,
    *args: int,
    counters: Counters | None = None,
    tid: int = 100,
    **options: Any,
) -> CallFacts:
    """The facts of a call that waits."""
    listener = kernel.listener()
    pending = listener.notification(name, *args, tid=tid)
    source = Source(listener, kernel)
    exchange = Exchange(listener.accept(pending))
    call = class_for(name, Arch.X86_64)(exchange, Arch.X86_64, source.open_target)
    return CallFacts(call, counters or Counters(), **options)


def test_who_calls() -> None:
    """Ids, names and places are the kernel's; they leave no mark."""
    kernel = FakeKernel()
    facts = facts_of(kernel, "getpid")
    assert (facts.uid, facts.gid, facts.pid, facts.tid) == (1000, 100, 100, 100)
    assert (facts.comm, facts.exe, facts.cgroup) == ("fake", "/usr/bin/fake", "/fake.slice")
    assert not facts.call.exchange.memory_read


def test_one_state_for_all_looks() -> None:
    """What was seen once is not looked at again, so that rules agree about it."""
    kernel = FakeKernel()
    facts = facts_of(kernel, "getpid")
    before = facts.exe
    kernel.exe = "/usr/bin/other"
    assert facts.exe == before


def test_looks_at_descriptors_mark_the_call() -> None:
    """C2: another thread may put something else there."""
    kernel = FakeKernel()
    kernel.fds[5] = "/etc/motd"
    for look in (lambda f: f.fd_path(5), lambda f: f.fd_kind(5)):
        facts = facts_of(kernel, "read", 5)
        assert look(facts) in ("/etc/motd", "file")
        assert facts.call.exchange.memory_read
    assert facts_of(kernel, "read").fd_path(6) == ""


def test_what_a_path_names() -> None:
    """It is asked once, of the spot that the call looks at, and marks the call."""
    kernel = FakeKernel()
    kernel.memory.pieces[PATH] = b"a/b\0"
    kernel.names[b"a/b"] = "/users/a/b"
    facts = facts_of(kernel, "openat", 7, PATH, 0o400000)
    assert facts.resolved("path") == facts.resolved("path") == "/users/a/b"
    assert kernel.resolved == [(b"a/b", 7, False, False)]
    assert facts.call.exchange.memory_read


def test_what_the_path_of_a_unix_socket_names() -> None:
    """Links are followed to connect and to send; to bind makes a name."""
    kernel = FakeKernel()
    kernel.memory.pieces[PATH] = b"\1\0s/t\0"
    kernel.names[b"s/t"] = "/run/t"
    for call, args in {"connect": (3, PATH, 6), "sendto": (3, 0, 0, 0, PATH, 6)}.items():
        assert facts_of(kernel, call, *args).resolved("address") == "/run/t"
    assert facts_of(kernel, "bind", 3, PATH, 5).resolved("address") == "/run/t"
    assert kernel.resolved == [(b"s/t", -100, follow, False) for follow in (True, True, False)]
    kernel.memory.pieces[PATH] = b"\1\0\0abstract"
    with pytest.raises(NotExpressible):
        facts_of(kernel, "connect", 3, PATH, 11).resolved("address")


def test_a_path_that_is_not_there() -> None:
    """NULL names the descriptor where the kernel takes it so; a string is no path."""
    kernel = FakeKernel()
    kernel.names[b""] = "/home"
    assert facts_of(kernel, "utimensat", 3, 0, 0, 0).resolved("path") == "/home"
    with pytest.raises(BadAddress):
        facts_of(kernel, "open", 0).resolved("path")
    with pytest.raises(NotExpressible):
        facts_of(kernel, "mount").resolved("fstype")


def test_counters_by_scope() -> None:
    """One process, one program, one rule: each counts for itself."""
    kernel, counters = FakeKernel(), Counters()

    def count(scope: str, tid: int, key: str = "k") -> int:
        return facts_of(kernel, "getpid", counters=counters, tid=tid).count(key, scope)

    assert [count("process", tid) for tid in (1, 1, 2)] == [1, 2, 1]
    assert [count("program", tid) for tid in (1, 2)] == [1, 2]
    assert [count("rule", tid) for tid in (1, 2, 3)] == [1, 2, 3]
    assert count("rule", 1, "other") == 1
    kernel.exe = "/usr/bin/other"
    assert count("program", 1) == 1
    kernel.started += 1  # the number is used again
    assert count("process", 1) == 1


def test_memory_is_bounded() -> None:
    """The counter that was used longest ago goes first, and none of another scope."""
    counters = Counters(most=2)
    for key in (1, 2, 1, 3):
        counters.count("process", key)
    counters.count("rule", 1)
    assert counters.count("process", 1) == 3
    assert counters.count("process", 2) == 1
    assert counters.count("rule", 1) == 2
    for key in (1, 2, 3):
        assert counters.take("process", key, 1, 1, 0)
    assert counters.take("process", 1, 1, 1, 0)
    assert not counters.take("process", 3, 1, 1, 0)


def test_buckets_fill_with_time() -> None:
    """Burst first, then as many as the rate allows; time that goes back fills nothing."""
    time = 0.0
    kernel, counters = FakeKernel(), Counters()

    def take() -> bool:
        facts = facts_of(kernel, "getpid", counters=counters, clock=lambda: time)
        return facts.take("k", "rule", 2, 3)

    assert [take() for _ in range(4)] == [True, True, True, False]
    time = 0.5
    assert [take() for _ in range(2)] == [True, False]
    time = 0.0
    assert not take()
    time = 100.0
    assert [take() for _ in range(4)] == [True, True, True, False]


def test_chance_is_what_it_is_given() -> None:
    """So that a run can be repeated."""
    assert facts_of(FakeKernel(), "getpid", chance=lambda: 0.25).random() == 0.25
    assert 0 <= facts_of(FakeKernel(), "getpid").random() < 1
