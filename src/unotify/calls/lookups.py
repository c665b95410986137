"""Where the kernel would begin with a path argument, and what it would do with its last part."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

from unotify.abi import constants
from unotify.abi.arch import Arch
from unotify.abi.model import Role
from unotify.calls.call import Call
from unotify.calls.paths import TargetPath
from unotify.errors import BadAddress, NotExpressible

__all__ = ["AT_FDCWD", "RESOLVE_IN_ROOT", "Spot", "path_of", "spot_of"]

AT_FDCWD: Final = -100
"""Instead of a descriptor: the current directory."""

_AT_EMPTY_PATH: Final = 0x1000
_AT_SYMLINK_NOFOLLOW: Final = 0x100
RESOLVE_IN_ROOT: Final = 0x10

_NAMES: Final = frozenset(
    [
        *("unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "link"),
        *("mkdir", "mkdirat", "mknod", "mknodat", "symlink", "symlinkat"),
    ]
)
"""Calls that make, remove or move a *name*: what it stands for is never looked at."""

_MAKES: Final = frozenset({"mkdir", "mkdirat", "mknod", "mknodat"})
"""Those of them that have no flags."""

_NEVER: Final = frozenset(
    [
        *("lstat", "lstat64", "oldlstat", "lchown", "lchown32", "readlink", "readlinkat"),
        *("lsetxattr", "lgetxattr", "llistxattr", "lremovexattr"),
    ]
)
"""Calls that act on a link itself."""

_IF: Final = {
    ("linkat", "oldpath"): 0x400,  # AT_SYMLINK_FOLLOW
    ("linkat", "newpath"): 0,
    ("name_to_handle_at", "path"): 0x400,
    ("move_mount", "from_path"): 0x1,  # MOVE_MOUNT_F_SYMLINKS
    ("move_mount", "to_path"): 0x10,  # MOVE_MOUNT_T_SYMLINKS
}
"""Links are followed only if this flag is given."""

_UNLESS: Final = {
    "fspick": 0x2,  # FSPICK_SYMLINK_NOFOLLOW
    "umount2": 0x8,  # UMOUNT_NOFOLLOW
    "inotify_add_watch": 0x02000000,  # IN_DONT_FOLLOW
    "fanotify_mark": 0x4,  # FAN_MARK_DONT_FOLLOW
    "open_tree": _AT_SYMLINK_NOFOLLOW,
    "open_tree_attr": _AT_SYMLINK_NOFOLLOW,
    "mount_setattr": _AT_SYMLINK_NOFOLLOW,
}
"""Links are followed unless this flag is given; others have AT_SYMLINK_NOFOLLOW."""

_FLAGS: Final = {
    "inotify_add_watch": "mask",
    "setxattrat": "at_flags",
    "getxattrat": "at_flags",
    "listxattrat": "at_flags",
    "removexattrat": "at_flags",
}
"""Arguments that hold such flags under another name."""


_STATS: Final = frozenset(
    [*("stat", "lstat", "stat64", "lstat64", "newfstatat", "fstatat64", "statx")]
)

_NULL_IS_FD: Final = frozenset({"utimensat", "utimensat_time64", "futimesat"})
_NULL_IS_EMPTY: Final = frozenset(
    [
        *("newfstatat", "fstatat64", "statx"),
        *("setxattrat", "getxattrat", "listxattrat", "removexattrat"),
    ]
)
"""With AT_EMPTY_PATH, since Linux 6.11."""


_OPENS: Final = frozenset({"open", "openat"})


@cache
def _open_bits(arch: Arch) -> tuple[int, int]:
    """O_NOFOLLOW, and O_CREAT with O_EXCL, as *arch* spells them."""
    flags = constants.OpenFlags
    return (
        flags.to_abi(flags.O_NOFOLLOW, arch),
        flags.to_abi(flags.O_CREAT | flags.O_EXCL, arch),
    )


class Spot(NamedTuple):
    """How a path is looked up.

    Attributes:
        path: As the target gave it; empty names *dirfd* itself.
        dirfd: The target's descriptor that a relative path starts at, or `AT_FDCWD`.
        follow: Whether a link in the last component is followed.
        parent: The last component is a name to make, to move or to remove.
        resolve: The ``RESOLVE_*`` of openat2(2).
        empty: Whether an empty path is one (AT_EMPTY_PATH, or NULL); else it is ENOENT.
    """

    path: bytes
    dirfd: int = AT_FDCWD
    follow: bool = True
    parent: bool = False
    resolve: int = 0
    empty: bool = False

    @property
    def in_root(self) -> bool:
        """Whether *dirfd* is the root of the walk (RESOLVE_IN_ROOT)."""
        return bool(self.resolve & RESOLVE_IN_ROOT)


def path_of(call: Call, argument: str) -> TargetPath | None:
    """The path that *argument* of *call* is, or that the address of a unix socket has, as given.

    Returns:
        ``None`` if there is none: a NULL, or an address of another kind.

    Raises:
        TargetError: It cannot be read.
    """
    given: Any = getattr(call, argument)
    if call.spec.arg(argument).role is Role.SOCKADDR:
        raw: bytes | None = getattr(given, "path", None)
        return None if raw is None else TargetPath.from_bytes(raw)
    found: TargetPath | None = given
    return found


def _socket_spot(call: Call, argument: str) -> Spot:
    path = path_of(call, argument)
    if path is None:
        raise NotExpressible(f"{call.call_name} {argument} is no path of a unix socket")
    if call.call_name == "bind":
        return Spot(path.raw, follow=False, parent=True)
    return Spot(path.raw)


def spot_of(call: Call, argument: str) -> Spot:
    """Tell how the kernel looks *argument* of *call* up; reads the path.

    Args:
        call: The call.
        argument: A path, or the address of a unix socket: its path is meant then.

    Raises:
        TargetError: The path cannot be read.
        NotExpressible: *argument* is no path, or an address without one.
    """
    spec = call.spec.arg(argument)
    if spec.role is Role.SOCKADDR:
        return _socket_spot(call, argument)
    if spec.role is not Role.PATH:
        raise NotExpressible(f"{call.call_name} {argument} is not a path that is looked up")
    path: bytes | None = getattr(type(call), argument).bytes_of(call)
    if path and call.call_name in _STATS:
        # Asked more often than all others together; their flags are the same bits everywhere.
        if spec.at is None:
            return Spot(path, follow=call.call_name not in _NEVER)
        flags = call.register("flags")
        follow, empty = not flags & _AT_SYMLINK_NOFOLLOW, bool(flags & _AT_EMPTY_PATH)
        return Spot(path, call.register(spec.at), follow, empty=empty)
    dirfd = AT_FDCWD if spec.at is None else call.register(spec.at)
    if path is not None and call.call_name in _MAKES:
        return Spot(path, dirfd, follow=False, parent=True)
    if path is not None and call.call_name in _OPENS:
        nofollow, new = _open_bits(call.arch)
        given = call.register("flags")
        return Spot(path, dirfd, not given & nofollow and given & new != new)
    flags, resolve = _flags(call)
    if path is None:
        if not _takes_null(call.call_name, dirfd, flags):
            raise BadAddress(f"{call.call_name} {argument} is NULL")
        return Spot(b"", dirfd, empty=True)
    if argument == "oldpath" and path.endswith(b"/") and call.call_name in ("link", "linkat"):
        # Unlike all others that are about names it looks behind a link then.
        return Spot(path, dirfd)
    return Spot(
        path,
        dirfd,
        _follows(call, argument, flags),
        _is_name(call.call_name, argument, flags),
        resolve,
        call.call_name == "readlinkat" or _takes_empty(argument, flags),
    )


def _flags(call: Call) -> tuple[Any, int]:
    if call.call_name == "openat2":
        how: Any = call.how  # type: ignore[attr-defined]
        return constants.OpenFlags.from_abi(how.flags, call.arch), how.resolve
    name = _FLAGS.get(call.call_name, "flags")
    if all(arg.name != name for arg in call.spec.args):
        return 0, 0
    return getattr(call, name), 0


def _is_name(name: str, argument: str, flags: Any) -> bool:
    if name == "linkat":
        # The old one is a thing if it is followed, or a descriptor.
        return argument == "newpath" or not int(flags) & (0x400 | _AT_EMPTY_PATH)
    return name in _NAMES


def _takes_null(name: str, dirfd: int, flags: Any) -> bool:
    """Whether NULL is the descriptor itself."""
    if name in _NULL_IS_FD:
        return dirfd != AT_FDCWD
    return name in _NULL_IS_EMPTY and bool(int(flags) & _AT_EMPTY_PATH)


def _takes_empty(argument: str, flags: Any) -> bool:
    if isinstance(flags, constants.AtFlags):
        return argument != "newpath" and bool(int(flags) & _AT_EMPTY_PATH)
    return False


def _follows(call: Call, argument: str, flags: Any) -> bool:
    name = call.call_name
    if name in _NEVER or name in _NAMES:
        return False
    if (name, argument) in _IF:
        return bool(int(flags) & _IF[name, argument])
    if name in _UNLESS:
        return not int(flags) & _UNLESS[name]
    if isinstance(flags, constants.OpenFlags):
        new = constants.OpenFlags.O_CREAT | constants.OpenFlags.O_EXCL
        return not flags & constants.OpenFlags.O_NOFOLLOW and flags & new != new
    if isinstance(flags, constants.AtFlags):
        return not int(flags) & _AT_SYMLINK_NOFOLLOW
    return True
