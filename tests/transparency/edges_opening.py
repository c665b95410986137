"""Ways to open a file."""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Iterator
from typing import Any

from edges_base import (
    AT_FDCWD,
    OURS,
    PATHS,
    Edge,
    opened,
    raw,
    short,
)


def opens(long: bool) -> Iterator[Edge]:
    """open(2), and openat2(2)."""
    R, W, C, X, T = os.O_RDONLY, os.O_WRONLY, os.O_CREAT, os.O_EXCL, os.O_TRUNC
    combinations = [R, W | C, R | C | X, R | os.O_DIRECTORY, R | os.O_NOFOLLOW, os.O_RDWR | T]
    if long:
        combinations += [
            *(R | C, W | C | T, R | C | os.O_NOFOLLOW, W | C | X | os.O_NOFOLLOW, W),
            *(R | os.O_CLOEXEC, R | os.O_DIRECTORY | os.O_NOFOLLOW, R | C | os.O_DIRECTORY),
            *(
                os.O_TMPFILE | R,
                os.O_TMPFILE | os.O_RDWR,
                3,
                R | T,
                W | os.O_APPEND,
                R | os.O_NOATIME,
            ),
            *(
                R | os.O_DIRECT,
                W | C | os.O_SYNC,
                os.O_TMPFILE | os.O_RDWR | X,
                1 << 30,
                R | 0o100000000,
            ),
        ]
    for flags in combinations:
        for path in PATHS:
            if path not in OURS and flags & (W | os.O_RDWR | C | T):
                continue
            yield (
                f"open({short(path)}, {flags:#o})",
                lambda flags=flags, path=path: opened(flags, path),
                bool(flags & 0o101) or bool(flags & T),
            )
    for path, dirfd in itertools.product(
        ("file", "", ".", "inner", "/dev/null"), (900, 901, 902, -1)
    ):
        yield (
            f"openat({dirfd}, {path!r})",
            lambda path=path, dirfd=dirfd: opened(R, path, dirfd=dirfd),
            False,
        )
    for mask in (0, 0o777, 0o27):

        def masked(mask: int = mask) -> Any:
            old = os.umask(mask)
            try:
                return (
                    opened(W | C | X, "new", 0o7777),
                    raw(83, "newdir", 0o7777),
                    raw(133, "newfifo", 0o10777, 0),
                )
            finally:
                os.umask(old)

        yield f"umask {mask:#o}", masked, True
    if long:
        yield from openat2s()


def openat2s() -> Iterator[Edge]:
    """The RESOLVE_* of openat2(2)."""
    for resolve, flags, path in itertools.product(
        (0, 1, 2, 4, 8, 16, 24, 1 << 40), (0, 0o101, os.O_TMPFILE | 2, 1 << 40), PATHS
    ):
        if path not in OURS and flags:
            continue

        def attempt(resolve: int = resolve, flags: int = flags, path: Any = path) -> Any:
            mode = 0o644 if flags & 0o100 or flags & os.O_TMPFILE else 0
            how = (ctypes.c_uint64 * 3)(flags | os.O_NONBLOCK, mode, resolve)
            done = raw(437, AT_FDCWD, path, how, 24)
            if done.isdigit():
                mode = os.fstat(int(done)).st_mode
                os.close(int(done))
                return oct(mode)
            return done

        yield f"openat2({short(path)}, {flags:#o}, {resolve:#x})", attempt, bool(flags)
