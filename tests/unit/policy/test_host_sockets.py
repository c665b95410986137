"""Which addresses lead to the host's network, as a policy writes them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from unotify.policy.host_sockets import mapping, network, problem, published


@pytest.mark.parametrize(
    ("text", "ip", "port", "has"),
    [
        ("10.0.0.0/8", "10.1.2.3", 1, True),
        ("10.0.0.0/8", "11.1.2.3", 1, False),
        ("127.0.0.1:5432", "127.0.0.1", 5432, True),
        ("127.0.0.1:5432", "127.0.0.1", 5433, False),
        ("192.168.0.0/16:80-90", "192.168.3.4", 90, True),
        ("::1", "::1", 9, True),
        ("fd00::/8", "fd12::1", 9, True),
        ("[fd00::/8]:80-90", "fd12::1", 91, False),
        ("[fd00::/8]:80-90", "10.0.0.1", 80, False),
    ],
)
def test_networks(text: str, ip: str, port: int, has: bool) -> None:
    """An address or a network, of either version, with a port, a range of them, or none."""
    assert network(text).has(ip_address(ip), port) is has


def test_mappings() -> None:
    """What is reached, or bound, instead."""
    found = mapping("10.0.2.2:80=[::1]:8080")
    assert (str(found.instead.ip), found.instead.first) == ("::1", 8080)
    assert found.given.has(ip_address("10.0.2.2"), 80)
    assert published("8080=18080").instead.ip is None
    assert str(published("80=127.0.0.1:8080").instead.ip) == "127.0.0.1"


@pytest.mark.parametrize(
    "parameters",
    [
        {"to": ["10.0.0.1/8"]},
        {"to": ["example.org"]},
        {"to": ["10.0.0.1:0"]},
        {"to": ["10.0.0.1:9-8"]},
        {"map": ["10.0.0.1:80"]},
        {"map": ["10.0.0.1:80=:80"]},
        {"map": ["10.0.0.1:80=unix:/x"]},
        {"map": ["10.0.0.1:80=1.2.3.4:80-90"]},
        {"ports": ["80"]},
        {"ports": ["80-90=80"]},
        {"ports": ["80=70000"]},
        {"ports": ["80=1.2.3.4"]},
    ],
)
def test_what_is_wrong_is_said(parameters: dict[str, object]) -> None:
    """Each mistake is told, with the parameter that it is in."""
    (key,) = parameters
    assert str(problem(parameters)).startswith(f"{key}: ")


def test_what_is_right_is_right() -> None:
    """All forms together."""
    assert problem({"to": ["10.0.0.0/8"], "map": ["1.2.3.4=5.6.7.8:9"], "ports": ["1=2"]}) is None
