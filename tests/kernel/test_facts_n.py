"""The life of a notification: N1 to N14."""

from __future__ import annotations

import os
import select

import pytest

from tests.kernel.targets import Target, nr, until
from unotify.abi.structs import NOTIF
from unotify.errors import KernelError, TargetGone
from unotify.kernel.listener import LISTENER_LINK, LinuxListener


def test_target_sleeps_in_the_kernel_until_it_is_answered() -> None:
    """N1: the thread sleeps interruptibly in seccomp_do_user_notification."""
    with Target("getppid") as target:
        target.call("getppid")
        until(target.listener.pending)
        until(lambda: target.wchan() == "seccomp_do_user_notification")
        assert target.state() == "S"
        target.send(target.receive(), value=5)
        assert target.answer()["ret"] == 5


def test_oldest_notification_is_received_first_and_ids_count_up() -> None:
    """N2, N4: RECV is first in, first out; ids rise by one from one to the next."""
    with Target("getppid", "getuid", "getgid") as target:
        seen = []
        for name in ("getuid", "getppid", "getgid"):
            before = len(seen)
            target.call(name, thread=True, tag=name)
            # Each one waits before the next is asked for.
            until(lambda n=before: waiting_threads(target) == n + 1)
            seen.append(name)
        received = [target.receive() for _ in seen]

        assert [nr(name) for name in seen] == [exchange.nr for exchange in received]
        first = received[0].id
        assert [first, (first + 1) % 2**64, (first + 2) % 2**64] == [e.id for e in received]
        for exchange in received:
            target.send(exchange)


def test_replies_may_come_in_any_order() -> None:
    """N3: whoever is answered goes on; the others wait."""
    with Target("getppid") as target:
        for tag in ("a", "b", "c"):
            target.call("getppid", thread=True, tag=tag)
        received = [target.receive() for _ in range(3)]
        for value, exchange in enumerate(reversed(received)):
            assert target.send(exchange, value=value)
            assert value == target.answer()["ret"]


def test_a_dirty_buffer_and_a_bad_pointer_are_refused_and_nothing_is_lost() -> None:
    """N5: RECV wants 80 zero bytes; EINVAL and EFAULT consume nothing."""
    import fcntl

    with Target("getppid") as target:
        target.call("getppid")
        until(target.listener.pending)
        dirty = bytearray(80)
        dirty[-1] = 1
        with pytest.raises(OSError, match="Invalid argument"):
            fcntl.ioctl(target.listener.fileno(), 0xC0502100, dirty, True)
        with pytest.raises(OSError, match="Bad address"):
            fcntl.ioctl(target.listener.fileno(), 0xC0502100, 0)
        assert target.send(target.receive(), value=1)
        assert target.answer()["ret"] == 1


def test_a_notification_that_died_unreceived_leaves_one_enoent() -> None:
    """N8: poll shows nothing, the next RECV returns at once, without a notification."""
    with Target("getppid", "getuid") as target:
        pid = target.ask("fork", nr=nr("getppid"))["pid"]
        until(target.listener.pending)
        os.kill(pid, 9)
        target.ask("wait", pid=pid)

        assert not target.listener.pending()
        assert target.listener.receive_into(bytearray(80)) is False
        target.call("getuid")
        assert nr("getuid") == target.receive().nr


def test_an_id_is_valid_only_between_receipt_and_reply() -> None:
    """N9: unknown, replied and gone ids are not valid."""
    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        assert target.listener.is_valid(exchange.id)
        assert not target.listener.is_valid(exchange.id ^ 1 << 40)
        target.send(exchange)
        assert not target.listener.is_valid(exchange.id)


def test_send_refuses_what_makes_no_sense() -> None:
    """N10: unknown flags and CONTINUE with a value or an error are EINVAL; the call still waits."""
    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        for value, error, flags in ((0, 0, 2), (1, 0, 1), (0, -1, 1)):
            with pytest.raises(KernelError, match="Invalid argument"):
                target.send(exchange, value, error, flags)
        assert target.send(exchange, value=3)
        assert target.answer()["ret"] == 3


def test_a_second_reply_and_a_reply_to_nobody_are_no_errors() -> None:
    """N10: EINPROGRESS and ENOENT both say that nobody takes it."""
    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        assert target.send(exchange)
        assert not target.send(exchange)
        target.answer()
        assert not target.send(exchange)


def test_a_descriptor_for_a_replied_call_has_no_taker() -> None:
    """N11: ADDFD after the reply is EINPROGRESS or ENOENT, which is TargetGone here."""
    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        target.send(exchange)
        with pytest.raises(TargetGone):
            target.listener.add_fd(exchange.id, 0)


def test_a_descriptor_for_an_unreceived_call_is_refused() -> None:
    """N11: ADDFD for a notification that nobody has received is EINPROGRESS."""
    with Target("getppid") as target:
        target.call("getppid")
        first = target.receive()
        target.send(first)
        target.answer()
        target.call("getppid")
        until(target.listener.pending)
        with pytest.raises(TargetGone):
            target.listener.add_fd((first.id + 1) % 2**64, 0)


def test_the_reply_may_come_from_another_process() -> None:
    """N12: a forked process answers what this one has received."""
    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        copy = os.dup(target.listener.fileno())
        pid = os.fork()
        if pid == 0:
            sent = LinuxListener(copy).send(exchange.answer(_return(77)))
            os._exit(0 if sent else 1)
        os.close(copy)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert target.answer()["ret"] == 77


def test_a_listener_is_a_close_on_exec_descriptor_that_only_takes_ioctls() -> None:
    """N13: an anon inode; read and write are EINVAL, lseek is ESPIPE."""
    with Target("getppid") as target:
        fd = target.listener.fileno()
        assert os.readlink(f"/proc/self/fd/{fd}") == LISTENER_LINK
        assert not os.get_inheritable(fd)
        with pytest.raises(OSError, match="Invalid argument"):
            os.read(fd, 1)
        with pytest.raises(OSError, match="Illegal seek"):
            os.lseek(fd, 0, 0)


def test_o_nonblock_is_ignored_but_poll_tells() -> None:
    """N7: RECV would block, so look first: `pending` never does."""
    with Target("getppid") as target:
        os.set_blocking(target.listener.fileno(), False)
        assert not target.listener.pending()
        target.call("getppid")
        assert target.events() == select.POLLIN
        target.send(target.receive())


def test_the_filter_s_data_does_not_arrive() -> None:
    """N14: the low 16 bits of the verdict reach nobody."""
    from unotify.abi.arch import Arch
    from unotify.bpf import compile_filter
    from unotify.kernel import default_kernel

    arch: Arch = default_kernel().arch
    program = compile_filter({arch: {nr("getppid"): 0x7FC0BEEF}}, default=0x7FFF0000).encode()
    with Target(program=program) as target:
        target.call("getppid")
        until(target.listener.pending)
        buffer = bytearray(80)
        assert target.listener.receive_into(buffer)
        assert b"\xef\xbe" not in bytes(buffer[8:16]) + bytes(buffer[20:24])
        assert NOTIF.unpack(buffer)[2] == 0


def waiting_threads(target: Target) -> int:
    """How many of its threads sleep in a notification."""
    tids = os.listdir(f"/proc/{target.pid}/task")
    return sum(target.wchan(int(tid)) == "seccomp_do_user_notification" for tid in tids)


def _return(value: int):  # type: ignore[no-untyped-def]
    from unotify.protocol import Return

    return Return(value)
