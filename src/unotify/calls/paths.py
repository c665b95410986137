"""Paths as a target names them."""

from __future__ import annotations

from os import PathLike
from pathlib import PurePosixPath

__all__ = ["TargetPath"]


class TargetPath(PurePosixPath):
    """A path as the target gave it: not resolved, not trusted.

    A :class:`pathlib.PurePosixPath` (so it never touches a file system) that
    also keeps the exact bytes, in :attr:`raw`: Linux paths are bytes, and a
    trailing slash or an empty path means something to the kernel that pathlib
    forgets. It may be relative to whatever the call's dirfd says, and any
    component may be a symbolic link: what it *names* is another question.
    """

    __slots__ = ("_given",)
    _given: bytes

    @classmethod
    def from_bytes(cls, raw: bytes) -> TargetPath:
        """Make one from the bytes before the NUL."""
        text = raw.decode("utf-8", "surrogateescape")
        # POSIX and pathlib let "//" be another root than "/"; to Linux it is none.
        path = cls("/" + text.lstrip("/") if text.startswith("//") else text)
        path._given = raw
        return path

    @property
    def raw(self) -> bytes:
        """The exact bytes; for a path derived from another, its usual spelling."""
        try:
            return self._given
        except AttributeError:
            return str(self).encode("utf-8", "surrogateescape")

    @property
    def has_trailing_slash(self) -> bool:
        """Whether the kernel will insist on a directory."""
        return len(self.raw) > 1 and self.raw.endswith(b"/")

    def is_relative_to(self, other: str | PathLike[str], /, *more: str | PathLike[str]) -> bool:
        """Whether it lies below *other* as written; False where a ``..`` might lead out.

        Stricter than pathlib, which finds ``/scratch/../etc`` below
        ``/scratch``. Symbolic links are not looked at.
        """
        return ".." not in self.parts and self.parts[: len(_parts(other, *more))] == _parts(
            other, *more
        )


def _parts(*segments: str | PathLike[str]) -> tuple[str, ...]:
    return PurePosixPath(*segments).parts
