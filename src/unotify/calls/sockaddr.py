"""Socket addresses: ``struct sockaddr`` bytes as values."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from sys import byteorder
from typing import Final, TypeAlias

from unotify.errors import Refused

__all__ = [
    "Inet6Address",
    "InetAddress",
    "NetlinkAddress",
    "OtherAddress",
    "SocketAddress",
    "UnixAddress",
    "VsockAddress",
    "decode_sockaddr",
    "encode_sockaddr",
]

_AF_UNIX: Final = 1
_AF_INET: Final = 2
_AF_INET6: Final = 10
_AF_NETLINK: Final = 16
_AF_VSOCK: Final = 40
_EINVAL: Final = 22
_UNIX_PATH_MAX: Final = 108
_SHORTEST: Final = {_AF_INET: 16, _AF_INET6: 24, _AF_NETLINK: 12, _AF_VSOCK: 16}


@dataclass(frozen=True, slots=True)
class InetAddress:
    """AF_INET."""

    ip: IPv4Address
    port: int
    family: int = _AF_INET


@dataclass(frozen=True, slots=True)
class Inet6Address:
    """AF_INET6; *ip* carries no scope, that is *scope_id*."""

    ip: IPv6Address
    port: int
    flowinfo: int = 0
    scope_id: int = 0
    family: int = _AF_INET6


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """AF_UNIX: a path, an abstract name, or neither (unnamed: bind picks one)."""

    path: bytes | None
    abstract: bytes | None = None
    family: int = _AF_UNIX


@dataclass(frozen=True, slots=True)
class NetlinkAddress:
    """AF_NETLINK."""

    pid: int
    groups: int
    family: int = _AF_NETLINK


@dataclass(frozen=True, slots=True)
class VsockAddress:
    """AF_VSOCK."""

    cid: int
    port: int
    family: int = _AF_VSOCK


@dataclass(frozen=True, slots=True)
class OtherAddress:
    """A family that is not taken apart here; *data* follows the family."""

    family: int
    data: bytes


SocketAddress: TypeAlias = (
    InetAddress | Inet6Address | UnixAddress | NetlinkAddress | VsockAddress | OtherAddress
)


def decode_sockaddr(raw: bytes, *, little: bool = byteorder == "little") -> SocketAddress:
    """Take a ``struct sockaddr`` apart.

    Args:
        raw: The bytes, as many as the call's length argument says.
        little: Byte order of the target; ports and IPs are always big-endian.

    Raises:
        Refused: ``EINVAL``: too short for its family, as the kernel would say.
    """
    order = "<" if little else ">"
    if len(raw) < 2:
        raise Refused(f"a socket address of {len(raw)} bytes has no family", errno=_EINVAL)
    (family,) = struct.unpack_from(order + "H", raw)
    if len(raw) < _SHORTEST.get(family, 2):
        raise Refused(f"a socket address of family {family} in {len(raw)} bytes", errno=_EINVAL)
    if family == _AF_UNIX:
        return _decode_unix(raw[2:])
    if family == _AF_INET:
        port, ip = struct.unpack_from(">H4s", raw, 2)
        return InetAddress(IPv4Address(ip), port)
    if family == _AF_INET6:
        port, flowinfo, ip6 = struct.unpack_from(">HI16s", raw, 2)
        # The shortest form the kernel takes (RFC 2133) ends before the scope.
        scope = struct.unpack_from(order + "I", raw, 24)[0] if len(raw) >= 28 else 0
        return Inet6Address(IPv6Address(ip6), port, flowinfo, scope)
    if family == _AF_NETLINK:
        return NetlinkAddress(*struct.unpack_from(order + "II", raw, 4))
    if family == _AF_VSOCK:
        port, cid = struct.unpack_from(order + "II", raw, 4)
        return VsockAddress(cid, port)
    return OtherAddress(family, raw[2:])


def _decode_unix(rest: bytes) -> UnixAddress:
    if len(rest) > _UNIX_PATH_MAX:
        raise Refused("a unix socket address longer than 108 bytes", errno=_EINVAL)
    if not rest:
        return UnixAddress(None)
    if rest[0] == 0:
        # An abstract name is all bytes up to the length, NULs included (unix(7)).
        return UnixAddress(None, abstract=rest[1:])
    return UnixAddress(rest.split(b"\0", 1)[0])


def encode_sockaddr(address: SocketAddress, *, little: bool = byteorder == "little") -> bytes:
    """Put a ``struct sockaddr`` together; the reverse of `decode_sockaddr`.

    Args:
        address: What it says.
        little: Byte order of whoever reads it.

    Raises:
        ValueError: A unix address of more than 108 bytes.
    """
    order = "<" if little else ">"
    family = struct.pack(order + "H", address.family)
    match address:
        case InetAddress():
            return family + struct.pack(">H4s8x", address.port, address.ip.packed)
        case Inet6Address():
            head = struct.pack(">HI16s", address.port, address.flowinfo, address.ip.packed)
            return family + head + struct.pack(order + "I", address.scope_id)
        case UnixAddress():
            name = b"" if address.path is None else address.path + b"\0"
            if address.abstract is not None:
                name = b"\0" + address.abstract
            if len(name) > _UNIX_PATH_MAX:
                raise ValueError("a unix socket address has 108 bytes at most")
            return family + name
        case NetlinkAddress():
            return family + struct.pack(order + "2xII", address.pid, address.groups)
        case VsockAddress():
            return family + struct.pack(order + "2xII4x", address.port, address.cid)
    return family + address.data
