"""Storms: many calls, many threads, signals and deaths anywhere. Nothing lost, doubled or wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.targets import Target, nr, until
from unotify import Fail, InstallFd, Return, Supervisor
from unotify.calls import Getppid

LONG = os.environ.get("UNOTIFY_TEST_LONG") == "1"
PYTHON = getattr(sys, "_base_executable", None) or sys.executable
STORM = str(Path(__file__).with_name("storm_target.py"))


def storm(supervisor: Supervisor, threads: int, calls: int, mode: str, **options: Any) -> Any:
    """Start a target in a storm."""
    return supervisor.popen(
        [PYTHON, "-I", "-S", STORM, str(threads), str(calls), mode],
        stdout=subprocess.PIPE,
        env=os.environ | {"STORM_NR": str(nr("getppid"))},
        **options,
    )


def result(process: Any) -> dict[str, Any]:
    """What the target says at its end."""
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(output)
    return found


@pytest.mark.parametrize("killable", [True, False])
@pytest.mark.parametrize("mode", ["value", "signals", "restart"])
def test_every_call_gets_its_own_answer(mode: str, killable: bool) -> None:
    """100,000 calls of 8 threads with signals flying (I1, I6): right or EINTR, and all counted."""
    calls = 12_500 if LONG else 1_250
    with Supervisor() as supervisor:
        supervisor.on(Getppid)(lambda call: Return(42))
        processes = [storm(supervisor, 4, calls, mode, wait_killable=killable) for _ in range(2)]
        found = [result(process) for process in processes]
        assert supervisor.wait(20)
        counted = supervisor.statistics()

    assert [each["wrong"] for each in found] == [[], []]
    right = sum(each["right"] for each in found)
    assert 8 * calls == right + sum(each["interrupted"] for each in found)
    assert counted.received == counted.answered + counted.gone
    # A target that was interrupted just as the answer came took it and called again.
    assert (
        right
        <= counted.answered
        <= right + counted.received - 8 * calls + 8 * calls * (mode != "value")
    )
    assert (counted.faults, counted.in_flight) == (0, 0)
    if mode == "value":
        assert (8 * calls, 0) == (counted.answered, counted.gone)


@pytest.mark.parametrize("killable", [True, False])
def test_descriptors_arrive_whole_though_signals_hit_the_supervisor(killable: bool) -> None:
    """A13, A14: 20,000 descriptors under a timer of 200 microseconds; none is lost or wrong."""
    calls = 10_000 if LONG else 1_000

    def content(call: Getppid) -> InstallFd:
        fd = os.memfd_create("storm")
        os.write(fd, b"%d" % call.exchange.args[0])
        os.lseek(fd, 0, os.SEEK_SET)
        return InstallFd(fd, owned=True)

    before = len(os.listdir("/proc/self/fd"))
    hits: list[int] = []
    old = signal.signal(signal.SIGVTALRM, lambda number, frame: hits.append(1))
    try:
        with Supervisor() as supervisor:
            supervisor.on(Getppid)(content)
            process = storm(supervisor, 2, calls, "descriptor", wait_killable=killable)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0002, 0.0002)
            # The signals have to hit the threads that serve, not only this one.
            pelt = threading.Event()

            def pelting() -> None:
                while not pelt.wait(0.0002):
                    for thread in threading.enumerate():
                        if thread.name.startswith("unotify-") and thread.ident:
                            try:
                                signal.pthread_kill(thread.ident, signal.SIGVTALRM)
                            except ProcessLookupError:
                                continue

            pelter = threading.Thread(target=pelting)
            pelter.start()
            found = result(process)
            pelt.set()
            pelter.join()
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            assert supervisor.wait(20)
            assert supervisor.statistics().faults == 0
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)

    assert hits
    assert {"right": 2 * calls, "interrupted": 0, "wrong": [], "leaked": 0} == found
    assert before == len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("moment", ["unreceived", "in the handler", "held", "with a descriptor"])
def test_a_target_may_be_killed_at_any_moment(moment: str) -> None:
    """I7, I10: its exchange is gone, nobody else notices, nothing leaks."""
    entered, leave = threading.Event(), threading.Event()
    before = len(os.listdir("/proc/self/fd"))
    with Supervisor() as supervisor:

        @supervisor.on(Getppid)
        def handler(call: Getppid) -> Any:
            if call.exchange.args[0] != 666:
                return Return(42)
            entered.set()
            if moment == "held":
                return supervisor.hold(call)
            assert leave.wait(20)
            return InstallFd(os.open("/", os.O_RDONLY), owned=True) if "desc" in moment else Fail(1)

        victim = supervisor.popen(
            [PYTHON, "-I", "-S", "-c", _CALL, str(nr("getppid")), "666"], stdout=subprocess.PIPE
        )
        assert entered.wait(20)
        victim.kill()
        assert victim.wait(20) == -9
        leave.set()
        victim.stdout.close()
        other = storm(supervisor, 1, 10, "value")
        assert result(other)["right"] == 10
        if moment == "held":
            supervisor.stop()
        else:
            assert supervisor.wait(20)
        until(lambda: supervisor.statistics().gone == 1, "the count of the one that is gone")
        assert supervisor.statistics().faults == 0
    until(lambda: len(os.listdir("/proc/self/fd")) <= before, "the end of all descriptors")


_CALL = textwrap.dedent(
    """
    import ctypes, sys
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(*(ctypes.c_long(int(word)) for word in sys.argv[1:]))
    print(result, ctypes.get_errno(), flush=True)
    """
)

_SUPERVISOR = textwrap.dedent(
    """
    import subprocess, sys, threading
    from unotify import Supervisor
    from unotify.calls import Getppid
    supervisor = Supervisor()
    moment, *command = sys.argv[1:]
    @supervisor.on(Getppid)
    def handler(call):
        print("received\\n", end="", flush=True)
        if moment == "held":
            return supervisor.hold(call)
        threading.Event().wait()
    if moment == "unreceived":
        supervisor._readers._ensure = lambda: None
    process = supervisor.popen(command)
    print(f"{process.pid}\\n", end="", flush=True)
    process.wait()
    """
)


@pytest.mark.parametrize("moment", ["unreceived", "received", "held"])
def test_a_killed_supervisor_leaves_nobody_waiting(moment: str, tmp_path: Path) -> None:
    """R3, R4: the kernel answers everybody with ENOSYS, whatever state they were in."""
    output = tmp_path / "output"
    target = [PYTHON, "-I", "-S", "-c", _CALL, str(nr("getppid"))]
    command = [sys.executable, "-c", _SUPERVISOR, moment]
    command += ["sh", "-c", '"$@" > ' + str(output), "sh", *target]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
    try:
        assert process.stdout is not None
        lines = {process.stdout.readline()}
        if moment == "unreceived":
            (line,) = lines
            until(lambda: _asleep_in_notification(int(line)), "a waiting target")
        else:
            # In this or the other order: the target does not wait for popen to return.
            lines.add(process.stdout.readline())
            assert b"received\n" in lines
        process.kill()
        process.wait()
        until(lambda: output.exists() and output.read_text(), "the target's answer")
        assert f"-1 {errno.ENOSYS}\n" == output.read_text()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _asleep_in_notification(pid: int) -> bool:
    """Whether the process or one below it waits for an answer."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any(
            Path(f"/proc/{each}/wchan").read_text().startswith("seccomp_do_user")
            for each in (pid, *children)
        )
    except FileNotFoundError:
        return False


def test_many_programs_under_one_supervisor_leave_nothing_behind() -> None:
    """Fifty programs at a time: all are answered; no descriptor, thread or zombie is left."""
    before = len(os.listdir("/proc/self/fd"))
    with Supervisor() as supervisor:
        supervisor.on(Getppid)(lambda call: Return(42))
        processes = [storm(supervisor, 1, 20, "value") for _ in range(50 if LONG else 15)]
        assert all(result(process)["right"] == 20 for process in processes)
        assert supervisor.wait(20)
        assert supervisor.statistics().listeners == 0
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("unotify-")])
    assert before == len(os.listdir("/proc/self/fd"))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_slow_handler_holds_nobody_up() -> None:
    """Another reader takes the lead: others are answered while one handler sleeps on."""
    slow, release = threading.Event(), threading.Event()
    with Supervisor() as supervisor:

        @supervisor.on(Getppid)
        def handler(call: Getppid) -> Return:
            if call.exchange.args[0] == 7:
                slow.set()
                assert release.wait(30)
            return Return(42)

        stuck = [
            supervisor.popen(
                [PYTHON, "-I", "-S", "-c", _CALL, str(nr("getppid")), "7"], stdout=subprocess.PIPE
            )
            for _ in range(5)
        ]
        assert slow.wait(20)
        assert result(storm(supervisor, 1, 5, "value"))["right"] + 5 == 10
        release.set()
        for process in stuck:
            assert process.communicate(timeout=20)[0] == b"42 0\n"
        assert supervisor.statistics().faults == 0


def test_stopping_answers_whoever_waits() -> None:
    """Drain: a handler that is too slow is answered for; later calls are ENOSYS (R4)."""
    entered, leave = threading.Event(), threading.Event()
    supervisor = Supervisor(fault_reply=Fail(errno.EIO))

    @supervisor.on(Getppid)
    def handler(call: Getppid) -> Return:
        entered.set()
        leave.wait(30)
        return Return(1)

    process = supervisor.popen(
        [PYTHON, "-I", "-S", "-c", _CALL, str(nr("getppid"))], stdout=subprocess.PIPE
    )
    assert entered.wait(20)
    supervisor.stop(drain=0.1)
    assert f"-1 {errno.EIO}\n".encode() == process.communicate(timeout=20)[0]
    leave.set()


def test_a_storm_of_stops_and_continues() -> None:
    """I4, I8: stopped and continued all the time, each call still ends with its one answer."""
    with Supervisor() as supervisor:
        supervisor.on(Getppid)(lambda call: Return(42))
        process = storm(supervisor, 2, 2_000 if LONG else 400, "restart")
        while process.poll() is None and supervisor.statistics().received < 700:
            process.send_signal(signal.SIGSTOP)
            process.send_signal(signal.SIGCONT)
        found = result(process)
        assert found["wrong"] == []
        assert (4_000 if LONG else 800) == found["right"]


def test_the_raw_listener_is_right_under_signals_too() -> None:
    """A13: `send_fd` retries what a signal interrupts, and installs once."""
    with Target("getppid") as target:
        pipe = os.open("/etc/passwd", os.O_RDONLY)
        hits: list[int] = []
        # Not SIGALRM: the test runner's own time-out uses that.
        old = signal.signal(signal.SIGVTALRM, lambda number, frame: hits.append(1))
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0002, 0.0002)
        try:
            # The timer counts our own time, in the kernel's ticks: rare on a fast machine.
            calls = 0
            while calls < 300 or len(hits) < 5:
                calls += 1
                target.call("getppid")
                exchange = target.receive()
                assert target.listener.send_fd(exchange.id, pipe, at=60)
                assert target.answer()["ret"] == 60
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, old)
            os.close(pipe)
