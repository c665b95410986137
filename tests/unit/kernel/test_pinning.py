"""What a path names, on directories of the test's own and on this process's /proc."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from unotify.abi.types import Tid
from unotify.calls.lookups import AT_FDCWD, RESOLVE_IN_ROOT, Spot
from unotify.errors import Refused, TargetGone
from unotify.kernel.pinning import Pin, pin, reach
from unotify.kernel.places import Place

ME = os.getpid()


@pytest.fixture(name="tree")
def _tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``a/b/`` with ``file``, and links; the current directory."""
    tree = tmp_path.resolve()
    (tree / "a/b").mkdir(parents=True)
    (tree / "file").touch()
    for name, target in {
        "rel": "a/b",
        "up": "a/b/../../file",
        "abs": "/etc",
        "loop": "loop",
        "slash": "a/",
        "dangling": "a/new",
        "out": "/etc",
        "stdin": "/proc/self/fd/0",
    }.items():
        (tree / name).symlink_to(target)
    monkeypatch.chdir(tree)
    return tree


def resolve(tid: Tid, tgid: int, spot: Spot) -> str:
    """What *spot* names for thread *tid*, as seen from that thread's root."""
    place = Place(tid, lambda: tgid)
    try:
        found = pin(place, spot)
        try:
            return found.text
        finally:
            found.close()
    finally:
        place.close()


def ask(path: str, *, dirfd: int = AT_FDCWD, follow: bool = True, in_root: bool = False) -> str:
    """Resolve for ourselves."""
    flags = RESOLVE_IN_ROOT if in_root else 0
    return resolve(Tid(ME), ME, Spot(path.encode(), dirfd, follow, resolve=flags, empty=True))


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor."""
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("file", "file"),
        ("./a//b/./", "a/b"),
        ("rel/../x", "a/x"),
        ("up", "file"),
        ("rel/new", "a/b/new"),
        ("dangling", "a/new"),
        ("slash/b", "a/b"),
        ("", ""),
        (".", ""),
        ("new", "new"),
    ],
)
def test_names_below_the_current_directory(tree: Path, path: str, name: str) -> None:
    """Links and dots are followed; the last component may be missing."""
    assert ask(path) == str(tree / name).rstrip("/")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "/"),
        ("/..", "/"),
        ("../" * 40 + "etc", "/etc"),
        ("abs", "/etc"),
        ("abs/no-such-file", "/etc/no-such-file"),
        ("/proc/self", f"/proc/{ME}"),
        ("/proc/thread-self", f"/proc/{ME}/task/{ME}"),
        ("/proc/self/root/etc", "/etc"),
        ("/proc/mounts", f"/proc/{ME}/mounts"),
    ],
    ids=lambda value: value.replace(str(ME), "ME"),
)
def test_names_from_the_root(tree: Path, path: str, name: str) -> None:
    """Nothing is above the root, and self in procfs is the target."""
    assert ask(path) == name


@pytest.mark.parametrize(
    ("path", "name"), [("rel", "rel"), ("rel/", "a/b"), ("rel/.", "a/b"), ("loop", "loop")]
)
def test_a_last_link_that_is_not_followed(tree: Path, path: str, name: str) -> None:
    """It is itself what is named, but for a slash after it."""
    assert ask(path, follow=False) == str(tree / name)


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("loop", errno.ELOOP),
        ("no/file", errno.ENOENT),
        ("no/.", errno.ENOENT),
        ("file/", errno.ENOTDIR),
        ("file/x", errno.ENOTDIR),
        ("file/..", errno.ENOTDIR),
        ("x" * 300, errno.ENAMETOOLONG),
    ],
)
def test_what_the_kernel_would_refuse(tree: Path, path: str, number: int) -> None:
    """Has the errno that the call itself would have."""
    with pytest.raises(Refused) as caught:
        ask(path)
    assert caught.value.errno == number


def test_a_descriptor_to_start_at(tree: Path) -> None:
    """For relative paths alone; empty names itself; one that is not there is EBADF."""
    with opened(tree / "a") as fd:
        assert ask("../file", dirfd=fd) == str(tree / "file")
        assert ask("/etc", dirfd=fd) == "/etc"
        assert ask("", dirfd=fd) == str(tree / "a")
    with opened(tree / "file") as fd:
        assert ask("", dirfd=fd) == str(tree / "file")
    with pytest.raises(Refused) as caught:
        ask("x", dirfd=987)
    assert caught.value.errno == errno.EBADF


def test_a_descriptor_as_the_root(tree: Path) -> None:
    """RESOLVE_IN_ROOT: neither dots nor links nor a slash lead out."""
    with opened(tree) as fd:
        for path in ("/../a", "../../a", "a/../../a"):
            assert ask(path, dirfd=fd, in_root=True) == str(tree / "a")
        assert ask("out", dirfd=fd, in_root=True) == str(tree / "etc")


def test_what_is_no_file(tree: Path) -> None:
    """Links of procfs lead to pipes too, which have a name of their own."""
    reading, writing = os.pipe()
    try:
        name = os.readlink(f"/proc/self/fd/{reading}")
        assert ask(f"/proc/self/fd/{reading}") == name
        assert ask("stdin", follow=False) == str(tree / "stdin")
    finally:
        os.close(reading)
        os.close(writing)


def test_bytes_that_are_no_text(tree: Path) -> None:
    """They come back as Python spells them."""
    name = b"\xff\xfe"
    (tree / os.fsdecode(name)).touch()
    found = resolve(Tid(ME), ME, Spot(name))
    assert os.fsencode(found) == bytes(tree) + b"/" + name


def test_a_thread_that_is_gone() -> None:
    """A dead number names nothing."""
    with pytest.raises(TargetGone):
        resolve(Tid(2**22 + 1), 1, Spot(b"/"))


def test_no_descriptor_is_left(tree: Path) -> None:
    """Whether it is found or refused."""
    before = len(os.listdir("/proc/self/fd"))
    for path in ("rel/../x", "loop", "no/file", "/proc/self/root/etc", "file/x"):
        with suppress(Refused):
            ask(path)
    assert len(os.listdir("/proc/self/fd")) == before


@contextmanager
def pinned(path: str, **options: Any) -> Iterator[tuple[Pin, Place]]:
    """What *path* names, held."""
    place = Place(Tid(ME), lambda: ME)
    found = pin(place, Spot(path.encode(), **options))
    try:
        yield found, place
    finally:
        found.close()
        place.close()


def test_a_pin_holds_the_thing_and_not_its_name(tree: Path) -> None:
    """Whatever is renamed, and put in its place, it stays what was found."""
    with pinned("a/b") as (found, _):
        (tree / "a").rename(tree / "moved")
        (tree / "a").symlink_to("/etc")
        assert (found.text, found.name) == (str(tree / "moved/b"), b"")


def test_a_pin_of_a_name_holds_its_directory(tree: Path) -> None:
    """The name itself is not looked at: a link there is the thing to be removed."""
    with pinned("rel/x", follow=False, parent=True) as (found, _):
        assert (found.name, found.text) == (b"x", str(tree / "a/b/x"))
    with pinned("up", follow=False, parent=True) as (found, _):
        assert found.name == b"up"
    with pinned("a/b/", follow=False, parent=True) as (found, _):
        assert (found.name, found.text) == (b"b/", str(tree / "a/b"))


def test_a_name_that_is_no_name(tree: Path) -> None:
    """Dots are left for the kernel to refuse, in the directory where they are."""
    for path, name in (("a/.", b"."), ("a/..", b".."), (".", b".")):
        with pinned(path, follow=False, parent=True) as (found, _):
            assert found.name == name


def test_something_that_comes_to_be_meanwhile(tree: Path) -> None:
    """A missing last part is a name in a directory that is held."""
    with pinned("a/new") as (found, _):
        assert found.name == b"new"
        (tree / "a/new").symlink_to("/etc")
        assert found.text == str(tree / "a/new")


@pytest.mark.parametrize(
    ("path", "flags", "expected"),
    [
        ("file", os.O_RDONLY, True),
        ("a/b/../../file", os.O_RDONLY, True),
        ("rel", os.O_RDONLY, True),
        ("no", os.O_RDONLY, -errno.ENOENT),
        ("file", os.O_RDONLY | os.O_DIRECTORY, -errno.ENOTDIR),
        ("/proc/self/status", os.O_RDONLY, None),
        ("dangling", os.O_WRONLY | os.O_CREAT, None),
    ],
)
def test_what_is_reached_in_one_step(tree: Path, path: str, flags: int, expected: object) -> None:
    """Where links of procfs, or traces, are possible it is walked instead."""
    place = Place(Tid(ME), lambda: ME)
    try:
        fd = reach(
            place, Spot(path.encode()), flags | os.O_CLOEXEC, 0o600 if flags & os.O_CREAT else 0
        )
        if fd is not None and fd >= 0:
            os.close(fd)
        assert (fd is not None and fd >= 0) if expected is True else fd == expected
    finally:
        place.close()
    assert not (tree / "a/new").exists()


def test_a_place_that_nobody_waits_at(tree: Path) -> None:
    """P8: what was opened is asked about, and thrown away if it is too late."""
    place = Place(Tid(ME), lambda: ME, lambda: False)
    with pytest.raises(TargetGone):
        pin(place, Spot(b"/etc"))
    place.close()
