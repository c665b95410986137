"""Filters read back by ptrace(2): of running processes, and of commands from their exec on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.kernel.spawn_support import PATIENCE, nr, until
from unotify.abi.seccomp import FilterFlag
from unotify.errors import KernelError
from unotify.kernel.dump import dump_command, dump_thread

TARGET = str(Path(__file__).parents[1] / "kernel" / "installing_target.py")


def target(*words: str) -> list[str]:
    """The command line of a program that installs filters."""
    return [sys.executable, "-I", "-S", TARGET, str(nr("seccomp")), *words]


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Such a program, ready."""
    with subprocess.Popen(
        target(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.stdin.close()


def lengths(*words: str, limit: int | None = None) -> list[list[int]]:
    """The filters of a command as it installs each: the instructions of its whole chain."""
    with closing(dump_command(target(*words), limit=limit)) as dumps:
        return [[len(one.program) for one in caught.filters] for caught in dumps]


def state_of(pid: int) -> str:
    """The state of a process, a letter."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def untraced(pid: int) -> bool:
    """Whether nobody traces the process."""
    return "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text()


def test_a_process_with_filters() -> None:
    """The newest filter is the first, each tells of LOG, and the process goes on."""
    with running("1", "seccomp:2", "3", "wait") as process:
        found = dump_thread(process.pid)
        assert [(len(one.program), one.log) for one in found] == [
            (3, False),
            (2, True),
            (1, False),
        ]
        assert untraced(process.pid)
    assert process.returncode == 0


def test_a_process_without() -> None:
    """No filter is an empty answer, not an error."""
    with running("wait") as process:
        assert dump_thread(process.pid) == ()


def test_a_thread_has_its_own() -> None:
    """A filter that one thread installed is the thread's alone."""
    with running("thread", "1", "wait") as process:
        counts = {
            int(tid): len(dump_thread(int(tid))) for tid in os.listdir(f"/proc/{process.pid}/task")
        }
        assert counts.pop(process.pid) == 0
        assert list(counts.values()) == [1]


def test_a_stopped_process_stays_stopped() -> None:
    """A job that is stopped is read, and is stopped afterwards."""
    with running("1", "wait") as process:
        os.kill(process.pid, signal.SIGSTOP)
        until(lambda: state_of(process.pid) == "T")
        assert len(dump_thread(process.pid)) == 1
        until(lambda: untraced(process.pid))
        assert state_of(process.pid) == "T"
        os.kill(process.pid, signal.SIGCONT)


def test_a_process_that_is_gone() -> None:
    """Nobody has the number: ESRCH; one that is a zombie has ended, which is said so."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(KernelError, match=f"process {process.pid} has ended"):
        dump_thread(process.pid)
    process.wait()
    with pytest.raises(KernelError, match=f"there is no process {process.pid}") as caught:
        dump_thread(process.pid)
    assert caught.value.errno == errno.ESRCH


def test_a_process_that_another_traces() -> None:
    """Who traces already is told by number."""
    # A dump of a command traces until its end.
    with closing(dump_command(target("1", "pause"))) as dumps:
        tid = next(dumps).tid
        with pytest.raises(KernelError, match=f"process {os.getpid()} traces process"):
            dump_thread(tid)
        os.kill(tid, signal.SIGKILL)


def test_itself() -> None:
    """A process cannot trace itself, and says who can."""
    with pytest.raises(KernelError, match="a process cannot trace itself"):
        dump_thread(os.getpid())


def test_a_command() -> None:
    """Each filter is told as it is installed, with all that were there before."""
    assert lengths("1", "2", "3") == [[1], [2, 1], [3, 2, 1]]


def test_flags_of_a_command() -> None:
    """What seccomp(2) was given is known; prctl(2) has no flags."""
    with closing(dump_command(target("1", "seccomp:2", "tsync:3"))) as dumps:
        flags = [caught.flags for caught in dumps]
    assert flags == [FilterFlag(0), FilterFlag.LOG, FilterFlag.TSYNC]


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_a_limit(limit: int) -> None:
    """After so many filters the command is let go, and runs to its end by itself."""
    assert lengths("1", "2", "3", limit=limit) == [[1], [2, 1], [3, 2, 1]][:limit]


def test_a_limit_lets_go() -> None:
    """Once the limit is reached nobody traces the command any longer, though it goes on."""
    with closing(dump_command(target("1", "fork", "2", "pause"), limit=2)) as dumps:
        parent = next(dumps).tid
        child = next(dumps).tid
        until(lambda: untraced(parent) and untraced(child))
        os.kill(child, signal.SIGKILL)
        assert list(dumps) == []


@pytest.mark.parametrize("limit", [None, 1])
def test_a_limit_while_children_are_born(limit: int | None) -> None:
    """A child that is born while all are let go is let go too: nothing stays stopped."""
    for _ in range(5):
        assert lengths("forking", "1", limit=limit) == [[1]]


@pytest.mark.parametrize("how", ["fork", "thread"])
def test_a_child_or_thread_of_a_command(how: str) -> None:
    """Children and threads are followed as well."""
    assert lengths("1", how, "2") == [[1], [2, 1]]
    assert lengths(how, "2") == [[2]]


def test_a_command_without_filters() -> None:
    """A command that installs none yields nothing."""
    assert lengths() == []


def test_a_command_that_is_killed() -> None:
    """A kill ends the dump like any other end; what came before was told."""
    assert lengths("1", "kill", "2") == [[1]]
    assert lengths("1", "fork", "2", "kill") == [[1], [2, 1]]


def test_no_such_command() -> None:
    """A command that cannot be run is an OSError, as of subprocess."""
    with pytest.raises(FileNotFoundError):
        list(dump_command(["no-such-command-anywhere"]))
    with pytest.raises(PermissionError):
        list(dump_command(["/etc/passwd"]))


def test_closing_lets_go() -> None:
    """Who closes the iterator lets the command go at once, and need not wait for its end."""
    before = time.monotonic()
    with closing(dump_command(target("1", "fork", "2", "pause"))) as dumps:
        found = [next(dumps).tid, next(dumps).tid]
    assert time.monotonic() - before < PATIENCE
    assert all(map(untraced, found))
    os.kill(found[1], signal.SIGKILL)
    # Its parent then ends by itself, and is no zombie either.
    until(lambda: not Path(f"/proc/{found[0]}").exists())


def test_a_stopped_command() -> None:
    """A command that stops as a job stays stopped until it is continued, and is then followed."""
    with closing(dump_command(target("1", "pause", "2"))) as dumps:
        tid = next(dumps).tid
        os.kill(tid, signal.SIGSTOP)
        until(lambda: state_of(tid) in "Tt")
        os.kill(tid, signal.SIGCONT)
        os.kill(tid, signal.SIGKILL)
        assert list(dumps) == []
