"""A call as the supervisor would make it: copies, and where its paths begin.

Theory of operation. The kernel has many spellings of few acts: ``open``, ``creat`` and
``openat`` are ``openat``, ``lchown`` is ``fchownat`` with a flag, ``utime`` is ``utimensat`` in
seconds. `_ACTS` says which call is which act; all the rest follows from the call model, by the
names of arguments: registers are passed on, what pointers lead to is read once and passed as a
copy, paths become a `Spot` each, descriptors stay numbers of the target until somebody takes them.

Pure: an `Act` is a value. `unotify.kernel.acting` carries one out.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from unotify.abi import model
from unotify.abi.constants import OpenFlags
from unotify.abi.model import ArgSpec, Role
from unotify.abi.types import Address
from unotify.calls.call import Call
from unotify.calls.checks import require_sane
from unotify.calls.layouts import Answer, answer_of
from unotify.calls.lookups import Spot, spot_of
from unotify.calls.messages import Message, address_of, messages_of
from unotify.calls.times import times_of
from unotify.errors import BadAddress, NotExpressible, PathTooLong, Refused

__all__ = ["Act", "Out", "Replacement", "act_of", "performable", "plan"]

Replacement: TypeAlias = bytes | Callable[[bytes], bytes]
"""What an argument is replaced with: bytes, or a function of what the target gave."""

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

CREATING: Final = frozenset({"openat", "mkdirat", "mknodat", "bind"})
"""Acts whose result the caller's umask changes."""

_FIXED: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "rmdir": {"flags": 0x200},
        "creat": {"flags": 0o1101},
    }  # AT_REMOVEDIR; O_CREAT|O_WRONLY|O_TRUNC
)

# Of an act's flags those that say how a path is looked up are in its spots.
_LOOKUP_FLAGS: Final = 0x100 | 0x1000  # AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH
_KEEPS_FLAGS: Final = frozenset({"unlinkat", "renameat2", "openat", "setxattr", "fsetxattr"})

_LOOKS: Final = {"linkat": 0x1000}  # it has no AT_SYMLINK_NOFOLLOW

_NO_CHANGE: Final = 0xFFFFFFFF
_OMIT: Final = ((1 << 30) - 2).to_bytes(8, sys.byteorder)  # UTIME_OMIT
_XATTR_NAME_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class Out:
    """Something that the act writes, and the target is to find in its memory.

    Attributes:
        address: Where, in the target.
        size: How large our buffer is.
        answer: What becomes of our kernel's bytes in the target's ABI.
    """

    address: Address
    size: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Act:
    """What is to be done, complete but for descriptors.

    Attributes:
        name: The system call that does it.
        call: The one that the target made.
        values: Numbers, and copies of memory, by argument; ``None`` is a NULL.
        spots: Where path arguments lead.
        fds: Descriptors of the target, by argument.
        outs: What it writes.
        messages: Of a sending act.
        real_ids: Rights are those of the real ids (access(2)).
        returns_fd: Success is a new descriptor.
        small: A file of 2 GiB or more is EOVERFLOW: a 32-bit caller without O_LARGEFILE.
        as_supervisor: With the supervisor's own rights.
        lent: Capabilities of the supervisor that are lent for this act, as a bit set; it is done
            in the supervisor's user namespace then.
    """

    name: str
    call: str
    values: Mapping[str, int | bytes | None] = field(default_factory=dict)
    spots: Mapping[str, Spot] = field(default_factory=dict)
    fds: Mapping[str, int] = field(default_factory=dict)
    outs: Mapping[str, Out] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    real_ids: bool = False
    returns_fd: bool = False
    small: bool = False
    as_supervisor: bool = False
    lent: int = 0

    @property
    def creates(self) -> bool:
        """Whether the caller's umask matters."""
        if self.name == "openat":
            # O_CREAT, or the bit of O_TMPFILE that is not O_DIRECTORY.
            return bool(int(self.values["flags"] or 0) & (0o100 | 0o20000000))
        return self.name in CREATING

    @property
    def cloexec(self) -> bool:
        """Whether a new descriptor is to be closed by the target's exec."""
        return bool(int(self.values.get("flags") or 0) & 0o2000000)


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


def plan(call: Call, replaced: Mapping[str, Any] = MappingProxyType({})) -> Act:
    """Make the act that *call* asks for; reads all that it points to, once.

    Args:
        call: What the target wants.
        replaced: Other values for some arguments: bytes for paths, and for addresses too, or
            a function of the address that was given.

    Raises:
        NotExpressible: It cannot be done for somebody else.
        TargetError: What it points to cannot be read, or is nonsense.
    """
    name = _ACTS.get(call.call_name)
    if name is None:
        raise NotExpressible(f"{call.call_name or 'an unknown call'} cannot be performed")
    require_sane(call, name)
    planner = _PLANNERS.get(name, _plan)
    return planner(call, name, replaced)


def _plan(call: Call, name: str, replaced: Mapping[str, Any]) -> Act:
    if name in ("setxattr", "fsetxattr") and call.register("size") > 1 << 16:
        raise Refused("an attribute of more than 64 KiB", errno=errno.E2BIG)
    values: dict[str, int | bytes | None] = {}
    spots: dict[str, Spot] = {}
    fds: dict[str, int] = {}
    outs: dict[str, Out] = {}
    have = {spec.name: spec for spec in call.spec.args}
    fixed = _FIXED.get(call.call_name, {})
    if name == "utimensat":
        values["times"] = times_of(call)  # the kernel, too, asks for them before any path
    for spec in model.spec(name).args:
        key = spec.name
        theirs = have.get(key)
        if key in values:
            continue
        if key in fixed:
            values[key] = fixed[key]
        elif spec.role is Role.PATH:
            spots[key] = _spot(call, key, replaced)
        elif spec.role is Role.DIRFD:
            continue
        elif spec.role is Role.FD:
            fds[key] = call.register(key)
        elif key in replaced:
            values[key] = replaced[key]
        elif spec.role in (Role.OUT_STRUCT, Role.OUT_BUFFER):
            outs[key] = _out(call, theirs or spec)
        else:
            values[key] = _value(call, spec, theirs)
    if "flags" in values and name not in _KEEPS_FLAGS:
        given = int(values["flags"] or 0)
        values["flags"] = given & ~(_LOOKUP_FLAGS & _LOOKS.get(name, _LOOKUP_FLAGS))
    if name == "utimensat" and _changes_nothing(values["times"]):
        spots = {"path": Spot(b"", empty=True)}  # no path is looked at
    real_ids = name == "faccessat2" and not int(values["flags"] or 0) & 0x200  # AT_EACCESS
    return Act(name, call.call_name, values, spots, fds, outs, real_ids=real_ids)


def _spot(call: Call, argument: str, replaced: Mapping[str, Any]) -> Spot:
    spot = spot_of(call, argument)
    if argument in replaced:
        return spot._replace(path=bytes(replaced[argument]))
    return spot


def _value(call: Call, spec: ArgSpec, theirs: ArgSpec | None) -> int | bytes | None:
    if not hasattr(type(call), spec.name):
        return 0  # an older spelling, without flags
    if spec.name == "name" and spec.role is Role.STRING:
        return _attribute(call)
    if theirs is not None and theirs.role not in _COPIED:
        number = call.register(spec.name)
        # A 16-bit id of all ones means no change, too.
        return _NO_CHANGE if (theirs.ctype, number) in _OLD_NO_CHANGE else number
    value: Any = getattr(call, spec.name)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return value if value is None or isinstance(value, bytes) else int(value)


_COPIED: Final = frozenset({Role.STRING, Role.IN_BUFFER})
_OLD_NO_CHANGE: Final = frozenset({("old_uid_t", 0xFFFF), ("old_gid_t", 0xFFFF)})


def _attribute(call: Call) -> bytes:
    """The name of an extended attribute."""
    try:
        name: Any = call.name  # type: ignore[attr-defined]
    except PathTooLong:
        name = ""
    if name is None:
        raise BadAddress("the name of an attribute is NULL")
    raw = os.fsencode(name)
    if not 0 < len(raw) <= _XATTR_NAME_MAX:
        raise Refused("the length of an attribute's name", errno=errno.ERANGE)
    return raw


def _changes_nothing(times: int | bytes | None) -> bool:
    return isinstance(times, bytes) and times[8:16] == times[24:32] == _OMIT


_STATFS64_SIZE: Final = 84  # of i386, the only one whose layout is known here


def _out(call: Call, spec: ArgSpec) -> Out:
    address = Address(call.register(spec.name))
    if spec.role is Role.OUT_BUFFER:
        size = call.register(spec.length or "size")
        if size < 0:
            raise Refused(f"a buffer of {size} bytes", errno=errno.EINVAL)
        # No name, no link and no attribute is longer.
        return Out(address, min(size, 1 << 16), Answer())
    answer = answer_of(spec.struct or "", call.arch)
    if spec.struct == "statfs64" and call.register("size") != _STATFS64_SIZE:
        raise Refused("the size of a struct statfs64", errno=errno.EINVAL)
    return Out(address, answer.size, answer)


def _plan_open(call: Call, name: str, replaced: Mapping[str, Any]) -> Act:
    if call.call_name == "openat2":
        how: Any = call.how  # type: ignore[attr-defined]
        if any(how.extra):
            raise Refused("fields of open_how that are not known", errno=errno.E2BIG)
        if call.register("size") < 24:
            raise Refused("a short open_how", errno=errno.EINVAL)
        flags, mode = how.flags, how.mode
    else:
        # open(2) ignores what it does not know, and a mode that it does not need.
        fixed = _FIXED.get(call.call_name, {})
        flags = fixed["flags"] if fixed else call.register("flags") & _OPEN_FLAGS
        mode = call.register("mode") & 0o7777 if flags & (0o100 | 0o20000000) else 0
        if flags & 0o10000000:  # O_PATH
            flags &= 0o10000000 | 0o200000 | 0o400000 | 0o2000000
    small = call.arch.bits == 32 and call.call_name in ("open", "openat")
    small = small and not call.flags & OpenFlags.O_LARGEFILE  # type: ignore[attr-defined]
    return Act(
        name,
        call.call_name,
        {"flags": flags, "mode": mode},
        {"path": _spot(call, "path", replaced)},
        returns_fd=True,
        small=small,
    )


# VALID_OPEN_FLAGS: architectures give them other names, not other bits.
_OPEN_FLAGS: Final = 0o37777703


def _plan_name(call: Call, name: str, replaced: Mapping[str, Any]) -> Act:
    values: dict[str, int | bytes | None] = {"mode": call.register("mode")}
    if name == "mknodat":
        values["dev"] = call.register("dev")
    return Act(name, call.call_name, values, {"path": _spot(call, "path", replaced)})


def _plan_xattr(call: Call, name: str, replaced: Mapping[str, Any]) -> Act:
    if not call.call_name.endswith("xattrat"):
        return _plan(call, name, replaced)
    spots = {"path": _spot(call, "path", replaced)}
    values: dict[str, int | bytes | None] = {}
    outs: dict[str, Out] = {}
    if name == "listxattr":
        outs["list"] = _out(call, call.spec.arg("list"))
        return Act(name, call.call_name, values, spots, outs=outs)
    values["name"] = _attribute(call)
    if name != "removexattr":
        args: Any = call.args  # type: ignore[attr-defined]
        if any(args.extra):
            raise Refused("fields of xattr_args that are not known", errno=errno.E2BIG)
        if args.size > 1 << 16:
            if name == "setxattr":
                raise Refused("an attribute of more than 64 KiB", errno=errno.E2BIG)
            args = args._replace(size=1 << 16)
        if name == "getxattr":
            if args.flags:
                raise Refused("getxattrat has no flags", errno=errno.EINVAL)
            outs["value"] = Out(Address(args.value), args.size, Answer())
        else:
            value = call.caller.read(Address(args.value), args.size) if args.size else b""
            values |= {"value": value, "size": args.size, "flags": args.flags}
    return Act(name, call.call_name, values, spots, outs=outs)


def _plan_socket(call: Call, name: str, replaced: Mapping[str, Any]) -> Act:
    address = _replaced(replaced.get("address"), lambda: address_of(call))
    return Act(name, call.call_name, {"address": address}, fds={"fd": call.register("fd")})


def _replaced(value: Any, given: Callable[[], bytes]) -> bytes:
    """What goes in the place of an address."""
    if isinstance(value, bytes):
        return value
    address = given()
    return value(address) if callable(value) else address


def _elsewhere(message: Message, value: Any) -> Message:
    if not message.address:
        return message  # of a connected socket
    return replace(message, address=_replaced(value, lambda: message.address))


def _plan_send(call: Call, name: str, replaced: Mapping[str, Any]) -> Act:
    messages, outs = messages_of(call)
    if "address" in replaced:
        messages = tuple(_elsewhere(message, replaced["address"]) for message in messages)
    return Act(
        name,
        call.call_name,
        {"flags": call.register("flags")},
        fds={"fd": call.register("fd")},
        messages=messages,
        outs={f"length {at}": Out(address, 4, Answer()) for at, address in enumerate(outs)},
    )


_PLANNERS: Final[Mapping[str, Callable[[Call, str, Mapping[str, Any]], Act]]] = MappingProxyType(
    {
        "openat": _plan_open,
        "mkdirat": _plan_name,
        "mknodat": _plan_name,
        "setxattr": _plan_xattr,
        "getxattr": _plan_xattr,
        "listxattr": _plan_xattr,
        "removexattr": _plan_xattr,
        "connect": _plan_socket,
        "bind": _plan_socket,
        "sendmsg": _plan_send,
    }
)
