"""Listeners that go from one supervisor to the next while both answer without Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.kernel.targets import PATIENCE, notifying, nr, until
from unotify import Quota, Supervisor
from unotify.kernel.journaled import JournaledListener
from unotify.kernel.listener import LinuxListener
from unotify.kernel.spawn import spawn

pytestmark = pytest.mark.usefixtures("needs_native")

MAIN = str(Path(__file__).with_name("native_killed_main.py"))
LONG = bool(os.environ.get("UNOTIFY_TEST_LONG"))
RULES = """
version = 1
default = "allow"

[[rule]]
calls = ["getppid"]
do = {{ fail = "EXDEV" }}

[[rule]]
calls = ["openat"]
where = 'path == "{path}"'
do = "perform"

[[rule]]
calls = ["openat"]
do = "continue"
racy = true
because = "it is a test"
"""
LOAD = """
import ctypes, json, os, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
getppid, openat, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()
done, wrong, over = [0], [], threading.Event()
def call():
    while not over.is_set():
        if libc.syscall(ctypes.c_long(getppid)) != -1 or ctypes.get_errno() != 18:
            wrong.append(["getppid", ctypes.get_errno()])
        fd = libc.syscall(ctypes.c_long(openat), ctypes.c_long(-100), path, ctypes.c_long(0))
        if fd < 0:
            wrong.append(["openat", ctypes.get_errno()])
        else:
            if os.read(fd, 9) != b"content":
                wrong.append(["read", 0])
            os.close(fd)
        done[0] += 1
threads = [threading.Thread(target=call) for _ in range(4)]
for thread in threads: thread.start()
sys.stdin.read()
over.set()
for thread in threads: thread.join()
print(json.dumps([done[0], wrong]), flush=True)
"""


@pytest.fixture(name="policy")
def _policy(tmp_path: Path) -> str:
    """The rules above."""
    (tmp_path / "file").write_text("content")
    policy = tmp_path / "policy.toml"
    policy.write_text(RULES.format(path=tmp_path / "file"))
    return str(policy)


class Load:
    """Four threads that call without a pause, and look at what they get."""

    def __init__(self, path: Path) -> None:
        python = getattr(sys, "_base_executable", None) or sys.executable
        numbers = [str(nr("getppid")), str(nr("openat"))]
        spawned = spawn(
            notifying("getppid", "openat"),
            [python, "-I", "-S", "-c", LOAD, *numbers, str(path)],
            popen_options={"stdin": subprocess.PIPE, "stdout": subprocess.PIPE},
        )
        assert isinstance(spawned.listener, LinuxListener)
        self.listener = JournaledListener.of(spawned.listener)
        self.process: Any = spawned.process
        self.backlog = list(spawned.backlog)
        for notification in self.backlog:
            self.listener.note(notification)

    def finish(self) -> None:
        """All got what they should, and nobody waits for ever."""
        told, _ = self.process.communicate(timeout=PATIENCE)
        done, wrong = json.loads(told)
        assert done
        assert wrong == []


@pytest.fixture(name="load")
def _load(tmp_path: Path, policy: str) -> Iterator[Load]:
    """One that has begun."""
    assert policy
    load = Load(tmp_path / "file")
    yield load
    load.process.kill()
    load.process.communicate()
    load.listener.close()


def test_a_listener_that_is_moved_under_load(policy: str, load: Load) -> None:
    """Whatever is under way when it is released is answered once, and its journal is whole."""
    with Supervisor(policy=policy) as one, Supervisor(policy=policy) as other:
        one.attach(load.listener, quota=Quota(4), backlog=load.backlog)
        for move in range(1000 if LONG else 60):
            here, there = (other, one) if move % 2 else (one, other)
            before, left = here.statistics().answered, Event()
            until(lambda: here.statistics().answered > before)  # noqa: B023 - called at once
            here.release(load.listener, lambda _: left.set())  # noqa: B023 - waited for at once
            assert left.wait(PATIENCE)
            there.attach(load.listener, quota=Quota(4))
        listener = load.listener
        load.process.stdin.close()
        load.process.stdin = None
        until(lambda: load.process.poll() is not None)
        load.finish()
        assert one.statistics().native
        assert other.statistics().native
        until(lambda: listener.fileno() < 0)


def test_supervisors_that_are_killed_under_load(policy: str, load: Load) -> None:
    """Who comes next finds each call that was received: no target is forgotten or told wrong."""
    fds = [load.listener.fileno(), load.listener.journal.fileno()]
    kills = 300 if LONG else 12
    killing = subprocess.Popen(
        [sys.executable, MAIN, *map(str, fds), policy, str(kills)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=fds,
    )
    try:
        assert killing.stdout is not None
        told = killing.stdout.readline()
        assert told, "the supervisors have failed"
        assert int(told) >= kills
        load.finish()
    finally:
        killing.communicate(timeout=PATIENCE)
    assert not killing.returncode
    assert not load.listener.journal.entries()
