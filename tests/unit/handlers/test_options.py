"""Options of file systems: read, allowed, and cut down."""

from __future__ import annotations

import errno

import pytest

from unotify.errors import PolicyError, Refused
from unotify.handlers.options import (
    FileSystems,
    Option,
    parse_options,
    parse_size,
    without_more_than,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (",,", []),
        ("ro", [Option("ro")]),
        ("a=1,b=,c", [Option("a", "1"), Option("b", ""), Option("c")]),
        ("a=1=2", [Option("a", "1=2")]),
        ('context="x,y",ro', [Option("context", '"x,y"'), Option("ro")]),
        (r"lowerdir=a\,b,ro", [Option("lowerdir", r"a\,b"), Option("ro")]),
        (r"a=\\,b", [Option("a", r"\\"), Option("b")]),
        (r"a=\",b", [Option("a", r"\""), Option("b")]),
    ],
)
def test_reading(text: str, found: list[Option]) -> None:
    """Commas separate, but after a backslash and in quotes."""
    assert parse_options(text) == found


@pytest.mark.parametrize("text", ['a="b', 'a="b,c', "a=1,b\\"])
def test_what_never_ends(text: str) -> None:
    """A quote or a backslash that is not closed is no option."""
    with pytest.raises(Refused) as caught:
        parse_options(text)
    assert caught.value.errno == 22


def _may(given: dict[str, list[str]] | list[str], fstype: str, text: str) -> bool:
    allowed = FileSystems(given)
    try:
        for option in parse_options(text):
            allowed.require(fstype, option)
    except Refused as refused:
        return refused.errno != errno.EPERM
    return True


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("ro,sync,noload", True),
        ("errors=remount-ro", True),
        ("errors=panic", False),
        ("errors", False),
        ("stripe=4", True),
        ("stripe", False),
        ("debug", True),
        ("debug=1", False),
        ("journal_dev=0x700", False),
        ("ro,suid", False),
        ("size=1k", False),
    ],
)
def test_allowed(text: str, may: bool) -> None:
    """Only what is listed for that file system, or known to be harmless there."""
    assert (
        _may({"ext4": ["errors=remount-ro", "stripe=*", "debug"], "tmpfs": []}, "ext4", text) is may
    )


def test_names_alone() -> None:
    """A list of names has harmless options only."""
    assert _may(["tmpfs", "ext4"], "tmpfs", "size=1m,mode=0755")
    assert not _may(["tmpfs", "ext4"], "tmpfs", "huge=always")
    assert "ext4" in FileSystems(["ext4"])
    assert "xfs" not in FileSystems(["ext4"])


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("4096", 4096), ("64k", 1 << 16), ("2M", 2 << 20), ("1g", 1 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    """As tmpfs reads them."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "50%", "1kk", "x"])
def test_what_is_no_size(text: str) -> None:
    """It is said so."""
    with pytest.raises(PolicyError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {"size": "1048576", "nr_inodes": "256"}),
        ("size=4k", {"size": "4k", "nr_inodes": "256"}),
        ("size=2m", {"size": "1048576", "nr_inodes": "256"}),
        ("size=0", {"size": "1048576", "nr_inodes": "256"}),
        ("size=50%,mode=0700", {"mode": "0700", "size": "1048576", "nr_inodes": "256"}),
        ("nr_blocks=0", {"size": "1048576", "nr_inodes": "256"}),
        ("nr_blocks=3", {"nr_blocks": "3", "nr_inodes": "256"}),
        ("nr_inodes=0,size=1k", {"size": "1k", "nr_inodes": "256"}),
        ("nr_inodes=20", {"nr_inodes": "20", "size": "1048576"}),
        ("size=1k,size=1g", {"size": "1k", "nr_inodes": "256"}),
    ],
)
def test_limits_of_a_tmpfs(text: str, found: dict[str, str]) -> None:
    """What is too large, no number, or no limit at all becomes the most that is allowed."""
    cut = without_more_than(parse_options(text), 1 << 20)
    assert {option.key: option.value for option in cut} == found
