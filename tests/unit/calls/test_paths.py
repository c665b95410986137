from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from unotify.calls import TargetPath


def path(raw: bytes) -> TargetPath:
    """A path as the target gave it."""
    return TargetPath.from_bytes(raw)


@pytest.mark.parametrize(
    ("raw", "below", "answer"),
    [
        (b"/scratch/a", "/scratch", True),
        (b"/scratch", "/scratch", True),
        (b"/scratch/", "/scratch", True),
        (b"/scratch/./a//b", "/scratch", True),
        (b"/scratchpad", "/scratch", False),
        (b"/scratch/../etc", "/scratch", False),
        (b"/scratch/a/../b", "/scratch", False),
        (b"/scratch/..", "/scratch", False),
        (b"/scratch/..a", "/scratch", True),
        (b"/scratch/a..", "/scratch", True),
        (b"scratch/a", "/scratch", False),
        (b"a/b", "a", True),
        (b"", "/", False),
        (b"/", "/", True),
        (b"/etc", "/", True),
        (b"../a", "..", False),
    ],
)
def test_is_relative_to(raw: bytes, below: str, answer: bool) -> None:
    """A path is below another only as written, and never with a ``..`` in it."""
    assert path(raw).is_relative_to(below) is answer
    assert path(raw).is_relative_to(PurePosixPath(below)) is answer


def test_is_relative_to_several_segments() -> None:
    """As with pathlib, several segments are joined."""
    assert path(b"/a/b/c").is_relative_to("/a", "b")
    assert not path(b"/a/c").is_relative_to("/a", "b")


@pytest.mark.parametrize(
    "raw", [b"//etc/passwd", b"///etc/passwd", b"/etc/passwd", b"/etc//passwd"]
)
def test_slashes_in_front_are_one(raw: bytes) -> None:
    """Linux gives no meaning to a leading ``//``, which POSIX and pathlib leave open."""
    assert path(raw) == TargetPath("/etc/passwd") == PurePosixPath("/etc/passwd")
    assert path(raw).is_relative_to("/etc")
    assert path(raw).raw == raw


@pytest.mark.parametrize(
    "raw", [b"", b".", b"a/", b"/a//b/", b"/tmp/\xff\xfe", "/tmp/ä".encode(), b"/a\n b", b"//"]
)
def test_raw_is_what_was_given(raw: bytes) -> None:
    """The exact bytes are kept, whatever pathlib makes of them."""
    assert path(raw).raw == raw


@pytest.mark.parametrize(
    ("raw", "answer"), [(b"a/", True), (b"/a/", True), (b"a", False), (b"/", False), (b"", False)]
)
def test_trailing_slash(raw: bytes, answer: bool) -> None:
    """The kernel insists on a directory; the root is one anyway."""
    assert path(raw).has_trailing_slash is answer


def test_any_bytes_are_a_path() -> None:
    """Bytes that are no UTF-8 survive as surrogates, and come back as they were."""
    derived = path(b"/tmp/\xff").parent / "\udcfe"
    assert derived.raw == b"/tmp/\xfe"
    assert str(path(b"/tmp/\xff")) == "/tmp/\udcff"


def test_derived_paths_have_their_usual_spelling() -> None:
    """What pathlib makes from a target's path is one too, without its odd bytes."""
    parent = path(b"/a//b/c/").parent
    assert isinstance(parent, TargetPath)
    assert parent.raw == b"/a/b"
    assert (path(b"/a/") / "x").raw == b"/a/x"
    assert TargetPath("/a//b/").raw == b"/a/b"


def test_it_is_a_pure_path() -> None:
    """It compares with other pure paths and never touches a file system."""
    assert path(b"/etc/passwd") == PurePosixPath("/etc/passwd")
    assert path(b"/etc/passwd").name == "passwd"
    assert not hasattr(path(b"/"), "exists")
    assert len({path(b"/a/"), path(b"/a")}) == 1
