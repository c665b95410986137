"""A walk along a path, on directories of the test's own."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from unotify.abi.types import Tid
from unotify.calls.lookups import Spot
from unotify.kernel import walking
from unotify.kernel.walking import (
    BENEATH,
    IN_ROOT,
    NO_MAGICLINKS,
    NO_SYMLINKS,
    NO_XDEV,
    Walk,
    is_proc,
    same,
)

ME = os.getpid()


@pytest.fixture(name="tree")
def _tree(tmp_path: Path) -> Path:
    """``top/`` with ``d/f`` and links."""
    top = tmp_path.resolve() / "top"
    (top / "d").mkdir(parents=True)
    (top / "d/f").touch()
    for name, target in {
        "link": "d",
        "slash": "d/",
        "abs": "/d",
        "out": "../outside",
        "exe": "/proc/self/exe",
        "loop": "loop",
        "new": "d/new",
    }.items():
        (top / name).symlink_to(target)
    return top


@pytest.fixture(name="real_root")
def _real_root() -> Iterator[int]:
    """A descriptor of the root."""
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def walked(top: Path, root: int, spot: Spot, *, fsuid: int = 0) -> tuple[str, bytes]:
    """Where a walk from *top* ends, and the name that is left."""
    start = os.open(top, os.O_PATH | os.O_DIRECTORY)
    fence = os.dup(start) if spot.resolve & (IN_ROOT | BENEATH) else os.dup(root)
    walk = Walk(Tid(ME), ME, fence, start, fsuid=fsuid, resolve=spot.resolve)
    try:
        name = walk.go(spot)
        found = os.readlink(f"/proc/self/fd/{walk.here}")
        return str(Path(found).relative_to(top)) if Path(found).is_relative_to(top) else found, name
    finally:
        walk.close()
        os.close(fence)


def refused(top: Path, root: int, spot: Spot, *, fsuid: int = 0) -> int:
    """The errno that the walk ends with."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        walked(top, root, spot, fsuid=fsuid)
    assert len(os.listdir("/proc/self/fd")) == before
    return caught.value.errno or 0


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"d/f", ("d/f", b"")),
        (b"link/f", ("d/f", b"")),
        (b"link", ("d", b"")),
        (b"slash", ("d", b"")),
        (b"d/.", ("d", b"")),
        (b"d/..", (".", b"")),
        (b"d/none", ("d", b"none")),
        (b"none/", (".", b"none/")),
        (b"new", ("d", b"new")),
    ],
)
def test_things(tree: Path, real_root: int, path: bytes, found: tuple[str, bytes]) -> None:
    """Links are followed; of what is missing the last name is left, with its slash."""
    assert walked(tree, real_root, Spot(path)) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"new", (".", b"new")),
        (b"d/", (".", b"d/")),
        (b"d//f", ("d", b"f")),
        (b"link/x", ("d", b"x")),
        (b"d/.", ("d", b".")),
        (b"d/..", ("d", b"..")),
    ],
)
def test_parents(tree: Path, real_root: int, path: bytes, found: tuple[str, bytes]) -> None:
    """A name that is to be made or removed is not looked at, dots and links neither."""
    assert walked(tree, real_root, Spot(path, follow=False, parent=True)) == found


def test_a_name_that_is_all_slashes(tree: Path, real_root: int) -> None:
    """It is the root, which can be neither made nor removed."""
    assert walked(tree, real_root, Spot(b"//", follow=False, parent=True)) == ("/", b"/")


@pytest.mark.parametrize(
    ("path", "resolve", "found"),
    [
        (b"/d/f", IN_ROOT, ("d/f", b"")),
        (b"abs", IN_ROOT, ("d", b"")),
        (b"../../d", IN_ROOT, ("d", b"")),
        (b"out", IN_ROOT, (".", b"outside")),
        (b"d/../link", BENEATH, ("d", b"")),
        (b"d/f", NO_SYMLINKS, ("d/f", b"")),
        (b"d/f", NO_XDEV, ("d/f", b"")),
    ],
)
def test_what_resolve_flags_allow(
    tree: Path, real_root: int, path: bytes, resolve: int, found: tuple[str, bytes]
) -> None:
    """IN_ROOT turns all that would lead out back to its root."""
    assert walked(tree, real_root, Spot(path, resolve=resolve)) == found


@pytest.mark.parametrize(
    ("path", "resolve", "number"),
    [
        (b"link/f", NO_SYMLINKS, errno.ELOOP),
        (b"../top", BENEATH, errno.EXDEV),
        (b"/d", BENEATH, errno.EXDEV),
        (b"abs", BENEATH, errno.EXDEV),
        (b"out", BENEATH, errno.EXDEV),
        (b"exe", NO_MAGICLINKS, errno.ELOOP),
        (b"/proc/self", NO_XDEV, errno.EXDEV),
        (b"loop", 0, errno.ELOOP),
        (b"d/f/", 0, errno.ENOTDIR),
        (b"none/x", 0, errno.ENOENT),
        (b"", 0, errno.ENOENT),
    ],
)
def test_what_is_refused(
    tree: Path, real_root: int, path: bytes, resolve: int, number: int
) -> None:
    """With the errno of the kernel, and no descriptor is left."""
    assert refused(tree, real_root, Spot(path, resolve=resolve)) == number


def test_a_last_link_that_is_not_followed(tree: Path, real_root: int) -> None:
    """It is itself what is found, but for a slash after it, or NO_SYMLINKS, which let it be."""
    assert walked(tree, real_root, Spot(b"link", follow=False)) == ("link", b"")
    assert walked(tree, real_root, Spot(b"link/", follow=False)) == ("d", b"")
    assert walked(tree, real_root, Spot(b"link", follow=False, resolve=NO_SYMLINKS)) == (
        "link",
        b"",
    )


def test_links_of_others_in_sticky_directories(
    tree: Path, real_root: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fs.protected_symlinks: only the link's owner, or the directory's, may have set it."""
    monkeypatch.setattr(walking, "_links_protected", lambda: True)
    (tree / "tmp").mkdir()
    (tree / "tmp/link").symlink_to("../d")
    me = os.geteuid()
    assert walked(tree, real_root, Spot(b"tmp/link"), fsuid=me + 1) == ("d", b"")
    (tree / "tmp").chmod(0o1777)
    assert walked(tree, real_root, Spot(b"tmp/link"), fsuid=me) == ("d", b"")
    # The directory belongs to the link's owner too, which is one of the two that may.
    assert walked(tree, real_root, Spot(b"tmp/link"), fsuid=me + 1) == ("d", b"")
    owners = {"tmp": me + 1, "link": me + 2}
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        found = real(fd)
        owner = owners.get(Path(os.readlink(f"/proc/self/fd/{fd}")).name, found.st_uid)
        return os.stat_result((*found[:4], owner, *found[5:10]))

    monkeypatch.setattr(os, "fstat", fstat)
    assert refused(tree, real_root, Spot(b"tmp/link"), fsuid=me) == errno.EACCES
    assert walked(tree, real_root, Spot(b"tmp/link"), fsuid=me + 2) == ("d", b"")
    monkeypatch.setattr(walking, "_links_protected", lambda: False)
    assert walked(tree, real_root, Spot(b"tmp/link"), fsuid=me) == ("d", b"")


def test_which_directories_are_the_same(tree: Path) -> None:
    """Two descriptors of one directory are; a procfs is told from others."""
    fds = [os.open(path, os.O_PATH) for path in (tree, tree, tree / "d", "/proc")]
    try:
        assert same(fds[0], fds[1])
        assert not same(fds[0], fds[2])
        assert [is_proc(fd) for fd in fds] == [False, False, False, True]
    finally:
        for fd in fds:
            os.close(fd)
