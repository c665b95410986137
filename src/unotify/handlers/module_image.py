"""The name of a kernel module, as its file says: ELF, possibly compressed.

Theory of operation. The file is the target's, and may be made to hurt whoever reads it. So this
runs where there is nothing to hurt (`unotify.kernel.confined`), and each offset that the file
gives is checked before it is used. Nothing of the file is ever loaded: only the name is taken.

What the kernel takes is taken, and decompressed as the kernel would: gzip, xz, and zstd where
Python has it (3.14) or the program ``zstd`` is there.
"""

from __future__ import annotations

import errno
import importlib
import lzma
import os
import re
import select
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from unotify.errors import Refused

__all__ = ["MOST", "begin", "decompressed", "name_of"]

MOST: Final = 64 << 20
"""The most bytes of an image, compressed or not."""

_NAME: Final = re.compile(rb"[A-Za-z0-9_-]{1,55}")
_XZ_MEMORY: Final = 256 << 20
_PIECE: Final = 1 << 20
_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def begin(fd: int, compressed: str) -> Callable[[], str]:
    """Make ready to look at the image *fd*.

    Args:
        fd: The file; it is read from its start, and its position stays.
        compressed: ``yes`` if the caller says that the kernel is to decompress it.

    Raises:
        Refused: It cannot be read: has the errno that the kernel gives.
    """
    head = _read(fd, 0, 6)
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
    if (compressed == "yes") != bool(kind):
        # MODULE_INIT_COMPRESSED_FILE and the file have to agree, as for the kernel.
        raise Refused("it is compressed, or not, unlike its flags say", errno=errno.ENOEXEC)
    unpack = _unpacker(kind)

    def look() -> str:
        return name_of(unpack(b"".join(_pieces(fd))))

    return look


def _read(fd: int, at: int, length: int) -> bytes:
    try:
        return os.pread(fd, length, at)
    except OSError as error:
        # Of a pipe or a directory, as finit_module(2) says it.
        number = error.errno if error.errno == errno.EBADF else errno.EINVAL
        raise Refused("the image cannot be read", errno=number) from None


def _pieces(fd: int) -> Iterator[bytes]:
    at = 0
    while piece := _read(fd, at, _PIECE):
        at += len(piece)
        if at > MOST:
            raise Refused("a module of more than 64 MiB", errno=errno.EFBIG)
        yield piece


def _unpacker(kind: str) -> Callable[[bytes], bytes]:
    if kind != "zstd":
        return lambda data: decompressed(kind, data)
    try:
        library: Any = importlib.import_module("compression.zstd")  # since Python 3.14
    except ImportError:
        return _program()
    return lambda data: _with_library(library, data)


def _program() -> Callable[[bytes], bytes]:
    program = shutil.which("zstd")
    if program is None:
        raise Refused("nothing here decompresses zstd", errno=errno.EOPNOTSUPP)
    process = subprocess.Popen(
        [program, "-q", "-d", "-c", "--single-thread"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    return lambda data: _through(process, data)


def _with_library(library: Any, data: bytes) -> bytes:
    try:
        return _bounded(library.ZstdDecompressor().decompress(data, MOST + 1))
    except (library.ZstdError, EOFError):
        raise Refused("a damaged zstd file", errno=errno.ENOEXEC) from None


def _through(process: subprocess.Popen[bytes], data: bytes) -> bytes:
    """What the program makes of *data*; there are no threads here, so both ends are polled."""
    assert process.stdin is not None
    assert process.stdout is not None
    into, out = process.stdin.fileno(), process.stdout.fileno()
    poll = select.poll()
    poll.register(into, select.POLLOUT)
    poll.register(out, select.POLLIN)
    view, size = memoryview(data), 0
    found: list[bytes] = []
    with process:
        while True:
            for fd, events in poll.poll():
                if fd == out:
                    piece = os.read(out, 1 << 16)
                    if not piece:
                        if process.wait():
                            raise Refused("a damaged zstd file", errno=errno.ENOEXEC)
                        return b"".join(found)
                    size += len(piece)
                    if size > MOST:
                        raise Refused("a module of more than 64 MiB", errno=errno.EFBIG)
                    found.append(piece)
                elif view and not events & (select.POLLERR | select.POLLHUP):
                    # At most what a pipe takes at once, so that this does not block.
                    view = view[os.write(into, view[: select.PIPE_BUF]) :]
                else:
                    poll.unregister(into)
                    process.stdin.close()


def decompressed(kind: str, data: bytes) -> bytes:
    """Unpack *data*, 64 MiB at most.

    Args:
        kind: ``gzip``, ``xz``, or empty: it is not compressed.
        data: The whole file.

    Raises:
        Refused: ENOEXEC: it is damaged. EFBIG: there is more in it.
    """
    try:
        if kind == "gzip":
            return _bounded(zlib.decompressobj(31).decompress(data, MOST + 1))
        if kind == "xz":
            reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            return _bounded(reader.decompress(data, MOST + 1))
    except (zlib.error, lzma.LZMAError, EOFError):
        raise Refused(f"a damaged {kind} file", errno=errno.ENOEXEC) from None
    return data


def _bounded(data: bytes) -> bytes:
    if len(data) > MOST:
        raise Refused("a module of more than 64 MiB", errno=errno.EFBIG)
    return data


class _Section(NamedTuple):
    name: int
    offset: int
    size: int


def name_of(image: bytes) -> str:
    """The name in the section ``.modinfo`` of an ELF image, with ``_`` for each ``-``.

    Raises:
        Refused: ENOEXEC: it is no module, or has no name of its own.
    """
    sections, names = _sections(image)
    for section in sections:
        label = _string(_of(image, names), section.name)
        if label == b".modinfo":
            for entry in _of(image, section).split(b"\0"):
                key, equals, value = entry.partition(b"=")
                if key == b"name" and equals:
                    if not _NAME.fullmatch(value):
                        break
                    return value.decode().replace("-", "_")
    raise Refused("the image has no module name", errno=errno.ENOEXEC)


def _sections(image: bytes) -> tuple[list[_Section], _Section]:
    if len(image) < 64 or image[:4] != b"\x7fELF":
        raise Refused("the image is no ELF file", errno=errno.ENOEXEC)
    order = {1: "<", 2: ">"}.get(image[5])
    wide = {1: False, 2: True}.get(image[4])
    if order is None or wide is None:
        raise Refused("an ELF file of no known kind", errno=errno.ENOEXEC)
    (start,) = struct.unpack_from(order + ("Q" if wide else "I"), image, 40 if wide else 32)
    size, count, names = struct.unpack_from(order + "3H", image, 58 if wide else 46)
    layout = struct.Struct(order + ("IIQQQQ" if wide else "IIIIII"))
    if size < (64 if wide else 40) or start + size * count > len(image) or names >= count:
        raise Refused("the section headers of the image lie outside of it", errno=errno.ENOEXEC)
    found = []
    for at in range(start, start + size * count, size):
        name, _, _, _, offset, length = layout.unpack_from(image, at)
        found.append(_Section(name, offset, length))
    return found, found[names]


def _of(image: bytes, section: _Section) -> bytes:
    if section.offset + section.size > len(image):
        raise Refused("a section of the image lies outside of it", errno=errno.ENOEXEC)
    return image[section.offset : section.offset + section.size]


def _string(table: bytes, at: int) -> bytes:
    return table[at : at + 32].split(b"\0", 1)[0]
