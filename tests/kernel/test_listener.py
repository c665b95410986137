"""The listener on the running kernel, where it differs from a bare descriptor."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
import signal
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.targets import PATIENCE, Target, nr, until
from unotify.abi.structs import NOTIF, NOTIF_SIZES
from unotify.errors import KernelError
from unotify.kernel._libc import NATIVE, libc
from unotify.kernel.listener import LISTENER_LINK, LinuxListener, notif_sizes

RECV = NATIVE.ioctls.recv
PATH = Path("/proc/self/fd")


def listeners() -> list[int]:
    """The descriptors of this process that are listeners."""
    found = []
    for entry in os.listdir(PATH):
        try:
            if os.readlink(PATH / entry) == LISTENER_LINK:
                found.append(int(entry))
        except FileNotFoundError:
            pass  # the one of the look itself
    return found


def test_the_kernel_tells_its_sizes() -> None:
    """The running kernel's structs are at least ours."""
    assert all(theirs >= ours for theirs, ours in zip(notif_sizes(), NOTIF_SIZES, strict=True))


def test_a_forked_process_has_no_copy() -> None:
    """R7: os.fork closes the listener there, and the parent's copy serves on."""
    with Target("getppid") as target:
        pid = os.fork()
        if pid == 0:
            os._exit(10 * len(listeners()) + (not target.listener.closed))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert listeners() == [target.listener.fileno()]
        target.call("getppid")
        assert target.send(target.receive(), value=3)
        assert target.answer()["ret"] == 3


def test_targets_do_not_wait_for_a_forked_helper_of_a_dead_supervisor() -> None:
    """R4, R7: the supervisor is killed, its helper lives on, and targets get ENOSYS."""
    with Target("getppid") as target:
        reading, writing = os.pipe()
        copy = os.dup(target.listener.fileno())  # not known to the listener: a fork keeps it
        supervisor = os.fork()
        if supervisor == 0:
            with LinuxListener(copy):
                if os.fork() == 0:
                    os.write(writing, struct.pack("=i", os.getpid()))
                signal.pause()
            os._exit(0)
        os.close(copy)
        os.close(writing)
        target.listener.close()
        helper = struct.unpack("=i", os.read(reading, 4))[0]
        try:
            target.call("getppid")
            until(lambda: target.wchan() == "seccomp_do_user_notification")
            os.kill(supervisor, signal.SIGKILL)
            os.waitpid(supervisor, 0)
            assert target.answer() == {"ret": -1, "errno": errno.ENOSYS}
            os.kill(helper, 0)  # it is still there
        finally:
            os.kill(helper, signal.SIGKILL)
            os.close(reading)


def test_a_handler_that_raises_ends_a_blocked_receive() -> None:
    """Ctrl-C works while nothing is pending, and the listener is as good as before."""

    class Enough(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise Enough

    with Target("getppid") as target:
        previous = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            with pytest.raises(Enough):
                target.listener.receive_into(bytearray(80))
        finally:
            signal.signal(signal.SIGALRM, previous)
        target.call("getppid")
        assert target.send(target.receive(), value=3)
        assert target.answer()["ret"] == 3


def test_a_handler_that_returns_does_not_end_it() -> None:
    """I12: EINTR from RECV is retried, as often as it comes."""
    seen: list[int] = []
    with Target("getppid") as target:

        def handler(number: int, frame: object) -> None:
            seen.append(number)
            if len(seen) == 5:
                target.call("getppid")

        previous = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
            buffer = bytearray(80)
            assert target.listener.receive_into(buffer)
            signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.signal(signal.SIGALRM, previous)
        assert len(seen) >= 5
        assert NOTIF.unpack(buffer)[1] == target.pid


def test_a_buffer_of_any_length_becomes_the_right_one() -> None:
    """N5: what was in it, and how much, does not matter."""
    with Target("getppid") as target:
        for buffer in (bytearray(), bytearray(b"\xff" * 80), bytearray(b"\xff" * 500)):
            target.call("getppid")
            assert target.listener.receive_into(buffer)
            assert len(buffer) == target.listener.sizes.notif
            assert target.listener.send(buffer[:8] + bytes(16))
            target.answer()


@pytest.mark.parametrize("dirty", range(80))
def test_each_byte_of_the_buffer_has_to_be_zero(dirty: int, waiting: Target) -> None:
    """N5: one wrong byte anywhere is EINVAL, and the notification stays pending."""
    buffer = bytearray(80)
    buffer[dirty] = 1
    with pytest.raises(OSError, match="Invalid argument"):
        fcntl.ioctl(waiting.listener.fileno(), RECV, buffer, True)
    assert waiting.listener.pending()


@pytest.fixture(scope="module", name="waiting")
def _waiting() -> Iterator[Target]:
    with Target("getppid") as target:
        target.call("getppid")
        until(target.listener.pending)
        yield target


def test_a_fault_in_the_copy_puts_the_notification_back() -> None:
    """N6: zeros that cannot be overwritten are EFAULT, and the next RECV gets it after all."""
    page = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    mprotect, ioctl = libc["mprotect"], libc["ioctl"]
    mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
    assert mprotect(address, mmap.PAGESIZE, mmap.PROT_READ) == 0
    with Target("getppid") as target:
        target.call("getppid")
        until(target.listener.pending)
        assert ioctl(target.listener.fileno(), RECV, address) == -1
        assert ctypes.get_errno() == errno.EFAULT
        assert target.listener.pending()
        assert target.send(target.receive(), value=3)
        assert target.answer()["ret"] == 3


def test_all_pollers_wake_for_one_notification() -> None:
    """E9: each of two looks says IN; after one has received, RECV of the other would block."""
    with Target("getppid") as target:
        pollers = [select.poll(), select.poll()]
        for poller in pollers:
            poller.register(target.listener.fileno(), select.POLLIN)
        target.call("getppid")
        until(target.listener.pending)
        assert [poller.poll(0)[0][1] for poller in pollers] == [select.POLLIN] * 2

        exchange = target.receive()
        results: list[bool] = []
        loser = threading.Thread(
            target=lambda: results.append(target.listener.receive_into(bytearray(80)))
        )
        loser.start()
        call = Path(f"/proc/self/task/{loser.native_id}/syscall")
        until(lambda: f" {RECV:#x} " in call.read_text())
        assert results == []
        target.send(exchange)
        target.answer()
        target.call("getppid")  # which the loser gets
        loser.join(PATIENCE)
        assert results == [True]


def test_a_user_that_waits_holds_the_hangup_off() -> None:
    """E7: as long as a notification is pending nobody is told that all have gone."""
    with Target("getppid") as target:
        pid = target.ask("fork", nr=nr("getppid"))["pid"]
        until(target.listener.pending)
        target.start("exit")
        target.process.wait()
        assert target.events(0) == select.POLLIN
        os.kill(pid, signal.SIGKILL)
        until(lambda: target.events(0) == select.POLLHUP)


def test_closing_in_one_thread_and_using_in_another() -> None:
    """After a close elsewhere each operation is EBADF, in words."""
    with Target("getppid") as target:
        closer = threading.Thread(target=target.listener.close)
        closer.start()
        closer.join()
        with pytest.raises(KernelError, match="the listener is closed"):
            target.listener.pending()
