"""A target that makes each call of a family, by number, and prints what came of it.

Usage: ``families_target.py ABI FAMILY``, with the numbers of calls as JSON on standard input.
It works in its current directory, and prints nothing that differs between two runs in two new
directories.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import struct
import sys
from pathlib import Path

ABI, FAMILY = sys.argv[1:]
NUMBERS = json.load(sys.stdin)
LIBC = ctypes.CDLL(None, use_errno=True)
POINTER = 8 if ABI == "x86_64" else 4
WORD = "Q" if POINTER == 8 else "I"
CWD = -100

# rax, rbx, rcx, rdx, rsi, rdi, rbp from the seven arguments; int 0x80; the result, sign-extended.
STUB = bytes.fromhex("53554889f84889f34887d14c89c64c89cf488b6c2418cd8048985d5bc3")


def _low(size: int) -> int:
    # MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT: an address that 32 bits hold.
    mmap = LIBC.mmap
    mmap.restype, mmap.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 4],
    )
    return int(mmap(None, size, 7, 0x62, -1, 0))


ARENA = _low(1 << 20)
FREE = [ARENA]


def put(data: bytes) -> int:
    """Its address in memory that both ABIs reach."""
    at = FREE[0]
    ctypes.memmove(at, data, len(data))
    FREE[0] += -(-len(data) // 16) * 16
    return at


def get(address: int, size: int) -> bytes:
    """What is there."""
    return ctypes.string_at(address, size)


def call(name: str, *args: object, quiet: bool = False) -> int | None:
    """Make a call; text becomes an address. Prints the result, or the name of the errno."""
    if name not in NUMBERS:
        return None
    words = [put(a + b"\0") if isinstance(a, bytes) else a for a in args]
    words += [0] * (6 - len(words))
    if ABI == "x86_64":
        value = LIBC.syscall(ctypes.c_long(NUMBERS[name]), *map(ctypes.c_long, words))
        value = -ctypes.get_errno() if value == -1 else value
    else:
        value = INT80(NUMBERS[name], *(word & 0xFFFFFFFF for word in words))
    if not quiet or value < 0:
        print(name, errno.errorcode[-value] if -4096 < value < 0 else value)
    return value


LIBC.syscall.restype = ctypes.c_long
INT80 = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * 7)(put(STUB))


def length(value: int) -> tuple[int, ...]:
    """A 64-bit argument, as the ABI passes it."""
    return (value,) if POINTER == 8 else (value & 0xFFFFFFFF, value >> 32)


def files() -> None:
    """The family of open."""
    for name, fd in [
        ("open", call("open", b"a", os.O_CREAT | os.O_WRONLY, 0o666, quiet=True)),
        ("creat", call("creat", b"b", 0o640, quiet=True)),
        (
            "openat",
            call(
                "openat",
                CWD,
                b"c",
                os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND,
                0o777,
                quiet=True,
            ),
        ),
        ("tmpfile", call("openat", CWD, b".", os.O_TMPFILE | os.O_RDWR, 0o600, quiet=True)),
        ("directory", call("openat", CWD, b"d", os.O_DIRECTORY | os.O_CLOEXEC, quiet=True)),
    ]:
        found = os.fstat(fd)
        flags = [os.get_inheritable(fd), os.get_blocking(fd), fcntl_flags(fd)]
        print(name, oct(found.st_mode), found.st_nlink, *flags)
    os.write(os.open("a", os.O_WRONLY), b"12345")
    call("open", b"a", os.O_TRUNC | os.O_WRONLY, quiet=True)
    print(os.stat("a").st_size)
    call("openat", CWD, b"a", os.O_CREAT | os.O_EXCL, 0o600)
    call("openat", CWD, b"link", os.O_NOFOLLOW)
    call("openat", CWD, b"d", os.O_WRONLY)
    call("openat", CWD, b"none/x", 0)
    call("openat", CWD, b"", 0)
    call("openat", CWD, b"a/", 0)
    call("openat", CWD, 0, 0)
    call("openat", 999, b"a", 0)
    call("openat", CWD, 8, 0)
    call("openat", CWD, b"/proc/self/comm", os.O_RDONLY | os.O_EXCL, quiet=True)
    mine = Path("/proc/self/stat").read_text().split()[0]
    print(mine == str(os.getpid()))
    os.truncate(os.open("big", os.O_CREAT | os.O_WRONLY), 3 << 30)
    print(
        call("openat", CWD, b"big", 0, quiet=True) > 0,
        call("open", b"big", 0o100000, quiet=True) > 0,
    )
    os.unlink("big")
    there = os.open("d", os.O_RDONLY)
    for resolve, path in [
        (0x10, b"/../f"),
        (0x08, b"../a"),
        (0x04, b"../link"),
        (0x02, b"/proc/self/exe"),
    ]:
        how = put(struct.pack("=QQQ", os.O_RDONLY, 0, resolve))
        fd = call("openat2", there, path, how, 24, quiet=True)
        print("openat2", resolve, fd is not None and fd < 0)
    call("openat2", there, b"f", put(struct.pack("=QQQQ", 0, 0, 0, 1)), 32)
    call("openat2", there, b"f", put(struct.pack("=QQQ", 0, 0o644, 0)), 24)


def fcntl_flags(fd: int) -> int:
    """F_GETFL, but for O_LARGEFILE, which whatever a 64-bit supervisor opens has."""
    return int(LIBC.fcntl(fd, 3)) & ~0o100000


def names() -> None:
    """Names that are made, moved and removed."""
    call("mkdir", b"m1", 0o777)
    call("mkdirat", CWD, b"m2/", 0o1777)
    call("mkdir", b"m1", 0o777)
    call("rmdir", b"m1")
    call("rmdir", b"file")
    call("rmdir", b"d")
    call("rmdir", b"m2/.")
    call("link", b"file", b"hard")
    call("linkat", CWD, b"link", CWD, b"hard2", 0)
    call("linkat", CWD, b"link", CWD, b"hard3", 0x400)
    call("linkat", CWD, b"none", CWD, b"hard4", 0)
    call("symlink", b"file", b"sym")
    call("symlinkat", b"", CWD, b"sym2")
    call("symlinkat", b"../x", CWD, b"sym3")
    call("rename", b"hard", b"moved")
    call("renameat", CWD, b"moved", CWD, b"d/moved")
    call("renameat2", CWD, b"file", CWD, b"d", 2)
    call("renameat2", CWD, b"hard2", CWD, b"hard3", 1)
    call("rename", b"none", b"x")
    call("rename", b"file", b"file/below")
    call("unlink", b"sym")
    call("unlink", b"m2")
    call("unlinkat", CWD, b"m2", 0x200)
    call("unlinkat", CWD, b"none", 0)
    call("mknod", b"fifo", 0o010666, 0)
    call("mknodat", CWD, b"plain", 0o100600, 0)
    call("mknodat", CWD, b"plain", 0o100600, 0)


def attributes() -> None:
    """Modes, owners, sizes and times."""
    me, group = os.getuid(), os.getgid()
    fd = os.open("file", os.O_RDWR)
    call("chmod", b"file", 0o600)
    call("chmod", b"none", 0o600)
    call("fchmod", fd, 0o4711)
    call("fchmodat", CWD, b"link", 0o640)
    call("fchmodat2", CWD, b"d", 0o700, 0)
    call("fchmodat2", CWD, b"link", 0o600, 0x100)
    call("fchmodat2", CWD, b"file", 0o600, 0x4000)
    for name in ("chown", "chown32", "lchown", "lchown32"):
        call(name, b"link", me, group)
        call(name, b"file", -1, -1)
    call("fchown", fd, me, -1)
    call("fchown32", fd, -1, group)
    call("fchownat", CWD, b"link", me, group, 0x100)
    call("fchownat", fd, b"", me, group, 0x1000)
    call("fchownat", fd, b"", me, group, 0)
    call("truncate", b"file", 11)
    call("truncate64", b"file", *length(12))
    call("ftruncate", fd, 13)
    call("ftruncate64", fd, *length(14))
    call("fallocate", fd, 0, *length(5), *length(20))
    call("truncate", b"d", 1)
    print(os.stat("file").st_size)
    pair = struct.pack(f"={'qq' if POINTER == 8 else 'ii'}", 100, 200)
    call("utime", b"file", put(pair))
    times()
    four = "qqqq" if POINTER == 8 else "iiii"
    call("utimes", b"file", put(struct.pack(f"={four}", 300, 5, 400, 999999)))
    times()
    call("utimes", b"file", put(struct.pack(f"={four}", 300, 1000000, 400, 0)))
    call("futimesat", CWD, b"link", put(struct.pack(f"={four}", 500, 1, 600, 2)))
    times()
    call("utimensat", CWD, b"file", put(struct.pack(f"={four}", 700, 7, 800, 8)), 0)
    times()
    call("utimensat", fd, 0, put(struct.pack(f"={four}", 900, 9, 1000, 0x3FFFFFFE)), 0)
    times()
    call("utimensat_time64", CWD, b"link", put(struct.pack("=qqqq", 2**33, 1 << 40 | 3, 5, 6)), 0)
    times()
    call("utimensat", CWD, b"link", put(struct.pack(f"={four}", 1, 1, 1, 1)), 0x100)
    call("utimensat", CWD, b"file", put(struct.pack(f"={four}", 1, 10**9, 1, 1)), 0)
    call("utimensat", CWD, b"file", 0, 0)
    call("utimensat", CWD, 0, put(struct.pack(f"={four}", 1, 1, 1, 1)), 0)
    call("utimensat", fd, 0, 0, 0x100)
    os.utime("file", (1, 1))
    os.utime("d", (1, 1))


def times() -> None:
    """The file's."""
    found = os.stat("file")
    print(found.st_atime_ns, found.st_mtime_ns)


def attached() -> None:
    """Extended attributes."""
    fd = os.open("file", os.O_RDWR)
    value, room = put(b"value"), put(bytes(64))
    call("setxattr", b"file", b"user.a", value, 5, 0)
    call("setxattr", b"file", b"user.a", value, 5, 1)
    call("setxattr", b"link", b"user.b", 0, 0, 0)
    call("lsetxattr", b"link", b"user.c", value, 5, 0)
    call("fsetxattr", fd, b"user.d", value, 3, 0)
    for name, first in (("getxattr", b"link"), ("lgetxattr", b"file"), ("fgetxattr", fd)):
        call(name, first, b"user.a", room, 64)
        print(get(room, 8))
        call(name, first, b"user.a", 0, 0)
        call(name, first, b"user.a", room, 2)
        call(name, first, b"user.none", room, 64)
    for name, first in (("listxattr", b"file"), ("llistxattr", b"link"), ("flistxattr", fd)):
        call(name, first, room, 64)
        print(sorted(get(room, 24).split(b"\0")))
        call(name, first, 0, 0)
    args = put(struct.pack("=QII", value, 5, 0))
    call("setxattrat", CWD, b"file", 0, b"user.e", args, 16)
    args = put(struct.pack("=QII", room, 64, 0))
    call("getxattrat", CWD, b"file", 0, b"user.e", args, 16)
    print(get(room, 8))
    call("listxattrat", CWD, b"link", 0x100, room, 64)
    call("removexattrat", CWD, b"file", 0, b"user.e")
    call("removexattrat", fd, b"", 0x1000, b"user.b")
    call("removexattr", b"link", b"user.a")
    call("lremovexattr", b"file", b"user.a")
    call("fremovexattr", fd, b"user.d")


def answers() -> None:
    """What is told about files."""
    for path in (b"file", b"link", b"none", b"d"):
        for mode in (0, 1, 4, 7):
            call("access", path, mode)
            call("faccessat", CWD, path, mode)
            call("faccessat2", CWD, path, mode, 0x200)
    call("faccessat2", CWD, b"file", 0, 0x8000)
    fd = os.open("/etc/passwd", os.O_RDONLY)
    room = put(bytes(256))
    for name, args in {
        "stat": (b"/etc/passwd", room),
        "lstat": (b"/etc/passwd", room),
        "fstat": (fd, room),
        "stat64": (b"/etc/passwd", room),
        "lstat64": (b"/etc", room),
        "fstat64": (fd, room),
        "newfstatat": (CWD, b"/etc/passwd", room, 0x100),
        "fstatat64": (fd, b"", room, 0x1000),
        "statx": (CWD, b"/etc/passwd", 0, 0x7FF, room),
        "statfs": (b"/proc", room),
        "fstatfs": (fd, room),
        "statfs64": (b"/proc", 84, room),
    }.items():
        # Padding may be left alone, or be zero; what follows the struct is left alone.
        ctypes.memset(room, 0xEE, 256)
        ctypes.memset(room, 0, 64 if POINTER == 4 and name.endswith(("stat", "statfs")) else 84)
        call(name, *args)
        text = get(room, 256)
        print(text.hex() if name != "fstatfs" else "")
    call("statfs64", b"/proc", 0, room)
    call("fstatfs64", fd, 1000, room)
    call("stat", b"none", room)
    call("newfstatat", fd, b"", room, 0)
    call("newfstatat", CWD, b"file", room, 0x8000)
    call("newfstatat", CWD, b"file", 8, 0)
    call("newfstatat", fd, 0, room, 0)
    call("newfstatat", fd, 0, room, 0x1000)
    call("statx", CWD, b"file", 0x8000, 0x7FF, room)
    call("linkat", CWD, b"file", CWD, b"hard", 0x100)
    for path in (b"link", b"file", b"none", b"/proc/self", b"/proc/thread-self"):
        ctypes.memset(room, 0xEE, 256)
        for name, first in (("readlink", ()), ("readlinkat", (CWD,))):
            done = call(name, *first, path, room, 200, quiet=True)
            if done is not None and done > 0:
                text = get(room, 200).replace(b"%d" % os.getpid(), b"ME")
                print(name, text.rstrip(b"\xee"))
    call("readlinkat", CWD, b"link", room, 2)
    call("readlinkat", CWD, b"link", room, 0)
    call("readlinkat", CWD, b"link", room, -1)
    call("readlinkat", os.open("link", os.O_PATH | os.O_NOFOLLOW), b"", room, 100)


def unix(path: bytes) -> bytes:
    """A struct sockaddr_un."""
    return struct.pack("=H", socket.AF_UNIX) + path + b"\0"


def header(name: bytes, pieces: list[bytes], control: bytes) -> bytes:
    """A struct msghdr."""
    vector = b"".join(struct.pack(f"={WORD}{WORD}", put(piece), len(piece)) for piece in pieces)
    pad = "4x" if POINTER == 8 else ""
    return struct.pack(
        f"={WORD}I{pad}{WORD}{WORD}{WORD}{WORD}i{pad}",
        *(put(name) if name else 0, len(name), put(vector), len(pieces)),
        *(put(control) if control else 0, len(control), 0),
    )


def rights(*fds: int) -> bytes:
    """A control message with descriptors."""
    data = b"".join(struct.pack("=i", fd) for fd in fds)
    raw = (
        struct.pack(f"={WORD}ii", POINTER + 8 + len(data), socket.SOL_SOCKET, socket.SCM_RIGHTS)
        + data
    )
    return raw + bytes(-len(raw) % POINTER)


def sockets() -> None:
    """Connecting, binding and sending."""
    server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    address = put(unix(b"d/sock"))
    call("bind", server.fileno(), address, 9)
    print(server.getsockname(), oct(os.stat("d/sock").st_mode))
    call("bind", server.fileno(), address, 9)
    call("connect", client.fileno(), address, 9)
    server.listen()
    call("connect", client.fileno(), put(unix(b"d/../d/sock")), 14)
    peer = server.accept()[0]
    print(client.getpeername())
    call("sendto", client.fileno(), b"hello", 5, 0, 0, 0)
    print(peer.recv(99))
    call("sendmsg", client.fileno(), put(header(b"", [b"one ", b"two"], rights(0, 0))), 0)
    data, fds, _, _ = socket.recv_fds(peer, 99, 4)
    print(data, len(fds), [os.fstat(fd).st_ino == os.fstat(0).st_ino for fd in fds])
    call("sendmsg", client.fileno(), put(header(b"", [b"x"], rights(999))), 0)
    both = put(
        header(b"", [b"1"], b"") + bytes(POINTER) + header(b"", [b"23"], b"") + bytes(POINTER)
    )
    call("sendmmsg", client.fileno(), both, 2, 0)
    print(peer.recv(99), get(both, 200).count(b"\x02\0\0\0"))
    peer.close()
    call("sendto", client.fileno(), b"late", 4, socket.MSG_NOSIGNAL, 0, 0)
    tcp, web = socket.socket(), socket.socket()
    tcp.bind(("127.0.0.1", 0))
    tcp.listen()
    where = struct.pack("=H", 2) + struct.pack(
        ">H4s8x", tcp.getsockname()[1], bytes([127, 0, 0, 1])
    )
    call("connect", web.fileno(), put(where), 16)
    call("connect", web.fileno(), put(where), 16)
    call("connect", web.fileno(), put(where), 3)
    udp = socket.socket(type=socket.SOCK_DGRAM)
    listening = socket.socket(type=socket.SOCK_DGRAM)
    call(
        "bind",
        listening.fileno(),
        put(struct.pack("=H", 2) + bytes([0, 0, 127, 0, 0, 1]) + bytes(8)),
        16,
    )
    where = struct.pack("=H", 2) + struct.pack(
        ">H4s8x", listening.getsockname()[1], bytes([127, 0, 0, 1])
    )
    call("sendto", udp.fileno(), b"packet", 6, 0, put(where), 16)
    print(listening.recv(99))
    call("sendmsg", udp.fileno(), put(header(where, [b"pa", b"cket2"], b"")), 0)
    print(listening.recv(99))
    gone = socket.socket()
    call(
        "connect",
        gone.fileno(),
        put(struct.pack("=H", 2) + bytes([0, 1, 127, 0, 0, 1]) + bytes(8)),
        16,
    )
    file = os.open("file", os.O_RDWR)
    call("connect", file, put(where), 16)
    call("bind", file, put(where), 16)
    call("sendto", file, b"x", 1, 0, 0, 0)
    call("sendto", 999, b"x", 1, 0, 0, 0)
    call("connect", web.fileno(), 8, 16)
    call("connect", web.fileno(), put(where), 129)


os.umask(0o027)
{
    "files": files,
    "names": names,
    "attributes": attributes,
    "attached": attached,
    "answers": answers,
    "sockets": sockets,
}[FAMILY]()
