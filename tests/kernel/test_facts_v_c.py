"""Return values (V1 to V6) and CONTINUE (C1 to C4)."""

from __future__ import annotations

import errno
import signal

import pytest

from tests.kernel.targets import Target, nr, until


@pytest.mark.parametrize(
    ("value", "error", "ret", "number"),
    [
        (42, 0, 42, 0),
        (42, -errno.EPERM, -1, errno.EPERM),
        (0, -4095, -1, 4095),
        (-errno.EACCES, 0, -1, errno.EACCES),
        (-4095, 0, -1, 4095),
        (-4096, 0, -4096, 0),
        (-(1 << 63), 0, -(1 << 63), 0),
        (0, 5, 5, 0),
        (0, -4096, -4096, 0),
    ],
)
def test_what_the_target_sees_of_a_reply(value: int, error: int, ret: int, number: int) -> None:
    """V1 to V4: value, errno, and how a wrong sign turns a failure into a success."""
    with Target("getppid") as target:
        target.call("getppid")
        target.send(target.receive(), value, error)
        assert {"ret": ret, "errno": number} == target.answer()


@pytest.mark.parametrize("code", [512, 513, 514, 516])
def test_kernel_internal_codes_leak(code: int) -> None:
    """V5: without a signal, the kernel's restart codes arrive as an errno."""
    with Target("getppid") as target:
        target.call("getppid")
        target.send(target.receive(), error=-code)
        assert {"ret": -1, "errno": code} == target.answer()


def test_a_reply_is_applied_to_calls_that_do_not_exist() -> None:
    """V6, B1: number -1 is notified, and the target gets the value, not ENOSYS."""
    from unotify.abi.seccomp import Action
    from unotify.bpf import compile_filter
    from unotify.kernel import default_kernel

    table = {0xFFFFFFFF: int(Action.USER_NOTIF), 9999: int(Action.USER_NOTIF)}
    program = compile_filter({default_kernel().arch: table}, default=Action.ALLOW).encode()
    with Target(program=program) as target:
        for number in (-1, 9999):
            target.start("call", nr=number)
            exchange = target.receive()
            assert number == exchange.nr
            target.send(exchange, value=7)
            assert target.answer()["ret"] == 7


def test_continue_runs_the_call_itself() -> None:
    """C1: the target gets what the kernel says, with its own rights."""
    with Target("getppid") as target:
        import os

        target.call("getppid")
        assert target.let_go(target.receive())
        assert os.getpid() == target.answer()["ret"]


def test_memory_may_change_between_the_check_and_the_kernel() -> None:
    """C2: what another thread writes meanwhile is what a continued call uses."""
    # Not open or openat: the target's interpreter starts with those.
    with Target("openat2") as target:
        path, how = target.text(b"/etc/hostname"), target.text(bytes(24))
        target.call("openat2", -100, path, how, 24, thread=True, tag="open")
        exchange = target.receive()
        target.ask("poke", address=path, hex=b"/etc/passwd\0".hex())
        target.let_go(exchange)
        fd = target.answer()["ret"]
        assert "root:" in target.ask("read", fd=fd)["text"]


def test_a_continued_sleep_restarts_as_another_call() -> None:
    """C3: stopped and continued, nanosleep comes back as restart_syscall."""
    with Target("nanosleep", "restart_syscall") as target:
        import struct

        ten_seconds = target.ask("bytes", hex=struct.pack("=qq", 10, 0).hex())["address"]
        target.call("nanosleep", ten_seconds, 0)
        target.let_go(target.receive())
        until(lambda: target.state() == "S" and "nanosleep" in target.wchan())
        target.process.send_signal(signal.SIGSTOP)
        until(lambda: target.state() == "T")
        target.process.send_signal(signal.SIGCONT)
        exchange = target.receive()
        assert nr("restart_syscall") == exchange.nr
        target.send(exchange, value=0)
        assert target.answer()["ret"] == 0


def test_execve_can_be_continued_and_the_filter_stays() -> None:
    """C4: the new program is supervised too, and what it starts."""
    with Target("execve", "getppid") as target:
        target.start("exec", path="/bin/sh", argv=["sh", "-c", "/bin/true; exit 3"])
        names = []
        while (code := target.process.poll()) is None:
            if target.listener.pending():
                exchange = target.receive()
                names.append(exchange.nr)
                target.let_go(exchange)
        assert code == 3
        assert names.count(nr("execve")) == 2
