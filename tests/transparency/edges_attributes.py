"""Extended attributes of files."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator
from typing import Any

from edges_base import (
    AT_FDCWD,
    FEW,
    WILD,
    Edge,
    calls,
    looks,
    raw,
    short,
)


def attributes(long: bool) -> Iterator[Edge]:
    """Extended attributes."""
    keys: list[Any] = [
        "user.a",
        "user.none",
        "user.",
        "nonsense",
        "trusted.x",
        "security.x",
        "user." + "x" * 250,
        "user." + "x" * 251,
        "x" * 70000,
        "",
        None,
        WILD,
    ]
    paths = [*FEW, "dirlink/", "abslink"]
    for call, label in ((188, "setxattr"), (189, "lsetxattr")):
        yield from calls(label, call, ((path, "user.b", b"value", 5, 0) for path in paths))
        yield from calls(
            label,
            call,
            (("file", key, b"v", 1, flags) for key in keys for flags in (0, 1, 2, 3, 4)),
        )
    yield from calls(
        "setxattr",
        188,
        (
            ("file", "user.c", value, size, 0)
            for value, size in (
                (b"", 0),
                (None, 0),
                (None, 5),
                (WILD, 5),
                (b"x" * 65537, 65537),
                (b"x" * 65536, 65536),
                (b"x", -1),
            )
        ),
    )
    for call, label in ((191, "getxattr"), (192, "lgetxattr")):
        yield from looks(
            label,
            call,
            ((path, "user.a", ..., size) for path in paths for size in (0, 1, 6, 100)),
            100,
        )
        yield from looks(label, call, (("file", key, ..., 100) for key in keys), 100)
    yield from calls(
        "getxattr",
        191,
        (("file", "user.a", buffer, size) for buffer, size in ((None, 0), (None, 10), (WILD, 10))),
    )
    yield from looks(
        "getxattr",
        191,
        (("file", "user.a", ..., size) for size in (65536, 65537, 1 << 20)),
        1 << 20,
    )
    for call, label in ((194, "listxattr"), (195, "llistxattr")):
        yield from looks(
            label, call, ((path, ..., size) for path in paths for size in (0, 1, 7, 100)), 100
        )
    for call, label in ((197, "removexattr"), (198, "lremovexattr")):
        yield from calls(label, call, ((path, "user.a") for path in paths))
        yield from calls(label, call, (("file", key) for key in keys))
    yield from calls(
        "fsetxattr", 190, ((fd, key, b"v", 1, 0) for fd in (900, 901, 77) for key in keys)
    )
    yield from looks(
        "fgetxattr", 193, ((fd, key, ..., 50) for fd in (900, 901, 77) for key in keys), 50
    )
    yield from looks(
        "flistxattr", 196, ((fd, ..., size) for fd in (900, 901, 77) for size in (0, 1, 50)), 50
    )
    yield from calls("fremovexattr", 199, ((fd, key) for fd in (900, 901, 77) for key in keys))
    for path, dirfd, flags in itertools.product(
        ("file", "", "link", None), (AT_FDCWD, 900, 77), (0, 0x100, 0x1000, 1)
    ):

        def several(w: Any = (dirfd, path, flags)) -> Any:
            value = ctypes.create_string_buffer(b"new", 20)
            # Behind the structure is what no kernel knows: zeros are taken, others are not.
            args = (ctypes.c_uint64 * 4)(ctypes.addressof(value), 3)
            found = [raw(463, *w, "user.n", args, 16)]
            args[1] = 20
            found += [
                raw(464, *w, "user.n", args, 16),
                raw(464, *w, "user.n", args, 8),
                raw(464, *w, "user.n", args, 32),
            ]
            args[3] = 7
            found.append(raw(464, *w, "user.n", args, 32))
            listed = ctypes.create_string_buffer(50)
            if w[0] == AT_FDCWD and not w[1]:
                return found  # listxattrat(2) does not know the current directory
            return [*found, raw(465, *w, listed, 50), listed.raw, raw(466, *w, "user.n")]

        yield f"*xattrat({dirfd}, {short(path)}, {flags:#x})", several, True
