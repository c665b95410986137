"""A small tree of files, and calls that are made in it, each with what came of it.

The tree is made anew after each change.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
AT_FDCWD = -100
WILD = ctypes.c_void_p(8)
CREAT = 85
RENAMES = ["file", "dir", "full", "link", "dirlink", "dangling", "missing", "dir/", "missing/"]
PATHS: list[Any] = [
    *("file", "file/", "file/.", "file/x", "./file", "dir", "dir/", "dir//", "dir/.", "dir/.."),
    *(
        "dir/../file",
        "full",
        "full/",
        "full/.",
        "full/inner",
        ".",
        "..",
        "./",
        "../",
        "",
        "/",
        "//",
    ),
    *("missing", "missing/", "missing/.", "missing/..", "missing/x", "link", "link/", "link/x"),
    *("dirlink", "dirlink/", "dirlink/.", "dirlink/..", "dirlink/new", "dirlink/inner"),
    *("dangling", "dangling/", "dangling/x", "danglingdir", "danglingdir/", "loop", "loop/x"),
    *("abslink", "absdir/", "absdir/inner", "private/x", "private", "selflink/status", "fifo/"),
    *("a" * 255, "a" * 256, "a" * 256 + "/x", "./" * 2047 + "a", "./" * 2048 + "a", None, WILD),
    *("/proc/self", "/proc/self/", "/proc/self/exe", "/proc/self/cwd", "/proc/self/cwd/file"),
    *("/proc/self/fd/0", "/proc/self/fd/900", "/proc/self/fd/901/inner", "/proc/self/fd/999"),
    *("/proc/self/root", "/proc/thread-self/comm", "/dev/fd/900", "/dev/stdin", "/dev/null/x"),
    *("/proc/self/cwd/link", "/proc/self/cwd/new", "/proc/self/ns/user", "/proc/1/root"),
]
# What is not in the tree, and is not to be changed: root would.
ELSEWHERE = ("/", "//", "/proc/self/exe", "/proc/self/root", "/proc/1/root", "/dev/stdin")
OURS = [path for path in PATHS if path not in ELSEWHERE and path != "/proc/self/fd/0"]
FEW: list[Any] = [
    *(
        "file",
        "dir",
        "link",
        "dirlink",
        "dangling",
        "missing",
        "",
        None,
        WILD,
        "file/",
        "private/x",
    ),
    *("/proc/self/fd/900", "/proc/self", "fifo", "socket"),
]


class Tree:
    """The files that all calls find, below the current directory."""

    def __init__(self) -> None:
        self.top = os.getcwd()
        self.fresh = False
        self.attribute = False

    def open_up(self) -> None:
        """Make all of it such that it can be removed."""
        os.chdir(self.top)
        for directory, names, _ in os.walk("t"):
            for name in names:
                if not os.path.islink(os.path.join(directory, name)):
                    os.chmod(os.path.join(directory, name), 0o700)

    def make(self) -> None:
        """Make it anew, unless nothing was changed since."""
        if self.fresh:
            return
        os.chdir(self.top)
        if os.path.isdir("t"):
            self.open_up()
            shutil.rmtree("t")
        os.makedirs("t/w/full")
        os.chdir("t/w")
        for name in ("dir", "private"):
            os.mkdir(name)
        for name in ("file", "full/inner", "private/x"):
            with open(name, "w") as file:
                file.write(name)
        os.symlink("file", "link")
        os.symlink("full", "dirlink")
        os.symlink("nowhere", "dangling")
        os.symlink("full/nowhere", "danglingdir")
        os.symlink("loop", "loop")
        os.symlink(os.path.abspath("file"), "abslink")
        os.symlink(os.path.abspath("full"), "absdir")
        os.symlink("/proc/self", "selflink")
        os.mkfifo("fifo")
        os.mknod("socket", stat.S_IFSOCK | 0o600)
        os.chmod("private", 0)
        for name in ("file", "dir", "full", "full/inner"):
            os.utime(name, (1, 2))
        for number, name in ((900, "file"), (901, "full")):
            fd = os.open(name, os.O_RDONLY)
            os.dup2(fd, number)
            os.close(fd)
        fd = os.open("link", os.O_PATH | os.O_NOFOLLOW)
        os.dup2(fd, 903)
        os.close(fd)
        if self.attribute:
            os.setxattr("file", "user.a", b"attribute")
        self.fresh = True

    def seen(self) -> list[Any]:
        """What there is now."""
        found = []
        for directory, names, files in os.walk("..", followlinks=False):
            for name in sorted([*names, *files]):
                path = os.path.join(directory, name)
                about = os.lstat(path)
                more: Any = ""
                if stat.S_ISLNK(about.st_mode):
                    more = os.readlink(path)
                elif stat.S_ISREG(about.st_mode) and os.access(path, os.R_OK):
                    with open(path, "rb") as file:
                        more = file.read()
                times = about.st_mtime_ns if about.st_mtime_ns < 10**18 else "now"
                found.append((path, oct(about.st_mode), about.st_uid, about.st_gid, times, more))
        return sorted(found)


tree = Tree()


def raw(call: int, *arguments: Any) -> str:
    """Make the call; returns its result in words."""
    words = [os.fsencode(word) if isinstance(word, str) else word for word in arguments]
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    done = libc.syscall(ctypes.c_long(call), *words)
    if call == CREAT and done >= 0:
        os.close(done)
        return "created"
    if done >= 0:
        return str(done)
    number = ctypes.get_errno()
    return errno.errorcode.get(number, str(number))


def short(value: Any) -> str:
    """*value* in a label."""
    text = "NULL" if value is None else "WILD" if value is WILD else repr(value)
    text = "buffer" if value is ... else text
    return text if len(text) < 60 else f"{text[:12]}...({len(value)})"


Edge = tuple[str, Callable[[], Any], bool]


def calls(label: str, number: int, choices: Iterable[tuple[Any, ...]]) -> Iterator[Edge]:
    """Calls that change something, or would."""
    for words in choices:
        told = ", ".join(map(short, words))
        yield f"{label}({told})", lambda words=words: raw(number, *words), True


def looks(label: str, number: int, choices: Iterable[tuple[Any, ...]], size: int) -> Iterator[Edge]:
    """Calls that fill the buffer in their arguments, which is the word `...`."""
    for words in choices:
        told = ", ".join(map(short, words))

        def look(words: tuple[Any, ...] = words) -> Any:
            buffer = ctypes.create_string_buffer(b"\xee" * size, size)
            done = raw(number, *(buffer if word is ... else word for word in words))
            if number in STATS:
                return done, _stat(buffer.raw) if done == "0" else ""
            return done, buffer.raw.rstrip(b"\xee")

        yield f"{label}({told})", look, False


# By the numbers of x86-64: tests on other machines have the other groups.
STATS = {4, 5, 6, 262}


def _stat(data: bytes) -> Any:
    number = int.from_bytes
    mode = number(data[24:28], "little")
    size = "" if stat.S_ISDIR(mode) else number(data[48:56], "little", signed=True)
    return oct(mode), size, number(data[28:32], "little"), number(data[16:24], "little")


def opened(flags: int, path: Any, mode: int = 0o666, dirfd: int = AT_FDCWD) -> Any:
    """Open, and tell what was opened."""
    done = raw(257, dirfd, path, flags | os.O_NONBLOCK, mode)
    if not done.isdigit():
        return done
    fd = int(done)
    try:
        import fcntl

        about = os.fstat(fd)
        got = fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NOFOLLOW, os.get_inheritable(fd)
        size = 0 if stat.S_ISDIR(about.st_mode) else about.st_size
        return (
            "fd",
            oct(about.st_mode),
            size,
            got,
            os.readlink(f"/proc/self/fd/{fd}")
            .rpartition("/")[2]
            .split(":")[0]
            .rstrip("0123456789"),
        )
    finally:
        os.close(fd)
