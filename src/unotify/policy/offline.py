"""A call that nobody makes: arguments as people write them, and what a look would see.

Strings, socket addresses, argument lists and structs are laid out in a made-up
memory, and the typed call reads them there, as it would read a target's.
"""

from __future__ import annotations

import posixpath
import re
import shlex
import struct
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.abi.model import ArgSpec, CallSpec, Role
from unotify.abi.structs import NOTIF
from unotify.abi.types import Address
from unotify.calls import Call, class_for
from unotify.calls.lookups import path_of
from unotify.calls.structs import LAYOUTS
from unotify.errors import Error, NotExpressible, PathTooLong, PolicyError, UnknownName
from unotify.policy.spelling import homes, members, native
from unotify.protocol import Exchange

__all__ = ["Memory", "OfflineFacts", "Unanswered", "call_of", "named", "pointers", "prepare"]

_STRINGS: Final = frozenset({Role.PATH, Role.STRING, Role.IN_BUFFER})
_STRUCTS: Final = frozenset({Role.IN_STRUCT, Role.INOUT_STRUCT})
_START: Final = 0x10000
_NOWHERE: Final = 0x1000
"""An address where nothing is known: for what is not given."""
_SOME: Final = 16
"""A length, likewise."""
_POINTED: Final = frozenset({*_STRINGS, *_STRUCTS, Role.SOCKADDR, Role.STRINGS})
_KNOWN: Final = ("uid", "gid", "pid", "tid", "comm", "exe", "cgroup", "resolved")


class Unanswered(Error):
    """A look at what is not known here."""


class Memory:
    """Memory with what has been put there; the rest is not known."""

    def __init__(self, pointer: int = 8) -> None:
        self._parts: dict[int, bytes] = {}
        # Low enough for a 32-bit register.
        self._next = _START
        self.pointer = pointer

    def put(self, data: bytes) -> int:
        """Put *data* somewhere; returns the address."""
        address = self._next
        self._parts[address] = data
        self._next += -(-(len(data) + 1) // 4096) * 4096
        return address

    def read(self, address: Address, length: int) -> bytes:
        """Read exactly *length* bytes."""
        for start, data in self._parts.items():
            if start <= address and address + length <= start + len(data):
                return data[address - start : address - start + length]
        raise _unknown(address)

    def read_string(self, address: Address, limit: int) -> bytes:
        """Read up to a NUL, at most *limit* bytes with it."""
        for start, data in self._parts.items():
            if start <= address < start + len(data):
                found, nul, _ = data[address - start :].partition(b"\0")
                if nul and len(found) < limit:
                    return found
                raise PathTooLong
        raise _unknown(address)


def _unknown(address: int) -> Unanswered:
    if address == _NOWHERE:
        return Unanswered("what the call points to is not given")
    return Unanswered(f"what is at address {address:#x} of the caller's memory is not given")


class _Caller:
    """Who makes the call: nobody, but it has memory."""

    def __init__(self, memory: Memory) -> None:
        self.read = memory.read
        self.read_string = memory.read_string
        self.observer = memory


class OfflineFacts:
    """What is known of a call that nobody makes.

    Args:
        call: The call.
        known: ``uid``, ``gid``, ``pid``, ``tid``, ``comm``, ``exe``, ``cgroup``; ``resolved``
            for what its path names; ``fd:N`` for a descriptor, as ``KIND`` or ``KIND:PATH``.

    Raises:
        UnknownName: There is no such fact.
        PolicyError: A number is none.
    """

    def __init__(self, call: Call, known: Mapping[str, str]) -> None:
        self.call = call
        self._known = dict(known)
        for name in known:
            if name not in _KNOWN and not re.fullmatch(r"fd:\d+", name):
                raise UnknownName(
                    f"no fact is named {name!r}",
                    hint=nearest(name, _KNOWN)
                    or f"there are {', '.join(_KNOWN)}, and fd:N for a descriptor",
                )
        for name in ("uid", "gid", "pid", "tid"):
            if name in known and not known[name].isdecimal():
                raise PolicyError(f"{name} is a number, not {known[name]!r}")

    def _get(self, name: str) -> str:
        if name not in self._known:
            raise Unanswered(f"the {name} of the caller is not given")
        return self._known[name]

    @property
    def uid(self) -> int:
        """The caller's effective user id."""
        return int(self._get("uid"))

    @property
    def gid(self) -> int:
        """The caller's effective group id."""
        return int(self._get("gid"))

    @property
    def pid(self) -> int:
        """The process."""
        return int(self._get("pid"))

    @property
    def tid(self) -> int:
        """The thread."""
        return int(self._get("tid"))

    @property
    def comm(self) -> str:
        """The thread's name."""
        return self._get("comm")

    @property
    def exe(self) -> str:
        """The path of the program it runs."""
        return self._get("exe")

    @property
    def cgroup(self) -> str:
        """Its path in the unified hierarchy."""
        return self._get("cgroup")

    def resolved(self, argument: str) -> str:
        """What was given, or else an absolute path as written: there are no links here."""
        if "resolved" in self._known:
            return self._known["resolved"]
        path = path_of(self.call, argument)
        if path is None or not path.is_absolute():
            raise Unanswered(f"what {argument} names is not given: it is relative")
        return posixpath.normpath("/" + str(path).lstrip("/"))

    def fd_kind(self, fd: int) -> str:
        """What was given as ``fd:N``."""
        return self._fd(fd).partition(":")[0]

    def fd_path(self, fd: int) -> str:
        """What was given as ``fd:N``."""
        path = self._fd(fd).partition(":")[2]
        if not path:
            raise Unanswered(f"the path of descriptor {fd} is not given")
        return path

    def _fd(self, fd: int) -> str:
        found = self._known.get(f"fd:{fd}")
        if found is None:
            raise Unanswered(f"what descriptor {fd} is, is not given")
        return found

    def count(self, key: str, scope: str) -> int:
        """It is the first call."""
        return 1

    def random(self) -> float:
        """Chance is not foreseen."""
        raise Unanswered("chance decides")

    def take(self, key: str, scope: str, rate: float, burst: float) -> bool:
        """The first call finds a token."""
        return True


def call_of(arch: Arch, name: str, nr: int, args: Sequence[int], memory: Memory) -> Call:
    """The typed call with these registers, which reads *memory*."""
    signed = nr - (1 << 32) if nr >> 31 else nr
    raw = NOTIF.pack(1, 1, 0, signed, arch.audit, 0, *args)
    return class_for(name, arch)(Exchange(raw), arch, lambda _: _Caller(memory))


def prepare(
    name: str, arch: Arch, words: Sequence[str], memory: Memory | None = None
) -> tuple[tuple[int, ...], Memory]:
    """Registers and memory of a call as people write it.

    Args:
        name: The kernel's name of the call.
        arch: Its architecture.
        words: Its arguments in order, or as ``name=value``: numbers, names of constants
            joined by ``|``, ``_`` for anything; for what is in memory a path, a socket
            address (``10.0.0.1:5432``, ``[::1]:80``, ``unix:/run/s``, ``@abstract``), a
            command line, or a struct (``flags=O_CREAT mode=0o644``).
        memory: Where what is pointed to is put; a new one if not given.

    Raises:
        UnknownName: No such argument or constant.
        PolicyError: Too many arguments, or one that has another form.
    """
    spec = model.spec(name, arch)
    given = named(spec, words)
    if memory is None:
        memory = Memory(arch.pointer)
    args = [0] * 6
    lengths: dict[str, int] = {}
    for arg in spec.args:
        word = given.get(arg.name, "_")
        size = _SOME
        if word == "_":
            raw = _NOWHERE if arg.role in _POINTED else 0
        else:
            found = _number(word, arg, arch)
            if found is None:
                data = _pointed(word, arg, arch, memory)
                found = memory.put(data)
                size = len(data) - (arg.role is Role.IN_BUFFER)
            raw = found
        if raw and arg.role in _POINTED and arg.length is not None and arg.length not in given:
            lengths[arg.length] = size
        args[arg.index] = raw
    for arg in spec.args:
        if arg.name in lengths:
            args[arg.index] = lengths[arg.name]
    return tuple(args), memory


def pointers(name: str, arch: Arch) -> list[ArgSpec]:
    """The arguments of a call that are given as what they point to."""
    return [arg for arg in model.spec(name, arch).args if arg.role in _POINTED]


def named(spec: CallSpec, words: Sequence[str]) -> dict[str, str]:
    """Arguments by name, from words in order or as ``name=value``.

    Raises:
        PolicyError: There are too many, or none has such a name.
    """
    names = [arg.name for arg in spec.args]
    given: dict[str, str] = {}
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if equals and name in names:
            given[name] = value
        elif at < len(names):
            if equals and name.isidentifier() and spec.args[at].role not in _POINTED:
                raise PolicyError(
                    f"{spec.name} has no argument {name}", hint=f"they are {', '.join(names)}"
                )
            given[names[at]] = word
        else:
            raise PolicyError(
                f"{spec.name} has {len(names)} arguments, not {len(words)}",
                hint=f"they are {', '.join(names)}" if names else None,
            )
    return given


def _number(word: str, arg: ArgSpec, arch: Arch) -> int | None:
    """The register, or ``None`` if *word* is what the register points to."""
    width = 32 if (arg.bits or arch.bits) <= 32 else 64
    if arg.role in _POINTED and word != "NULL" and not re.fullmatch(r"0[xX][0-9a-fA-F]+|\d+", word):
        return None
    number = 0
    for part in word.split("|"):
        number |= _constant(part.strip(), arg.enum, arch, arg.name)
    if not -(1 << 63) <= number < 1 << 64:
        raise PolicyError(f"{arg.name}: {word} does not fit into a register")
    return number & (1 << width) - 1 if number < 0 else number


def _constant(word: str, enum: str | None, arch: Arch, what: str) -> int:
    try:
        return int(word, 0)
    except ValueError:
        pass
    if word == "NULL":
        return 0
    kinds = homes().get(word, ())
    if not kinds:
        own = members(enum) if enum else ()
        raise UnknownName(
            f"{what}: there is no number and no constant {word!r}",
            hint=nearest(word, list(own) or list(homes())) or "numbers are 10, 0xa or 0o12",
        )
    kind = enum if enum in kinds else kinds[0]
    number = native(word, kind, arch)
    if number is None:
        raise NotExpressible(f"{what}: {arch.label} has no {word}")
    return number


def _pointed(word: str, arg: ArgSpec, arch: Arch, memory: Memory) -> bytes:
    text = word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word
    if arg.role in _STRINGS:
        return text.encode("utf-8", "surrogateescape") + b"\0"
    if arg.role is Role.SOCKADDR:
        return _sockaddr(text, arch)
    if arg.role is Role.STRINGS:
        return _strings(text, arch, memory)
    return _struct(text, arg, arch)


def _sockaddr(text: str, arch: Arch) -> bytes:
    order = "<" if arch.little else ">"
    if text.startswith("unix:"):
        return struct.pack(order + "H", 1) + text.removeprefix("unix:").encode() + b"\0"
    if text.startswith(("/", "./")):
        return struct.pack(order + "H", 1) + text.encode() + b"\0"
    if text.startswith("@"):
        return struct.pack(order + "H", 1) + b"\0" + text[1:].encode()
    host, colon, port = text.rpartition(":")
    try:
        ip = ip_address(host.strip("[]"))
        number = int(port, 0)
        if not colon or not 0 <= number < 65536:
            raise ValueError
    except ValueError:
        raise PolicyError(
            f"{text!r} is no socket address",
            hint="write 10.0.0.1:5432, [::1]:80, unix:/run/socket or @abstract",
        ) from None
    if isinstance(ip, IPv6Address):
        return struct.pack(order + "H", 10) + struct.pack(">HI", number, 0) + ip.packed + bytes(4)
    return struct.pack(order + "H", 2) + struct.pack(">H", number) + ip.packed + bytes(8)


def _strings(text: str, arch: Arch, memory: Memory) -> bytes:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise PolicyError(f"{text!r} is no command line: {error}") from None
    pointers = [*(memory.put(word.encode() + b"\0") for word in words), 0]
    code = "Q" if arch.pointer == 8 else "I"
    return struct.pack(("<" if arch.little else ">") + code * len(pointers), *pointers)


def _struct(text: str, arg: ArgSpec, arch: Arch) -> bytes:
    layout = LAYOUTS.get(arg.struct or "")
    if layout is None:
        raise NotExpressible(f"{arg.name}: a struct {arg.struct} cannot be written here; use _")
    fields = [name for name in layout.make._fields if name != "extra"]
    values = dict.fromkeys(fields, 0)
    for part in re.split(r"[,\s]+", text.strip("{} ")):
        if not part:
            continue
        name, equals, value = part.partition("=")
        if not equals or name not in values:
            raise UnknownName(
                f"{arg.name}: struct {arg.struct} has no field {name!r}",
                hint=f"it has {', '.join(fields)}, as {fields[0]}=1",
            )
        number = 0
        for word in value.split("|"):
            number |= _constant(word, None, arch, name)
        values[name] = number
    form = layout.format(arch)
    if layout.first_version and not values[fields[0]]:
        values[fields[0]] = form.size
    try:
        return form.pack(*values.values())
    except struct.error:
        raise PolicyError(f"{arg.name}: {text!r} does not fit into struct {arg.struct}") from None
