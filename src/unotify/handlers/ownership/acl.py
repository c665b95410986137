"""POSIX access control lists as extended attributes, and the permissions that go with them; pure.

The kernel keeps both in step (posix_acl_update_mode, posix_acl_chmod in fs/posix_acl.c): the bits
of owner and others are entries of the list, and those of the group are its mask, if it has one. A
list that says no more than the nine bits is not kept.
"""

from __future__ import annotations

import errno
import struct
from typing import Final, NamedTuple

from unotify.errors import Refused
from unotify.handlers.ownership.remembered import Remembered

__all__ = ["ACCESS", "DEFAULT", "Entry", "mode_of", "parse", "with_mode"]

ACCESS: Final = "system.posix_acl_access"
DEFAULT: Final = "system.posix_acl_default"

_VERSION: Final = 2
_HEAD: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20


class Entry(NamedTuple):
    """One line of a list.

    Attributes:
        tag: Whom it is about.
        permissions: Three bits.
        id: Which user or group.
    """

    tag: int
    permissions: int
    id: int


def parse(value: bytes) -> tuple[Entry, ...]:
    """Read the value of such an attribute.

    Raises:
        Refused: As the kernel would: EOPNOTSUPP for another version, EINVAL for nonsense.
    """
    if len(value) < _HEAD.size or (len(value) - _HEAD.size) % _ENTRY.size:
        raise Refused("an access control list of a wrong length", errno=errno.EINVAL)
    if _HEAD.unpack_from(value)[0] != _VERSION:
        raise Refused("an access control list of another version", errno=errno.EOPNOTSUPP)
    entries = tuple(Entry(*row) for row in _ENTRY.iter_unpack(value[_HEAD.size :]))
    if entries and not _is_valid(entries):
        raise Refused("an access control list that contradicts itself", errno=errno.EINVAL)
    return entries


def _is_valid(entries: tuple[Entry, ...]) -> bool:
    tags = [entry.tag for entry in entries]
    if tags != sorted(tags) or any(entry.permissions & ~7 for entry in entries):
        return False
    known = {_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER}
    single = all(tags.count(tag) == 1 for tag in (_USER_OBJ, _GROUP_OBJ, _OTHER))
    named = _USER in tags or _GROUP in tags
    return set(tags) <= known and single and tags.count(_MASK) <= 1 and (not named or _MASK in tags)


def mode_of(entries: tuple[Entry, ...]) -> tuple[int, bool]:
    """The nine bits that *entries* stand for, and whether they say no more than those."""
    by_tag = {entry.tag: entry.permissions for entry in entries}
    group = by_tag.get(_MASK, by_tag[_GROUP_OBJ])
    mode = by_tag[_USER_OBJ] << 6 | group << 3 | by_tag[_OTHER]
    return mode, set(by_tag) <= {_USER_OBJ, _GROUP_OBJ, _OTHER}


def with_mode(found: Remembered, mode: int) -> Remembered:
    """After chmod(2): the list that is remembered, if there is one, says the same as *mode*."""
    value = found.attributes.get(ACCESS)
    if value is None:
        return found
    entries = parse(value)
    masked = any(entry.tag == _MASK for entry in entries)
    bits = {
        _USER_OBJ: mode >> 6 & 7,
        _MASK if masked else _GROUP_OBJ: mode >> 3 & 7,
        _OTHER: mode & 7,
    }
    changed = [
        entry._replace(permissions=bits.get(entry.tag, entry.permissions)) for entry in entries
    ]
    text = _HEAD.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in changed)
    return found.having(ACCESS, text)
