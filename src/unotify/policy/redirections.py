"""Where a redirect leads, as a policy writes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from unotify.calls.sockaddr import Inet6Address, InetAddress

__all__ = ["Endpoint", "endpoint", "ports", "problem"]

_FORMS = '"127.0.0.1:8080", "[::1]:8080", "127.0.0.1", ":8080", ":8000-8099" or "unix:/run/x.sock"'


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address, or the parts of one that change.

    Attributes:
        ip: ``None``: it stays.
        first: A port, or the first of several; ``None``: it stays.
        last: The last of several.
        path: Of a unix socket.
    """

    ip: IPv4Address | IPv6Address | None = None
    first: int | None = None
    last: int | None = None
    path: str | None = None

    def instead_of(
        self, address: InetAddress | Inet6Address, port: int
    ) -> InetAddress | Inet6Address:
        """What *address* becomes, with *port*; of the same family where that can be."""
        if self.ip is None:
            return replace(address, port=port)
        if isinstance(self.ip, IPv6Address):
            return Inet6Address(self.ip, port)
        if isinstance(address, Inet6Address):
            # An IPv6 socket reaches IPv4 hosts by mapped addresses.
            return Inet6Address(IPv6Address(f"::ffff:{self.ip}"), port)
        return InetAddress(self.ip, port)


def endpoint(text: str) -> Endpoint:
    """Read an address; raises `ValueError` with what is wrong."""
    if text.startswith(("unix:", "/")):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > 107:
            raise ValueError(f"{path!r} is no absolute path of at most 107 bytes")
        return Endpoint(path=path)
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (host.count(":") and not host.startswith("[")):
        host, port = text, ""
    elif not port:
        raise ValueError(f"{text!r} is no address: {_FORMS}")
    first = last = None
    if port:
        first, last = ports(port)
    host = host.removeprefix("[").removesuffix("]")
    if not host and first is None:
        raise ValueError(f"{text!r} is no address: {_FORMS}")
    try:
        return Endpoint(ip_address(host) if host else None, first, last)
    except ValueError:
        raise ValueError(f"{text!r} is no address: {_FORMS}") from None


def ports(text: str) -> tuple[int, int]:
    """Read a port, or a range of them such as ``8000-8099``; raises `ValueError`."""
    first, _, last = text.partition("-")
    try:
        low, high = int(first), int(last or first)
    except ValueError:
        raise ValueError(f"{text!r} is no port, nor a range such as 8000-8099") from None
    if not 0 < low <= high < 1 << 16:
        raise ValueError(f"{text!r}: ports are from 1 to 65535, the lower one first")
    return low, high


def problem(parameters: dict[str, object]) -> str | None:
    """What is wrong with a redirect's parameters taken together, if something is."""
    try:
        target = endpoint(str(parameters["address"])) if "address" in parameters else None
        mapped = ports(str(parameters["ports"])) if "ports" in parameters else None
    except ValueError as error:
        return str(error)
    if "from" in parameters and "path" not in parameters:
        return '"from" goes with "path"'
    if mapped is None:
        if target is not None and target.first != target.last:
            return f'the ports {target.first}-{target.last} want to know of which: ports = "A-B"'
        return None
    if target is None or target.first is None or target.last is None:
        return '"ports" goes with an address that has ports'
    if target.first != target.last and mapped[1] - mapped[0] != target.last - target.first:
        return "the two ranges of ports have different lengths"
    return None
