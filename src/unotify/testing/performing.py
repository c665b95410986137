"""Acts on the tree of a simulated kernel: what `Call.perform` does there, and calls that go on.

An act is what the call model makes of a call, whatever its spelling. Each is done with the ids of
the thread it is done for.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from unotify.calls.acts import Act
from unotify.calls.lookups import AT_FDCWD, Spot
from unotify.calls.sockaddr import decode_sockaddr
from unotify.calls.stats import Stat
from unotify.errors import NotExpressible, Refused
from unotify.testing.facility import descriptors, filing, naming, tree
from unotify.testing.facility.state import Inode, Task, World

if TYPE_CHECKING:
    from unotify.testing.kernel import SimulatedKernel

__all__ = ["Contact", "Outcome", "located", "perform", "performed"]

_BLOCK: Final = 4096
_STATX_BASIC: Final = 0x7FF


class Outcome(NamedTuple):
    """What came of an act.

    Attributes:
        value: The result, or a negative errno.
        fd: A new real descriptor, which is the caller's; -1 for none.
        outs: What was written, by argument.
    """

    value: int
    fd: int = -1
    outs: Mapping[str, bytes] = {}


class Contact(NamedTuple):
    """What a target did on a socket: nothing goes anywhere.

    Attributes:
        act: ``connect``, ``bind`` or ``sendmsg``.
        address: Where to; ``None`` on a connected socket.
        data: What was sent.
        tid: Who did it.
    """

    act: str
    address: Any
    data: bytes
    tid: int


@dataclass(frozen=True, slots=True)
class _Doing:
    """An act under way."""

    kernel: SimulatedKernel
    task: Task
    act: Act
    paths: Mapping[str, tree.Found]
    files: Mapping[str, Any]
    pinned: Mapping[str, str]

    @property
    def world(self) -> World:
        return self.kernel.world

    def number(self, name: str) -> int:
        value = self.act.values.get(name)
        return value if isinstance(value, int) else 0

    def socket(self, path: str, *, follow: bool) -> tree.Found:
        """What the path of a unix socket names, or was found to name before."""
        held = self.pinned.get("address")
        if held is not None:
            return located(self.world, self.task, Spot(os.fsencode(held), follow=False), {})
        spot = Spot(os.fsencode(path), follow=follow)
        return located(self.world, self.task, spot, self.kernel.links)

    def inode(self, name: str = "path") -> Inode:
        """What a path, or a descriptor, names.

        Raises:
            Refused: ENOENT: nothing.
        """
        if name in self.paths:
            found = self.paths[name].inode
        else:
            found = self.world.inodes.get(next(iter(self.files.values())).inode)
            if found is None:
                raise Refused("a descriptor that is no file of the tree", errno=errno.EINVAL)
        if found is None:
            raise Refused(errno=errno.ENOENT)
        return found


def located(world: World, task: Task, spot: Spot, links: Mapping[str, str]) -> tree.Found:
    """Where a path leads; raises `Refused` with the errno."""
    path = spot.path.decode("utf-8", "surrogateescape")
    if not path and not spot.empty:
        raise Refused(errno=errno.ENOENT)
    start = "/"
    if spot.dirfd != AT_FDCWD and not path.startswith("/"):
        file = descriptors.file_at(world, task, spot.dirfd)
        if file is None:
            raise Refused(errno=errno.EBADF)
        start = file.name or "/"
        if path and file.inode >= 0 and not stat.S_ISDIR(world.inodes[file.inode].mode):
            raise Refused(errno=errno.ENOTDIR)
    whole = posixpath.normpath(posixpath.join(start, path))
    path = links.get(whole, path)
    found = tree.walk(world, task, path, start=start, follow=spot.follow, parent=spot.parent)
    if isinstance(found, int):
        raise Refused(errno=-found)
    return found


def perform(
    kernel: SimulatedKernel, task: Task, act: Act, pinned: Mapping[str, str] = MappingProxyType({})
) -> Outcome:
    """Do *act* as *task* would.

    Args:
        kernel: Where.
        task: For whom.
        act: What.
        pinned: What some of its paths were found to name before.

    Raises:
        NotExpressible: Nobody has told what this act does here.
        Refused: A path leads nowhere; has the errno.
    """
    known = _ACTS.get(act.name)
    if known is None:
        raise NotExpressible(
            f"the simulated kernel cannot perform {act.name}",
            hint="say what it does: kernel.acts[name] = lambda thread, act, pins: Outcome(0)",
        )
    files = {name: descriptors.file_at(kernel.world, task, fd) for name, fd in act.fds.items()}
    if None in files.values():
        raise Refused(errno=errno.EBADF)
    paths = {}
    for name, spot in act.spots.items():
        links: Mapping[str, str] = kernel.links
        if name in pinned:
            slash = b"/" if spot.path.endswith(b"/") else b""
            path = os.fsencode(pinned[name]) + slash
            spot, links = spot._replace(path=path, dirfd=AT_FDCWD, follow=False), {}
        elif act.name == "openat" and _exclusive(act):
            spot = spot._replace(follow=False)
        paths[name] = located(kernel.world, task, spot, links)
    done = known(_Doing(kernel, task, act, paths, files, pinned))
    return done if isinstance(done, Outcome) else Outcome(done)


def _exclusive(act: Act) -> bool:
    return int(act.values.get("flags") or 0) & 0o300 == 0o300


def performed() -> frozenset[str]:
    """The acts that are known here."""
    return frozenset(_ACTS)


# -- files -----------------------------------------------------------------------------------


def _open(doing: _Doing) -> Outcome:
    found = doing.paths["path"]
    flags, mode = doing.number("flags"), doing.number("mode")
    umask = doing.kernel.umask
    inode = filing.open_file(doing.world, doing.task, found, flags, mode, umask=umask)
    if isinstance(inode, int):
        return Outcome(inode)
    name = found.path + ("/" if stat.S_ISDIR(inode.mode) and found.path != "/" else "")
    return Outcome(0, doing.kernel.real(name, inode.data, inode.key))


def _create(kind: int) -> Callable[[_Doing], int]:
    def create(doing: _Doing) -> int:
        mode, device = doing.number("mode"), doing.number("dev")
        asked = kind or stat.S_IFMT(mode) or stat.S_IFREG
        if asked == stat.S_IFDIR and not kind:
            return -errno.EPERM  # by mknod
        if asked == stat.S_IFLNK:
            return -errno.EINVAL
        # mkdir(2) takes the sticky bit, and no other beyond the permissions.
        kept = mode & (0o1777 if kind else 0o7777)
        wanted, umask = asked | kept, doing.kernel.umask
        return naming.create(
            doing.world, doing.task, doing.paths["path"], wanted, umask=umask, device=device
        )

    return create


def _unlink(doing: _Doing) -> int:
    found = doing.paths["path"]
    flags = doing.number("flags")
    if flags & ~0x200:
        return -errno.EINVAL
    return naming.unlink(doing.world, doing.task, found, flags)


def _rename(doing: _Doing) -> int:
    old, new = doing.paths["oldpath"], doing.paths["newpath"]
    return naming.rename(doing.world, doing.task, old, new, doing.number("flags"))


def _link(doing: _Doing) -> int:
    return naming.link(doing.world, doing.task, doing.paths["oldpath"], doing.paths["newpath"])


def _symlink(doing: _Doing) -> int:
    (found,) = doing.paths.values()
    target = doing.act.values["target"]
    assert isinstance(target, bytes)
    return naming.symlink(doing.world, doing.task, target, found)


def _read_link(doing: _Doing) -> Outcome:
    inode = doing.inode()
    if not stat.S_ISLNK(inode.mode):
        return Outcome(-errno.EINVAL)
    (name,) = doing.act.outs
    size = doing.act.outs[name].size
    if not size:
        return Outcome(-errno.EINVAL)
    data = inode.data[:size]
    return Outcome(len(data), outs={name: data})


def _chmod(doing: _Doing) -> int:
    return filing.chmod(doing.task, doing.inode(), doing.number("mode"))


def _chown(doing: _Doing) -> int:
    owner, group = doing.number("owner"), doing.number("group")
    return filing.chown(doing.task, doing.inode(), owner, group)


def _truncate(doing: _Doing) -> int:
    inode = doing.inode()
    by_path = doing.paths and not stat.S_ISDIR(inode.mode)
    if by_path and (error := tree.refused(doing.task, inode, tree.WRITE)):
        return -error
    return filing.truncate(inode, doing.number("length"))


def _access(doing: _Doing) -> int:
    return filing.access(doing.task, doing.inode(), doing.number("mode"))


def _stat(doing: _Doing) -> Outcome:
    inode = doing.inode()
    size = len(inode.data)
    found = Stat(
        *(_STATX_BASIC, inode.mode, inode.uid, inode.gid, inode.key, 1, inode.device),
        *(tree.names(doing.world, inode), size, -(-size // 512), _BLOCK, 0, 0),
        (0,) * 8,
    )
    kind = "statx" if doing.act.name == "statx" else "stat"
    data = found.encode(kind, doing.kernel.arch)
    return Outcome(0, outs=dict.fromkeys(doing.act.outs, data))


# -- sockets ---------------------------------------------------------------------------------


def _socket(doing: _Doing) -> None:
    for file in doing.files.values():
        if file.kind != "socket":
            raise Refused("a descriptor that is no socket", errno=errno.ENOTSOCK)


def _note(doing: _Doing, address: bytes, data: bytes = b"") -> None:
    told = decode_sockaddr(address) if address else None
    doing.kernel.contacts.append(Contact(doing.act.name, told, data, doing.task.tid))


def _unix_path(address: bytes) -> str | None:
    if address[:2] != b"\x01\0" or len(address) < 3 or not address[2]:
        return None
    return os.fsdecode(address[2:].partition(b"\0")[0])


def _connect(doing: _Doing) -> int:
    _socket(doing)
    address = doing.act.values["address"]
    assert isinstance(address, bytes)
    path = _unix_path(address)
    if path is not None:
        found = doing.socket(path, follow=True)
        if found.inode is None:
            return -errno.ENOENT
        if error := tree.refused(doing.task, found.inode, tree.WRITE):
            return -error
        if not stat.S_ISSOCK(found.inode.mode):
            return -errno.ECONNREFUSED
    _note(doing, address)
    return 0


def _bind(doing: _Doing) -> int:
    _socket(doing)
    address = doing.act.values["address"]
    assert isinstance(address, bytes)
    path = _unix_path(address)
    if path is not None:
        found = doing.socket(path, follow=False)
        mode = stat.S_IFSOCK | 0o777
        made = naming.create(doing.world, doing.task, found, mode, umask=doing.kernel.umask)
        if made:
            return -errno.EADDRINUSE if made == -errno.EEXIST else made
    _note(doing, address)
    return 0


def _send(doing: _Doing) -> Outcome:
    _socket(doing)
    for message in doing.act.messages:
        _note(doing, message.address, message.data)
    lengths = [len(message.data) for message in doing.act.messages]
    outs = {
        name: length.to_bytes(4, "little")
        for name, length in zip(doing.act.outs, lengths, strict=False)
    }
    return Outcome(len(lengths) if outs else sum(lengths), outs=outs)


_Act: TypeAlias = Callable[[_Doing], int | Outcome]
_ACTS: Final[Mapping[str, _Act]] = MappingProxyType(
    {
        "openat": _open,
        "mkdirat": _create(stat.S_IFDIR),
        "mknodat": _create(0),
        "unlinkat": _unlink,
        "renameat2": _rename,
        "linkat": _link,
        "symlinkat": _symlink,
        "readlinkat": _read_link,
        "fchmodat2": _chmod,
        "fchmod": _chmod,
        "fchownat": _chown,
        "fchown": _chown,
        "truncate": _truncate,
        "ftruncate": _truncate,
        "faccessat2": _access,
        "newfstatat": _stat,
        "fstat": _stat,
        "statx": _stat,
        "connect": _connect,
        "bind": _bind,
        "sendmsg": _send,
    }
)
