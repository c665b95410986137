"""What a control group may use, and does: memory, swap and processes, of versions 1 and 2.

A limit holds for all below, so what counts is the least of a group and its ancestors; usage
is the group's own. Numbers are bytes, and counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

__all__ = ["Hierarchies", "Usage", "hierarchies"]

_NO_LIMIT_V1: Final = 1 << 60
"""What version 1 says for no limit is a little less than 1 << 63, in pages."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is known of one control group; ``None``: it has no limit, or nobody knows.

    Attributes:
        limit: Bytes of memory that it may use.
        used: Bytes that it uses, the cache of files with it.
        cache: Bytes of them that are the cache of files.
        shared: Bytes of them in tmpfs and shared memory.
        swap_limit: Bytes of swap that it may use.
        swap_used: Bytes that it uses.
        processes: How many tasks it has.
    """

    limit: int | None = None
    used: int | None = None
    cache: int | None = None
    shared: int | None = None
    swap_limit: int | None = None
    swap_used: int | None = None
    processes: int | None = None


@dataclass(frozen=True)
class Hierarchies:
    """Where control groups are mounted.

    Attributes:
        unified: The mount point of version 2; empty if there is none.
        by_controller: Those of version 1.
    """

    unified: str
    by_controller: Mapping[str, str]

    def usage(self, paths: Mapping[str, str]) -> Usage:
        """What the control group at *paths* uses.

        Args:
            paths: Its path by controller, as ``/proc/PID/cgroup`` says; the unified one is ``""``.
        """
        found = self._memory_v1(paths) if "memory" in paths else self._memory_v2(paths)
        root = self.by_controller.get("pids") if "pids" in paths else self.unified
        tasks = None
        if root:
            path = _inside(paths.get("pids", paths.get("", "/")))
            tasks = _number(f"{root}{path}/pids.current")
        return Usage(**found, processes=tasks)

    def _memory_v2(self, paths: Mapping[str, str]) -> dict[str, int | None]:
        root, path = self.unified, _inside(paths.get("", "/"))
        if not root or path in ("", "/"):
            return {}  # that is the whole machine
        groups = list(_upwards(root, path))
        stat = _stat(f"{groups[0]}/memory.stat")
        return {
            "limit": _least(f"{group}/memory.max" for group in groups),
            "used": _number(f"{groups[0]}/memory.current"),
            "cache": stat.get("file"),
            "shared": stat.get("shmem"),
            "swap_limit": _least(f"{group}/memory.swap.max" for group in groups),
            "swap_used": _number(f"{groups[0]}/memory.swap.current"),
        }

    def _memory_v1(self, paths: Mapping[str, str]) -> dict[str, int | None]:
        root, path = self.by_controller.get("memory", ""), _inside(paths["memory"])
        if not root or path in ("", "/"):
            return {}
        groups = list(_upwards(root, path))
        stat = _stat(f"{groups[0]}/memory.stat")
        limit = _least(f"{group}/memory.limit_in_bytes" for group in groups)
        both = _least(f"{group}/memory.memsw.limit_in_bytes" for group in groups)
        used = _number(f"{groups[0]}/memory.usage_in_bytes")
        used_both = _number(f"{groups[0]}/memory.memsw.usage_in_bytes")
        swap_used = None if used is None or used_both is None else max(0, used_both - used)
        return {
            "limit": limit,
            "used": used,
            "cache": stat.get("total_cache"),
            "shared": stat.get("total_shmem"),
            "swap_limit": None if both is None or limit is None else max(0, both - limit),
            "swap_used": swap_used,
        }


@cache
def hierarchies() -> Hierarchies:
    """Those of this machine, from ``/proc/self/mountinfo``; asked for once."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parsed(file)


def parsed(lines: Iterator[str]) -> Hierarchies:
    """Read mountinfo (proc_pid_mountinfo(5))."""
    unified = ""
    found: dict[str, str] = {}
    for line in lines:
        before, _, after = line.partition(" - ")
        kind, _, options = after.split()[:3]
        root, point = before.split()[3:5]
        if root != "/":
            continue  # of another cgroup namespace, or a part: paths would not fit
        if kind == "cgroup2":
            unified = unified or point
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, point)
    return Hierarchies(unified, found)


def _inside(path: str) -> str:
    # Above the root of our own cgroup namespace nothing can be seen.
    return "" if path.startswith("/..") else path


def _upwards(root: str, path: str) -> Iterator[str]:
    while path not in ("", "/"):
        yield root + path
        path = os.path.dirname(path)


def _least(files: Iterator[str]) -> int | None:
    limits = [number for number in map(_number, files) if number is not None]
    return min(limits, default=None)


def _number(file: str) -> int | None:
    text = _read(file).strip()
    if not text.isdigit():
        return None  # "max", or no such file
    number = int(text)
    return number if number < _NO_LIMIT_V1 else None


def _stat(file: str) -> dict[str, int]:
    lines = (line.split() for line in _read(file).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}


def _read(file: str) -> str:
    try:
        with open(file, encoding="ascii") as opened:
            return opened.read()
    except OSError:
        return ""
