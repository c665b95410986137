"""The cgroup freezer and the audit log: I4, I8, C6."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.targets import Target, until
from tests.scenarios.kernel_log import KernelLog
from unotify.abi.seccomp import FilterFlag


class Group:
    """A cgroup of version 2."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def freeze(self, frozen: bool) -> None:
        """Ask for it; `frozen` tells when it is so."""
        (self.path / "cgroup.freeze").write_text(str(int(frozen)))

    def frozen(self) -> bool:
        """Whether all of it is frozen."""
        return "frozen 1\n" in (self.path / "cgroup.events").read_text()

    def add(self, target: Target) -> None:
        """Move *target* here."""
        (self.path / "cgroup.procs").write_text(str(target.pid))


@pytest.fixture(name="group")
def _group() -> Iterator[Group]:
    roots = [
        line.split()[1]
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if line.split()[2] == "cgroup2"
    ]
    if not roots:
        missing("no cgroup2 is mounted")
    path = Path(roots[0]) / f"unotify-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        missing(f"no cgroup can be made: {error}")
    group = Group(path)
    yield group
    group.freeze(False)
    until(lambda: _removed(path), "the end of the cgroup")


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


@pytest.mark.parametrize("received", [False, True])
def test_freezing_ends_the_notification_and_thawing_makes_a_new_one(
    group: Group, received: bool
) -> None:
    """I4: without any handler the call comes again, under a new id."""
    with Target("getppid") as target:
        group.add(target)
        target.call("getppid")
        until(target.listener.pending)
        old = target.receive() if received else None
        group.freeze(True)
        until(group.frozen)
        assert not target.listener.pending()
        assert old is None or not target.listener.is_valid(old.id)
        group.freeze(False)
        new = target.receive()
        assert old is None or new.id == (old.id + 1) % 2**64
        target.send(new, value=4)
        assert target.answer()["ret"] == 4


def test_a_received_killable_target_cannot_be_frozen(group: Group) -> None:
    """I8: the freezer waits for the answer; after it the group is frozen."""
    with Target("getppid", killable=True) as target:
        group.add(target)
        target.call("getppid")
        exchange = target.receive()
        group.freeze(True)
        until(lambda: target.state() == "D")
        assert not group.frozen()
        assert target.listener.is_valid(exchange.id)
        target.send(exchange, value=4)
        until(group.frozen)
        group.freeze(False)
        assert target.answer()["ret"] == 4


@pytest.fixture(name="log")
def _log() -> Iterator[KernelLog]:
    logged = Path("/proc/sys/kernel/seccomp/actions_logged").read_text().split()
    if "user_notif" not in logged or not Path("/dev/kmsg").exists():
        missing("notified calls are not logged here")
    log = KernelLog()
    yield log
    log.close()


def test_spoofed_calls_are_audited_and_continued_ones_are_not(log: KernelLog) -> None:
    """C6: with FLAG_LOG each call that we answer leaves a line, one that goes on leaves none."""
    with Target("getppid", flags=FilterFlag.LOG) as target:
        target.call("getppid")
        target.let_go(target.receive())
        target.answer()
        assert log.audited(target.pid) == 0

        def spoofed_and_audited() -> bool:
            target.call("getppid")
            target.send(target.receive(), value=4)
            target.answer()
            return log.audited(target.pid) == 1

        until(spoofed_and_audited)  # the kernel drops lines when there are many
