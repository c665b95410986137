"""The verb of fake root: which calls it concerns, and under which condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from unotify.policy.action import Action, Parameter, only

__all__ = ["OWNERS", "OWNERSHIP", "STORES"]

_XATTRS: Final = tuple(
    name
    for act in ("set", "get", "list", "remove")
    for name in (f"{act}xattr", f"l{act}xattr", f"f{act}xattr", f"{act}xattrat")
)
_IDS: Final = (
    *("getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups"),
    *("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid"),
    *("setfsuid", "setfsgid", "setgroups"),
)
OWNERS: Final = (
    *("chown", "chown32", "lchown", "lchown32", "fchown", "fchown32", "fchownat"),
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "mknod", "mknodat"),
    *("mkdir", "mkdirat", "statx"),
    *("stat", "stat64", "lstat", "lstat64", "fstat", "fstat64", "newfstatat", "fstatat64"),
    *("unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "io_uring_setup"),
    *(*_XATTRS, *_IDS, *(f"{name}32" for name in _IDS), "capget", "capset", "prctl"),
)
"""The calls that are about owners, modes, devices, attributes and ids."""

STORES: Final = (
    *("open", "openat", "openat2", "open_by_handle_at", "creat", "truncate", "truncate64"),
    *("link", "linkat"),
)
"""Those that might change the store."""


def _fakes(call: str, given: Mapping[str, Any]) -> str | None:
    if call in STORES and "store" not in given:
        return "it is about a store, and none is named"
    return only(*OWNERS, *STORES)(call, given)


def _faked(call: str, given: Mapping[str, Any]) -> str | None:
    return {
        "mknod": "mode & S_IFMT == S_IFBLK or mode & S_IFMT == S_IFCHR",
        "mknodat": "mode & S_IFMT == S_IFBLK or mode & S_IFMT == S_IFCHR",
        "mkdir": "mode & S_IRWXU != S_IRWXU",
        "mkdirat": "mode & S_IRWXU != S_IRWXU",
        "prctl": "option in (PR_GET_KEEPCAPS, PR_SET_KEEPCAPS, PR_CAPBSET_READ, PR_CAPBSET_DROP, "
        "PR_GET_SECUREBITS, PR_SET_SECUREBITS, PR_CAP_AMBIENT) "
        "or option == PR_SET_DUMPABLE and arg2 == 0",
        "open": _MAY_WRITE,
        "openat": _MAY_WRITE,
        "open_by_handle_at": _MAY_WRITE,
    }.get(call)


_MAY_WRITE: Final = (
    "flags & (O_WRONLY | O_RDWR | O_TRUNC) and not flags & O_PATH "
    "and flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL"
)


OWNERSHIP: Final = Action(
    "fake-ownership",
    "remember owners, modes, devices, attributes and ids instead of setting them",
    {"store": Parameter("string", "a file that keeps them from run to run")},
    main="store",
    refuses=_fakes,
    concerns=_faked,
)
"""What a policy says of it."""
