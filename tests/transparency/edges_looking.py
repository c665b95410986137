"""Calls that only look."""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Iterator
from typing import Any

from edges_base import (
    AT_FDCWD,
    FEW,
    PATHS,
    WILD,
    Edge,
    calls,
    libc,
    looks,
    opened,
    raw,
    short,
)


def sights(long: bool) -> Iterator[Edge]:
    """Calls that only look."""
    yield from looks("stat", 4, ((path, ...) for path in PATHS), 144)
    yield from looks("lstat", 6, ((path, ...) for path in PATHS), 144)
    yield from looks(
        "newfstatat",
        262,
        (
            (dirfd, path, ..., flags)
            for dirfd in (AT_FDCWD, 900, 901, 903, 77, -1)
            for path in ("file", "inner", "link", "", None, "/")
            for flags in (0, 0x100, 0x1000, 0x800, 1)
        ),
        144,
    )
    yield from calls("stat", 4, (("file", None), ("file", WILD), ("missing", WILD)))
    for flags, mask in itertools.product(
        (0, 0x100, 0x1000, 0x2000, 0x6000, 0x800, 1), (0, 0x7FF, 1 << 31, 0xFFF)
    ):
        for path in ("file", "link", "", "missing", None, "dangling"):
            for dirfd in (AT_FDCWD, 900, 77):

                def look(w: Any = (dirfd, path, flags, mask)) -> Any:
                    buffer = ctypes.create_string_buffer(256)
                    done = raw(332, *w, buffer)
                    return done, oct(int.from_bytes(buffer.raw[28:30], "little")), buffer.raw[:4]

                yield f"statx({dirfd}, {short(path)}, {flags:#x}, {mask:#x})", look, False
    yield from looks(
        "readlink",
        89,
        ((path, ..., size) for path in PATHS for size in ((100,) if not long else (100, 3, 0, -1))),
        100,
    )
    yield from looks(
        "readlinkat",
        267,
        (
            (dirfd, path, ..., 100)
            for dirfd in (AT_FDCWD, 900, 901, 903, 77)
            for path in ("link", "", "inner", "file")
        ),
        100,
    )
    for mode in (0, 1, 2, 4, 7, 8, -1):
        yield from calls(
            "access", 21, ((path, mode) for path in (PATHS if long or not mode else FEW))
        )
        yield from calls(
            "faccessat2",
            439,
            (
                (dirfd, path, mode, flags)
                for dirfd in (AT_FDCWD, 900, 77)
                for path in ("file", "link", "", "dangling", None, "private/x", "private")
                for flags in (0, 0x100, 0x200, 0x1000, 0x1200, 1)
            ),
        )
    for path in PATHS:

        def statfs(path: Any = path) -> Any:
            buffer = ctypes.create_string_buffer(120)
            return raw(137, path, buffer), buffer.raw[:16]

        yield f"statfs({short(path)})", statfs, False
    for fd in (900, 901, 77, -1):
        yield from looks("fstat", 5, ((fd, ...),), 144)
    if os.getppid() > 1:
        yield "access with other effective ids", other_ids, True


def other_ids() -> Any:
    """A process whose real and effective ids differ."""
    with open("theirs", "w"):
        pass
    os.chmod("theirs", 0o600)
    read, write = os.pipe()
    if not (pid := os.fork()):
        try:
            os.setresuid(1234, -1, -1) if os.getuid() == 0 else None
            found = [
                raw(21, "theirs", 4),
                raw(439, AT_FDCWD, "theirs", 4, 0x200),
                raw(439, AT_FDCWD, "theirs", 4, 0),
                raw(269, AT_FDCWD, "theirs", 2),
            ]
            if os.getuid() == 1234:
                os.setresuid(0, 1234, 0)
                found += [
                    raw(21, "theirs", 4),
                    raw(439, AT_FDCWD, "theirs", 4, 0x200),
                    raw(269, AT_FDCWD, "theirs", 6),
                ]
                os.setresuid(0, 0, 0)
                os.setfsuid = libc.setfsuid  # type: ignore[attr-defined]
                libc.setfsuid(1234)
                found += [raw(21, "theirs", 4), opened(0, "theirs"), opened(os.O_CREAT | 1, "made")]
            os.write(write, repr(found).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with open(read, "rb") as pipe:
        return pipe.read().decode()
