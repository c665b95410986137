"""Descriptors put into the target: A1 to A13."""

from __future__ import annotations

import errno
import os

import pytest

from tests.kernel.targets import Target, nr, until
from unotify.abi.structs import ADDFD
from unotify.errors import KernelError, TargetGone
from unotify.kernel.listener import LinuxListener


def content(text: bytes) -> int:
    """A descriptor of a file with this content."""
    fd = os.memfd_create("content")
    os.write(fd, text)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def test_the_description_is_shared() -> None:
    """A1, A8: what the target reads moves our offset too; the call is still unanswered."""
    with Target("getppid") as target:
        ours = content(b"hello")
        target.call("getppid")
        exchange = target.receive()
        number = target.listener.add_fd(exchange.id, ours)
        assert target.listener.is_valid(exchange.id)
        second = target.listener.add_fd(exchange.id, ours)
        assert number != second
        target.send(exchange)
        target.answer()
        assert target.ask("read", fd=number)["text"] == "hello"
        assert os.lseek(ours, 0, os.SEEK_CUR) == 5
        os.close(ours)


def test_the_lowest_free_number_or_exactly_the_wanted_one() -> None:
    """A3: without SETFD the lowest free; with it that one, even 0, replacing what is open."""
    with Target("getppid") as target:
        taken = {int(fd) for fd in target.ask("fds")["fds"]}
        lowest = min(set(range(100)) - taken | {max(taken)})
        ours = content(b"zero")
        target.call("getppid")
        exchange = target.receive()
        assert lowest == target.listener.add_fd(exchange.id, ours)
        assert target.listener.add_fd(exchange.id, ours, at=42) == 42
        assert target.listener.add_fd(exchange.id, ours, at=42) == 42
        target.send(exchange)
        target.answer()
        assert target.ask("read", fd=42)["text"] == "zero"
        os.close(ours)


@pytest.mark.parametrize("cloexec", [True, False])
def test_close_on_exec_is_the_target_s_own(cloexec: bool) -> None:
    """A4: O_CLOEXEC is the one flag of the new descriptor."""
    with Target("getppid") as target:
        ours = content(b"x")
        target.call("getppid")
        exchange = target.receive()
        number = target.listener.add_fd(exchange.id, ours, cloexec=cloexec)
        target.send(exchange)
        target.answer()
        assert (not cloexec) == target.ask("read", fd=number)["inheritable"]
        os.close(ours)


@pytest.mark.parametrize(
    ("flags", "newfd", "newfd_flags"), [(0, 5, 0), (4, 0, 0), (0, 0, os.O_NONBLOCK)]
)
def test_nonsense_is_refused(flags: int, newfd: int, newfd_flags: int) -> None:
    """A4: a number without SETFD, an unknown flag, another descriptor flag: EINVAL."""
    import fcntl

    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        raw = ADDFD.pack(exchange.id, flags, 0, newfd, newfd_flags)
        with pytest.raises(OSError, match="Invalid argument"):
            fcntl.ioctl(target.listener.fileno(), 0x40182103, raw)
        target.send(exchange)


def test_bad_and_path_descriptors_are_ebadf() -> None:
    """A5: a closed one and an O_PATH one cannot be given."""
    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        path = os.open("/", os.O_PATH)
        closed = os.dup(path)
        os.close(closed)
        for fd in (path, closed):
            with pytest.raises(KernelError) as caught:
                target.listener.add_fd(exchange.id, fd)
            assert caught.value.errno == errno.EBADF
        os.close(path)
        target.send(exchange)


def test_the_struct_may_be_longer_if_its_tail_is_zero() -> None:
    """A6: short is EINVAL, a zero tail is fine, a dirty one is E2BIG."""
    import fcntl

    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        raw = ADDFD.pack(exchange.id, 0, 0, 0, 0)

        def addfd(size: int, data: bytes) -> int:
            try:
                fcntl.ioctl(target.listener.fileno(), 0x40002103 | size << 16, data)
            except OSError as error:
                return error.errno or 0
            return 0

        assert addfd(16, raw) == errno.EINVAL
        assert addfd(32, raw + bytes(8)) == 0
        assert addfd(32, raw + bytes(7) + b"\1") == errno.E2BIG
        target.send(exchange)


def test_the_target_s_own_limit_applies() -> None:
    """A2, A7: no room is EMFILE; a number beyond the limit is EBADF; the call still waits."""
    with Target("getppid") as target:
        target.ask("limit", files=3)
        target.call("getppid")
        exchange = target.receive()
        for at, expected in ((None, errno.EMFILE), (100, errno.EBADF)):
            with pytest.raises(KernelError) as caught:
                target.listener.add_fd(exchange.id, 0, at=at)
            assert expected == caught.value.errno
        assert target.send(exchange, error=-errno.EMFILE)
        assert target.answer()["errno"] == errno.EMFILE


def test_a_descriptor_for_nobody() -> None:
    """A12, N11: a target that died, or an id that never was, is TargetGone."""
    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        with pytest.raises(TargetGone):
            target.listener.add_fd(exchange.id + 1, 0)
        target.process.kill()
        target.process.wait()
        with pytest.raises(TargetGone):
            target.listener.add_fd(exchange.id, 0)


def test_an_interrupted_target_keeps_the_descriptor() -> None:
    """A9: installed, and then a signal: the call fails, the descriptor stays in the target."""
    import signal

    with Target("getppid") as target:
        target.ask("handle", signal=int(signal.SIGUSR1), restart=False)
        target.call("getppid")
        exchange = target.receive()
        ours = content(b"leak")
        number = target.listener.add_fd(exchange.id, ours)
        target.process.send_signal(signal.SIGUSR1)
        assert target.answer()["errno"] == errno.EINTR
        assert not target.send(exchange, value=number)
        assert target.ask("read", fd=number)["text"] == "leak"
        os.close(ours)


def test_the_two_steps_of_a_descriptor_reply() -> None:
    """A14: `send_fd` installs, then answers with the number."""
    with Target("getppid") as target:
        ours = content(b"answer")
        target.call("getppid")
        exchange = target.receive()
        assert target.listener.send_fd(exchange.id, ours)
        number = target.answer()["ret"]
        assert target.ask("read", fd=number)["text"] == "answer"
        os.close(ours)


def test_a_listener_itself_can_be_given_away() -> None:
    """A5: it works, and then the target could answer itself; so nobody should."""
    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        number = target.listener.add_fd(exchange.id, target.listener.fileno())
        target.send(exchange)
        target.answer()
        assert "seccomp notify" in target.ask("fds")["fds"][str(number)]
        assert isinstance(target.listener, LinuxListener)
        until(lambda: nr("getppid") > 0)
