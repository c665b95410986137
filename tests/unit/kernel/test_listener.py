"""The listener's ioctls, against a scripted kernel."""

from __future__ import annotations

import copy
import errno
import os
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from unotify.abi.seccomp import ListenerFlag
from unotify.abi.structs import ADDFD, NOTIF_SIZES, RESPONSE, NotifSizes
from unotify.abi.types import NotificationId
from unotify.errors import KernelError, KernelProtocolError, TargetGone, Unsupported
from unotify.kernel import listener as module
from unotify.kernel._libc import NATIVE
from unotify.kernel.listener import LinuxListener

IOCTLS = NATIVE.ioctls
ID = NotificationId(2**64 - 1)
RESPONSE_BYTES = RESPONSE.pack(ID, 0, 0, 0)


class Script:
    """Stands for fcntl.ioctl: answers from a list; an int is returned, an errno name raised."""

    def __init__(self) -> None:
        self.answers: list[int | str] = []
        self.calls: list[tuple[int, Any]] = []

    def __call__(self, fd: int, number: int, argument: Any = 0, mutate: bool = True) -> int:
        """One ioctl."""
        given = bytes(argument) if isinstance(argument, bytearray) else argument
        self.calls.append((number, given))
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            raise OSError(getattr(errno, answer), answer)
        return answer


@pytest.fixture(name="script")
def _script(monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Script()
    monkeypatch.setattr(module, "ioctl", script)
    return script


@pytest.fixture(name="listener")
def _listener() -> Iterator[LinuxListener]:
    with LinuxListener(os.open(os.devnull, os.O_RDONLY), sizes=NOTIF_SIZES) as listener:
        yield listener


OPERATIONS: list[Callable[[LinuxListener], object]] = [
    lambda listener: listener.receive_into(bytearray(80)),
    lambda listener: listener.send(RESPONSE_BYTES),
    lambda listener: listener.is_valid(ID),
    lambda listener: listener.add_fd(ID, 0),
    lambda listener: listener.set_flags(ListenerFlag.SYNC_WAKE_UP),
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_interrupted_ioctl_is_made_again(
    script: Script, listener: LinuxListener, operation: Callable[[LinuxListener], object]
) -> None:
    """A13, I12: EINTR means that nothing was done, so each ioctl is retried, unchanged."""
    script.answers = ["EINTR", "EINTR", 0]
    operation(listener)
    assert len(script.calls) == 3
    assert len(set(script.calls)) == 1


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", ["ENODEV", "EBADF", "EFAULT"])
def test_an_unexpected_errno_is_a_kernel_error_with_that_errno(
    script: Script,
    listener: LinuxListener,
    operation: Callable[[LinuxListener], object],
    name: str,
) -> None:
    """What is no part of a notification's life surfaces, with its errno and the call's name."""
    script.answers = [name]
    with pytest.raises(KernelError) as caught:
        operation(listener)
    assert getattr(errno, name) == caught.value.errno
    assert caught.value.call.startswith("ioctl(SECCOMP_IOCTL_NOTIF_")


@pytest.mark.parametrize("operation", [*OPERATIONS, lambda listener: listener.pending()])
def test_a_closed_listener_is_ebadf(operation: Callable[[LinuxListener], object]) -> None:
    """After close each operation fails with EBADF, and never reaches another descriptor."""
    listener = LinuxListener(os.open(os.devnull, os.O_RDONLY), sizes=NOTIF_SIZES)
    listener.close()
    with pytest.raises(KernelError, match="closed") as caught:
        operation(listener)
    assert caught.value.errno == errno.EBADF


def test_the_buffer_is_zeroed_before_each_try(
    monkeypatch: pytest.MonkeyPatch, listener: LinuxListener
) -> None:
    """N5: the kernel sees zeros, also when an interrupted try has written into the buffer."""
    seen = []

    def ioctl(fd: int, number: int, buffer: bytearray, mutate: bool) -> int:
        seen.append(bytes(buffer))
        buffer[:] = b"\xff" * 80
        if len(seen) == 1:
            raise InterruptedError(errno.EINTR, "")
        return 0

    monkeypatch.setattr(module, "ioctl", ioctl)
    buffer = bytearray(b"\xee" * 80)
    assert listener.receive_into(buffer)
    assert [bytes(80)] * 2 == seen
    assert buffer == b"\xff" * 80


def test_enoent_is_life_and_no_error(script: Script, listener: LinuxListener) -> None:
    """N8, N9, N10: ENOENT says that there is nobody, for RECV, SEND and ID_VALID."""
    script.answers = ["ENOENT"] * 3
    assert not listener.receive_into(bytearray(80))
    assert not listener.send(RESPONSE_BYTES)
    assert not listener.is_valid(ID)


def test_a_second_answer_is_told_by_false(script: Script, listener: LinuxListener) -> None:
    """N10: EINPROGRESS means that the first answer stands."""
    script.answers = ["EINPROGRESS"]
    assert not listener.send(RESPONSE_BYTES)


@pytest.mark.parametrize("name", ["ENOENT", "ESRCH", "EINPROGRESS"])
def test_add_fd_to_a_call_that_is_over(script: Script, listener: LinuxListener, name: str) -> None:
    """N11, A12: gone, dying under our hands, or answered before are one thing to the caller."""
    script.answers = [name]
    with pytest.raises(TargetGone):
        listener.add_fd(ID, 0)


def test_add_fd_never_asks_for_the_single_step(script: Script, listener: LinuxListener) -> None:
    """A14: the SEND flag is broken on real kernels, so no ADDFD carries it."""
    script.answers = [5, 7]
    assert listener.add_fd(ID, 3, cloexec=True) == 5
    assert listener.add_fd(ID, 3, at=7) == 7
    assert [
        (IOCTLS.addfd, ADDFD.pack(ID, 0, 3, 0, os.O_CLOEXEC)),
        (IOCTLS.addfd, ADDFD.pack(ID, 1, 3, 7, 0)),
    ] == script.calls


def test_answering_with_a_descriptor_takes_two_steps(
    script: Script, listener: LinuxListener
) -> None:
    """A14: the descriptor goes in, then its number is the answer; each is retried on EINTR."""
    script.answers = ["EINTR", 9, "EINTR", 0]
    assert listener.send_fd(ID, 3)
    assert [IOCTLS.addfd] * 2 + [IOCTLS.send] * 2 == [number for number, _ in script.calls]
    assert RESPONSE.pack(ID, 9, 0, 0) == script.calls[-1][1]


def test_a_descriptor_for_nobody_is_told_by_false(script: Script, listener: LinuxListener) -> None:
    """A call that ends before or between the two steps is no error."""
    script.answers = ["ENOENT"]
    assert not listener.send_fd(ID, 3)
    script.answers = [9, "ENOENT"]
    assert not listener.send_fd(ID, 3)


def test_the_old_number_of_id_valid_is_kept_once_needed(
    script: Script, listener: LinuxListener
) -> None:
    """Before Linux 5.8 only the wrong number works: tried on EINVAL, then used for good."""
    script.answers = ["EINVAL", 0, "ENOENT"]
    assert listener.is_valid(ID)
    assert not listener.is_valid(ID)
    assert [IOCTLS.id_valid, IOCTLS.id_valid_old, IOCTLS.id_valid_old] == [
        number for number, _ in script.calls
    ]


def test_einval_by_both_numbers_is_an_error(script: Script, listener: LinuxListener) -> None:
    """The fallback is tried once, not for ever."""
    script.answers = ["EINVAL", "EINVAL"]
    with pytest.raises(KernelError) as caught:
        listener.is_valid(ID)
    assert caught.value.errno == errno.EINVAL


def test_flags_go_by_value(script: Script, listener: LinuxListener) -> None:
    """W1: SET_FLAGS takes the mask itself, not a pointer to it."""
    script.answers = [0]
    listener.set_flags(ListenerFlag.SYNC_WAKE_UP)
    assert [(IOCTLS.set_flags, 1)] == script.calls


def test_unknown_flags_are_a_missing_feature(script: Script, listener: LinuxListener) -> None:
    """W3: EINVAL says that the kernel is older than the flag."""
    script.answers = ["EINVAL"]
    with pytest.raises(Unsupported) as caught:
        listener.set_flags(ListenerFlag.SYNC_WAKE_UP)
    assert caught.value.feature == "sync-wake-up"


def test_a_larger_kernel_gets_larger_buffers(script: Script) -> None:
    """Structs that have grown are no obstacle: our part is at their beginning."""
    sizes = NotifSizes(96, 32, 80)
    with LinuxListener(os.open(os.devnull, os.O_RDONLY), sizes=sizes) as listener:
        script.answers = [0, 9, 0]
        buffer = bytearray()
        listener.receive_into(buffer)
        assert len(buffer) == 96
        listener.send_fd(ID, 3)
        assert RESPONSE.pack(ID, 9, 0, 0) + bytes(8) == script.calls[-1][1]
        with pytest.raises(ValueError, match="32 bytes, not 24"):
            listener.send(RESPONSE_BYTES)


def test_a_smaller_kernel_is_refused() -> None:
    """Structs that are smaller than ours cannot be served, which is said at once."""
    with pytest.raises(KernelProtocolError):
        LinuxListener(0, sizes=NotifSizes(72, 24, 64))


def test_closing_twice_closes_one_descriptor() -> None:
    """The second close does not touch the number, which may belong to somebody else."""
    listener = LinuxListener(os.open(os.devnull, os.O_RDONLY), sizes=NOTIF_SIZES)
    number = listener.fileno()
    listener.close()
    other = os.open(os.devnull, os.O_RDONLY)
    try:
        assert number == other  # the lowest free number
        listener.close()
        os.fstat(other)
    finally:
        os.close(other)
    assert listener.closed
    assert listener.fileno() == -1


def test_a_forgotten_listener_warns_and_closes() -> None:
    """Its targets would wait for ever: the collector closes it, and says so."""
    listener = LinuxListener(os.open(os.devnull, os.O_RDONLY), sizes=NOTIF_SIZES)
    number = listener.fileno()
    with pytest.warns(ResourceWarning, match="unclosed <LinuxListener"):
        del listener
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_listener_is_not_copied(listener: LinuxListener) -> None:
    """A copy of the object would close the descriptor under the other's feet."""
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied"):
            attempt(listener)


def test_anything_else_than_a_listener_is_named() -> None:
    """from_fd says what the descriptor is, and leaves it to the caller."""
    fd = os.open(os.devnull, os.O_RDONLY)
    try:
        with pytest.raises(KernelError, match="no seccomp listener but /dev/null") as caught:
            LinuxListener.from_fd(fd)
        assert caught.value.errno == errno.EINVAL
    finally:
        os.close(fd)
    with pytest.raises(KernelError) as caught:
        LinuxListener.from_fd(fd)
    assert caught.value.errno == errno.EBADF
