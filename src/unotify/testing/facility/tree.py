"""Files: inodes in a tree, and how a path leads to one.

A walk looks at each part of a path with the rights of whoever walks, follows links, and stops
where a name is to be made or removed. Which rights count are those of modes and ids; there are no
mounts and no lists of access.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from unotify.testing.facility.credentials import overrides
from unotify.testing.facility.rules import check, effect
from unotify.testing.facility.state import Inode, Task, World

__all__ = [
    "EXECUTE",
    "READ",
    "WRITE",
    "Found",
    "add",
    "child",
    "make",
    "may",
    "names",
    "put_file",
    "refused",
    "remove",
    "walk",
]

EXECUTE, WRITE, READ = 1, 2, 4
_LINKS: Final = 40
_NAME: Final = 255
_PATH: Final = 4096


@dataclass(frozen=True, slots=True)
class Found:
    """What a path leads to.

    Attributes:
        path: From the root, without links.
        parent: The directory that it is in.
        name: Its name there; empty for the root.
        inode: What it names; ``None``: nothing yet.
        slash: Whether the path ended in one, so that it has to be a directory.
    """

    path: str
    parent: Inode
    name: str
    inode: Inode | None
    slash: bool = False


def make(world: World, mode: int, task: Task | None = None, **fields: object) -> Inode:
    """A new inode that nothing names yet; *mode* has its kind."""
    uid, gid = (task.uid, task.gid) if task is not None else (0, 0)
    inode = Inode(world.key(), mode, uid, gid, **fields)  # type: ignore[arg-type]
    world.inodes[inode.key] = inode
    return inode


def child(world: World, directory: Inode, name: str) -> Inode | None:
    """What a directory has by that name."""
    for known, key in directory.entries:
        if known == name:
            return world.inodes[key]
    return None


def add(directory: Inode, name: str, inode: Inode) -> None:
    """Give *inode* a name, in the place of another one that had it."""
    others = tuple(entry for entry in directory.entries if entry[0] != name)
    directory.entries = tuple(sorted((*others, (name, inode.key))))


def remove(world: World, directory: Inode, name: str) -> None:
    """Take a name away; what has none any more, and is not open, is gone."""
    directory.entries = tuple(entry for entry in directory.entries if entry[0] != name)


def names(world: World, inode: Inode) -> int:
    """How many names it has; a directory's own, and those of what is in it that lead back."""
    if stat.S_ISDIR(inode.mode):
        inner = (world.inodes[key] for _, key in inode.entries)
        return 2 + sum(stat.S_ISDIR(one.mode) for one in inner)
    return sum(key == inode.key for one in world.inodes.values() for _, key in one.entries)


# -- rights ----------------------------------------------------------------------------------


def may(task: Task, inode: Inode, wanted: int) -> bool:
    """Whether its mode lets *task*, by the ids that act."""
    return not refused(task, inode, wanted)


@check("C1")
def refused(task: Task, inode: Inode, wanted: int) -> int:
    """The mode of an inode counts for its owner, its group, or all others: EACCES."""
    if overrides(task):
        # Nobody executes what nobody may execute.
        plain = stat.S_ISREG(inode.mode) and wanted & EXECUTE
        return errno.EACCES if plain and not inode.mode & 0o111 else 0
    shift = 6 if task.uid == inode.uid else 3 if inode.gid in (task.gid, *task.groups) else 0
    return 0 if inode.mode >> shift & wanted == wanted else errno.EACCES


# -- walking -----------------------------------------------------------------------------------


def walk(
    world: World,
    task: Task,
    path: str,
    *,
    start: str = "/",
    follow: bool = True,
    parent: bool = False,
) -> Found | int:
    """Where *path* leads to, or a negative errno.

    Args:
        world: The world.
        task: Who walks.
        path: The path.
        start: Where a relative one begins.
        follow: Whether a link at the end is followed.
        parent: Whether the last part is a name to make or remove, whatever it stands for.
    """
    if len(path) >= _PATH:
        return -errno.ENAMETOOLONG
    slash = path.endswith("/") and bool(path.strip("/"))
    parts = list(_parts(path if path.startswith("/") else f"{start}/{path}"))
    stack: list[tuple[str, Inode]] = [("", world.inodes[world.root])]
    links = 0
    while parts:
        name, here = parts.pop(0), stack[-1][1]
        if not stat.S_ISDIR(here.mode):
            return -errno.ENOTDIR
        if error := refused(task, here, EXECUTE):
            return -error
        if len(name) > _NAME:
            return -errno.ENAMETOOLONG
        if name == "..":
            stack = stack[:-1] or stack
            continue
        inode = child(world, here, name)
        if inode is None:
            if parts:
                return -errno.ENOENT
            return Found(_text(stack, name), here, name, None, slash)
        if stat.S_ISLNK(inode.mode) and follows(parts, follow or (slash and not parent)):
            links += 1
            if links > _LINKS:
                return -errno.ELOOP
            target = inode.data.decode("utf-8", "surrogateescape")
            parts[:0] = _parts(target)
            if target.startswith("/"):
                stack = stack[:1]
            continue
        stack.append((name, inode))
    found = stack[-1][1]
    if slash and not parent and not stat.S_ISDIR(found.mode):
        return -errno.ENOTDIR
    above = stack[-2][1] if len(stack) > 1 else found
    return Found(_text(stack), above, stack[-1][0], found, slash)


@effect("C1", otherwise=False)
def follows(rest: list[str], last: bool) -> bool:
    """A link on the way is followed, one at the end where the call says so."""
    return bool(rest) or last


def _parts(path: str) -> Iterator[str]:
    return (part for part in path.split("/") if part not in ("", "."))


def _text(stack: list[tuple[str, Inode]], *more: str) -> str:
    return "/" + "/".join([*(name for name, _ in stack[1:]), *more])


# -- for those who prepare a world -------------------------------------------------------------


def put_file(world: World, path: str, data: bytes | None) -> Inode:
    """Make a file, or (``None``) a directory, and the directories above it; as root."""
    here = world.inodes[world.root]
    parts = list(_parts(path))
    for position, name in enumerate(parts):
        last = position == len(parts) - 1
        found = child(world, here, name)
        if found is None:
            kind = stat.S_IFREG | 0o644 if last and data is not None else stat.S_IFDIR | 0o755
            found = make(world, kind)
            add(here, name, found)
        here = found
    if data is not None:
        here.data = data
    return here
