"""Which addresses lead to the host's network, as a policy writes them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from typing import TypeAlias

from unotify.policy.redirections import Endpoint, endpoint, ports

__all__ = ["Mapping", "Network", "Published", "mapping", "network", "problem", "published"]

IP: TypeAlias = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses, and ports of them.

    Attributes:
        ips: The addresses.
        first: The first port.
        last: The last port.
    """

    ips: IPv4Network | IPv6Network
    first: int = 1
    last: int = 65535

    def has(self, ip: IP, port: int) -> bool:
        """Whether it has that address, and port."""
        return ip in self.ips and self.first <= port <= self.last


@dataclass(frozen=True, slots=True)
class Mapping:
    """An address, and the one of the host that stands for it.

    Attributes:
        given: What the target asks for: addresses and ports.
        instead: What it gets; without a port its own.
    """

    given: Network
    instead: Endpoint


@dataclass(frozen=True, slots=True)
class Published:
    """A port that the target binds, and the one of the host that it gets.

    Attributes:
        port: The target's.
        instead: The host's; without an address the one that the target asks for.
    """

    port: int
    instead: Endpoint


def network(text: str) -> Network:
    """Read ``10.0.0.0/8``, ``127.0.0.1:5432`` or ``[fd00::/8]:80-90``; raises `ValueError`."""
    host, colon, range_ = text.rpartition(":")
    if not colon or text.endswith("]") or (host.count(":") and not host.startswith("[")):
        host, range_ = text, ""
    ips = ip_network(host.removeprefix("[").removesuffix("]"))
    return Network(ips, *ports(range_)) if range_ else Network(ips)


def mapping(text: str) -> Mapping:
    """Read ``10.0.2.2:80=127.0.0.1:8080``; raises `ValueError`."""
    given, equals, instead = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is no mapping, such as 10.0.2.2:80=127.0.0.1:8080")
    found = _one(instead)
    if found.ip is None:
        raise ValueError(f"{instead!r} has no address to connect to")
    return Mapping(network(given), found)


def published(text: str) -> Published:
    """Read ``8080=18080`` or ``80=127.0.0.1:8080``; raises `ValueError`."""
    given, equals, instead = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is no mapping of a port, such as 8080=18080")
    found = _one(instead if ":" in instead else f":{instead}")
    if found.first is None:
        raise ValueError(f"{instead!r} has no port to bind to")
    first, last = ports(given)
    if first != last:
        raise ValueError(f"{given!r} is more than one port")
    return Published(first, found)


def _one(text: str) -> Endpoint:
    found = endpoint(text)
    if found.path is not None or found.first != found.last:
        raise ValueError(f"{text!r} is not one IP address and port")
    return found


def problem(parameters: dict[str, object]) -> str | None:
    """What is wrong with a host socket's parameters, if something is."""
    for key, read in (("to", network), ("map", mapping), ("ports", published)):
        values = parameters.get(key, ())
        assert isinstance(values, list | tuple)
        for text in values:
            try:
                read(text)
            except ValueError as error:
                return f"{key}: {error}"
    return None
