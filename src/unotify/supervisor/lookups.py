"""Where the kernel would begin with a path argument, and whether it would follow its last link."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from unotify.abi import constants
from unotify.abi.model import Role
from unotify.calls import Call
from unotify.errors import BadAddress, NotExpressible

__all__ = ["Lookup", "lookup"]

_AT_FDCWD: Final = -100
_IN_ROOT: Final = 0x10

_NEVER: Final = frozenset(
    [
        *("lstat", "lstat64", "oldlstat", "lchown", "lchown32", "readlink", "readlinkat"),
        *("unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "link"),
        *("mkdir", "mkdirat", "mknod", "mknodat", "symlink", "symlinkat"),
        *("lsetxattr", "lgetxattr", "llistxattr", "lremovexattr"),
    ]
)
"""Calls that act on a link itself, or make a new name."""

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
    "open_tree": 0x100,
    "open_tree_attr": 0x100,
    "mount_setattr": 0x100,
}
"""Links are followed unless this flag is given; others have AT_SYMLINK_NOFOLLOW."""


class Lookup(NamedTuple):
    """How a path is looked up; see :meth:`unotify.Target.resolve`."""

    path: bytes
    dirfd: int
    follow: bool
    in_root: bool


def lookup(call: Call, argument: str) -> Lookup:
    """Tell how the kernel looks *argument* of *call* up; reads the path.

    Raises:
        TargetError: The path cannot be read.
        NotExpressible: *argument* is no path.
    """
    spec = call.spec.arg(argument)
    if spec.role is not Role.PATH:
        raise NotExpressible(f"{call.call_name} {argument} is not a path that is looked up")
    path: Any = getattr(call, argument)
    dirfd = _AT_FDCWD if spec.at is None else call.register(spec.at)
    if path is None:
        # As of utimensat(2): the descriptor itself. Where there is none, nothing is named.
        if spec.at is None:
            raise BadAddress(f"{call.call_name} {argument} is NULL")
        return Lookup(b"", dirfd, True, False)
    flags, resolve = _flags(call)
    return Lookup(path.raw, dirfd, _follows(call, argument, flags), bool(resolve & _IN_ROOT))


def _flags(call: Call) -> tuple[Any, int]:
    if call.call_name == "openat2":
        how: Any = call.how  # type: ignore[attr-defined]
        return constants.OpenFlags.from_abi(how.flags, call.arch), how.resolve
    name = {"inotify_add_watch": "mask"}.get(call.call_name, "flags")
    if all(arg.name != name for arg in call.spec.args):
        return 0, 0
    return getattr(call, name), 0


def _follows(call: Call, argument: str, flags: Any) -> bool:
    name = call.call_name
    if name in _NEVER:
        return False
    if (name, argument) in _IF:
        return bool(int(flags) & _IF[name, argument])
    if name in _UNLESS:
        return not int(flags) & _UNLESS[name]
    if isinstance(flags, constants.OpenFlags):
        new = constants.OpenFlags.O_CREAT | constants.OpenFlags.O_EXCL
        return not flags & constants.OpenFlags.O_NOFOLLOW and flags & new != new
    if isinstance(flags, constants.AtFlags):
        return not flags & constants.AtFlags.AT_SYMLINK_NOFOLLOW
    return True
