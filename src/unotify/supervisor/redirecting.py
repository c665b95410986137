"""What a policy's redirect puts in the place of a path or an address."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Any

from unotify.abi.model import Role
from unotify.calls import Call, Inet6Address, InetAddress
from unotify.calls.acts import Replacement
from unotify.calls.replacing import encoded
from unotify.calls.sockaddr import decode_sockaddr, encode_sockaddr
from unotify.errors import Refused
from unotify.policy.redirections import Endpoint, endpoint, ports

__all__ = ["replacements"]


def replacements(call: Call, parameters: Mapping[str, Any]) -> dict[str, Replacement]:
    """The arguments to perform *call* with, by name; some addresses as functions of the given one.

    Args:
        call: What the target asked for.
        parameters: The verb's: ``path`` and ``from``, ``address`` and ``ports``.

    Raises:
        Refused: What the target asked for is outside of what is mapped.
        TargetError: It cannot be read.
    """
    made: dict[str, Replacement] = {}
    if "path" in parameters:
        made |= _paths(call, parameters["path"], parameters.get("from"))
    if "address" in parameters:
        made["address"] = _address(call, parameters["address"], parameters.get("ports"))
    return made


def _paths(call: Call, to: str, start: str | None) -> dict[str, bytes]:
    names = [spec.name for spec in call.spec.args if spec.role is Role.PATH]
    if start is None:
        return {names[0]: os.fsencode(to)}
    made = {}
    for name in names:
        path: Any = getattr(call, name)
        if path is not None and path.is_relative_to(start):
            rest = path.raw[_length(path.raw, start) :]
            made[name] = os.fsencode(to).rstrip(b"/") + rest or b"/"
    if not made:
        raise Refused(f"{call.call_name}: no path of it is below {start}", errno=errno.EACCES)
    return made


def _length(raw: bytes, start: str) -> int:
    """How much of *raw* spells *start*, of which it has all the parts."""
    at = 0
    for part in os.fsencode(start).split(b"/"):
        if part and part != b".":
            at = raw.index(part, at) + len(part)
    return at


def _address(call: Call, to: str, mapped: str | None) -> Replacement:
    target = endpoint(to)
    if target.path is not None:
        return encoded(target.path)

    def instead(raw: bytes) -> bytes:
        address = decode_sockaddr(raw, little=call.arch.little)
        if not isinstance(address, InetAddress | Inet6Address):
            raise Refused(f"{call.call_name}: not an IP address", errno=errno.EAFNOSUPPORT)
        return encode_sockaddr(_to(address, target, mapped))

    return instead


def _to(
    address: InetAddress | Inet6Address, target: Endpoint, mapped: str | None
) -> InetAddress | Inet6Address:
    port = address.port if target.first is None else target.first
    if mapped is not None and target.first is not None:
        first, last = ports(mapped)
        if not first <= address.port <= last:
            raise Refused(f"port {address.port} is not in {mapped}", errno=errno.EACCES)
        if target.first != target.last:
            port = target.first + address.port - first
    return target.instead_of(address, port)
