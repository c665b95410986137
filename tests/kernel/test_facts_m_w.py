"""Memory (M1 to M9) and the wake-up flag (W1, W3)."""

from __future__ import annotations

import errno
import os

import pytest

from tests.kernel.targets import Target
from unotify.abi.seccomp import ListenerFlag
from unotify.abi.types import Address
from unotify.errors import BadAddress, KernelError, LocalProtocolError, PathTooLong, TargetGone
from unotify.kernel.memory import MAX_READ, LinuxMemory
from unotify.kernel.thread import LinuxThread

PAGE = os.sysconf("SC_PAGESIZE")


class Waiting:
    """A target that waits in a call, with four pages of which the last is unreadable."""

    def __init__(self, target: Target) -> None:
        self.base = int(target.ask("map", pages=4)["address"])
        for page in range(3):
            data = bytes([65 + page]) * PAGE
            target.ask("poke", address=self.base + page * PAGE, hex=data.hex())
        target.ask("protect", address=self.base + 3 * PAGE, length=PAGE, prot=0)
        target.call("getppid")
        self.exchange = target.receive()
        self.thread = LinuxThread(
            self.exchange.tid, lambda: target.listener.is_valid(self.exchange.id)
        )
        self.memory = self.thread.memory

    def at(self, offset: int) -> Address:
        """An address in the four pages."""
        return Address(self.base + offset)


@pytest.fixture(name="target")
def _target():  # type: ignore[no-untyped-def]
    with Target("getppid") as target:
        yield target


def test_reads_end_where_the_target_s_own_would(target: Target) -> None:
    """M1, M2: up to the last readable byte; PROT_NONE is a bad address, however we read."""
    waiting = Waiting(target)
    assert waiting.memory.read(waiting.at(0), 10) == b"A" * 10
    assert waiting.memory.read(waiting.at(PAGE - 1), 2) == b"A" + b"B"
    assert waiting.memory.read(waiting.at(2 * PAGE), PAGE) == b"C" * PAGE
    for offset, length in ((3 * PAGE - 1, 2), (3 * PAGE, 1), (0, 4 * PAGE)):
        with pytest.raises(BadAddress):
            waiting.memory.read(waiting.at(offset), length)
    assert waiting.memory.read(waiting.at(3 * PAGE), 0) == b""
    waiting.thread.close()


def test_strings_may_end_at_the_edge_of_a_page(target: Target) -> None:
    """M5: read page by page to the NUL; no NUL is an error, not a cut."""
    base = int(target.ask("map", pages=2)["address"])
    target.ask("protect", address=base + PAGE, length=PAGE, prot=0)
    edge = base + PAGE - 6
    target.ask("poke", address=edge, hex=b"hello\0".hex())
    waiting = Waiting(target)
    read = waiting.memory.read_string
    assert read(Address(edge), 4096) == b"hello"
    assert read(Address(edge), 6) == b"hello"
    assert read(Address(edge + 5), 4096) == b""
    with pytest.raises(PathTooLong):
        read(Address(edge), 5)
    with pytest.raises(PathTooLong):
        read(waiting.at(0), 2 * PAGE)
    with pytest.raises(BadAddress):
        read(waiting.at(2 * PAGE + 1), 4096)
    waiting.thread.close()


@pytest.mark.parametrize("address", [0, 1, 1 << 47, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_no_address_is_an_error_of_ours(target: Target, address: int) -> None:
    """M9: what no program can have is EFAULT, 2**63 and above included."""
    waiting = Waiting(target)
    with pytest.raises(BadAddress) as caught:
        waiting.memory.read(Address(address), 8)
    assert caught.value.errno == errno.EFAULT
    with pytest.raises(BadAddress):
        waiting.memory.read_string(Address(address), 100)
    with pytest.raises(BadAddress):
        waiting.memory.write(Address(address), b"x")
    waiting.thread.close()


def test_a_read_of_a_target_that_went_away_is_thrown_away(target: Target) -> None:
    """M6: the id is asked after each read; also for the dead."""
    waiting = Waiting(target)
    target.send(waiting.exchange)
    target.answer()
    with pytest.raises(TargetGone):
        waiting.memory.read(waiting.at(0), 1)
    target.process.kill()
    target.process.wait()
    with pytest.raises(TargetGone):
        waiting.memory.read_string(waiting.at(0), 10)
    waiting.thread.close()


def test_a_target_cannot_make_us_read_too_much(target: Target) -> None:
    """A length comes from a register: it has a bound of its own."""
    waiting = Waiting(target)
    for length in (-1, MAX_READ + 1, 1 << 63):
        with pytest.raises(LocalProtocolError):
            waiting.memory.read(waiting.at(0), length)
    waiting.thread.close()


def test_writes_go_where_the_target_could_write(target: Target) -> None:
    """M2, M8: a page that the target itself cannot write is a bad address."""
    base = int(target.ask("map", pages=1)["address"])
    target.ask("protect", address=base, length=PAGE, prot=1)
    waiting = Waiting(target)
    waiting.memory.write(waiting.at(5), b"written")
    assert waiting.memory.read(waiting.at(4), 9) == b"AwrittenA"
    with pytest.raises(BadAddress):
        waiting.memory.write(Address(base), b"x")
    assert waiting.memory.read(Address(base), 1) == b"\0"
    waiting.thread.close()


def test_mem_serves_where_process_vm_readv_is_refused(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M2, M3: /proc/TID/mem is the second way; it ends at unmapped pages all the same."""
    import ctypes

    from unotify.kernel import memory

    def refused(*_: object) -> int:
        ctypes.set_errno(errno.ENOSYS)
        return -1

    monkeypatch.setattr(memory, "_readv", refused)
    waiting = Waiting(target)
    assert waiting.memory.read(waiting.at(PAGE - 1), 2) == b"AB"
    with pytest.raises(BadAddress):
        waiting.memory.read(Address(4096), 1)
    with pytest.raises(PathTooLong):
        waiting.memory.read_string(waiting.at(0), 100)
    assert isinstance(waiting.memory, LinuxMemory)
    waiting.thread.close()


def test_the_wake_up_flag_is_a_value_and_others_are_refused(target: Target) -> None:
    """W1, W3: by value, not by pointer; unknown bits are EINVAL; 0 clears."""
    target.listener.set_flags(ListenerFlag.SYNC_WAKE_UP)
    target.listener.set_flags(ListenerFlag(0))
    with pytest.raises(KernelError):
        target.listener.set_flags(ListenerFlag(2))
    target.call("getppid")
    assert target.send(target.receive(), value=4)
    assert target.answer()["ret"] == 4
