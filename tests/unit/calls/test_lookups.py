"""Where a path argument is looked up, and how."""

from __future__ import annotations

import struct

import pytest

from tests.unit.calls.fake_memory import FakeCaller, make_call
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.calls.lookups import RESOLVE_IN_ROOT, Spot, path_of, spot_of
from unotify.errors import BadAddress, NotExpressible

PATH, HOW = 0x1000, 0x2000
CWD = -100


def spot(name: str, *args: int, argument: str = "path", path: bytes = b"a/b\0") -> Spot:
    """Where *argument* of a call is looked up."""
    return spot_of(make_call(name, *args, memory={PATH: path}), argument)


@pytest.mark.parametrize(
    ("name", "args", "argument", "dirfd", "follow"),
    [
        ("openat", (7, PATH, 0), "path", 7, True),
        ("openat", (0xFFFFFF9C, PATH, 0), "path", CWD, True),
        ("openat", (CWD, PATH, 0o400000), "path", CWD, False),
        ("openat", (CWD, PATH, 0o300), "path", CWD, False),
        ("openat", (CWD, PATH, 0o100), "path", CWD, True),
        ("open", (PATH,), "path", CWD, True),
        ("lstat", (PATH,), "path", CWD, False),
        ("lchown", (PATH, 5, 5), "path", CWD, False),
        ("linkat", (3, PATH, 4, PATH, 0x400), "oldpath", 3, True),
        ("newfstatat", (3, PATH, 0, 0x100), "path", 3, False),
        ("newfstatat", (3, PATH, 0, 0), "path", 3, True),
        ("umount2", (PATH, 8), "target", CWD, False),
        ("mount", (0, PATH), "target", CWD, True),
        ("inotify_add_watch", (1, PATH, 0x02000000), "path", CWD, False),
        ("move_mount", (1, PATH, 2, PATH, 0x10), "to_path", 2, True),
        ("move_mount", (1, PATH, 2, PATH, 0x10), "from_path", 1, False),
        ("lsetxattr", (PATH,), "path", CWD, False),
        ("setxattrat", (3, PATH, 0x100), "path", 3, False),
        ("fchownat", (3, PATH, 0, 0, 0x100), "path", 3, False),
    ],
)
def test_things(name: str, args: tuple[int, ...], argument: str, dirfd: int, follow: bool) -> None:
    """From the call's descriptor, and over a last link if the kernel would follow it."""
    assert spot(name, *args, argument=argument) == Spot(b"a/b", dirfd, follow)


@pytest.mark.parametrize(
    ("name", "args", "argument"),
    [
        ("mkdirat", (3, PATH, 0), "path"),
        ("unlinkat", (3, PATH, 0), "path"),
        ("symlinkat", (PATH, 3, PATH), "linkpath"),
        ("linkat", (3, PATH, 4, PATH, 0), "oldpath"),
        ("linkat", (4, PATH, 3, PATH, 0x400), "newpath"),
        ("renameat2", (3, PATH, 4, PATH, 0), "oldpath"),
    ],
)
def test_names(name: str, args: tuple[int, ...], argument: str) -> None:
    """What makes, moves or removes a name looks at its directory alone."""
    assert spot(name, *args, argument=argument) == Spot(b"a/b", 3, follow=False, parent=True)


def test_what_is_linked_by_a_name_that_ends_in_a_slash() -> None:
    """It is the thing that the name leads to, over links too; of others it is still a name."""
    path = b"a/b/\0"
    for name, args in {"link": (PATH, PATH), "linkat": (CWD, PATH, CWD, PATH)}.items():
        assert spot(name, *args, argument="oldpath", path=path) == Spot(b"a/b/")
        new = Spot(b"a/b/", follow=False, parent=True)
        assert spot(name, *args, argument="newpath", path=path) == new
    old = Spot(b"a/b/", follow=False, parent=True)
    assert spot("rename", PATH, PATH, argument="oldpath", path=path) == old


def test_unix_sockets() -> None:
    """The path of an address is a thing to connect and to send to, and a name to bind to."""
    raw = b"\1\0a/b\0"
    assert spot("connect", 3, PATH, 6, argument="address", path=raw) == Spot(b"a/b")
    assert spot("sendto", 3, 0, 0, 0, PATH, 5, argument="address", path=raw) == Spot(b"a/b")
    name = Spot(b"a/b", follow=False, parent=True)
    assert spot("bind", 3, PATH, 6, argument="address", path=raw) == name
    for other in (b"\1\0", b"\1\0\0ab", b"\2\0" + bytes(14)):
        with pytest.raises(NotExpressible, match="connect address is no path of a unix socket"):
            spot("connect", 3, PATH, len(other), argument="address", path=other)


def test_paths_as_given() -> None:
    """Of an argument that is one, and of an address that has one."""
    memory = {PATH: b"a/b\0", HOW: b"\1\0c\0", HOW + 16: b"\2\0" + bytes(14)}
    found = [
        path_of(make_call(name, *args, memory=memory), argument)
        for name, args, argument in (
            ("open", (PATH,), "path"),
            ("connect", (3, HOW, 4), "address"),
            ("connect", (3, HOW + 16, 16), "address"),
            ("sendto", (3, 0, 0, 0, 0, 0), "address"),
        )
    ]
    assert [path and path.raw for path in found] == [b"a/b", b"c", None, None]


@pytest.mark.parametrize(
    ("name", "args", "empty"),
    [
        ("newfstatat", (3, PATH, 0, 0x1000), True),
        ("newfstatat", (3, PATH, 0, 0), False),
        ("statx", (3, PATH, 0x1000), True),
        ("readlinkat", (3, PATH), True),
        ("openat", (3, PATH, 0x1000), False),
        ("getxattrat", (3, PATH, 0x1000), True),
    ],
)
def test_an_empty_path(name: str, args: tuple[int, ...], empty: bool) -> None:
    """It is the descriptor with AT_EMPTY_PATH, and always of readlinkat; else it is ENOENT."""
    assert spot(name, *args, path=b"\0").empty is empty


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("utimensat", (3, 0, 0, 0)),
        ("futimesat", (3, 0, 0)),
        ("newfstatat", (3, 0, 0, 0x1000)),
        ("statx", (3, 0, 0x1000)),
    ],
)
def test_no_path(name: str, args: tuple[int, ...]) -> None:
    """NULL is the descriptor where the kernel takes it so."""
    assert spot(name, *args) == Spot(b"", 3, empty=True)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("open", (0,)),
        ("openat", (3, 0, 0)),
        ("utimensat", (CWD, 0, 0, 0)),
        ("newfstatat", (3, 0, 0, 0)),
        ("statx", (3, 0, 0)),
    ],
)
def test_no_path_where_there_should_be_one(name: str, args: tuple[int, ...]) -> None:
    """It is EFAULT."""
    with pytest.raises(BadAddress):
        spot(name, *args)


def test_openat2_says_it_in_memory() -> None:
    """Flags and RESOLVE_* are in its struct."""
    how = struct.pack("<3Q", 0o400000, 0, RESOLVE_IN_ROOT | 0x04)
    call = make_call("openat2", 3, PATH, HOW, 24, memory={PATH: b"a\0", HOW: how})
    found = spot_of(call, "path")
    assert found == Spot(b"a", 3, follow=False, resolve=0x14)
    assert found.in_root


def test_what_is_no_path() -> None:
    """A string that is not looked up has no spot."""
    with pytest.raises(NotExpressible, match="mount fstype is not a path"):
        spot("mount", 0, 0, PATH, argument="fstype")


OPENS = {
    # O_NOFOLLOW, O_CREAT, O_EXCL
    Arch.X86_64: (0o400000, 0o100, 0o200),
    Arch.I386: (0o400000, 0o100, 0o200),
    Arch.ARM: (0o100000, 0o100, 0o200),
    Arch.AARCH64: (0o100000, 0o100, 0o200),
    Arch.PPC64LE: (0o100000, 0o100, 0o200),
    Arch.MIPS: (0o400000, 0x100, 0x400),
    Arch.MIPSEL64: (0o400000, 0x100, 0x400),
    Arch.PARISC: (0o200, 0o400, 0o2000),
}


@pytest.mark.parametrize(
    ("arch", "name"),
    [(a, n) for a in OPENS for n in ("open", "openat") if tables.number(n, a) is not None],
)
def test_opens_of_an_architecture(arch: Arch, name: str) -> None:
    """The bits that keep a link from being followed are those of the call's own ABI."""
    nofollow, creat, excl = OPENS[arch]
    others = 0xFFFFFFFF & ~(nofollow | creat | excl)
    for flags, follow in (
        (0, True),
        (others, True),
        (nofollow, False),
        (others | nofollow, False),
        (creat, True),
        (excl, True),
        (creat | excl, False),
        (creat | excl | nofollow, False),
        (0xF << 32, True),
    ):
        args = (PATH, flags) if name == "open" else (3, PATH, flags)
        call = make_call(name, *args, arch=arch, memory={PATH: b"a\0"})
        assert spot_of(call, "path") == Spot(b"a", 3 if name == "openat" else CWD, follow)


@pytest.mark.parametrize("first", ["spot", "path", "look"])
def test_a_path_is_read_once(first: str) -> None:
    """Whichever way it is asked for first: what was decided about is what is looked up."""
    caller = FakeCaller({PATH: b"a/b\0"})
    call = make_call("openat", CWD, PATH, 0, caller=caller)
    if first == "spot":
        assert spot_of(call, "path").path == b"a/b"
    elif first == "path":
        assert bytes(call.path) == b"a/b"
    else:
        call.describe()
    assert call.exchange.memory_read is (first != "look")
    caller.pieces[PATH] = b"other\0"
    assert bytes(call.path) == spot_of(call, "path").path == b"a/b"
    assert len(caller.reads) == 1
    assert call.exchange.memory_read


def test_two_paths_of_a_call() -> None:
    """Each has a copy of its own."""
    caller = FakeCaller({PATH: b"a\0", HOW: b"b\0"})
    call = make_call("rename", PATH, HOW, caller=caller)
    assert [spot_of(call, name).path for name in ("oldpath", "newpath")] == [b"a", b"b"]
    assert [spot_of(call, name).path for name in ("newpath", "oldpath")] == [b"b", b"a"]
    assert len(caller.reads) == 2


def test_no_path_is_marked_too() -> None:
    """Whether there is a path decides, as what it is would."""
    call = make_call("utimensat", 3, 0, 0, 0)
    assert spot_of(call, "path") == Spot(b"", 3, empty=True)
    assert call.exchange.memory_read
    assert call.path is None
    call = make_call("open", 0)
    with pytest.raises(BadAddress):
        spot_of(call, "path")
    assert call.exchange.memory_read
    assert call.copies == {}
