"""Which calls are other spellings of which act."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from unotify.abi import model
from unotify.abi.model import Role

__all__ = ["FIXED", "act_of", "performable", "writes"]

_ACTS_TEXT: Final = """
openat: open openat creat openat2
mkdirat: mkdir mkdirat
mknodat: mknod mknodat
unlinkat: unlink unlinkat rmdir
renameat2: rename renameat renameat2
linkat: link linkat
symlinkat: symlink symlinkat
fchmodat2: chmod fchmodat fchmodat2
fchownat: chown chown32 lchown lchown32 fchownat
truncate: truncate truncate64
utimensat: utime utimes futimesat utimensat utimensat_time64
faccessat2: access faccessat faccessat2
newfstatat: stat lstat newfstatat stat64 lstat64 fstatat64
statx: statx
readlinkat: readlink readlinkat
statfs: statfs statfs64
setxattr: setxattr lsetxattr setxattrat
getxattr: getxattr lgetxattr getxattrat
listxattr: listxattr llistxattr listxattrat
removexattr: removexattr lremovexattr removexattrat
fchmod: fchmod
fchown: fchown fchown32
ftruncate: ftruncate ftruncate64
fallocate: fallocate
fsetxattr: fsetxattr
fgetxattr: fgetxattr
flistxattr: flistxattr
fremovexattr: fremovexattr
fstat: fstat fstat64
fstatfs: fstatfs fstatfs64
connect: connect
bind: bind
sendmsg: sendto sendmsg sendmmsg send
"""

_ACTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        call: act
        for line in _ACTS_TEXT.strip().splitlines()
        for act, _, calls in [line.partition(":")]
        for call in calls.split()
    }
)

FIXED: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "rmdir": {"flags": 0x200},  # AT_REMOVEDIR
        "creat": {"flags": 0o1101},  # O_CREAT | O_WRONLY | O_TRUNC
    }
)
"""Arguments of the act that a spelling says by its name."""


def act_of(call: str) -> str | None:
    """The act that *call* is a spelling of, or ``None``: it cannot be done for somebody else."""
    return _ACTS.get(call)


def performable() -> tuple[str, ...]:
    """All calls that are some act."""
    return tuple(_ACTS)


@cache
def writes(call: str) -> bool:
    """Whether *call* gives its answer in the caller's memory."""
    outs = {Role.OUT_STRUCT, Role.OUT_BUFFER}
    if call in ("sendmmsg", "getxattrat"):
        return True  # where, is said in a struct
    return any(arg.role in outs for arg in model.spec(call).args)
