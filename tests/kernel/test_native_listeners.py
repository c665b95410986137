"""Answers without Python for all kinds of listeners: `unotify.supervisor.quick`, and its server."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.targets import Target, nr, until
from unotify import Quota, Return, Supervisor
from unotify.kernel.journaled import JournaledListener

pytestmark = pytest.mark.usefixtures("needs_native")

RULES = """
version = 1
default = "allow"

[[rule]]
calls = ["getppid", "getuid"]
do = { fail = "EXDEV" }

[[rule]]
calls = ["openat"]
do = "perform"
"""


@pytest.fixture(name="supervisor")
def _supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """One with the rules above, and a deadline, as agents have it."""
    policy = tmp_path / "policy.toml"
    policy.write_text(RULES)
    with Supervisor(policy=str(policy), deadline=30.0) as supervisor:
        yield supervisor


def ask(target: Target, name: str = "getppid", *args: int) -> Any:
    """What a call gives."""
    return target.ask("call", nr=nr(name), args=list(args))


def refused(target: Target) -> bool:
    """Whether a call of it is answered as the rules say."""
    return bool(ask(target)["errno"] == errno.EXDEV)


def journaled(target: Target) -> JournaledListener:
    """The same listener, with a journal."""
    return JournaledListener.of(target.listener)


def test_values_are_given(tmp_path: Path) -> None:
    """A rule's value is what the target sees, up to the largest."""
    policy = tmp_path / "policy.toml"
    rule = '[[rule]]\ncalls = ["{}"]\ndo = {{ return = {} }}\n'
    policy.write_text(RULES + rule.format("getgid", 7) + rule.format("getegid", (1 << 63) - 1))
    with Target("getgid", "getegid") as target, Supervisor(policy=str(policy)) as supervisor:
        supervisor.attach(target.listener)
        assert [ask(target, "getgid")["ret"] for _ in range(3)] == [7] * 3
        assert ask(target, "getegid")["ret"] == (1 << 63) - 1
        until(lambda: supervisor.statistics().native >= 3)


def test_many_listeners(supervisor: Supervisor) -> None:
    """However many there are, and whichever has ended meanwhile, all are answered."""
    with ExitStack() as stack:
        targets = [stack.enter_context(Target("getppid")) for _ in range(20)]
        for target in targets:
            supervisor.attach(target.listener)
        assert all(map(refused, targets))
        for target in targets[::2]:
            target.process.kill()
        until(lambda: supervisor.statistics().listeners == 10)
        late = stack.enter_context(Target("getppid"))
        supervisor.attach(late.listener)
        assert all(map(refused, [*targets[1::2], late]))
        until(lambda: supervisor.statistics().native >= 25)


def test_a_journal_has_what_is_under_way_and_no_more(supervisor: Supervisor) -> None:
    """It is received into a slot, which is empty after the answer, and free after the end."""
    with Target("getppid", "getuid") as target:
        listener = journaled(target)
        free = len(listener.journal._free)
        supervisor.attach(listener)
        assert [refused(target) for _ in range(5)] == [True] * 5
        until(lambda: supervisor.statistics().native >= 4)
        until(lambda: not listener.journal.entries())
        assert len(listener.journal._free) == free - 1
        released: list[Any] = []
        supervisor.release(listener, released.append)
        until(lambda: released)
        assert len(listener.journal._free) == free
        supervisor.attach(listener)
        assert refused(target)


def test_what_takes_more_stays_in_the_journal(tmp_path: Path) -> None:
    """What the native part leaves to Python has its slot until that has answered."""
    policy = tmp_path / "policy.toml"
    policy.write_text(RULES + '[[rule]]\ncalls = ["getgid"]\ndo = "notify"\n')
    entries: list[int] = []
    with Target("getppid", "getgid") as target, Supervisor(policy=str(policy)) as supervisor:
        listener = journaled(target)

        @supervisor.on("getgid")
        def told(call: object) -> Return:
            entries.append(len(listener.journal.entries()))
            return Return(7)

        supervisor.attach(listener)
        for _ in range(200):  # more than there are slots
            assert ask(target, "getgid")["ret"] == 7
        assert refused(target)
        until(lambda: supervisor.statistics().native)
        assert entries == [1] * 200
        until(lambda: not listener.journal.entries())
        assert not listener.under_way


def test_a_journal_that_is_full(tmp_path: Path) -> None:
    """It grows, for who comes and for what takes more; all is answered without Python as before."""
    policy = tmp_path / "policy.toml"
    policy.write_text(RULES + '[[rule]]\ncalls = ["getgid"]\ndo = "notify"\n')
    with Target("getppid", "getgid") as target, Supervisor(policy=str(policy)) as supervisor:
        supervisor.on("getgid")(lambda call: Return(7))
        listener = journaled(target)

        def fill() -> None:
            while listener.journal.take() is not None:
                pass

        fill()
        supervisor.attach(listener)
        assert [refused(target) for _ in range(5)] == [True] * 5
        until(lambda: supervisor.statistics().native >= 4)
        fill()
        for _ in range(2):
            assert ask(target, "getgid")["ret"] == 7
        assert [refused(target) for _ in range(5)] == [True] * 5
        until(lambda: supervisor.statistics().native >= 8)
        assert not listener.under_way


def test_signals_that_end_calls(supervisor: Supervisor) -> None:
    """Without WAIT_KILLABLE_RECV: a call that was given up is gone, its thread's next is not."""
    with Target("getppid") as target:
        supervisor.attach(target.listener)
        target.ask("handle", signal=int(signal.SIGUSR1), restart=False)
        for _ in range(300):
            target.call("getppid")
            os.kill(target.pid, signal.SIGUSR1)
            assert target.answer()["errno"] in (errno.EXDEV, errno.EINTR)
        assert refused(target)
        statistics = supervisor.statistics()
        assert statistics.native
        assert not statistics.faults


def test_a_quota_counts_what_python_has(tmp_path: Path) -> None:
    """As long as a container has a call with a handler, its others are received by who counts."""
    policy = tmp_path / "policy.toml"
    policy.write_text(RULES + '[[rule]]\ncalls = ["getgid"]\ndo = "notify"\n')
    quota = Quota(1)
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor(policy=str(policy)))
        held: list[Any] = []

        @supervisor.on("getgid")
        def hold(call: Any) -> Any:
            held.append(supervisor.hold(call))
            return held[-1]

        first, second, other = (
            stack.enter_context(closing(Target("getppid", "getgid"))) for _ in range(3)
        )
        supervisor.attach(first.listener, quota=quota)
        supervisor.attach(second.listener, quota=quota)
        supervisor.attach(other.listener, quota=Quota(1))
        assert refused(first)
        assert refused(second)
        first.call("getgid")
        until(lambda: held)
        until(lambda: quota.held)
        second.call("getppid")
        assert refused(other)
        until(lambda: quota.paused)
        assert held[0].release(Return(3))
        assert first.answer()["ret"] == 3
        assert second.answer()["errno"] == errno.EXDEV
        before = supervisor.statistics().native
        assert [refused(target) for target in (first, first, second)] == [True] * 3
        assert not quota.held
        until(lambda: supervisor.statistics().native > before)
