"""What the kernel refuses before it looks at any path: flags, modes and sizes.

The errno of a call that is wrong in two ways is that of what is asked first. Whoever looks a
path up in the target's place has looked before the kernel sees the flags, so they are asked here.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from typing import Any, Final

from unotify.calls.call import Call
from unotify.errors import Refused

__all__ = ["require_sane"]

_FLAGS: Final = {
    "unlinkat": 0x200,
    "linkat": 0x1400,
    "fchmodat2": 0x1100,
    "fchownat": 0x1100,
    "utimensat": 0x1100,
    "faccessat2": 0x1300,
    "newfstatat": 0x7900,
    "statx": 0x7900,
    "renameat2": 0x7,
    "setxattr": 0x3,
    "fsetxattr": 0x3,
}
"""The flags that an act knows."""

_AT_FLAGS: Final = 0x1100
_SYNC: Final = 0x6000  # AT_STATX_SYNC_TYPE
_RESERVED: Final = 0x80000000  # STATX__RESERVED
_NOREPLACE_WHITEOUT: Final = 0x5
_EXCHANGE: Final = 0x2
_PAGE: Final = 4096
_XATTR_ARGS: Final = 16
_NODES: Final = frozenset(
    {0, stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}
)


def require_sane(call: Call, act: str) -> None:
    """Refuse *call*, which is *act*, for what its registers say.

    Raises:
        Refused: As the kernel would.
    """
    if act not in _CHECKED:
        return
    flags = _register(call, "flags")
    if flags & ~_FLAGS.get(act, flags):
        raise Refused(f"flags {flags:#x} of {call.call_name}", errno=errno.EINVAL)
    more = _MORE.get(act)
    if more is not None:
        more(call, flags)


def _register(call: Call, name: str) -> int:
    spec: Any = next((arg for arg in call.spec.args if arg.name == name), None)
    return 0 if spec is None else call.register(name)


def _invalid(call: Call, *, unless: bool, number: int = errno.EINVAL) -> None:
    if not unless:
        raise Refused(f"an argument of {call.call_name}", errno=number)


def _statx(call: Call, flags: int) -> None:
    _invalid(call, unless=flags & _SYNC != _SYNC and not call.register("mask") & _RESERVED)


def _rename(call: Call, flags: int) -> None:
    _invalid(call, unless=not (flags & _NOREPLACE_WHITEOUT and flags & _EXCHANGE))


def _access(call: Call, flags: int) -> None:
    _invalid(call, unless=not call.register("mode") & ~7)


def _truncate(call: Call, flags: int) -> None:
    _invalid(call, unless=call.register("length") >= 0)


def _readlink(call: Call, flags: int) -> None:
    # An int to the kernel, whatever the manual page says.
    _invalid(call, unless=0 < call.register("size") & 0xFFFFFFFF < 1 << 31)


def _mknod(call: Call, flags: int) -> None:
    kind = stat.S_IFMT(call.register("mode"))
    _invalid(call, unless=kind != stat.S_IFDIR, number=errno.EPERM)
    _invalid(call, unless=kind in _NODES)


def _utime(call: Call, flags: int) -> None:
    # A descriptor itself, named by no path at all, has no flags.
    at_fd = _register(call, "dirfd") != -100 and not call.register("path")
    _invalid(call, unless=not (flags and at_fd and call.call_name.startswith("utimensat")))


def _xattr(call: Call, flags: int) -> None:
    if call.call_name in ("setxattrat", "getxattrat"):
        size = call.register("size")
        _invalid(call, unless=size >= _XATTR_ARGS)
        _invalid(call, unless=size <= _PAGE, number=errno.E2BIG)
        args: Any = call.args  # type: ignore[attr-defined]
        _invalid(call, unless=not any(args.extra), number=errno.E2BIG)
    if call.call_name.endswith("xattrat"):
        _invalid(call, unless=not call.register("at_flags") & ~_AT_FLAGS)


_MORE: Final[dict[str, Callable[[Call, int], None]]] = {
    "statx": _statx,
    "renameat2": _rename,
    "faccessat2": _access,
    "truncate": _truncate,
    "ftruncate": _truncate,
    "mknodat": _mknod,
    "readlinkat": _readlink,
    "utimensat": _utime,
    "setxattr": _xattr,
    "getxattr": _xattr,
    "listxattr": _xattr,
    "removexattr": _xattr,
}

_CHECKED: Final = _FLAGS.keys() | _MORE.keys()
