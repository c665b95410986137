"""The journal: a file in memory that says what was received and not answered."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator

import pytest

from unotify.abi.structs import NOTIF
from unotify.errors import KernelError
from unotify.kernel import journal as module
from unotify.kernel.journal import MOST_RECORD, Journal

SIZE = NOTIF.size


def notification(id: int) -> bytes:
    """One that came in."""
    return NOTIF.pack(id, 7, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)


@pytest.fixture(name="journal")
def _journal() -> Iterator[Journal]:
    journal = Journal.create(SIZE, b"whose it is")
    yield journal
    journal.close()


def successor(journal: Journal) -> Journal:
    """What another process makes of a copy."""
    return Journal.adopt(os.dup(journal.fileno()))


def write(journal: Journal, slot: int, data: bytes) -> None:
    """As the kernel writes: at an address."""
    ctypes.memmove(journal.address(slot), data, len(data))


def test_a_successor_finds_what_was_written(journal: Journal) -> None:
    """What is in a slot is in the copy, with its slot; empty slots are not told of."""
    slots = [journal.take() for _ in range(3)]
    assert None not in slots
    for number in (0, 2):
        write(journal, slots[number] or 0, notification(100 + number))
    other = successor(journal)
    assert {(entry.slot, entry.notification, entry.tries) for entry in other.entries()} == {
        (slots[0], notification(100), 0),
        (slots[2], notification(102), 0),
    }
    assert other.record == b"whose it is"
    other.close()


def test_a_slot_that_is_put_back_is_all_zero(journal: Journal) -> None:
    """The kernel refuses a buffer that is not (N5); what was counted is forgotten too."""
    slot = journal.take()
    assert slot is not None
    write(journal, slot, b"\xff" * SIZE)
    journal.tried(slot)
    journal.put_back(slot)
    assert journal.take() == slot
    assert bytes(journal.notification(slot)) == bytes(SIZE)
    assert journal.entries() == []
    write(journal, slot, notification(1))
    assert journal.entries()[0].tries == 0


def test_each_try_is_counted_across_successors(journal: Journal) -> None:
    """A call that several have died of can be told."""
    slot = journal.take()
    assert slot is not None
    write(journal, slot, notification(1))
    for tries in range(3):
        other = successor(journal)
        assert [entry.tries for entry in other.entries()] == [tries]
        other.tried(slot)
        other.close()


def test_slots_are_never_given_twice(journal: Journal) -> None:
    """Not while they are in use, not by a successor, and not after it has grown."""
    taken = [journal.take() for _ in range(len(journal))]
    assert journal.take() is None
    assert len(set(taken)) == len(journal)
    journal.grow()
    slot = journal.take()
    assert slot is not None
    assert slot not in taken
    write(journal, slot, notification(5))
    other = successor(journal)
    assert len(other) == len(journal) == 2 * len(taken)
    given = [other.take() for _ in range(len(other) - 1)]
    assert other.take() is None
    assert slot not in given
    assert [entry.slot for entry in other.entries()] == [slot]
    # Each slot has its own place.
    for number in given:
        write(other, number or 0, notification(1000 + (number or 0)))
    assert {entry.notification for entry in journal.entries()} == {
        notification(5),
        *(notification(1000 + (number or 0)) for number in given),
    }
    other.close()


def test_growth_ends(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target cannot make us fill our memory."""
    monkeypatch.setattr(module, "_MOST_SLOTS", 2 * len(journal))
    journal.grow()
    with pytest.raises(KernelError, match="full") as caught:
        journal.grow()
    assert caught.value.errno == errno.ENOMEM


def test_a_larger_struct_of_a_newer_kernel_has_room() -> None:
    """Slots are as large as this kernel's notification."""
    journal = Journal.create(SIZE + 100)
    slot = journal.take()
    assert slot is not None
    write(journal, slot, b"\1" * (SIZE + 100))
    other = successor(journal)
    assert other.size == SIZE + 100
    assert other.entries()[0].notification == b"\1" * (SIZE + 100)
    assert other.entries()[0].tries == 0
    journal.close()
    other.close()


def test_a_record_is_the_old_or_the_new_one(journal: Journal) -> None:
    """Whoever dies while it is written leaves the one before; the last eight bytes decide."""
    fd = journal.fileno()
    journal.record = b"second"
    written: list[tuple[int, int]] = []

    def pwrite(fd: int, data: bytes, at: int) -> int:
        written.append((len(data), at))
        other = successor(journal)
        assert other.record == b"second"
        other.close()
        return os_pwrite(fd, data, at)

    os_pwrite = os.pwrite
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        journal.record = b"third, which is longer"
    assert written[-1][0] == 8
    assert journal.record == b"third, which is longer"
    assert fd == journal.fileno()


def test_a_record_has_its_limit(journal: Journal) -> None:
    """It is refused whole, and the one before stays."""
    with pytest.raises(ValueError, match="at most"):
        journal.record = bytes(MOST_RECORD + 1)
    assert journal.record == b"whose it is"
    journal.record = b"x" * MOST_RECORD
    assert journal.record == b"x" * MOST_RECORD
    with pytest.raises(ValueError, match="at most"):
        Journal.create(SIZE, bytes(MOST_RECORD + 1))


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (0, b"somebody"),
        (8, struct.pack("=I", SIZE - 1)),
        (8, struct.pack("=I", 1 << 30)),
        (12, struct.pack("=I", 0)),
        (12, struct.pack("=I", SIZE)),
        (12, struct.pack("=I", 1 << 20)),
    ],
)
def test_what_is_no_journal_is_refused(journal: Journal, at: int, data: bytes) -> None:
    """Another file, or one with nonsense in its head: nothing is mapped, and the fd stays ours."""
    os.pwrite(journal.fileno(), data, at)
    copy = os.dup(journal.fileno())
    with pytest.raises(KernelError, match="no journal"):
        Journal.adopt(copy)
    os.close(copy)


def test_a_file_that_was_cut_off_is_refused(journal: Journal) -> None:
    """So is a pipe, and a file that is as long as no journal is."""
    os.ftruncate(journal.fileno(), os.fstat(journal.fileno()).st_size - 1)
    read, write = os.pipe()
    for fd in (journal.fileno(), read):
        with pytest.raises(KernelError, match="no journal"):
            Journal.adopt(fd)
    os.close(read)
    os.close(write)


def test_nothing_happens_to_a_slot_after_the_end(journal: Journal) -> None:
    """A handler may come to its end after its listener's."""
    slot = journal.take()
    assert slot is not None
    journal.close()
    journal.close()
    journal.put_back(slot)
    assert journal.fileno() == -1
    assert repr(journal) == "<Journal closed>"


def test_pages_that_nobody_touched_take_no_memory(journal: Journal) -> None:
    """A thousand containers shall not cost two gigabytes: three pages, of which one is slots."""
    slot = journal.take()
    assert slot is not None
    write(journal, slot, notification(1))
    journal.put_back(slot)
    assert os.fstat(journal.fileno()).st_blocks * 512 <= 3 * 4096
