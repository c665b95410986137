"""Calls that change files, or would."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator

from edges_base import (
    AT_FDCWD,
    FEW,
    OURS,
    RENAMES,
    WILD,
    Edge,
    calls,
    raw,
    short,
)


def names(long: bool) -> Iterator[Edge]:
    """Calls that make and remove names."""
    yield from calls("mkdir", 83, ((path, 0o777) for path in OURS))
    yield from calls("rmdir", 84, ((path,) for path in OURS))
    yield from calls("unlink", 87, ((path,) for path in OURS))
    yield from calls("symlink", 88, (("text", path) for path in OURS))
    yield from calls(
        "symlink", 88, ((text, "new") for text in ("", None, WILD, "b" * 4095, "b" * 4096))
    )
    yield from calls("mknod", 133, ((path, 0o10644, 0) for path in OURS))
    yield from calls(
        "mknod",
        133,
        (
            ("new", mode, dev)
            for mode, dev in itertools.product(
                (0, 0o100600, 0o20600, 0o40700, 0o120777, 0o140600, 0o170000), (0, 0x103)
            )
        ),
    )
    yield from calls("creat", 85, ((path, 0o644) for path in OURS))
    yield from calls(
        "unlinkat",
        263,
        (
            (dirfd, path, flags)
            for dirfd in (AT_FDCWD, 901, 900, 77)
            for path in ("inner", "file", "full", "dir", "", ".", "..", None)
            for flags in (0, 0x200, 0x100)
        ),
    )
    yield from calls(
        "mkdirat",
        258,
        (
            (dirfd, path, 0o700)
            for dirfd in (901, 900, 77, -1)
            for path in ("new", "inner", "", "/tmp", ".", "..")
        ),
    )


def moves(long: bool) -> Iterator[Edge]:
    """Calls with two paths."""
    some = OURS if long else RENAMES
    new = [
        *RENAMES,
        ".",
        "dir/..",
        "full/x",
        "file/x",
        "private/x",
        "",
        None,
        WILD,
        "dirlink/x",
        "link/",
    ]
    yield from calls("rename", 82, itertools.product(some, new))
    yield from calls(
        "link",
        86,
        itertools.product(some, ["new", "file", "new/", "dir", "missing/x", "", "private/x"]),
    )
    for flags in (1, 2, 3, 4, 8):
        yield from calls(
            "renameat2",
            316,
            ((AT_FDCWD, one, AT_FDCWD, two, flags) for one in RENAMES for two in RENAMES),
        )
    for flags in (0, 0x400, 0x1000, 0x1400, 0x100):
        yield from calls(
            "linkat",
            265,
            (
                (dirfd, path, AT_FDCWD, "new", flags)
                for dirfd in (AT_FDCWD, 900, 901, 903, 77)
                for path in ("file", "", "link", "dangling", "inner", "dir", "/proc/self/fd/900")
            ),
        )
    yield from calls(
        "symlinkat",
        266,
        (("x", dirfd, path) for dirfd in (901, 900, 77) for path in ("new", "inner", "")),
    )


def changes(long: bool) -> Iterator[Edge]:
    """Calls that change what a path names."""
    paths = OURS if long else [*FEW, "dirlink/", "loop", "abslink", "/proc/self/fd/901", "dir/."]
    yield from calls("chmod", 90, ((path, 0o4741) for path in paths))
    for flags in (0, 0x100, 0x1000, 0x1100, 1):
        yield from calls(
            "fchmodat2",
            452,
            (
                (dirfd, path, 0o640, flags)
                for dirfd in (AT_FDCWD, 900, 77)
                for path in ("file", "link", "", "dangling", None)
            ),
        )
        yield from calls(
            "fchownat",
            260,
            (
                (dirfd, path, ids, 1, flags)
                for dirfd in (AT_FDCWD, 900, 903, 77)
                for path in ("file", "link", "", "dangling", None)
                for ids in (-1, 3)
            ),
        )
    yield from calls(
        "fchmodat", 268, ((901, path, 0o600) for path in ("inner", "", "..", "missing"))
    )
    yield from calls("chown", 92, ((path, 1, -1) for path in paths))
    yield from calls("lchown", 94, ((path, -1, 5) for path in paths))
    yield from calls("truncate", 76, ((path, size) for path in paths for size in (0, 3, -1)))
    now, omit = (1 << 30) - 1, (1 << 30) - 2
    for one, two in itertools.product((0, 7, now, omit, 1_000_000_000, -1), (5, omit, now)):
        times = (ctypes.c_long * 4)(11, one, 12, two)
        for path, dirfd, flags in [
            ("file", AT_FDCWD, 0),
            ("link", AT_FDCWD, 0x100),
            (None, 900, 0),
            ("", 900, 0x1000),
            ("", 900, 0),
            ("missing", AT_FDCWD, 0),
        ]:
            yield (
                f"utimensat({dirfd}, {short(path)}, {one}, {two}, {flags})",
                lambda w=(dirfd, path, times, flags): raw(280, *w),
                True,
            )
    yield from calls(
        "utimensat",
        280,
        (
            (dirfd, path, None, flags)
            for dirfd in (AT_FDCWD, 900, 77)
            for path in ("file", "dangling", None, "")
            for flags in (0, 0x100, 0x1000, 2)
        ),
    )
    for path in paths:
        yield (
            f"utimes({short(path)})",
            lambda path=path: raw(235, path, (ctypes.c_long * 4)(3, 4, 5, 6)),
            True,
        )
        yield (
            f"utime({short(path)})",
            lambda path=path: raw(132, path, (ctypes.c_long * 2)(3, 4)),
            True,
        )
        yield (
            f"futimesat({short(path)})",
            lambda path=path: raw(261, 901, path, (ctypes.c_long * 4)(3, 4, 5, 1_000_000)),
            True,
        )
    yield from calls(
        "fallocate",
        285,
        (
            (fd, mode, 0, size)
            for fd in (900, 901, 77)
            for mode in (0, 1, 99)
            for size in (0, 10, -1)
        ),
    )
    yield from calls(
        "ftruncate", 77, ((fd, size) for fd in (900, 901, 0, 77, -1) for size in (0, -1))
    )
    yield from calls("fchmod", 91, ((fd, 0o700) for fd in (900, 901, 77)))
    yield from calls("fchown", 93, ((fd, 1, 1) for fd in (900, 901, 77)))
