"""Where a redirect leads, as it is written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from unotify.errors import InvalidPolicy
from unotify.policy.loader import load
from unotify.policy.redirections import Endpoint, endpoint, ports, problem

HOME = IPv4Address("127.0.0.1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", Endpoint(HOME, 8080, 8080)),
        ("127.0.0.1", Endpoint(HOME)),
        ("127.0.0.1:8000-8099", Endpoint(HOME, 8000, 8099)),
        (":8080", Endpoint(None, 8080, 8080)),
        (":8000-8099", Endpoint(None, 8000, 8099)),
        ("[::1]:80", Endpoint(IPv6Address("::1"), 80, 80)),
        ("[::1]", Endpoint(IPv6Address("::1"))),
        ("::1", Endpoint(IPv6Address("::1"))),
        ("fe80::1", Endpoint(IPv6Address("fe80::1"))),
        ("unix:/run/x.sock", Endpoint(path="/run/x.sock")),
        ("/run/x.sock", Endpoint(path="/run/x.sock")),
    ],
)
def test_forms(text: str, expected: Endpoint) -> None:
    """An address, a part of one, or a unix socket."""
    assert endpoint(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "host:80",
        "127.0.0.1:",
        "127.0.0.1:x",
        "1.2.3:4",
        ":0",
        ":65536",
        ":9-8",
        "unix:x",
        "/" + "x" * 107,
        "::1:80:",
    ],
)
def test_what_is_no_address(text: str) -> None:
    """Names are none: what they mean may change."""
    with pytest.raises(ValueError, match=r"address|port|path"):
        endpoint(text)


def test_ports() -> None:
    """One, or a range."""
    assert ports("80") == (80, 80)
    assert ports("1-65535") == (1, 65535)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"address": "127.0.0.1:80"}, None),
        ({"address": "127.0.0.1:80", "ports": "1-100"}, None),
        ({"address": ":8000-8099", "ports": "1-100"}, None),
        ({"path": "/a", "from": "/b"}, None),
        ({"address": ":8000-8099"}, "want to know of which"),
        ({"address": ":8000-8099", "ports": "1-99"}, "different lengths"),
        ({"address": "127.0.0.1", "ports": "80"}, "goes with an address that has ports"),
        ({"path": "/a", "ports": "80"}, "goes with an address that has ports"),
        ({"address": "127.0.0.1", "from": "/a"}, '"from" goes with "path"'),
        ({"address": "example.org:80"}, "is no address"),
        ({"address": ":80", "ports": "x"}, "is no port"),
    ],
)
def test_parameters_together(parameters: dict[str, object], said: str | None) -> None:
    """What does not go together is told."""
    found = problem(parameters)
    assert (found is None) == (said is None)
    assert said is None or said in str(found)


def test_a_policy_says_where_it_is_wrong() -> None:
    """At the line of the rule, when it is loaded."""
    text = 'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["connect"]\n'
    with pytest.raises(InvalidPolicy, match="different lengths") as caught:
        load(text + 'do = { redirect = { address = ":1-9", ports = "1-2" } }\n')
    assert [problem.line for problem in caught.value.problems] == [5]
