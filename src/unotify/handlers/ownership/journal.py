"""The text of a store: one line for each change, each with a checksum; pure.

Theory of operation. A store is read as a whole when it is opened, and kept in memory. So it needs
no index, and each change is one line at the end: one write(2), which is whole in the file or, if
the machine fails meanwhile, is the last line and not whole. That is why this is no database: the
standard library's costs a transaction for each chown(2) and writes pages all over the file, where
a line torn at the end can only be dropped.

A line is a checksum (CRC-32, eight hexadecimal digits), a space and a JSON array: device, inode,
birth, owner, group, mode, device number as ``[type, number]``, and attributes in base64. An inode
that is forgotten has the first three alone.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from unotify.handlers.ownership.remembered import NOTHING, Remembered

__all__ = ["HEADER", "Damaged", "Inode", "line_of", "replay", "text_of"]

HEADER: Final = b"unotify fake-root store 1\n"
"""The first line."""


class Inode(NamedTuple):
    """A file, whatever its name.

    Attributes:
        dev: Its device.
        ino: Its number there, which a later file may get.
        born: When it was made, in nanoseconds; 0 where the file system does not know. A later
            file of the same number has another.
    """

    dev: int
    ino: int
    born: int = 0


class Damaged(ValueError):
    """A line that is not what was written.

    Attributes:
        line: Its number, from 1.
    """

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line} is damaged")
        self.line = line


def line_of(inode: Inode, found: Remembered) -> bytes:
    """The line that says what is remembered of *inode* from now on."""
    row: list[Any] = [*inode]
    if found != NOTHING:
        attributes = {
            name: base64.b64encode(value).decode() for name, value in found.attributes.items()
        }
        row += [found.uid, found.gid, found.mode, found.device, attributes]
    text = json.dumps(row, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def text_of(entries: Iterable[tuple[Inode, Remembered]]) -> bytes:
    """A whole store."""
    return HEADER + b"".join(line_of(inode, found) for inode, found in entries)


def replay(data: bytes) -> tuple[dict[tuple[int, int], tuple[int, Remembered]], int, int]:
    """Read a store.

    Args:
        data: All of the file.

    Returns:
        What is remembered: by device and inode the birth and the rest. How much of *data* is
        whole: what is behind was torn by a crash. How many lines that is.

    Raises:
        Damaged: A line that is not the last one has been changed, or the first one is no header.
    """
    if not data.startswith(HEADER):
        raise Damaged(1)
    found: dict[tuple[int, int], tuple[int, Remembered]] = {}
    whole, number = len(HEADER), 1
    lines = data[whole:].split(b"\n")
    torn = lines.pop()
    for at, line in enumerate(lines):
        try:
            inode, remembered = _parse(line)
        except (ValueError, TypeError, KeyError):
            if at == len(lines) - 1 and not torn:
                break
            raise Damaged(at + 2) from None
        if remembered == NOTHING:
            found.pop(inode[:2], None)
        else:
            found[inode[:2]] = inode.born, remembered
        whole += len(line) + 1
        number = at + 2
    return found, whole, number


def _parse(line: bytes) -> tuple[Inode, Remembered]:
    text = line[9:]
    if len(line) < 10 or line[8:9] != b" " or int(line[:8], 16) != zlib.crc32(text):
        raise ValueError("a checksum that does not fit")
    dev, ino, born, *rest = json.loads(text)
    inode = Inode(int(dev), int(ino), int(born))
    if not rest:
        return inode, NOTHING
    uid, gid, mode, device, attributes = rest
    return inode, Remembered(
        *(_number(uid), _number(gid), _number(mode)),
        None if device is None else (int(device[0]), int(device[1])),
        _attributes(attributes),
    )


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _attributes(found: Mapping[str, str]) -> dict[str, bytes]:
    return {str(name): base64.b64decode(value, validate=True) for name, value in found.items()}
