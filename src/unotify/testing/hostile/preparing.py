"""What a target does before it tries: each a call that its filter and supervisor may refuse."""

from __future__ import annotations

import posixpath
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action, FilterFlag, Operation
from unotify.bpf import compile_filter
from unotify.testing.facility.state import World
from unotify.testing.hostile.attempts import LINK, OTHER, OTHER_DIRECTORY, shown
from unotify.testing.hostile.effects import Effect, spellings
from unotify.testing.hostile.names import extra
from unotify.testing.hostile.spelling import Arguments, spelled
from unotify.testing.hostile.stage import Stage
from unotify.testing.hostile.witnesses import Words

__all__ = ["Preparation", "preparations", "relink"]

_O_PATH, _O_RDWR = 0o10000000, 2
_MS_BIND: Final = 0x1000
_PR_SET_NAME: Final = 15
_CREATING: Final = frozenset({"mkdirat", "mknodat", "symlinkat"})
"""What makes something that has no name before, and so cannot have another one."""


@dataclass(frozen=True)
class Preparation:
    """One thing that a target does beforehand, at most once.

    Attributes:
        name: What attempts need it by.
        text: It in words.
        tag: What is peculiar about it, or empty.
        make: Does it; the result of the call that did it, or ``None`` if none was let go.
    """

    name: str
    text: str
    tag: str
    make: Callable[[Stage, World], int | None]


def preparations(effect: Effect, stage: Stage, words: Words) -> Iterator[Preparation]:
    """What may help to get *effect*, in the order in which it is done."""
    arch = stage.bans.arch
    path = effect.paths[0][1] if effect.paths else ""
    directory = posixpath.dirname(path)
    if path:
        yield Preparation(
            "link", f"makes {LINK} a symbolic link to {path}", "link", _by(_linked(path), arch)
        )
    if path and effect.kind not in _CREATING:
        yield Preparation(
            "moved", f"gives {path} the name {OTHER}", "moved", _moves(path, OTHER, arch)
        )
    if directory not in ("", "/"):
        yield Preparation(
            "moved directory",
            f"gives {directory} the name {OTHER_DIRECTORY}",
            "moved",
            _moves(directory, OTHER_DIRECTORY, arch, directory=True),
        )
        yield Preparation(
            "directory", f"opens the directory {directory}", "", _by(_opened(directory, 0), arch)
        )
    if effect.kind == "openat" and path:
        yield Preparation(
            "bare", f"opens {path} with O_PATH", "", _by(_opened(path, _O_PATH), arch)
        )
    elif path:
        flags = _O_RDWR if effect.kind == "truncate" else 0
        yield Preparation("descriptor", f"opens {path}", "", _by(_opened(path, flags), arch))
    if effect.kind == "mount":
        yield _new_mount(effect, arch)
    yield Preparation(
        "ring", "sets up an io_uring", "", _call("io_uring_setup", {"entries": 8}, arch)
    )
    yield Preparation(
        "filter", "installs a newer filter that allows everything", "filter", _installs(None, arch)
    )
    yield Preparation(
        "own listener",
        f"installs a newer filter that asks a listener of its own about {effect.kind} and the like",
        "filter",
        _installs(effect.kind, arch),
    )
    for text in words.texts if words.mentions("comm") else ():
        if len(text) < 16:
            name = f"comm {text}"
            yield Preparation(
                name, f"calls itself {text} by prctl(PR_SET_NAME)", "comm", _renamed(text, arch)
            )
    for text in words.texts if words.mentions("exe") else ():
        if text.startswith("/"):
            given: Arguments = {"path": text, "argv": "x", "envp": "LD_PRELOAD=/tmp/mine.so"}
            yield Preparation(
                f"exe {text}",
                f"execs {text} with a library of its own in it",
                "exe",
                _call("execve", given, arch),
            )

    forks: list[tuple[str, Arguments]] = [("fork", {}), ("clone", {"flags": 17}), ("vfork", {})]
    yield Preparation("fork", "forks, and goes on in the child", "fork", _first_of(forks, arch))


def relink(path: str, arch: Arch) -> Callable[[Stage, World, int], int | None]:
    """Another thread puts a symbolic link in the way."""
    linked = _linked(path)

    def make(stage: Stage, world: World, tid: int) -> int | None:
        return _first(stage, world, tid, list(spelled(linked, arch).items()), arch)

    return make


# -- calls that are tried -----------------------------------------------------------------


def _first(
    stage: Stage, world: World, tid: int, ways: list[tuple[str, Arguments]], arch: Arch
) -> int | None:
    """Try calls in order until one is carried out; its result."""
    for call, given in ways:
        if tables.number(call, arch) is None:
            continue
        task = world.tasks.get(tid)
        if task is None or task.dead:
            return None
        mark = len(stage.told)
        stage.begin(world, tid, call, arch, given)
        stage.finish(world, tid)
        task = world.tasks.get(tid)
        if task is not None and not task.dead and task.result is not None and task.result >= 0:
            stage.told.append(f"{shown(call, given)}: {'; '.join(stage.told[mark:])}")
            del stage.told[mark:-1]
            return task.result
        del stage.told[mark:]
    return None


def _first_of(
    ways: list[tuple[str, Arguments]], arch: Arch
) -> Callable[[Stage, World], int | None]:
    return lambda stage, world: _first(stage, world, stage.first, ways, arch)


def _call(call: str, given: Arguments, arch: Arch) -> Callable[[Stage, World], int | None]:
    return _first_of([(call, given)], arch)


def _by(effect: Effect, arch: Arch) -> Callable[[Stage, World], int | None]:
    return _first_of(list(spelled(effect, arch).items()), arch)


def _linked(path: str) -> Effect:
    return Effect("symlinkat", (("target", path),), (("linkpath", LINK),))


def _opened(path: str, flags: int) -> Effect:
    values = (("flags", flags),) if flags else ()
    return Effect("openat", values, (("path", path),))


def _moves(
    path: str, new: str, arch: Arch, *, directory: bool = False
) -> Callable[[Stage, World], int | None]:
    paths = (("oldpath", path), ("newpath", new))
    bound = Effect("mount", (("flags", _MS_BIND),), (("source", path), ("target", new)))
    effects = [Effect("renameat2", (), paths), bound]
    if not directory:
        effects.insert(0, Effect("linkat", (), paths))  # a directory has no hard links
    ways = [way for effect in effects for way in spelled(effect, arch).items()]
    return _first_of(ways, arch)


def _renamed(text: str, arch: Arch) -> Callable[[Stage, World], int | None]:
    raw = text.encode() + b"\0"
    return _call("prctl", {"option": _PR_SET_NAME, "arg2": lambda put, _: put(raw)}, arch)


def _new_mount(effect: Effect, arch: Arch) -> Preparation:
    paths, values = dict(effect.paths), dict(effect.values)

    def make(stage: Stage, world: World) -> int | None:
        if source := paths.get("source"):
            tree: Arguments = {"dirfd": -100, "path": source, "flags": 1}
            return _first(stage, world, stage.first, [("open_tree", tree)], arch)
        name = str(values.get("fstype", "")) or "tmpfs"
        made = _first(stage, world, stage.first, [("fsopen", {"fsname": name})], arch)
        if made is None:
            return None
        return _first(stage, world, stage.first, [("fsmount", {"fsfd": made})], arch)

    return Preparation(
        "new mount", "makes the mount by fsopen and fsmount, or open_tree", "twin", make
    )


def _installs(kind: str | None, arch: Arch) -> Callable[[Stage, World], int | None]:
    """A filter of its own: one that allows everything, or one with a listener."""
    numbers = (tables.number(call, arch) for call in spellings(kind or ""))
    asked = {number: int(Action.USER_NOTIF) for number in numbers if number is not None}
    program = compile_filter({arch: asked if kind else {}}, default=int(Action.ALLOW))
    code = program.encode()

    def fprog(put: Callable[[bytes], int], abi: Arch) -> int:
        form = "<H6xQ" if abi.pointer == 8 else "<H2xI"
        return put(struct.pack(form, len(code) // 8, put(code)))

    given: Arguments = {
        "operation": int(Operation.SET_MODE_FILTER),
        "flags": int(FilterFlag.NEW_LISTENER) if kind else 0,
        "args": fprog,
    }

    def make(stage: Stage, world: World) -> int | None:
        made = _first(stage, world, stage.first, [("seccomp", given)], arch)
        if made is not None and kind:
            world.extra = extra(world)._replace(own=made)
        return made

    return make
