"""Reading memory, against a scripted process_vm_readv."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading

import pytest

from unotify.abi.types import Address, Tid
from unotify.errors import BadAddress, KernelError, LocalProtocolError, PathTooLong, TargetGone
from unotify.kernel import memory as module
from unotify.kernel.memory import MAX_READ, LinuxMemory

PAGE = os.sysconf("SC_PAGESIZE")
BASE = 0x10000
TID = Tid(2**22 + 1)  # above pid_max: nobody has it


class AddressSpace:
    """Stands for process_vm_readv: serves some bytes at `BASE`, stops at their end."""

    def __init__(self, content: bytes = b"", refusal: int = 0) -> None:
        self.content = content
        self.refusal = refusal
        self.reads: list[tuple[int, int]] = []

    def __call__(self, tid: int, ours: int, n: int, theirs: int, m: int, flags: int) -> int:
        """One call; the iovecs are looked at where they really are."""
        assert (tid, n, m, flags) == (TID, 1, 1, 0)
        base, room = struct.unpack("@PN", ctypes.string_at(ours, struct.calcsize("@PN")))
        address, length = struct.unpack("@PN", ctypes.string_at(theirs, struct.calcsize("@PN")))
        assert room == length
        self.reads.append((address, length))
        data = self.content[max(address - BASE, 0) :][:length] if address >= BASE else b""
        if self.refusal or not data:
            ctypes.set_errno(self.refusal or errno.EFAULT)
            return -1
        ctypes.memmove(base, data, len(data))
        return len(data)


class Fixture:
    """A memory over a scripted address space, and whether its notification waits."""

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.valid = True
        self.memory = LinuxMemory(TID, lambda: self.valid)


@pytest.fixture(name="over")
def _over(monkeypatch: pytest.MonkeyPatch) -> Fixture:
    space = AddressSpace()
    monkeypatch.setattr(module, "_readv", space)
    monkeypatch.setattr(module, "_read_string", None)
    return Fixture(space)


@pytest.mark.parametrize("length", [1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, MAX_READ])
def test_lengths_around_a_page(over: Fixture, length: int) -> None:
    """The prepared page serves short reads, longer ones get room of their own; one call each."""
    over.space.content = os.urandom(MAX_READ)
    assert over.memory.read(Address(BASE), length) == over.space.content[:length]
    assert over.space.reads == [(BASE, length)]


def test_nothing_is_read_for_no_bytes(over: Fixture) -> None:
    """Zero bytes touch no memory, whatever the address."""
    assert over.memory.read(Address(0), 0) == b""
    assert over.space.reads == []


@pytest.mark.parametrize("length", [-1, MAX_READ + 1])
def test_absurd_lengths_are_refused(over: Fixture, length: int) -> None:
    """A target must not make us fill our memory; the bound is checked before the read."""
    with pytest.raises(LocalProtocolError, match=f"read of {length} bytes"):
        over.memory.read(Address(BASE), length)
    assert over.space.reads == []


def test_a_short_read_is_a_bad_address(over: Fixture) -> None:
    """M1: a short count means that the next byte could not be read by the target either."""
    over.space.content = b"abc"
    with pytest.raises(BadAddress, match=f"{BASE + 3:#x}"):
        over.memory.read(Address(BASE), 4)


@pytest.mark.parametrize("offset", [0, 1, PAGE - 4, PAGE - 3, PAGE - 1])
def test_a_string_is_read_page_by_page(over: Fixture, offset: int) -> None:
    """M4, M5: no read crosses a page, and no page after the NUL is touched."""
    over.space.content = bytes(offset).replace(b"\0", b"x") + b"abc\0" + b"y" * (2 * PAGE)
    assert over.memory.read_string(Address(BASE + offset), 4096) == b"abc"
    for address, length in over.space.reads:
        assert address // PAGE == (address + length - 1) // PAGE
    assert over.space.reads[-1][0] <= BASE + offset + 3


@pytest.mark.parametrize(("limit", "fits"), [(0, False), (3, False), (4, True), (5, True)])
def test_the_limit_of_a_string_includes_its_nul(over: Fixture, limit: int, fits: bool) -> None:
    """M5: a string of three characters takes four bytes; less is ENAMETOOLONG, not a cut."""
    over.space.content = b"abc\0rest"
    if fits:
        assert over.memory.read_string(Address(BASE), limit) == b"abc"
    else:
        with pytest.raises(PathTooLong):
            over.memory.read_string(Address(BASE), limit)
    assert all(length <= limit for _, length in over.space.reads)


def test_a_string_that_runs_into_nothing(over: Fixture) -> None:
    """M5: a fault before the NUL is EFAULT, even when the limit is near."""
    over.space.content = b"a" * PAGE
    with pytest.raises(BadAddress):
        over.memory.read_string(Address(BASE), PAGE + 1)


@pytest.mark.parametrize("address", [-1, 2**63 - 1, 2**63, 2**64 - 1])
def test_what_no_target_has_is_a_bad_address(over: Fixture, address: int) -> None:
    """M9: such numbers never reach a call of ours that would overflow."""
    with pytest.raises(BadAddress):
        over.memory.read(Address(address), 8)
    with pytest.raises(BadAddress):
        over.memory.read_string(Address(address), 8)
    with pytest.raises(BadAddress):
        over.memory.write(Address(address), b"12345678")


def test_each_read_asks_whether_the_notification_waits(over: Fixture) -> None:
    """M6: what was read of a target that is gone is thrown away; a bad address of it, too."""
    over.space.content = b"abc\0"
    over.valid = False
    for attempt in (
        lambda: over.memory.read(Address(BASE), 2),
        lambda: over.memory.read(Address(BASE), 9),
        lambda: over.memory.read_string(Address(BASE), 9),
        lambda: over.memory.read_string(Address(BASE), 2),
        lambda: over.memory.write(Address(BASE), b"x"),
    ):
        with pytest.raises(TargetGone):
            attempt()


def test_a_thread_that_is_not_there(over: Fixture) -> None:
    """ESRCH: the target has died, whatever the notification says."""
    over.space.refusal = errno.ESRCH
    with pytest.raises(TargetGone):
        over.memory.read(Address(BASE), 1)


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.ENOSYS])
def test_the_second_way_finds_nobody(over: Fixture, refusal: int) -> None:
    """M3: where process_vm_readv is refused /proc/TID/mem is tried; of the dead there is none."""
    over.space.refusal = refusal
    with pytest.raises(TargetGone):
        over.memory.read(Address(BASE), 1)


@pytest.mark.parametrize("valid", [True, False])
def test_both_ways_are_refused(over: Fixture, monkeypatch: pytest.MonkeyPatch, valid: bool) -> None:
    """M3, P8: no rights is an error with a hint; unless the number is somebody else's by now."""

    def refused(path: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, "refused")

    monkeypatch.setattr(os, "open", refused)
    over.space.refusal = errno.EPERM
    over.valid = valid
    if valid:
        with pytest.raises(KernelError) as caught:
            over.memory.read(Address(BASE), 1)
        assert caught.value.errno == errno.EPERM
        assert "ptrace rights" in str(caught.value.hint)
    else:
        with pytest.raises(TargetGone):
            over.memory.read(Address(BASE), 1)


def test_an_errno_that_nobody_foresaw(over: Fixture) -> None:
    """Anything else is an error of ours, and says which call failed."""
    over.space.refusal = errno.ENOMEM
    with pytest.raises(KernelError) as caught:
        over.memory.read(Address(BASE), 1)
    assert (caught.value.errno, caught.value.call) == (errno.ENOMEM, "process_vm_readv(2)")


def test_a_read_inside_a_read_has_its_own_page(
    over: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler, or another thread, that reads meanwhile does not spoil the page."""
    over.space.content = b"outer" + b"inner"
    inner: list[bytes] = []

    def readv(*arguments: int) -> int:
        done = over.space(*arguments)  # type: ignore[arg-type]
        if not inner:
            inner.append(b"")
            inner[0] = over.memory.read(Address(BASE + 5), 5)
        return done

    monkeypatch.setattr(module, "_readv", readv)
    assert over.memory.read(Address(BASE), 5) == b"outer"
    assert inner == [b"inner"]


def test_threads_read_side_by_side(over: Fixture) -> None:
    """Eight threads, each with its own address: nobody gets another one's bytes."""
    over.space.content = b"".join(bytes([65 + number]) * 64 for number in range(8))
    wrong: list[bytes] = []

    def work(number: int) -> None:
        for _ in range(200):
            got = over.memory.read(Address(BASE + 64 * number), 64)
            if got != bytes([65 + number]) * 64:
                wrong.append(got)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
