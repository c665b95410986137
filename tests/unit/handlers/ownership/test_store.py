"""A store: in memory, and in a file that survives whoever wrote it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from unotify.errors import Conflict, KernelError, Refused
from unotify.handlers.ownership.journal import HEADER, Inode
from unotify.handlers.ownership.remembered import NOTHING, Remembered
from unotify.handlers.ownership.store import Store

ONE, TWO = Inode(1, 10, 5), Inode(1, 11, 6)
MINE = Remembered(7, 8)


def no_handle() -> bytes:
    """Nobody needs it."""
    raise AssertionError("a handle was asked for")


def set_to(store: Store, inode: Inode, found: Remembered) -> None:
    """Remember *found*."""
    store.change(inode, lambda _: found, no_handle)


def test_survives(tmp_path: Path) -> None:
    """What was remembered is there in the next run; what was forgotten is not."""
    path = tmp_path / "store"
    with Store(path) as store:
        set_to(store, ONE, MINE)
        set_to(store, TWO, Remembered(1))
        set_to(store, TWO, NOTHING)
    with Store(path) as store:
        assert store.find(ONE, no_handle) == MINE
        assert store.find(TWO, no_handle) is None
        assert len(store) == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_a_file() -> None:
    """It does the same, for as long as it lives."""
    with Store() as store:
        set_to(store, ONE, MINE)
        assert store.find(ONE, no_handle) == MINE
        assert store.guarded() is None


def test_another_file_of_the_same_number() -> None:
    """One that was born at another time is somebody else, and takes the place."""
    with Store() as store:
        set_to(store, ONE, MINE)
        later = ONE._replace(born=9)
        assert store.find(later, no_handle) is None
        set_to(store, later, Remembered(3))
        assert store.find(ONE, no_handle) is None
        assert store.find(later, no_handle) == Remembered(3)


def test_dead_but_open(tmp_path: Path) -> None:
    """A file without a name is known by its handle, in memory alone."""
    with Store(tmp_path / "store") as store:
        set_to(store, ONE, MINE)
        store.bury(ONE, lambda: b"handle")
        assert len(store) == 0
        assert store.find(ONE, lambda: b"handle") == MINE
        # A new file of that number and age is another one.
        assert store.find(ONE, lambda: b"other") is None
        store.change(ONE, lambda found: Remembered(9), lambda: b"handle", nameless=True)
        assert store.find(ONE, lambda: b"handle") == Remembered(9)
        store.change(ONE, lambda found: found, lambda: b"handle")  # it got a name
        assert store.find(ONE, no_handle) == Remembered(9)
    with Store(tmp_path / "store") as store:
        assert store.find(ONE, no_handle) == Remembered(9)


def test_nobody_is_buried_for_another() -> None:
    """A file that is not known, or was born at another time, takes nothing along."""
    with Store() as store:
        set_to(store, ONE, MINE)
        store.bury(TWO, no_handle)
        store.bury(ONE._replace(born=1), no_handle)
        assert store.find(ONE, no_handle) == MINE


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """The second one is told so, and the first one goes on."""
    path = tmp_path / "store"
    with Store(path) as store:
        with pytest.raises(Conflict, match="another run has the store") as caught:
            Store(path)
        assert caught.value.hint
        set_to(store, ONE, MINE)
    with Store(path) as store:
        assert store.find(ONE, no_handle) == MINE


def test_torn_by_a_crash(tmp_path: Path) -> None:
    """A last line that is not whole is dropped, and what comes next is not damaged by it."""
    path = tmp_path / "store"
    with Store(path) as store:
        set_to(store, ONE, MINE)
        set_to(store, TWO, MINE)
    path.write_bytes(path.read_bytes()[:-5])
    with Store(path) as store:
        assert store.find(ONE, no_handle) == MINE
        assert store.find(TWO, no_handle) is None
        set_to(store, TWO, Remembered(2))
    with Store(path) as store:
        assert store.find(TWO, no_handle) == Remembered(2)


@pytest.mark.parametrize("content", [b"", HEADER[:5], HEADER])
def test_empty(tmp_path: Path, content: bytes) -> None:
    """A file with nothing in it yet is a new store."""
    path = tmp_path / "store"
    path.write_bytes(content)
    with Store(path) as store:
        set_to(store, ONE, MINE)
    assert path.read_bytes().startswith(HEADER)


def test_no_store(tmp_path: Path) -> None:
    """Any other file is left alone; so are directories, and paths that lead nowhere."""
    path = tmp_path / "letter"
    path.write_text("Dear Sir\n")
    with pytest.raises(Conflict, match="is no store"):
        Store(path)
    assert path.read_text() == "Dear Sir\n"
    with pytest.raises(KernelError, match="directory"):
        Store(tmp_path)
    with pytest.raises(KernelError):
        Store(tmp_path / "no" / "store")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(Conflict, match="no regular file"):
        Store(tmp_path / "fifo")


def test_damage_is_told(tmp_path: Path) -> None:
    """A line that was changed is named; nothing is made up for it."""
    path = tmp_path / "store"
    with Store(path) as store:
        set_to(store, ONE, MINE)
        set_to(store, TWO, MINE)
    path.write_bytes(path.read_bytes().replace(b"[1,10,5,7", b"[1,10,5,0"))
    with pytest.raises(Conflict, match="damaged: line 2"):
        Store(path)


def test_history_is_left_behind(tmp_path: Path) -> None:
    """A file that is mostly history is written anew, also behind a link, and stays locked."""
    real, path = tmp_path / "real", tmp_path / "store"
    path.symlink_to("real")
    with Store(path) as store:
        for number in range(600):
            set_to(store, ONE, Remembered(number))
    (tmp_path / "real.new").write_text("of a run that was killed here")
    with Store(path) as store:
        assert real.read_bytes().count(b"\n") == 2
        assert store.find(ONE, no_handle) == Remembered(599)
        with pytest.raises(Conflict, match="another run"):
            Store(path)
        set_to(store, TWO, MINE)
    assert path.is_symlink()
    assert not (tmp_path / "real.new").exists()
    with Store(path) as store:
        assert len(store) == 2


def test_what_is_guarded(tmp_path: Path) -> None:
    """The file, and each directory above it."""
    path = tmp_path / "a" / "store"
    path.parent.mkdir()
    with Store(path) as store:
        guarded = store.guarded()
        assert guarded is not None
        own, above = guarded
        assert own[:2] == (path.stat().st_dev, path.stat().st_ino)
        numbers = [inode[:2] for inode in above]
        for directory in (path.parent, tmp_path, Path("/")):
            assert (directory.stat().st_dev, directory.stat().st_ino) in numbers


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that cannot be written is refused with the errno, and leaves no part of a line."""
    path = tmp_path / "store"
    with Store(path) as store:
        set_to(store, ONE, MINE)
        write = os.write

        def full(fd: int, data: bytes) -> int:
            if len(data) < 10:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(fd, data[: len(data) - 5])

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(Refused) as caught:
                set_to(store, TWO, MINE)
        assert caught.value.errno == errno.ENOSPC
        assert store.find(TWO, no_handle) is None
        set_to(store, TWO, Remembered(4))
    with Store(path) as store:
        assert store.find(TWO, no_handle) == Remembered(4)
        assert store.find(ONE, no_handle) == MINE


def test_nothing_is_written_for_nothing(tmp_path: Path) -> None:
    """A change that changes nothing takes no room."""
    path = tmp_path / "store"
    with Store(path) as store:
        set_to(store, ONE, MINE)
        size = path.stat().st_size
        set_to(store, ONE, MINE)
        set_to(store, TWO, NOTHING)
        assert path.stat().st_size == size
