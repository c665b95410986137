"""Directories of targets in ``/proc``, kept from call to call."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unotify.abi.types import Tid
from unotify.errors import KernelError, TargetGone
from unotify.kernel import home as module
from unotify.kernel.home import Home, Homes

ME = Tid(os.getpid())


class Child:
    """A process that does nothing until it is ended."""

    def __init__(self) -> None:
        ours, self._theirs = os.pipe()
        self.pid = Tid(os.fork())
        if not self.pid:
            os.close(self._theirs)
            os.read(ours, 1)
            os._exit(0)
        os.close(ours)

    def end(self) -> None:
        """Until it has gone, and its number is free."""
        if self._theirs >= 0:
            os.close(self._theirs)
            self._theirs = -1
            os.waitpid(self.pid, 0)


@pytest.fixture(name="child")
def _child() -> Iterator[Child]:
    child = Child()
    yield child
    child.end()


@pytest.fixture(name="homes", autouse=True)
def _homes() -> Iterator[Homes]:
    """After all of them are at rest, no descriptor is left."""
    before = descriptors()
    homes = Homes()
    yield homes
    homes.rest()
    assert descriptors() <= before


def descriptors() -> set[str]:
    """Those that lead into a procfs, by where they lead."""
    links = [f"{fd} {_link(fd)}" for fd in os.listdir("/proc/self/fd")]
    return {link for link in links if " /proc/" in link}


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


def is_open(home: Home) -> bool:
    """Whether *home* still has its own directory."""
    try:
        return os.readlink(f"/proc/self/fd/{home.directory}") == f"/proc/{home.tid}"
    except FileNotFoundError:
        return False


def test_one_is_kept_from_call_to_call(homes: Homes) -> None:
    """What was given back is taken again, and is not opened anew."""
    first = homes.take(ME)
    assert os.readlink("ns/user", dir_fd=first.directory) == os.readlink("/proc/self/ns/user")
    assert first.user_namespace == os.readlink("/proc/self/ns/user")
    homes.give(first)
    assert homes.take(ME) is first
    homes.give(first)


def test_whoever_takes_has_it_alone(homes: Homes) -> None:
    """One that is in use is given to nobody else; of two given back one is kept."""
    first, second = homes.take(ME), homes.take(ME)
    assert first is not second
    homes.give(first)
    homes.give(second)
    assert [is_open(first), is_open(second)] == [False, True]
    assert homes.take(ME) is second
    homes.give(second)


def test_a_task_that_has_ended(homes: Homes, child: Child) -> None:
    """Its directory leads nowhere, and is closed when that shows."""
    homes.give(homes.take(child.pid))
    assert f"/proc/{child.pid}" in " ".join(descriptors())
    child.end()
    with pytest.raises(TargetGone):
        homes.take(child.pid)
    assert f"/proc/{child.pid}" not in " ".join(descriptors())


def test_a_number_that_has_another_task(homes: Homes, child: Child) -> None:
    """A directory of an earlier task of that number is never the later one's."""
    stale = homes.take(child.pid)
    child.end()
    stale.tid = ME
    homes.give(stale)
    found = homes.take(ME)
    assert found is not stale
    assert b"\nPid:\t%d\n" % ME in found.status()
    homes.give(found)


def test_a_number_that_nobody_has(homes: Homes) -> None:
    """It has no home."""
    for attempt in (homes.take, Home.of):
        with pytest.raises(TargetGone, match="has ended"):
            attempt(Tid(2**22 + 1))


def test_a_bounded_number_is_kept(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest of them are closed."""
    closed: list[int] = []
    close = Home.close

    def noting(home: Home) -> None:
        closed.append(home.tid)
        close(home)

    monkeypatch.setattr(Home, "close", noting)
    for number in range(70):
        found = Home.of(ME)
        found.tid = Tid(10**6 + number)
        homes.give(found)
    assert closed == [10**6 + number for number in range(6)]


def test_rest_until_one_is_taken(homes: Homes) -> None:
    """All are closed, and what was in use when it is given back; until somebody takes one."""
    used, idle = homes.take(ME), Home.of(ME)
    homes.give(idle)
    homes.rest()
    assert [is_open(used), is_open(idle)] == [True, False]
    homes.give(used)
    assert not is_open(used)
    again = homes.take(ME)
    homes.give(again)
    assert homes.take(ME) is again
    homes.give(again)


def test_the_status_is_read_anew(homes: Homes) -> None:
    """Its descriptor is kept, and what it tells is of now."""
    found = homes.take(ME)
    before = os.umask(0o012)
    try:
        assert b"\nUmask:\t0012\n" in found.status()
        os.umask(0o021)
        assert b"\nUmask:\t0021\n" in found.status()
    finally:
        os.umask(before)
        homes.give(found)


def test_the_status_of_who_has_ended(homes: Homes, child: Child) -> None:
    """It cannot be read, whether it was before or not."""
    read, unread = homes.take(child.pid), homes.take(child.pid)
    read.status()
    child.end()
    for found in (read, unread):
        with pytest.raises(OSError, match="No such") as caught:
            found.status()
        assert caught.value.errno in (errno.ESRCH, errno.ENOENT)
        found.close()


def test_a_status_of_any_length(homes: Homes) -> None:
    """Somebody may be in very many groups."""
    found = homes.take(ME)
    groups = b"Groups:\t" + b"1234567890 " * 5000 + b"\n"
    found._status = os.memfd_create("status")
    os.write(found._status, groups)
    assert found.status() == groups
    homes.give(found)


def test_no_look_into_it(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ptrace rights it is an error that says so, and nothing stays open."""

    def readlink(*_: Any, **__: Any) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    before = descriptors()
    monkeypatch.setattr(module.os, "readlink", readlink)
    with pytest.raises(KernelError, match="ns/user") as caught:
        homes.take(ME)
    monkeypatch.undo()
    assert caught.value.errno == errno.EACCES
    assert descriptors() == before


def test_no_descriptors_are_left(homes: Homes) -> None:
    """It is our trouble, and not that the target has ended."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = Home.of(ME)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(KernelError) as caught:
            homes.take(ME)
        with pytest.raises(OSError, match="Too many") as unread:
            found.status()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        found.close()
    assert caught.value.errno == unread.value.errno == errno.EMFILE


def test_no_proc(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc nothing is known of anybody, and nobody is said to have ended."""
    monkeypatch.setattr(module.os.path, "exists", lambda _: False)
    with pytest.raises(KernelError, match="not mounted"):
        homes.take(Tid(2**22 + 1))
    assert Path("/proc/self").is_dir()
