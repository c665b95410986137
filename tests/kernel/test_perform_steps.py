"""Targets that end, run another program or are none of ours at any step of a performed call."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.perform_support import attempt, start
from tests.kernel.targets import until
from unotify import Reply, Supervisor
from unotify.calls import Mkdir, OpenAt, Readlink, ReadlinkAt
from unotify.calls.lookups import spot_of
from unotify.kernel.listener import LinuxListener

MOMENTS = ("after the read", "after the look", "after the act", "at the reply")
ENDS = ("kill", "exit", "exec")

_VICTIM = """
# The call is made by a second thread; the first ends it all when it is told to.
path, end, word = sys.argv[1], sys.argv[2], int(sys.argv[3])
threading.Thread(target=lambda: tried(os.open, path, os.O_RDWR | os.O_CREAT), daemon=True).start()
os.read(word, 1)
if end == "exec":
    os.execv("/bin/true", ["true"])
os._exit(0)
"""


@pytest.fixture(name="no_leak", autouse=True)
def _no_leak() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    until(lambda: len(os.listdir("/proc/self/fd")) <= before, "the end of all descriptors")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_target_may_end_at_any_step(
    tmp_path: Path, moment: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I7, I10: nobody else notices, nothing is left open, and no thread stays."""
    word, say = os.pipe()
    ended = threading.Event()
    victims: list[Any] = []

    def finish() -> None:
        if end == "kill":
            victims[0].kill()
        else:
            os.write(say, b"x")
        until(lambda: not validity[0](), "the end of the call")
        ended.set()

    validity: list[Any] = []
    add_fd = LinuxListener.add_fd

    def adding(self: Any, number: Any, *args: Any, **more: Any) -> int:
        # Not for another call that is answered meanwhile.
        if moment == "at the reply" and number in secret:
            finish()
        return add_fd(self, number, *args, **more)

    monkeypatch.setattr(LinuxListener, "add_fd", adding)
    secret: set[int] = set()
    started = threading.Event()
    with Supervisor() as supervisor:

        @supervisor.on(OpenAt)
        def handler(call: OpenAt) -> Reply | None:
            if b"secret" not in call.path.raw:
                return call.perform()  # type: ignore[no-any-return]
            assert started.wait(20)
            validity.append(call.caller.is_waiting)
            secret.add(call.exchange.id)
            if moment == "after the read":
                finish()
            if moment == "after the look":
                call.caller.pin("path", spot_of(call, "path"))
                finish()
            done = call.perform()
            if moment == "after the act":
                finish()
            return done  # type: ignore[no-any-return]

        victim = start(supervisor, _VICTIM, tmp_path / "secret", end, word, pass_fds=(word,))
        victims.append(victim)
        started.set()
        assert victim.wait(30) == (-signal.SIGKILL if end == "kill" else 0)
        victim.stdout.close()
        assert ended.wait(20)
        assert attempt(supervisor, "say(tried(os.open, '/etc/passwd', os.O_RDONLY) > 2)") is True
        assert supervisor.wait(20)
        assert supervisor.statistics().faults == 0
        assert supervisor.statistics().in_flight == 0
    os.close(word)
    os.close(say)


def test_a_thread_with_descriptors_of_its_own_is_acted_for_with_those(tmp_path: Path) -> None:
    """P7: numbers mean what they mean to the thread, and it alone gets the new one."""
    for name in ("process", "thread"):
        (tmp_path / name).mkdir()
    code = """
base = sys.argv[1]
fd = os.open(f"{base}/process", os.O_RDONLY | os.O_DIRECTORY)
found = []
def run():
    if libc.unshare(0x400):
        sys.exit("no descriptors of its own")
    os.dup2(os.open(f"{base}/thread", os.O_RDONLY | os.O_DIRECTORY), fd)
    made = os.open("file", os.O_RDWR | os.O_CREAT, dir_fd=fd)
    os.write(made, b"thread")
    found.append(made)
thread = threading.Thread(target=run)
thread.start()
thread.join()
say([sorted(os.listdir(f"{base}/process")), sorted(os.listdir(f"{base}/thread")),
     tried(os.fstat, found[0])])
"""
    with Supervisor() as supervisor:
        supervisor.on(OpenAt)(lambda call: call.perform())
        assert attempt(supervisor, code, tmp_path) == [[], ["file"], "EBADF"]


def test_names_of_descriptors_mean_the_targets(tmp_path: Path) -> None:
    """/proc/self/fd/N, /dev/stdin, /dev/fd/N and /proc/self/root, and nobody else's /proc."""
    (tmp_path / "file").write_text("theirs")
    code = """
fd = os.open(sys.argv[1], os.O_RDONLY)
os.dup2(fd, 0)
def text(path):
    try:
        return os.read(os.open(path, os.O_RDONLY), 20).decode()
    except OSError as error:
        return errno.errorcode[error.errno]
me = os.getpid()
names = [f"/proc/self/fd/{fd}", f"/dev/fd/{fd}", "/dev/stdin", f"/proc/{me}/fd/{fd}",
         f"/proc/thread-self/fd/{fd}", f"/proc/{me}/task/{me}/fd/0",
         f"/proc/self/root{sys.argv[1]}", "/proc/self/cwd/file", "/proc/self/fd/999"]
comm = text("/proc/self/comm"), text("/proc/thread-self/comm")
libc.prctl(15, b"renamed", 0, 0, 0)
say([text(name) for name in names] + [text("/proc/self/comm")])
"""
    with Supervisor() as supervisor:
        supervisor.on(OpenAt)(lambda call: call.perform())
        found = attempt(supervisor, code, tmp_path / "file", cwd=tmp_path)
    assert found == [*["theirs"] * 8, "ENOENT", "renamed\n"]


_ENTRIES = ("mem", "fd/0", "cwd/x", "root/etc/passwd", "environ", "task/{pid}/mem", "map_files")


def test_a_link_that_leads_nowhere_at_all() -> None:
    """/proc/PID/exe of who has no program: it is a link, and what it says is ENOENT."""
    code = """
child = os.fork()
if not child:
    os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
say([tried(os.readlink, f"/proc/{child}/{name}") for name in ("exe", "comm", "none")])
"""
    with Supervisor() as supervisor:
        for kind in (Readlink, ReadlinkAt):
            supervisor.on(kind)(lambda call: call.perform())
        assert attempt(supervisor, code) == ["ENOENT", "EINVAL", "ENOENT"]
        assert supervisor.statistics().received >= 3


def test_the_supervisors_entries_in_proc_are_refused() -> None:
    """Though the user is the same: it would be ourselves who looks, and that is always allowed."""
    names = [f"/proc/{os.getpid()}/{name.format(pid=os.getpid())}" for name in _ENTRIES]
    code = "say([tried(os.open, name, os.O_RDONLY) for name in sys.argv[1:]])"
    with Supervisor() as supervisor:
        supervisor.on(OpenAt)(lambda call: call.perform())
        found = attempt(supervisor, code, *names)
        assert [each for each in found if each not in ("EACCES", "ENOENT")] == []
        code = "say(tried(os.open, sys.argv[1], os.O_RDONLY) > 2)"
        assert attempt(supervisor, code, f"/proc/{os.getpid()}/stat") is True


def test_a_target_that_is_not_dumpable_is_refused(tmp_path: Path) -> None:
    """M3: a supervisor without privileges may not look into it, and says so with an errno."""
    code = """
libc.prctl(4, 0, 0, 0, 0)
say(tried(os.mkdir, sys.argv[1]))
"""
    with Supervisor() as supervisor:
        supervisor.on(Mkdir)(lambda call: call.perform())
        found = attempt(supervisor, code, tmp_path / "made")
    assert found == (0 if os.geteuid() == 0 else "EPERM")
    assert (tmp_path / "made").exists() == (os.geteuid() == 0)
