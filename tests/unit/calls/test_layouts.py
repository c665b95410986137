"""Structs that are answered: our kernel's bytes in the target's layout."""

from __future__ import annotations

import errno
import os
import struct
from typing import Any

import pytest

from unotify.abi.arch import Arch
from unotify.calls.layouts import answer_of
from unotify.errors import NotExpressible, Refused

STAT = struct.Struct("<QQQIII4xQqqqQQQQQQ24x")
STATFS = struct.Struct("<qqQQQQQ8sqqq32x")


def native(**changed: int) -> bytes:
    """A struct stat of x86-64, of this file, with some fields changed."""
    found = os.stat(__file__)
    fields = {
        "dev": found.st_dev & 0xFFFFFFFF,
        "ino": found.st_ino & 0xFFFFFFFF,
        "nlink": found.st_nlink,
        "mode": found.st_mode,
        "uid": found.st_uid & 0xFFFF,
        "gid": found.st_gid & 0xFFFF,
        "rdev": 0,
        "size": found.st_size,
        "blksize": found.st_blksize,
        "blocks": found.st_blocks,
        "atime": int(found.st_atime),
        "atime_ns": found.st_atime_ns % 10**9,
        "mtime": int(found.st_mtime),
        "mtime_ns": found.st_mtime_ns % 10**9,
        "ctime": int(found.st_ctime),
        "ctime_ns": found.st_ctime_ns % 10**9,
    }
    return STAT.pack(*(fields | changed).values())


@pytest.mark.parametrize(
    ("name", "arch", "size"),
    [
        ("stat", Arch.X86_64, 144),
        ("stat", Arch.AARCH64, 128),
        ("statfs", Arch.X86_64, 120),
        ("statfs", Arch.S390X, 88),
        ("statx", Arch.I386, 256),
    ],
)
def test_what_stays_as_it_is(name: str, arch: Arch, size: int) -> None:
    """On our own ABI, and of statx everywhere, nothing is turned."""
    answer = answer_of(name, arch)
    assert answer.size == size
    assert answer.of(b"as it is") == b"as it is"


@pytest.mark.parametrize(("name", "arch"), [("stat", Arch.ARM), ("stat64", Arch.X86_64)])
def test_what_is_not_known(name: str, arch: Arch) -> None:
    """Such a call cannot be performed, and says so before it is."""
    with pytest.raises(NotExpressible, match=f"struct {name} of {arch.label}"):
        answer_of(name, arch)


def test_stat64_of_i386() -> None:
    """96 bytes, with 64-bit sizes and devices, and the inode twice."""
    raw = answer_of("stat64", Arch.I386).of(native(size=1 << 40, ino=5 | 1 << 33, uid=70000))
    assert len(raw) == 96
    (dev, low, mode, nlink, uid, _gid) = struct.unpack_from("<Q4xIIIII", raw)
    assert (low, uid) == (5, 70000)
    assert struct.unpack_from("<q", raw, 44) == (1 << 40,)
    assert struct.unpack_from("<Q", raw, 88) == (5 | 1 << 33,)
    found = os.stat(__file__)
    assert (dev, mode, nlink) == (found.st_dev & 0xFFFFFFFF, found.st_mode, found.st_nlink)
    assert struct.unpack_from("<I", raw, 72) == (int(found.st_mtime) & 0xFFFFFFFF,)


def test_stat_of_i386() -> None:
    """64 bytes; ids that do not fit are the overflow id."""
    raw = answer_of("stat", Arch.I386).of(native(uid=70000, gid=5, size=1234))
    assert len(raw) == 64
    _, _, mode, nlink, uid, gid, _, size = struct.unpack_from("<IIHHHHII", raw)
    found = os.stat(__file__)
    assert (mode, nlink, uid, gid, size) == (found.st_mode, found.st_nlink, 65534, 5, 1234)


@pytest.mark.parametrize(
    "changed", [{"size": 1 << 31}, {"ino": 1 << 32}, {"nlink": 1 << 16}, {"dev": 1 << 32}]
)
def test_numbers_that_do_not_fit(changed: dict[str, Any]) -> None:
    """The old struct has no room for them: EOVERFLOW, as the kernel says."""
    with pytest.raises(Refused) as caught:
        answer_of("stat", Arch.I386).of(native(**changed))
    assert caught.value.errno == errno.EOVERFLOW


def statfs(**changed: int) -> bytes:
    """A struct statfs of x86-64, of the root, with some fields changed."""
    found = os.statvfs("/")
    fields: dict[str, Any] = {
        "type": 0xEF53,
        "bsize": found.f_bsize,
        "blocks": 1000,
        "bfree": 900,
        "bavail": 800,
        "files": 700,
        "ffree": 600,
        "fsid": b"12345678",
        "namelen": found.f_namemax,
        "frsize": found.f_frsize,
        "flags": 0x1020,
    }
    return STATFS.pack(*(fields | changed).values())


def test_statfs_of_i386() -> None:
    """64 and 84 bytes; no inodes at all is a number that fits, too many blocks is not."""
    raw = answer_of("statfs", Arch.I386).of(statfs(files=(1 << 64) - 1))
    assert len(raw) == 64
    assert struct.unpack_from("<7I", raw)[2:] == (1000, 900, 800, 0xFFFFFFFF, 600)
    assert raw[28:36] == b"12345678"
    with pytest.raises(Refused) as caught:
        answer_of("statfs", Arch.I386).of(statfs(blocks=1 << 32))
    assert caught.value.errno == errno.EOVERFLOW
    raw = answer_of("statfs64", Arch.I386).of(statfs(blocks=1 << 40))
    assert len(raw) == 84
    assert struct.unpack_from("<2I5Q", raw)[2:] == (1 << 40, 900, 800, 700, 600)
