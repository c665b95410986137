"""Listeners that travel from one process to another."""

from __future__ import annotations

import array
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.kernel.targets import Target
from unotify.errors import KernelError, TargetGone
from unotify.kernel.handover import listener_from_pid, receive_listener, send_listener


@pytest.fixture(name="sockets", params=["SOCK_SEQPACKET", "SOCK_STREAM"])
def _sockets(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, getattr(socket, request.param))
    with ours, theirs:
        yield ours, theirs


Sockets = tuple[socket.socket, socket.socket]


def descriptors() -> set[str]:
    """Our open descriptors (and one for the look itself)."""
    return set(os.listdir("/proc/self/fd"))


def send_fds(sock: socket.socket, *fds: int, data: bytes = b"x") -> None:
    """Send whatever descriptors."""
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def test_a_listener_travels_with_what_is_said_about_it(sockets: Sockets) -> None:
    """R3: the received copy serves the target also when the sender's is closed."""
    ours, theirs = sockets
    with Target("getppid") as target:
        send_listener(ours, target.listener, b"about it")
        received, data = receive_listener(theirs)
        assert data == b"about it"
        assert not os.get_inheritable(received.fileno())
        target.listener.close()
        target.listener = received
        target.call("getppid")
        assert target.send(target.receive(), value=77)
        assert target.answer()["ret"] == 77


def test_something_must_go_with_it(sockets: Sockets) -> None:
    """An empty message carries no descriptor on a stream socket: refused before it is lost."""
    with Target("getppid") as target, pytest.raises(ValueError, match="one byte"):
        send_listener(sockets[0], target.listener, b"")


def test_the_sender_went_away(sockets: Sockets) -> None:
    """A closed connection is an error of its own, not an odd message."""
    ours, theirs = sockets
    ours.close()
    with pytest.raises(KernelError) as caught:
        receive_listener(theirs)
    assert caught.value.errno == errno.ECONNRESET


@pytest.mark.parametrize("others", [0, 1, 5])
def test_descriptors_that_are_no_listeners(sockets: Sockets, others: int) -> None:
    """All are closed, and the error says how many listeners came: none."""
    ours, theirs = sockets
    send_fds(ours, *[0] * others)
    before = descriptors()
    with pytest.raises(KernelError, match="one listener was expected, 0 came"):
        receive_listener(theirs)
    assert descriptors() == before


def test_a_listener_among_others(sockets: Sockets) -> None:
    """The listener is kept, the others are closed."""
    ours, theirs = sockets
    with Target("getppid") as target:
        send_fds(ours, 0, target.listener.fileno(), 1)
        before = len(descriptors())
        received, _ = receive_listener(theirs)
        assert len(descriptors()) == before + 1
        received.close()


def test_two_listeners_are_one_too_many(sockets: Sockets) -> None:
    """Which of them was meant nobody knows; both are closed."""
    ours, theirs = sockets
    with Target("getppid") as target:
        send_fds(ours, target.listener.fileno(), target.listener.fileno())
        before = descriptors()
        with pytest.raises(KernelError, match="one listener was expected, 2 came"):
            receive_listener(theirs)
        assert descriptors() == before


def test_no_room_for_the_descriptors(sockets: Sockets) -> None:
    """At the descriptor limit the kernel cuts the message: said so, and nothing leaks."""
    import resource

    ours, theirs = sockets
    with Target("getppid") as target:
        send_fds(ours, 0, 0, target.listener.fileno())
        before = descriptors()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        top = max(int(fd) for fd in before) + 1
        taken = [os.dup(0) for _ in range(top - len(before) + 2)]
        try:
            # exactly one number is free below the limit
            free = taken.pop()
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))
            with pytest.raises(KernelError, match="cut off"):
                receive_listener(theirs)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in taken:
                os.close(fd)
        assert descriptors() == before


def test_too_much_data_is_cut_off() -> None:
    """On a socket with messages nobody acts on half of one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, Target("getppid") as target:
        send_listener(ours, target.listener, b"x" * 100)
        before = descriptors()
        with pytest.raises(KernelError, match="cut off"):
            receive_listener(theirs, size=99)
        assert descriptors() == before


HOLDER = "import os, sys; os.read(0, 1)"


class Holder:
    """A process that has some descriptors open."""

    def __init__(self, *fds: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", HOLDER], stdin=subprocess.PIPE, pass_fds=fds
        )

    def __enter__(self) -> int:
        return self.process.pid

    def __exit__(self, *_: object) -> None:
        self.process.communicate(b"x")


@pytest.mark.parametrize("looked_for", [True, False])
def test_a_listener_out_of_another_process(looked_for: bool) -> None:
    """pidfd_getfd takes it by its number, or by a look at what is open there."""
    with Target("getppid") as target:
        fd = target.listener.fileno()
        with Holder(fd) as pid, listener_from_pid(pid, None if looked_for else fd) as copy:
            assert not os.get_inheritable(copy.fileno())
            target.call("getppid")
            exchange = target.receive()
            assert copy.is_valid(exchange.id)
            assert target.send(exchange, value=5)
            assert target.answer()["ret"] == 5


def test_no_listener_several_or_something_else() -> None:
    """Each has its own words."""
    with Target("getppid") as target:
        one = target.listener.fileno()
        two = os.dup(one)
        with Holder() as pid, pytest.raises(KernelError, match="has no listener") as caught:
            listener_from_pid(pid)
        assert caught.value.errno == errno.ENOENT
        with Holder(one, two) as pid:
            with pytest.raises(KernelError, match="several listeners") as caught:
                listener_from_pid(pid)
            assert caught.value.errno == errno.EINVAL
            listener_from_pid(pid, two).close()
            with pytest.raises(KernelError, match="no seccomp listener"):
                listener_from_pid(pid, 0)
            with pytest.raises(KernelError) as caught:
                listener_from_pid(pid, 999)
            assert caught.value.errno == errno.EBADF
        os.close(two)


def test_no_such_process() -> None:
    """It has ended, or it never was."""
    with pytest.raises(TargetGone):
        listener_from_pid(2**22 + 1)


def test_no_rights_over_the_process() -> None:
    """M3: an ordinary user's look into process 1 is refused, with a hint."""
    if os.geteuid() == 0:
        pytest.skip("root has the rights")
    for fd in (None, 0):
        with pytest.raises(KernelError) as caught:
            listener_from_pid(1, fd)
        assert caught.value.errno in (errno.EPERM, errno.EACCES)
        assert "ptrace" in str(caught.value.hint)
