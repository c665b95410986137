"""Launches among threads, interruptions, other supervisors, and what they leave behind."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.kernel.spawn_support import (
    PATIENCE,
    always,
    apart,
    let_all_go,
    no_children,
    notify,
    open_fds,
    supervised,
)
from unotify.abi.seccomp import Action
from unotify.errors import AlreadySupervised, KernelError
from unotify.kernel import launching
from unotify.kernel.install import install
from unotify.kernel.linux import LinuxKernel
from unotify.kernel.spawn import spawn


def test_many_threads_at_once() -> None:
    """Eight threads spawn, succeed and fail at once; no descriptor and no process is left."""
    before = open_fds()

    def work(number: int) -> list[Any]:
        found: list[Any] = []
        for turn in range(5):
            options = {"stdout": subprocess.PIPE}
            with supervised(always(Action.USER_NOTIF), ["echo", f"{number} {turn}"], **options) as (
                process,
                _,
            ):
                found.append(process.communicate()[0])
            with pytest.raises(FileNotFoundError):
                spawn(notify("write"), ["no-such-command"])
        return found

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))

    assert results == [[b"%d %d\n" % (n, turn) for turn in range(5)] for n in range(8)]
    assert open_fds() == before
    assert no_children()


def test_listeners_of_others_are_not_inherited() -> None:
    """A program does not get the listener of one that was spawned before it."""
    first = spawn(notify("getppid"), ["sleep", "60"])
    look = ["sh", "-c", "ls -l /proc/$$/fd"]
    with supervised(notify("getppid"), look, stdout=subprocess.PIPE) as (process, _):
        output, _ = process.communicate()
    first.process.kill()
    first.process.wait()
    first.listener.close()

    assert b"seccomp" not in output


def test_program_has_no_unknown_child() -> None:
    """The helper of the launch is not a child of the program, which could wait for it."""
    code = """if True:
        import os
        try: os.waitpid(-1, 0)
        except ChildProcessError: print("none")
    """
    args = [sys.executable, "-I", "-S", "-c", code]
    with supervised(notify("wait4"), args, stdout=subprocess.PIPE) as (process, _):
        assert process.communicate()[0] == b"none\n"


def test_ancestor_is_named() -> None:
    """F4: a spawn below an open listener is `AlreadySupervised`, and names who installed it."""

    def nested() -> tuple[int, str, str | None]:
        with pytest.raises(AlreadySupervised) as caught:
            spawn(notify("getppid"), ["true"])
        return caught.value.errno, caught.value.ancestor, caught.value.hint

    def outer() -> Any:
        inner = install(notify("getpgid"))
        assert inner.listener is not None
        # A fork would close its copy, which is the only one: keep the kernel's object.
        kept = os.dup(inner.listener.fileno())
        result = nested()
        os.close(kept)
        return os.getpid(), result

    pid, (number, ancestor, hint) = apart(outer)

    assert number == errno.EBUSY
    assert f"process {pid}" in ancestor
    assert hint


def test_nested_supervisor() -> None:
    """F4, F7: a supervisor that runs as a target of another is told so, and of whom."""
    code = """if True:
        from tests.kernel.spawn_support import notify
        from unotify.errors import AlreadySupervised
        from unotify.kernel.spawn import spawn
        try: spawn(notify("getppid"), ["true"])
        except AlreadySupervised as error: print(error)
    """
    args = [sys.executable, "-c", code]
    with supervised(notify("getpgid"), args, stdout=subprocess.PIPE) as (process, _):
        output = process.communicate()[0].decode()

    assert f"process {process.pid}" in output
    assert "already supervised by" in output


def test_sequential_supervisors() -> None:
    """R8: when the outer listener is closed, a program below it can be supervised again."""

    def work() -> list[str]:
        outer = install(notify("getpgid"))
        assert outer.listener is not None
        outer.listener.close()
        inner = spawn(notify("getppid"), ["sh", "-c", "exit 7"])
        let_all_go(inner)
        return [str(inner.process.wait())]

    assert apart(work) == ["7"]


def test_siblings() -> None:
    """F4: programs beside each other are supervised each by its own listener."""
    spawned = [spawn(notify("exit_group"), ["true"]) for _ in range(4)]

    assert [let_all_go(each) for each in spawned] == [["exit_group"]] * 4
    assert [each.process.wait() for each in spawned] == [0] * 4


def test_interrupt_during_the_launch() -> None:
    """Ctrl-C while the launcher starts raises KeyboardInterrupt; no live process and no output."""
    code = """if True:
        import os, select, signal, sys
        from tests.kernel.spawn_support import none_alive, notify, open_fds
        from unotify.kernel.spawn import spawn
        # A signal that came before it is waited for is there, too.
        came, coming = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(coming)
        before = open_fds()
        spawned = None
        try:
            os.write(1, b"go\\n")
            spawned = spawn(notify("getppid"), ["sleep", "60"])
            select.select([came], [], [])
        except KeyboardInterrupt as error:
            error.__traceback__ = None
        if spawned is not None:
            assert spawned.process.wait() == -signal.SIGINT
            spawned.listener.close()
        print(spawned is None, none_alive(), open_fds() == before)
    """
    interrupted = 0
    for delay in (0, 0.002, 0.004, 0.008, 0.012, 0.016, 0.02, 0.025, 0.03, 0.04):
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            time.sleep(delay)  # to interrupt at different points, not to wait for one
            # As a terminal does it: to everybody in the foreground group.
            os.killpg(process.pid, signal.SIGINT)
            try:
                output, errors = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        early, *clean = output.split()
        interrupted += early == b"True"

        assert errors == b""
        assert clean == [b"True", b"True"]

    assert interrupted


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_launcher_killed(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher that is killed before the program starts is an error, and no hang."""
    run = launching.Launching.run

    def kill_first(self: launching.Launching, process: Any) -> Any:
        process.send_signal(number)
        return run(self, process)

    monkeypatch.setattr(launching.Launching, "run", kill_first)
    before = open_fds()

    with pytest.raises(KernelError, match=f"killed by signal {number.value}"):
        spawn(notify("getppid"), ["true"])

    assert open_fds() == before
    assert no_children()


def test_helper_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that is killed before it handed the listener over ends the launch with an error."""
    receive = launching.Launching._receive
    killed: list[bool] = []

    def kill_helper(self: launching.Launching, flags: int) -> None:
        receive(self, flags)
        if self._helper is not None and self.listener is None and not killed:
            signal.pidfd_send_signal(self._helper, signal.SIGKILL)
            killed.append(True)

    monkeypatch.setattr(launching.Launching, "_receive", kill_helper)
    before = open_fds()

    # The helper may win the race: then there is nothing wrong.
    with contextlib.suppress(KernelError):
        spawned = spawn(notify("execve"), ["true"])
        let_all_go(spawned)
        assert spawned.process.wait() == 0

    assert killed
    assert open_fds() == before
    assert no_children()


def test_stopped_launcher_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher that is stopped is waited for, and goes on when it is continued."""
    run = launching.Launching.run

    def stop_first(self: launching.Launching, process: Any) -> Any:
        process.send_signal(signal.SIGSTOP)
        threading.Timer(0.1, process.send_signal, (signal.SIGCONT,)).start()
        return run(self, process)

    monkeypatch.setattr(launching.Launching, "run", stop_first)
    spawned = spawn(notify("execve"), ["true"])
    let_all_go(spawned)

    assert spawned.process.wait() == 0


def test_without_pidfd_of_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a sandbox denies pidfd_open, a launch and a failed launch end all the same."""

    def denied(pid: int, flags: int = 0) -> int:
        raise PermissionError(errno.EPERM, "denied")

    monkeypatch.setattr(os, "pidfd_open", denied)
    spawned = spawn(always(Action.USER_NOTIF), ["true"])
    let_all_go(spawned)

    assert spawned.process.wait() == 0
    with pytest.raises(FileNotFoundError):
        spawn(always(Action.USER_NOTIF), ["no-such-command"])
    assert spawn_killed() == -signal.SIGSYS
    assert no_children()


def spawn_killed() -> int:
    """The status of a program that its filter does not let begin."""
    spawned = spawn(always(Action.KILL_PROCESS), ["true"])
    spawned.listener.close()
    return spawned.process.wait()


def test_ignored_sigchld() -> None:
    """With SIGCHLD ignored nobody can be reaped; a launch works, as it does in subprocess."""

    def work() -> int:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        spawned = spawn(notify("execve"), ["sh", "-c", "kill -9 $$"])
        let_all_go(spawned)
        return spawned.process.wait()

    assert apart(work) == 0


def test_somebody_waits_for_any_child() -> None:
    """A thread that reaps whatever ends does not disturb a launch."""
    ended = threading.Event()

    def reap() -> None:
        while not ended.is_set():
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                time.sleep(0.001)

    thread = threading.Thread(target=reap)
    thread.start()
    try:
        for _ in range(5):
            spawned = spawn(always(Action.USER_NOTIF), ["true"])
            let_all_go(spawned)
            spawned.process.wait()
    finally:
        ended.set()
        thread.join()


def test_full_descriptor_table() -> None:
    """EMFILE in the supervisor is an OSError and leaves nothing; afterwards a spawn works."""

    def work() -> tuple[int, bool, int]:
        import resource

        before = open_fds()
        # Four are free, wherever there are gaps between those that are open.
        free = [fd for fd in range(len(before) + 5) if str(fd) not in before]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[4], 4096))
        with pytest.raises(OSError, match=r"[Tt]oo many|no free descr") as caught:
            spawn(notify("getppid"), ["true"])
        clean = len(open_fds()) == len(before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
        spawned = spawn(notify("getppid"), ["true"])
        let_all_go(spawned)
        return caught.value.errno or 0, clean, spawned.process.wait()

    assert apart(work) == (errno.EMFILE, True, 0)


def test_one_descriptor_too_few() -> None:
    """F8: EMFILE in the launcher says that it was the listener's turn; nothing is left."""
    import resource

    def work() -> list[str]:
        messages = []
        for limit in range(4, 40):
            # Inherited, and never raised again: the soft limit of the launcher.
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 4096))
            try:
                spawned = spawn(notify("getppid"), ["true"])
            except (OSError, ImportError) as error:
                messages.append(str(error))
                continue
            let_all_go(spawned)
            spawned.process.wait()
            break
        return messages

    messages = apart(work)

    assert 0 < len(messages) < 36


def test_dead_supervisor_fails_closed() -> None:
    """R4, R5: when the supervisor is killed, its program gets ENOSYS and does not hang."""
    code = """if True:
        import sys
        from tests.kernel.spawn_support import notify, receive
        from unotify.kernel.spawn import spawn
        look = ["sh", "-c", "mkdir x/y; echo $? >&2"]
        spawned = spawn(notify("mkdir", "mkdirat"), look, popen_options={"cwd": "/"})
        print(receive(spawned.listener) is not None, flush=True)
        sys.stdin.read()
    """
    supervisor = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == b"True\n"
    supervisor.kill()
    _, errors = supervisor.communicate(timeout=PATIENCE)

    assert b"Function not implemented" in errors


def test_kernel_object() -> None:
    """`LinuxKernel` spawns as the interface promises."""
    kernel = LinuxKernel()
    spawned = kernel.spawn(notify("exit_group"), ["true"], popen_options={"env": {"PATH": "/bin"}})

    assert let_all_go(spawned) == ["exit_group"]
    assert spawned.process.wait() == 0
