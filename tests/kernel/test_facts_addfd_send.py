"""The single step that we never use, ADDFD with SEND: A10, A15. And what ends: I11, R9."""

from __future__ import annotations

import errno
import fcntl
import os
import signal

import pytest

from tests.kernel.targets import Target, nr, until
from unotify.abi.seccomp import PR_SET_SECCOMP, AddFdFlag, Mode, Operation
from unotify.abi.structs import ADDFD
from unotify.kernel._libc import NATIVE

SEND = int(AddFdFlag.SEND)
SETFD = int(AddFdFlag.SETFD)
USR1 = int(signal.SIGUSR1)


def addfd(target: Target, id: int, flags: int, number: int = 0) -> int:
    """The raw ioctl, with our standard input, and no signal in that step (A14)."""
    packed = bytearray(ADDFD.pack(id, flags, 0, number, 0))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        result: int = fcntl.ioctl(target.listener.fileno(), NATIVE.ioctls.addfd, packed, True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return result


def test_install_and_answer_in_one_step() -> None:
    """A10: the target's call returns the number of the descriptor that it got."""
    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        number = addfd(target, exchange.id, SEND)
        assert target.answer()["ret"] == number
        assert str(number) in target.ask("fds")["fds"]
        assert not target.send(exchange)


def test_a_failed_step_leaves_the_call_waiting() -> None:
    """A10, A7: EMFILE goes to the supervisor; the target still waits, and takes a plain reply."""
    with Target("getppid") as target:
        open_now = [int(fd) for fd in target.ask("fds")["fds"]]
        target.ask("limit", files=min(set(range(len(open_now) + 1)) - set(open_now[:-1])))
        target.call("getppid")
        exchange = target.receive()
        with pytest.raises(OSError, match="Too many open files"):
            addfd(target, exchange.id, SEND)
        assert target.listener.is_valid(exchange.id)
        assert target.send(exchange, error=-errno.EMFILE)
        assert target.answer() == {"ret": -1, "errno": errno.EMFILE}


def test_the_step_takes_an_exact_number_too() -> None:
    """A15: SETFD together with SEND returns exactly that number."""
    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        assert addfd(target, exchange.id, SEND | SETFD, 42) == 42
        assert target.answer()["ret"] == 42
        assert "42" in target.ask("fds")["fds"]


def test_even_calls_that_never_restart_do_so_here() -> None:
    """I11: epoll_pwait is EINTR after any handler; as a notification it comes again."""
    with Target("epoll_pwait") as target:
        target.ask("handle", signal=USR1, restart=True)
        target.call("epoll_pwait", 0, 0, 1, -1, 0, 0)
        old = target.receive()
        target.process.send_signal(USR1)
        until(lambda: not target.listener.is_valid(old.id))
        new = target.receive()
        assert (new.nr, new.args) == (old.nr, old.args)
        assert target.send(new, value=3)
        assert target.answer()["ret"] == 3


def test_a_filter_is_for_ever() -> None:
    """R9: no mode change removes it; without its listener its calls stay ENOSYS."""
    with Target("getppid") as target:
        off = target.ask("call", nr=nr("prctl"), args=[PR_SET_SECCOMP, int(Mode.DISABLED)])
        assert off["errno"] == errno.EINVAL
        strict = int(Operation.SET_MODE_STRICT)
        assert target.ask("call", nr=nr("seccomp"), args=[strict, 0, 0])["errno"] == errno.EINVAL
        target.listener.close()
        for _ in range(2):
            assert target.ask("call", nr=nr("getppid"))["errno"] == errno.ENOSYS
        status = os.path.join("/proc", str(target.pid), "status")
        with open(status, encoding="utf-8") as lines:
            assert "Seccomp:\t2\n" in list(lines)
