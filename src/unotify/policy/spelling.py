"""The names of values, and how architectures spell them.

A policy uses the generic values, those of x86-64. Each architecture has its own
spelling of some: a flag may be another bit there, and the bit that it has elsewhere
may mean something else, or nothing. `native` says what number a name stands for there,
`Spelling` translates numbers; both say too what an architecture has no spelling for.

What it rests on: the exported headers of each architecture. A name that these do not
have does not exist there. Of ioctls only those are known that have one number almost
everywhere, and nothing of those architectures that number terminals in their own way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from unotify.abi._constants import ABSENT, TEXT
from unotify.abi.arch import Arch

__all__ = ["Spelling", "field_of", "homes", "is_choice", "members", "native", "spelling", "value"]

_ALL: Final = (1 << 64) - 1

_MORE_TEXT: Final = """
OpenFlags O_ACCMODE=0x3
SocketType SOCK_TYPE_MASK=0xf
CloneFlags CSIGNAL=0xff
FutexOperation FUTEX_CMD_MASK=0x7f
Personality PER_MASK=0xff
Operation SECCOMP_SET_MODE_STRICT=0 SECCOMP_SET_MODE_FILTER=1 SECCOMP_GET_ACTION_AVAIL=2
Operation SECCOMP_GET_NOTIF_SIZES=3
FilterFlag SECCOMP_FILTER_FLAG_TSYNC=1 SECCOMP_FILTER_FLAG_LOG=2 SECCOMP_FILTER_FLAG_SPEC_ALLOW=4
FilterFlag SECCOMP_FILTER_FLAG_NEW_LISTENER=8 SECCOMP_FILTER_FLAG_TSYNC_ESRCH=0x10
FilterFlag SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV=0x20
descriptor AT_FDCWD=-100
mode S_IFMT=0o170000 S_IFSOCK=0o140000 S_IFLNK=0o120000 S_IFREG=0o100000 S_IFBLK=0o60000
mode S_IFDIR=0o40000 S_IFCHR=0o20000 S_IFIFO=0o10000 S_ISUID=0o4000 S_ISGID=0o2000 S_ISVTX=0o1000
mode S_IRWXU=0o700 S_IRUSR=0o400 S_IWUSR=0o200 S_IXUSR=0o100 S_IRWXG=0o70 S_IRGRP=0o40
mode S_IWGRP=0o20 S_IXGRP=0o10 S_IRWXO=7 S_IROTH=4 S_IWOTH=2 S_IXOTH=1
protocol IPPROTO_IP=0 IPPROTO_ICMP=1 IPPROTO_IGMP=2 IPPROTO_TCP=6 IPPROTO_UDP=17 IPPROTO_IPV6=41
protocol IPPROTO_GRE=47 IPPROTO_ICMPV6=58 IPPROTO_SCTP=132 IPPROTO_UDPLITE=136 IPPROTO_RAW=255
protocol IPPROTO_MPTCP=262 NETLINK_ROUTE=0 NETLINK_USERSOCK=2 NETLINK_SOCK_DIAG=4 NETLINK_NFLOG=5
protocol NETLINK_XFRM=6 NETLINK_SELINUX=7 NETLINK_AUDIT=9 NETLINK_NETFILTER=12
protocol NETLINK_KOBJECT_UEVENT=15 NETLINK_GENERIC=16 NETLINK_CRYPTO=21
ioctl TCGETS=0x5401 TCSETS=0x5402 TCSETSW=0x5403 TCSETSF=0x5404 TCGETA=0x5405 TCSETA=0x5406
ioctl TCSBRK=0x5409 TCXONC=0x540A TCFLSH=0x540B TIOCEXCL=0x540C TIOCNXCL=0x540D TIOCSCTTY=0x540E
ioctl TIOCGPGRP=0x540F TIOCSPGRP=0x5410 TIOCOUTQ=0x5411 TIOCSTI=0x5412 TIOCGWINSZ=0x5413
ioctl TIOCSWINSZ=0x5414 FIONREAD=0x541B TIOCINQ=0x541B TIOCLINUX=0x541C TIOCCONS=0x541D
ioctl FIONBIO=0x5421 TIOCNOTTY=0x5422 TIOCSETD=0x5423 TIOCGETD=0x5424 TIOCGSID=0x5429
ioctl FIONCLEX=0x5450 FIOCLEX=0x5451 FIOASYNC=0x5452 FICLONE=0x40049409 FS_IOC_GETFLAGS=0x80086601
ioctl FS_IOC_SETFLAGS=0x40086602
"""

_CHOICES: Final = ("Operation", "descriptor", "protocol", "ioctl")
"""Of these, those that are one of several values."""

_LONG_IOCTLS: Final = {"FS_IOC_GETFLAGS": 0x80046601, "FS_IOC_SETFLAGS": 0x40046602}
"""Numbers that have the size of a long in them, as 32-bit ABIs spell them."""

_OLD_IOCTLS: Final = ("ppc", "mips", "parisc", "sh4")
"""Architectures whose terminal ioctls have numbers of their own."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One class of names: what kind, the bits that are one value, and its names."""

    choice: bool
    field: int
    members: Mapping[str, int]


@cache
def _kinds() -> dict[str, _Kind]:
    kinds: dict[str, _Kind] = {}
    for line in TEXT.splitlines():
        key, kind, rest = line.split(" ", 2)
        if "@" not in key:
            base, _, field = kind.partition("/")
            kinds[key] = _Kind(base == "enum", int(field or "0", 16), _values(rest))
    for line in _MORE_TEXT.split("\n"):
        key, _, rest = line.partition(" ")
        if not key:
            continue
        old = kinds.get(key)
        if old is None:
            old = _Kind(key in _CHOICES, 0o170000 if key == "mode" else 0, {})
        kinds[key] = _Kind(old.choice, old.field, {**old.members, **_values(rest)})
    return kinds


def _values(text: str) -> dict[str, int]:
    return {
        name: int(value, 0) for name, _, value in (item.partition("=") for item in text.split())
    }


@cache
def _overrides() -> dict[tuple[str, str], dict[str, int]]:
    """What each architecture spells differently, by class and label."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for line in TEXT.splitlines():
        key, _, rest = line.split(" ", 2)
        kind, at, archs = key.partition("@")
        for arch in archs.split(",") if at else ():
            found[kind, arch] = _values(rest)
    for abi in Arch:
        if abi.pointer == 4 and not abi.label.startswith(_OLD_IOCTLS):
            found["ioctl", abi.label] = dict(_LONG_IOCTLS)
    return found


@cache
def _absent() -> frozenset[tuple[str, str, str]]:
    """Names that do not exist: class, label of the architecture, and name."""
    found = set()
    for line in ABSENT.splitlines():
        key, *names = line.split(" ")
        kind, _, archs = key.partition("@")
        found |= {(kind, arch, name) for arch in archs.split(",") for name in names}
    return frozenset(found)


@cache
def _homes() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for kind, info in _kinds().items():
        for name in info.members:
            found.setdefault(name, []).append(kind)
    return {name: tuple(kinds) for name, kinds in found.items()}


def homes(name: str | None = None) -> Mapping[str, tuple[str, ...]]:
    """For each name the classes that have it; for *name* alone, if it is given."""
    if name is None:
        return _homes()
    found = _homes().get(name)
    return {} if found is None else {name: found}


def members(kind: str) -> Mapping[str, int]:
    """The names of a class, with their generic values."""
    return _kinds()[kind].members


def is_choice(kind: str) -> bool:
    """Whether what belongs to a class is one of several values, not a set of bits."""
    return _kinds()[kind].choice


def field_of(kind: str) -> tuple[int, str]:
    """The bits of a class that are one value, and the name of that mask; 0 if all are bits."""
    info = _kinds()[kind]
    named = (name for name, number in info.members.items() if number == info.field)
    return info.field, next(named, f"{info.field:#x}")


def native(name: str, kind: str, arch: Arch) -> int | None:
    """The number that *name*, of a class, stands for on *arch*; ``None``: none, or none known."""
    if not spelling(kind, arch).known or (kind, arch.label, name) in _absent():
        return None
    return _overrides().get((kind, arch.label), {}).get(name, _kinds()[kind].members[name])


def value(name: str) -> int:
    """The generic value of *name*."""
    return _kinds()[_homes()[name][0]].members[name]


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one architecture spells the values of one class.

    Attributes:
        known: Whether its spelling is known at all.
        field: The bits that are one value; all, for a choice.
        pairs: Generic and native values of that field, where they differ.
        bits: Generic and native bits, where they differ.
        lost: Generic bits that the architecture has no bit for.
    """

    known: bool
    field: int
    pairs: Mapping[int, int]
    bits: tuple[tuple[int, int], ...]
    lost: int

    def number(self, value: int) -> int | None:
        """The native number for *value*, or ``None``: there is none."""
        if not self.pairs and not self.bits:
            return value
        if value < 0 and self.field != _ALL:
            # Of all ones but some, those some are translated.
            inner = self.number(~value)
            return None if inner is None else ~inner
        low = value if self.field == _ALL else value & self.field
        if low in self.pairs:
            low = self.pairs[low]
        elif low in self.pairs.values():
            return None
        if self.field == _ALL:
            return low
        rest = value & ~self.field
        if rest & self.lost:
            return None
        return low | self._moved(rest)

    def _moved(self, value: int) -> int:
        made = value
        for old, _ in self.bits:
            made &= ~old
        for old, new in self.bits:
            if value & old:
                made |= new
        return made


@cache
def spelling(kind: str | None, arch: Arch) -> Spelling:
    """How *arch* spells the values of *kind*."""
    none = Spelling(True, 0, {}, (), 0)
    if kind is None:
        return none
    if kind == "ioctl" and arch.label.startswith(_OLD_IOCTLS):
        return Spelling(False, 0, {}, (), 0)
    native = _overrides().get((kind, arch.label))
    if native is None:
        return none
    info = _kinds()[kind]
    pairs = {info.members[name]: number for name, number in native.items()}
    if info.choice:
        return Spelling(True, _ALL, pairs, (), 0)
    inside = {old: new for old, new in pairs.items() if not old & ~info.field}
    bits: dict[int, int] = {}
    # Single bits first: what is left of a name with several is a bit without a name.
    for old, new in sorted(pairs.items(), key=lambda pair: pair[0].bit_count()):
        if old in inside:
            continue
        for known_old, known_new in list(bits.items()):
            if old & known_old:
                old, new = old & ~known_old, new & ~known_new
        if old.bit_count() == new.bit_count() == 1:
            bits[old] = new
    lost = 0
    for new in bits.values():
        if new not in bits:
            lost |= new
    moved = tuple((old, new) for old, new in bits.items() if old != new)
    return Spelling(True, info.field, inside, moved, lost)
