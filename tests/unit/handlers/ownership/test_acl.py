"""Access control lists and the permissions that go with them."""

from __future__ import annotations

import errno
import struct

import pytest

from unotify.errors import Refused
from unotify.handlers.ownership.acl import ACCESS, mode_of, parse, with_mode
from unotify.handlers.ownership.remembered import NOTHING

NONE = 0xFFFFFFFF
PLAIN = ((1, 7, NONE), (4, 5, NONE), (32, 4, NONE))
NAMED = ((1, 6, NONE), (2, 7, 55), (4, 4, NONE), (16, 5, NONE), (32, 0, NONE))


def value(*entries: tuple[int, int, int], version: int = 2) -> bytes:
    """The bytes of a list."""
    return struct.pack("<I", version) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_modes() -> None:
    """The bits of the group are those of the mask, if there is one."""
    assert mode_of(parse(value(*PLAIN))) == (0o754, True)
    assert mode_of(parse(value(*NAMED))) == (0o650, False)
    assert parse(value()) == ()


@pytest.mark.parametrize(
    ("bad", "number"),
    [
        (value(*PLAIN, version=1), errno.EOPNOTSUPP),
        (value(*PLAIN)[:-1], errno.EINVAL),
        (b"", errno.EINVAL),
        (value(*PLAIN[:2]), errno.EINVAL),
        (value(*PLAIN[::-1]), errno.EINVAL),
        (value((1, 8, NONE), *PLAIN[1:]), errno.EINVAL),
        (value(PLAIN[0], (2, 7, 5), *PLAIN[1:]), errno.EINVAL),
        (value(PLAIN[0], PLAIN[0], *PLAIN[1:]), errno.EINVAL),
        (value(*PLAIN, (64, 7, NONE)), errno.EINVAL),
    ],
)
def test_nonsense(bad: bytes, number: int) -> None:
    """What the kernel refuses is refused with its errno."""
    with pytest.raises(Refused) as caught:
        parse(bad)
    assert caught.value.errno == number


def test_chmod_changes_the_list() -> None:
    """The list says the same as the bits afterwards; without one nothing is made."""
    assert with_mode(NOTHING, 0o777) == NOTHING
    changed = with_mode(NOTHING.having(ACCESS, value(*NAMED)), 0o741)
    entries = parse(changed.attributes[ACCESS])
    assert mode_of(entries) == (0o741, False)
    assert [entry.permissions for entry in entries] == [7, 7, 4, 4, 1]
