"""The text of a store, whole, torn and damaged."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unotify.handlers.ownership.journal import HEADER, Damaged, Inode, line_of, replay, text_of
from unotify.handlers.ownership.remembered import NOTHING, Remembered

numbers = st.none() | st.integers(0, (1 << 32) - 2)
remembered = st.builds(
    Remembered,
    numbers,
    numbers,
    st.none() | st.integers(0, 0o7777),
    st.none() | st.tuples(st.sampled_from([stat.S_IFCHR, stat.S_IFBLK]), st.integers(0, 1 << 32)),
    st.dictionaries(st.text(max_size=9), st.binary(max_size=9), max_size=3),
)
inodes = st.builds(Inode, st.integers(0, 3), st.integers(0, 3), st.integers(0, 1 << 62))


@given(st.lists(st.tuples(inodes, remembered)))
def test_the_last_line_counts(entries: list[tuple[Inode, Remembered]]) -> None:
    """What is read is what was said last of each inode, by number; nothing is said by NOTHING."""
    expected: dict[tuple[int, int], tuple[int, Remembered]] = {}
    for inode, found in entries:
        expected.pop(inode[:2], None)
        if found != NOTHING:
            expected[inode[:2]] = inode.born, found
    text = text_of(entries)
    assert replay(text) == (expected, len(text), len(entries) + 1)


@given(st.lists(st.tuples(inodes, remembered), min_size=1), st.data())
def test_torn(entries: list[tuple[Inode, Remembered]], data: st.DataObject) -> None:
    """A file that ends anywhere has what was whole; nothing else is lost."""
    text = text_of(entries)
    cut = data.draw(st.integers(len(HEADER), len(text) - 1))
    found, whole, _ = replay(text[:cut])
    assert whole <= cut
    assert text[:whole].endswith(b"\n")
    assert replay(text[:whole])[0] == found


def test_damaged() -> None:
    """A changed line in the midst is no store's any more, and it is said which one."""
    one, two = (line_of(Inode(1, number, 0), Remembered(5)) for number in (1, 2))
    with pytest.raises(Damaged) as caught:
        replay(HEADER + one.replace(b"5", b"6") + two)
    assert caught.value.line == 2
    # The last line may have been torn by the machine, whole in length.
    found, whole, _ = replay(HEADER + one + two.replace(b"5", b"6"))
    assert list(found) == [(1, 1)]
    assert whole == len(HEADER + one)
    for text in (b"", b"something else\n", HEADER[:-1]):
        with pytest.raises(Damaged):
            replay(text)
