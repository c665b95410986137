"""What a call does, whatever it is called: two spellings of one act have the same effect.

Theory of operation. Most of it is `unotify.calls.acts`, which tells of each call what act it is
a spelling of, and with which copies of its arguments. What is added here: acts on a descriptor
are acts on what it is open on; calls that nobody can perform for somebody else; and ways to the
same end that are no spelling, such as a send that connects.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from unotify.abi import model
from unotify.abi.model import Role
from unotify.abi.types import Address
from unotify.bpf.audit.wide_twins import wide_twins
from unotify.calls import Call
from unotify.calls.acts import Act, act_of, performable, plan
from unotify.calls.lookups import Spot, spot_of
from unotify.calls.sockaddr import Inet6Address, InetAddress, UnixAddress, decode_sockaddr
from unotify.errors import Error

__all__ = [
    "MSG_FASTOPEN",
    "NEW_NAMESPACES",
    "Effect",
    "Places",
    "address_text",
    "kind_of",
    "observe",
    "of_act",
    "spellings",
]

MSG_FASTOPEN: Final = 0x20000000
NEW_NAMESPACES: Final = 0x7E020080
"""CLONE_NEWUSER, NEWNS, NEWNET, NEWPID, NEWIPC, NEWUTS, NEWCGROUP and NEWTIME."""
_MS_BIND: Final = 0x1000

Value: TypeAlias = int | str


class Effect(NamedTuple):
    """What a call did.

    Attributes:
        kind: The act, by the name of the most general call that does it.
        values: Its arguments that make a difference, where they are not 0 and not empty.
        paths: What it was done to, by argument.
    """

    kind: str
    values: tuple[tuple[str, Value], ...] = ()
    paths: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        shown = [f'{name}="{path}"' for name, path in self.paths]
        for name, value in self.values:
            if isinstance(value, str):
                shown.append(f'{name}="{value}"')
            else:
                shown.append(f"{name}={oct(value) if name == 'mode' else hex(value)}")
        return f"{self.kind}({', '.join(shown)})"


class Places(NamedTuple):
    """Where paths and descriptors lead.

    Attributes:
        path: What a path names.
        fd: What a descriptor is open on.
    """

    path: Callable[[Spot], str]
    fd: Callable[[int], str]


# -- kinds ---------------------------------------------------------------------------------

_ON_DESCRIPTORS: Final = MappingProxyType(
    {
        "fchmod": "fchmodat2",
        "fchown": "fchownat",
        "ftruncate": "truncate",
        "fsetxattr": "setxattr",
        "fgetxattr": "getxattr",
        "flistxattr": "listxattr",
        "fremovexattr": "removexattr",
        "fstat": "newfstatat",
        "statx": "newfstatat",
        "fstatfs": "statfs",
    }
)
"""Acts on a descriptor, or with more to tell, and the act on a path that they are."""

_OTHERS: Final = MappingProxyType(
    {
        "open_by_handle_at": "openat",
        "execveat": "execve",
        "umount": "umount2",
        "umount2": "umount2",
        "move_mount": "mount",
        "finit_module": "init_module",
        "kexec_file_load": "kexec_load",
        "settimeofday": "clock_settime",
        "adjtimex": "clock_adjtime",
        "clone": "unshare",
        "clone3": "unshare",
        "vfork": "fork",
    }
)

_MATTERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "openat": ("flags", "mode"),
        "mkdirat": ("mode",),
        "mknodat": ("mode", "dev"),
        "unlinkat": ("flags",),
        "renameat2": ("flags",),
        "symlinkat": ("target",),
        "fchmodat2": ("mode",),
        "fchownat": ("owner", "group"),
        "truncate": ("length",),
        "faccessat2": ("mode",),
        "setxattr": ("name",),
        "getxattr": ("name",),
        "removexattr": ("name",),
    }
)
"""Of each act the values that a policy can care for; of others its paths are all."""

# O_CLOEXEC, O_NOFOLLOW, O_LARGEFILE, O_NONBLOCK, O_NOCTTY, O_DIRECTORY: how, not what.
_HOW: Final = 0o2000000 | 0o400000 | 0o100000 | 0o4000 | 0o400


def kind_of(call: str) -> str:
    """The kind of effect that *call* has, as far as its name tells."""
    act = act_of(call)
    if act is not None:
        return _ON_DESCRIPTORS.get(act, act)
    return _OTHERS.get(call) or _forms().get(call, call)


@cache
def _forms() -> Mapping[str, str]:
    return {form: base for base, forms in wide_twins().items() for form in forms}


@cache
def spellings(kind: str) -> tuple[str, ...]:
    """The calls that can have an effect of *kind*, whatever arguments it takes."""
    known = [*performable(), *_OTHERS, kind, *_forms()]
    found = [name for name in dict.fromkeys(known) if kind_of(name) == kind]
    if kind == "connect":
        found += ["sendto", "sendmsg", "sendmmsg"]
    return tuple(name for name in found if name in model.names())


# -- observing -----------------------------------------------------------------------------


def observe(call: Call, places: Places) -> Effect | None:
    """What *call* does if it runs now; ``None`` if the kernel would refuse its arguments."""
    special = _SPECIAL.get(call.call_name)
    try:
        if special is not None:
            found = special(call, places)
        elif act_of(call.call_name) is not None:
            found = _of_act(plan(call), places)
        else:
            found = _plain(call, places)
    except (Error, ValueError, struct.error):
        return None
    return found and _short(found)


def _short(effect: Effect) -> Effect:
    return effect._replace(values=tuple(pair for pair in effect.values if pair[1]))


def of_act(act: Act, places: Places) -> Effect:
    """What an act does."""
    return _short(_of_act(act, places))


def _of_act(act: Act, places: Places) -> Effect:
    paths = {name: places.path(spot) for name, spot in act.spots.items()}
    if act.name == "sendmsg":
        address = next((one.address for one in act.messages if one.address), b"")
        fast = address and int(act.values.get("flags") or 0) & MSG_FASTOPEN
        values = (("address", address_text(address)),) if address else ()
        return Effect("connect" if fast else "sendmsg", values)
    if act.name in ("connect", "bind"):
        raw = act.values["address"]
        assert isinstance(raw, bytes)
        return Effect(act.name, (("address", address_text(raw)),))
    kind = _ON_DESCRIPTORS.get(act.name, act.name)
    if not paths and "fd" in act.fds:
        paths["path"] = places.fd(act.fds["fd"])
    values_: dict[str, Value] = {}
    for name in _MATTERS.get(kind, ()):
        value = act.values.get(name)
        values_[name] = _shown(value)
    if kind == "openat":
        values_["flags"] = int(values_["flags"]) & ~_HOW
    return Effect(kind, tuple(values_.items()), tuple(paths.items()))


def _shown(value: int | bytes | None) -> Value:
    if isinstance(value, bytes):
        return value.rstrip(b"\0").decode("utf-8", "surrogateescape")
    return value or 0


def address_text(raw: bytes) -> str:
    """A socket address as people write it, and as `unotify.policy.offline.prepare` reads it."""
    match decode_sockaddr(raw):
        case InetAddress(ip=ip, port=port):
            return f"{ip}:{port}"
        case Inet6Address(ip=ip6, port=port):
            return f"[{ip6}]:{port}"
        case UnixAddress() as unix:
            name = unix.path if unix.abstract is None else unix.abstract
            text = (name or b"").decode("utf-8", "surrogateescape")
            return f"unix:{text}" if unix.abstract is None else f"@{text}"
    return f"family {int.from_bytes(raw[:2], 'little')}"


_NUMBERS: Final = frozenset(
    {Role.INT, Role.UINT, Role.FLAGS, Role.COMMAND, Role.MODE, Role.DEV, Role.PID, Role.UID}
    | {Role.GID, Role.SIGNAL}
)


def _plain(call: Call, places: Places) -> Effect:
    values: dict[str, Value] = {}
    paths: dict[str, str] = {}
    for arg in call.spec.args:
        if arg.role is Role.PATH:
            if call.register(arg.name):
                paths[arg.name] = places.path(spot_of(call, arg.name))
        elif arg.role is Role.STRING:
            text: Any = getattr(call, arg.name) if call.register(arg.name) else ""
            values[arg.name] = str(text)
        elif arg.role in _NUMBERS:
            values[arg.name] = call.register(arg.name)
    return Effect(kind_of(call.call_name), tuple(values.items()), tuple(paths.items()))


def _by_handle(call: Call, places: Places) -> Effect:
    # Handles have no names; here one is the length, a type, and what it is of.
    at = call.register("handle")
    size, _ = struct.unpack("=Ii", call.caller.read(Address(at), 8))
    name = call.caller.read(Address(at + 8), size).decode()
    flags = call.register("flags") & ~_HOW
    return Effect("openat", (("flags", flags), ("mode", 0)), (("path", name),))


def _moved_mount(call: Call, places: Places) -> Effect | None:
    made, _, what = places.fd(call.register("from_dirfd")).partition(":")
    target = places.path(spot_of(call, "to_path"))
    if made == "mount":
        return _mounted("", what, 0, target)
    if made == "tree":
        return _mounted(what, "", _MS_BIND, target)
    return None


def _mounted(source: str, fstype: str, flags: int, target: str) -> Effect:
    paths = {"source": source} if flags & _MS_BIND else {}
    return Effect(
        "mount",
        (("flags", flags), ("fstype", "" if paths else fstype)),
        tuple({**paths, "target": target}.items()),
    )


def _mount(call: Any, places: Places) -> Effect:
    flags = int(call.register("flags"))
    fstype = str(call.fstype or "") if call.register("fstype") else ""
    bind = flags & _MS_BIND
    source = places.path(spot_of(call, "source")) if bind else ""
    return _mounted(source, fstype, flags, places.path(spot_of(call, "target")))


def _new_process(call: Any, places: Places) -> Effect:
    flags = int(call.args.flags) if call.call_name == "clone3" else call.register("flags")
    flags &= NEW_NAMESPACES
    if not flags and call.call_name != "unshare":
        return Effect("fork")
    return Effect("unshare", (("flags", flags),))


def _run(call: Call, places: Places) -> Effect:
    return Effect("execve", (), (("path", places.path(spot_of(call, "path"))),))


def _named_only(call: Call, places: Places) -> Effect:
    return Effect(kind_of(call.call_name))


_SPECIAL: Final[Mapping[str, Callable[[Any, Places], Effect | None]]] = MappingProxyType(
    {
        "open_by_handle_at": _by_handle,
        "move_mount": _moved_mount,
        "mount": _mount,
        "clone": _new_process,
        "clone3": _new_process,
        "unshare": _new_process,
        "execve": _run,
        "execveat": _run,
        "init_module": _named_only,
        "finit_module": _named_only,
        "kexec_load": _named_only,
        "kexec_file_load": _named_only,
        "clock_settime": _named_only,
        "clock_settime64": _named_only,
        "settimeofday": _named_only,
        "adjtimex": _named_only,
        "clock_adjtime": _named_only,
        "clock_adjtime64": _named_only,
    }
)
