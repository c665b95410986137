"""Other values for arguments, as bytes that the kernel takes."""

from __future__ import annotations

import os
import struct
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Any

from unotify.abi.model import Role
from unotify.calls.sockaddr import Inet6Address, InetAddress, UnixAddress, encode_sockaddr
from unotify.errors import Conflict, UnknownName

if TYPE_CHECKING:
    from unotify.calls.call import Call

__all__ = ["replacement"]

_ADDRESSES = (Role.SOCKADDR, Role.MSGHDR, Role.MMSGHDR)


def replacement(call: Call, name: str, value: Any) -> bytes:
    """What *call* is performed with instead of its argument *name*.

    Raises:
        UnknownName: It has no such path or address.
        Conflict: *value* is none.
    """
    roles = {spec.name: spec.role for spec in call.spec.args}
    if roles.get(name) is Role.PATH:
        try:
            path = os.fsencode(value)
        except TypeError:
            raise Conflict(f"{name}= is a path, not {value!r}") from None
        if b"\0" in path or not path:
            raise Conflict(f"{name}={value!r} is no path")
        return path
    if name == "address" and any(role in _ADDRESSES for role in roles.values()):
        return encoded(value)
    places = [key for key, role in roles.items() if role is Role.PATH]
    places += ["address"] if any(role in _ADDRESSES for role in roles.values()) else []
    raise UnknownName(
        f"perform() of {call.call_name or 'an unknown call'} has no {name}=",
        hint=f"it has {', '.join(places)}" if places else "it takes neither path nor address",
    )


def encoded(value: Any) -> bytes:
    """The ``struct sockaddr`` of an address in one of its forms."""
    try:
        match value:
            case bytes():
                return value
            case (str() | bytes() as host, int() as port):
                ip = ip_address(host if isinstance(host, str) else host.decode())
                if isinstance(ip, IPv4Address):
                    return encode_sockaddr(InetAddress(ip, port))
                return encode_sockaddr(Inet6Address(ip, port))
            case str() | os.PathLike():
                return encode_sockaddr(UnixAddress(os.fsencode(value)))
        return encode_sockaddr(value)
    except (ValueError, AttributeError, OverflowError, struct.error) as error:
        raise Conflict(f"{value!r} is no socket address: {error}") from None
