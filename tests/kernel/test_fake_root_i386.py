"""Programs of a 32-bit ABI play root: other numbers, other structs, and ids of 16 bits."""

from __future__ import annotations

import errno
import json
import os
import stat
import textwrap
from pathlib import Path

from tests.conftest import missing
from tests.kernel.fake_root_support import played, python
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.kernel import default_kernel

HEAD = """
import ctypes, json, os, struct, sys
numbers = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
mmap = libc.mmap
mmap.restype = ctypes.c_void_p
mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 4]
arena = mmap(None, 1 << 16, 7, 0x62, -1, 0)  # where 32 bits reach
stub = bytes.fromhex("53554889f84889f34887d14c89c64c89cf488b6c2418cd8048985d5bc3")
ctypes.memmove(arena, stub, len(stub))
int80 = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * 7)(arena)
free = arena + 4096
def put(data):
    global free
    at, free = free, free + (len(data) + 15) // 16 * 16
    ctypes.memmove(at, data, len(data))
    return at
def call(name, *args):
    words = [put(a + b"\\0") if isinstance(a, bytes) else a for a in args]
    words += [0] * (6 - len(words))
    return int80(numbers[name], *(word & 0xFFFFFFFF for word in words))
def told(name, *args, size=256, at=-1):
    buffer = put(bytes(size))
    args = [buffer if a is ... else a for a in args]
    done = call(name, *args)
    return done, ctypes.string_at(buffer, size)
"""
CALLS = (
    *("stat", "lstat", "fstat", "stat64", "lstat64", "fstat64", "fstatat64", "statx"),
    *("chown", "lchown", "fchown", "chown32", "lchown32", "fchown32", "fchownat", "chmod", "mknod"),
    *("getuid", "geteuid", "getgid", "getegid", "getuid32", "getresuid", "getresuid32"),
    *("setuid", "setresuid", "setresuid32", "setreuid32", "setgroups", "setgroups32"),
    *("getgroups", "getgroups32", "setfsuid", "capget", "unlink"),
)


def run(code: str, where: Path) -> object:
    """What such a program says."""
    if Arch.I386 not in default_kernel().architectures:
        missing("this kernel runs no i386 code")
    numbers = {name: tables.number(name, Arch.I386) for name in CALLS}
    args = python(HEAD + textwrap.dedent(code), json.dumps(numbers))
    return json.loads(played(*args, cwd=where))


def test_files(tmp_path: Path) -> None:
    """Each struct has the owner, the mode and the device where its ABI has them."""
    said = run(
        """
        os.close(os.open("a", os.O_CREAT | os.O_WRONLY, 0o644))
        os.symlink("a", "s")
        found = [call("chown32", b"a", 70000, 5), call("lchown", b"s", 7, 0xFFFF)]
        found += [call("chmod", b"a", 0o4711), call("mknod", b"n", 0o60600, 8 << 8 | 1)]
        found += [call("fchownat", -100, b"n", -1, 9, 0)]
        fd = os.open("a", os.O_RDONLY)
        for name, args in (
            *(("stat", (b"a", ...)), ("lstat", (b"s", ...)), ("fstat", (fd, ...))),
            ("stat", (b"n", ...)),
        ):
            done, raw = told(name, *args)
            found.append([name, done, *struct.unpack_from("<HHHHI", raw, 8)])
        for name, args in (
            *(("stat64", (b"a", ...)), ("lstat64", (b"s", ...)), ("fstat64", (fd, ...))),
            *(("fstatat64", (-100, b"n", ..., 0)), ("fstatat64", (fd, b"", ..., 0x1000))),
        ):
            done, raw = told(name, *args)
            found.append([name, done, *struct.unpack_from("<IIIIQ", raw, 16)])
        done, raw = told("statx", -100, b"a", 0, 0x7FF, ...)
        found.append(["statx", done, *struct.unpack_from("<IIH", raw, 20)])
        found += [told("stat64", b"none", ...)[0], call("stat64", b"a", 8), call("unlink", b"n")]
        print(json.dumps(found))
        """,
        tmp_path,
    )
    file, link, node = stat.S_IFREG | 0o4711, stat.S_IFLNK | 0o777, stat.S_IFBLK | 0o600
    device = os.makedev(8, 1)
    assert said == [
        *(0, 0, 0, 0, 0),
        *(["stat", 0, file, 1, 65534, 5, 0], ["lstat", 0, link, 1, 7, 0, 0]),
        *(["fstat", 0, file, 1, 65534, 5, 0], ["stat", 0, node, 1, 0, 9, device]),
        *(["stat64", 0, file, 1, 70000, 5, 0], ["lstat64", 0, link, 1, 7, 0, 0]),
        *(["fstat64", 0, file, 1, 70000, 5, 0], ["fstatat64", 0, node, 1, 0, 9, device]),
        *(["fstatat64", 0, file, 1, 70000, 5, 0], ["statx", 0, 70000, 5, file]),
        *(-errno.ENOENT, -errno.EFAULT, 0),
    ]


def test_ids(tmp_path: Path) -> None:
    """Old calls have ids of 16 bits: all ones are no change, and what does not fit is 65534."""
    said = run(
        """
        def three(name, code, size):
            at = [put(bytes(4)) for _ in range(3)]
            done = call(name, *at)
            return [done, *(struct.unpack("<" + code, ctypes.string_at(a, size))[0] for a in at)]
        found = [call(name) for name in ("getuid", "geteuid", "getgid", "getegid", "getuid32")]
        groups = put(struct.pack("<2H", 3, 4))
        wide = put(struct.pack("<2I", 5, 70000))
        found += [call("setgroups", 2, groups), call("setgroups32", 2, wide)]
        room = put(bytes(16))
        for name, code, size in ("getgroups", "<2H", 4), ("getgroups32", "<2I", 8):
            done = call(name, 2, room)
            found += [done, list(struct.unpack(code, ctypes.string_at(room, size)))]
        found += [call("getgroups", 1, room), call("getgroups", 0, 0)]
        found += [call("setresuid32", 70000, -1, -1), call("setresuid", 0xFFFF, 9, 0xFFFF)]
        found += [three("getresuid", "H", 2)]
        found += [three("getresuid32", "I", 4), call("setuid", 0xFFFF), call("getuid")]
        done, raw = told("capget", struct.pack("<Ii", 0x20080522, 0), ..., size=24)
        found += [done, list(struct.unpack("<6I", raw))]
        print(json.dumps(found))
        """,
        tmp_path,
    )
    every = (1 << 32) - 1
    assert said == [
        *(0, 0, 0, 0, 0, 0, 0),
        *(2, [5, 65534], 2, [5, 70000], -errno.EINVAL, 2),
        *(0, 0, [0, 65534, 9, 0], [0, 70000, 9, 0], -errno.EINVAL, 65534),
        *(0, [0, every, 0, 0, 0x1FF, 0]),
    ]
