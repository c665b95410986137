"""Other values for arguments, in the forms that people write them in."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from tests.unit.calls.fake_memory import make_call
from unotify.calls import Inet6Address, InetAddress, UnixAddress
from unotify.calls.replacing import replacement
from unotify.calls.sockaddr import encode_sockaddr
from unotify.errors import Conflict, UnknownName

INET = struct.pack("<H", 2) + struct.pack(">H4s8x", 80, bytes([127, 0, 0, 1]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("/x", b"/x"), (b"\xff", b"\xff"), (Path("/a") / "b", b"/a/b"), ("\udcff", b"\xff")],
)
def test_paths(value: Any, expected: bytes) -> None:
    """Text, bytes and paths; in each path argument by its name."""
    assert replacement(make_call("openat"), "path", value) == expected
    assert replacement(make_call("renameat2"), "newpath", value) == expected


@pytest.mark.parametrize("value", ["", b"", "a\0b", 5, None])
def test_what_is_no_path(value: Any) -> None:
    """Nothing, a NUL, or something else."""
    with pytest.raises(Conflict):
        replacement(make_call("openat"), "path", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (("127.0.0.1", 80), INET),
        (InetAddress(IPv4Address("127.0.0.1"), 80), INET),
        (("::1", 80), encode_sockaddr(Inet6Address(IPv6Address("::1"), 80))),
        ("/run/x", encode_sockaddr(UnixAddress(b"/run/x"))),
        (Path("/run/x"), encode_sockaddr(UnixAddress(b"/run/x"))),
        (UnixAddress(None, abstract=b"x"), b"\1\0\0x"),
        (b"as it is", b"as it is"),
    ],
)
@pytest.mark.parametrize("call", ["connect", "bind", "sendto", "sendmsg", "sendmmsg"])
def test_addresses(call: str, value: Any, expected: bytes) -> None:
    """A value, a host with a port, the path of a unix socket, or bytes."""
    assert replacement(make_call(call), "address", value) == expected


@pytest.mark.parametrize(
    "value", [("host.example", 80), ("127.0.0.1", 1 << 16), 5, "x" * 200, ("x",)]
)
def test_what_is_no_address(value: Any) -> None:
    """Names are not looked up, and numbers have to fit."""
    with pytest.raises(Conflict, match="is no socket address"):
        replacement(make_call("connect"), "address", value)


@pytest.mark.parametrize(
    ("call", "name", "hint"),
    [
        ("openat", "address", "it has path"),
        ("openat", "flags", "it has path"),
        ("connect", "path", "it has address"),
        ("fchmod", "path", "it takes neither path nor address"),
    ],
)
def test_what_the_call_does_not_have(call: str, name: str, hint: str) -> None:
    """It is told what there is instead."""
    with pytest.raises(UnknownName) as caught:
        replacement(make_call(call), name, "/x")
    assert caught.value.hint == hint
