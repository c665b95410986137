"""Names of files in the target's world: symbolic links, new names, descriptors to begin at."""

from __future__ import annotations

import posixpath
import re
from typing import Any, Final, NamedTuple

from unotify.calls.lookups import AT_FDCWD, Spot
from unotify.testing.facility import descriptors
from unotify.testing.facility.state import Task, World

__all__ = ["Extra", "extra", "named_fd", "object_of", "rebase", "resolve"]

_LOOPS: Final = 8
_PROC_FD: Final = re.compile(r"/proc/(?:self|thread-self|\d+)/fd/(\d+)(/.*)?")
_PROC_ROOT: Final = re.compile(r"/proc/(?:self|thread-self|\d+)/(?:root|cwd)(/.*)?")


class Extra(NamedTuple):
    """What the exploration remembers beside the facility's own state.

    Attributes:
        links: Symbolic links, and what they say.
        moved: New names, and what the thing was called in the beginning; for all below, too.
        ring: Whether the target has an io_uring.
        own: A listener of its own, as a descriptor; -1 for none.
        used: The moves that are made once at most, and have been made.
        rewrite: For a call that waits: what another thread will write, and where.
        done: How many calls that the policy asks about were carried out.
        counters: What the supervisor has counted.
        ended: Whether the supervisor has gone.
        got: What was got that is forbidden: the effect, and by which ban's name.
    """

    links: tuple[tuple[str, str], ...] = ()
    moved: tuple[tuple[str, str], ...] = ()
    ring: bool = False
    own: int = -1
    used: tuple[str, ...] = ()
    rewrite: tuple[tuple[int, bytes], ...] = ()
    done: int = 0
    counters: tuple[Any, ...] = ()
    ended: bool = False
    got: tuple[tuple[Any, str], ...] = ()


def extra(world: World) -> Extra:
    """What is remembered of *world*."""
    found: Extra = world.extra
    return found


def named_fd(world: World, task: Task, fd: int) -> str:
    """What a descriptor is open on; empty if it is not."""
    file = descriptors.file_at(world, task, fd)
    return "" if file is None else file.name


def resolve(world: World, task: Task, spot: Spot) -> str:
    """What a path names now: links followed, from the descriptor that it begins at."""
    text = spot.path.decode("utf-8", "surrogateescape")
    start = "/" if spot.dirfd == AT_FDCWD else named_fd(world, task, spot.dirfd) or "/"
    path = _plain(posixpath.join(start, text) if text else start)
    links = dict(extra(world).links)
    follow = spot.follow and not spot.parent
    for _ in range(_LOOPS):
        found = _step(world, task, path, links, follow)
        if found == path:
            break
        path = found
    return path


def _plain(path: str) -> str:
    return "/" + posixpath.normpath(path).lstrip("/")


def _step(world: World, task: Task, path: str, links: dict[str, str], follow: bool) -> str:
    if match := _PROC_ROOT.fullmatch(path):
        return _plain(match[1] or "/")
    if (match := _PROC_FD.fullmatch(path)) and (follow or match[2]):
        opened = named_fd(world, task, int(match[1]))
        return _plain(opened + (match[2] or "")) if opened.startswith("/") else path
    for link, text in links.items():
        if path.startswith(link + "/") or (path == link and follow):
            target = posixpath.join(posixpath.dirname(link), text)
            return _plain(target + path[len(link) :])
    return path


def object_of(world: World, path: str) -> str:
    """What something was called in the beginning that is called *path* now."""
    return rebase(path, extra(world).moved)


def rebase(path: str, moved: tuple[tuple[str, str], ...]) -> str:
    """*path* by the names before *moved*."""
    for new, old in sorted(moved, key=lambda pair: -len(pair[0])):
        if path == new or path.startswith(new + "/"):
            return old + path[len(new) :]
    return path
