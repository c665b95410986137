"""Acts that wait: they cost the target its time, and nobody else theirs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_storms import LONG
from tests.kernel.perform_support import attempt, start, told
from tests.kernel.targets import until
from unotify import Supervisor
from unotify.calls import Connect, OpenAt, Sendmsg, Sendto

_QUICK = "say(tried(os.open, '/etc/passwd', os.O_RDONLY) > 2)"

_CROWD = """
# Many threads that open one FIFO, which has no other end.
fifo, count = sys.argv[1], int(sys.argv[2])
threading.stack_size(65536)
found = []
def run():
    found.append(tried(os.open, fifo, os.O_RDONLY))
threads = [threading.Thread(target=run) for _ in range(count)]
for thread in threads:
    thread.start()
print(json.dumps("started"), flush=True)
for thread in threads:
    thread.join()
say([sum(isinstance(each, int) for each in found), found.count("EAGAIN"), len(found)])
"""


@pytest.fixture(name="supervisor")
def _supervisor() -> Iterator[Supervisor]:
    before = _descriptors()
    with Supervisor() as supervisor:
        supervisor.on(OpenAt)(lambda call: call.perform())
        yield supervisor
    until(lambda: _descriptors() <= before, "the end of all descriptors")


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(name="fifo")
def _fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def _end(*processes: Any) -> None:
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_crowd_that_waits_for_a_fifo_holds_up_nobody_else(
    supervisor: Supervisor, fifo: Path
) -> None:
    """One process takes as many threads as it may, no more; others are served as ever."""
    count = 2000 if LONG else 200
    crowd = start(supervisor, _CROWD, fifo, count)
    assert crowd.stdout.readline() == b'"started"\n'
    until(lambda: supervisor.kernel.stalled() >= 60, "a crowd that waits")
    begun = time.monotonic()
    assert attempt(supervisor, _QUICK) is True
    assert time.monotonic() - begun < 20
    assert _descriptors() < 1000
    assert supervisor.kernel.stalled() <= 80
    # They all wait for this.
    with open(os.open(fifo, os.O_RDWR), "wb"):
        opened, refused, ended = told(crowd)
    assert opened >= 60
    assert opened + refused == ended == count


def test_several_processes_that_wait_do_not_shut_out_what_is_quick(
    supervisor: Supervisor, fifo: Path
) -> None:
    """Above the bound for all, those that wait are ended; what does not wait is done."""
    crowds = [start(supervisor, _CROWD, fifo, 60) for _ in range(4)]
    for crowd in crowds:
        assert crowd.stdout.readline() == b'"started"\n'
    until(lambda: supervisor.kernel.stalled() >= 120, "a crowd that waits")
    assert attempt(supervisor, _QUICK) is True
    until(lambda: supervisor.kernel.stalled() <= 130, "those above the bound to end")
    _end(*crowds)
    until(lambda: supervisor.statistics().in_flight == 0)


def test_an_open_that_waits_ends_with_its_target(supervisor: Supervisor, fifo: Path) -> None:
    """SIGKILL while the supervisor waits in its place: the thread is free again."""
    process = start(supervisor, _CROWD, fifo, 3)
    until(lambda: supervisor.kernel.stalled() == 3)
    _end(process)
    until(lambda: supervisor.kernel.stalled() == 0)
    until(lambda: supervisor.statistics().in_flight == 0)


_TALK = """
kind, path = sys.argv[1:]
made, peer = socket.socketpair()
if kind.startswith("connect"):
    made = socket.socket(socket.AF_UNIX)
if kind == "connect at once":
    made.setblocking(False)
flags = socket.MSG_DONTWAIT if kind == "send at once" else 0
print(json.dumps("started"), flush=True)
found = 0
while isinstance(found, int):
    if kind.startswith("connect"):
        found = tried(made.connect, path)
        break
    found = tried(made.send, b"x" * 65536, flags)
say(found)
"""


@pytest.fixture(name="talking")
def _talking(supervisor: Supervisor) -> Supervisor:
    for kind in (Connect, Sendto, Sendmsg):
        supervisor.on(kind)(lambda call: call.perform())
    return supervisor


@pytest.fixture(name="full")
def _full(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A server that takes no more connections until it has accepted one."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(path)
        server.listen(0)
        first.connect(path)
        yield path, server


@pytest.mark.parametrize("kind", ["connect", "send"])
def test_what_waits_for_a_peer_ends_with_its_target(
    talking: Supervisor, full: tuple[str, socket.socket], kind: str
) -> None:
    """A connect that nobody accepts, a send that nobody reads: others are served, and it ends."""
    process = start(talking, _TALK, kind, full[0])
    until(lambda: talking.kernel.stalled() == 1)
    assert attempt(talking, _QUICK) is True
    _end(process)
    until(lambda: talking.kernel.stalled() == 0)
    until(lambda: talking.statistics().in_flight == 0)


def test_a_connect_that_waits_is_done_when_its_peer_is_ready(
    talking: Supervisor, full: tuple[str, socket.socket]
) -> None:
    """It takes as long as it takes."""
    process = start(talking, _TALK, "connect", full[0])
    assert process.stdout.readline() == b'"started"\n'
    until(lambda: talking.kernel.stalled() == 1)
    peers = [full[1].accept()[0] for _ in range(2)]
    assert told(process) == 0
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("kind", ["connect at once", "send at once"])
def test_what_may_not_wait_for_a_peer_does_not(
    talking: Supervisor, full: tuple[str, socket.socket], kind: str
) -> None:
    """O_NONBLOCK of the socket, and MSG_DONTWAIT."""
    process = start(talking, _TALK, kind, full[0])
    assert process.stdout.readline() == b'"started"\n'
    assert told(process) == "EAGAIN"


def test_a_terminal_that_is_opened_becomes_nobodys(supervisor: Supervisor) -> None:
    """Neither the supervisor nor the session that asked gets it as its controlling terminal."""

    def controlling() -> bytes:
        return Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[4]

    before = controlling()
    leader, follower = os.openpty()
    try:
        code = """
os.setsid()
tty = os.open(sys.argv[1], os.O_RDWR)
say([os.isatty(tty), tried(os.tcgetpgrp, tty)])
"""
        assert attempt(supervisor, code, os.ttyname(follower)) == [True, "ENOTTY"]
        assert controlling() == before
    finally:
        os.close(leader)
        os.close(follower)


def test_an_open_that_may_not_wait_does_not(supervisor: Supervisor, fifo: Path) -> None:
    """O_NONBLOCK is the target's, and so is what it gets for it."""
    code = """
reading = tried(os.open, sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
os.close(reading)
say([reading > 2, tried(os.open, sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)])
"""
    assert attempt(supervisor, code, fifo) == [True, "ENXIO"]


def test_a_signal_that_interrupts_the_target_ends_what_was_done_for_it(fifo: Path) -> None:
    """I1: without WAIT_KILLABLE it gets EINTR, calls again, and only one thread waits for it."""
    code = """
import signal
signal.signal(signal.SIGUSR1, lambda *_: None)
print(json.dumps("started"), flush=True)
say(tried(os.open, sys.argv[1], os.O_RDONLY))
"""
    with Supervisor() as supervisor:
        supervisor.on(OpenAt)(lambda call: call.perform())
        process = start(supervisor, code, fifo, wait_killable=False)
        assert process.stdout.readline() == b'"started"\n'
        for _ in range(5):
            until(lambda: supervisor.kernel.stalled() == 1)
            gone = supervisor.statistics().gone
            process.send_signal(10)
            until(lambda gone=gone: supervisor.statistics().gone > gone)
        with open(os.open(fifo, os.O_RDWR), "wb"):
            assert told(process) > 2
        until(lambda: supervisor.statistics().in_flight == 0)


def test_threads_that_waited_are_given_back(supervisor: Supervisor, fifo: Path) -> None:
    """When nobody waits any more the supervisor has the threads that it had before."""
    process = start(supervisor, _CROWD, fifo, 40)
    until(lambda: supervisor.kernel.stalled() == 40)
    _end(process)
    until(
        lambda: sum(t.name.startswith("unotify-") for t in threading.enumerate()) <= 4,
        "the end of threads",
    )


def test_a_supervisor_without_descriptors_refuses_and_lives(tmp_path: Path) -> None:
    """EMFILE of ours is an errno for the target, and no end of anything."""
    code = """
import os, resource, subprocess, sys
from unotify import Supervisor
from unotify.calls import OpenAt, Mkdir
with Supervisor() as supervisor:
    used = []
    @supervisor.on(Mkdir)
    def handler(call):
        if call.path.name == "full":
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))
            try:
                while True:
                    used.append(os.open("/", os.O_PATH))
            except OSError:
                pass
            try:
                return call.perform()
            finally:
                while used:
                    os.close(used.pop())
        return call.perform()
    run = [sys.executable, "-I", "-S", "-c", '''
import os, sys
for name in ("full", "good"):
    try:
        os.mkdir(f"{sys.argv[1]}/{name}")
    except OSError as error:
        print(error.errno)
''', sys.argv[1]]
    options = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    run[0] = getattr(sys, "_base_executable", sys.executable)
    if options and os.path.exists("/usr/bin/python3"):
        run[0] = "/usr/bin/python3"
    print(supervisor.run(run, stdout=subprocess.PIPE, **options).stdout)
"""
    directory = tmp_path / "room"
    directory.mkdir()
    for each in [directory, *directory.parents][:4]:
        each.chmod(0o777)
    found = subprocess.run(
        [sys.executable, "-c", code, str(directory)], capture_output=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout in (b"b'1\\n'\n", b"b'24\\n'\n")
    assert (directory / "good").is_dir()
    assert not (directory / "full").exists()
