"""The tree of files as a dictionary of paths, for those who prepare a world and look at it."""

from __future__ import annotations

import stat
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unotify.testing.facility.state import Inode, World

__all__ = ["Disk"]


class Disk(MutableMapping[str, bytes]):
    """Content by path; a directory is a path that ends in a slash.

    Whoever puts a file there makes the directories above it. An empty directory is listed, and
    one with something in it is known by what is in it.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def _find(self, path: str) -> tuple[Inode, str, Inode] | None:
        from unotify.testing.facility.tree import child

        here = self._world.inodes[self._world.root]
        parent, name = here, ""
        for part in path.strip("/").split("/"):
            found = child(self._world, here, part)
            if found is None:
                return None
            parent, name, here = here, part, found
        return (parent, name, here) if stat.S_ISDIR(here.mode) is path.endswith("/") else None

    def __getitem__(self, path: str) -> bytes:
        found = self._find(path)
        if found is None:
            raise KeyError(path)
        return found[2].data

    def __setitem__(self, path: str, data: bytes) -> None:
        from unotify.testing.facility.tree import put_file

        put_file(self._world, path, None if path.endswith("/") else data)

    def __delitem__(self, path: str) -> None:
        from unotify.testing.facility.tree import remove

        found = self._find(path)
        if found is None:
            raise KeyError(path)
        remove(self._world, found[0], found[1])

    def __iter__(self) -> Iterator[str]:
        yield from self._below("/", self._world.inodes[self._world.root])

    def _below(self, path: str, directory: Inode) -> Iterator[str]:
        for name, key in directory.entries:
            inode = self._world.inodes[key]
            if not stat.S_ISDIR(inode.mode):
                yield path + name
            elif inode.entries:
                yield from self._below(f"{path}{name}/", inode)
            else:
                yield f"{path}{name}/"

    def __len__(self) -> int:
        return sum(1 for _ in self)
