from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest

from unotify.calls import (
    Inet6Address,
    InetAddress,
    NetlinkAddress,
    OtherAddress,
    SocketAddress,
    UnixAddress,
    VsockAddress,
)
from unotify.calls.sockaddr import decode_sockaddr
from unotify.errors import Refused

INET = struct.pack("<H", 2) + struct.pack(">H", 443) + bytes([127, 0, 0, 1]) + bytes(8)
INET6 = (
    struct.pack("<H", 10)
    + struct.pack(">HI", 80, 7)
    + IPv6Address("fe80::1").packed
    + struct.pack("<I", 3)
)


def unix(rest: bytes) -> bytes:
    """A struct sockaddr_un."""
    return struct.pack("<H", 1) + rest


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        (INET, InetAddress(IPv4Address("127.0.0.1"), 443)),
        (INET + b"rest", InetAddress(IPv4Address("127.0.0.1"), 443)),
        (INET6, Inet6Address(IPv6Address("fe80::1"), 80, 7, 3)),
        (INET6[:24], Inet6Address(IPv6Address("fe80::1"), 80, 7, 0)),
        (INET6[:27], Inet6Address(IPv6Address("fe80::1"), 80, 7, 0)),
        (unix(b"/run/x\0junk"), UnixAddress(b"/run/x")),
        (unix(b"/run/x"), UnixAddress(b"/run/x")),
        (unix(b"a" * 108), UnixAddress(b"a" * 108)),
        (unix(b""), UnixAddress(None)),
        (unix(b"\0"), UnixAddress(None, abstract=b"")),
        (unix(b"\0bus\0x\0"), UnixAddress(None, abstract=b"bus\0x\0")),
        (struct.pack("<HHII", 16, 0, 42, 0x11), NetlinkAddress(42, 0x11)),
        (struct.pack("<HHIIB3x", 40, 0, 1024, 2, 0), VsockAddress(cid=2, port=1024)),
        (struct.pack("<H", 17) + b"packet", OtherAddress(17, b"packet")),
        (struct.pack("<H", 0), OtherAddress(0, b"")),
    ],
)
def test_each_family(raw: bytes, address: SocketAddress) -> None:
    """Each family is taken apart as the kernel would; AF_UNIX ends at its NUL or its length."""
    assert decode_sockaddr(raw, little=True) == address


@pytest.mark.parametrize(
    ("family", "shortest"), [(2, 16), (10, 24), (16, 12), (40, 16)], ids=["in", "in6", "nl", "vm"]
)
def test_too_short_is_einval(family: int, shortest: int) -> None:
    """The kernel says EINVAL to fewer bytes than the family needs, and so do we."""
    raw = struct.pack("<H", family).ljust(shortest, b"\0")
    decode_sockaddr(raw, little=True)
    with pytest.raises(Refused) as caught:
        decode_sockaddr(raw[:-1], little=True)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("raw", [b"", b"\1"])
def test_no_family_is_einval(raw: bytes) -> None:
    """Two bytes are the least."""
    with pytest.raises(Refused) as caught:
        decode_sockaddr(raw)
    assert caught.value.errno == errno.EINVAL


def test_over_long_unix_address_is_einval() -> None:
    """The field sun_path has 108 bytes."""
    with pytest.raises(Refused) as caught:
        decode_sockaddr(unix(b"a" * 109), little=True)
    assert caught.value.errno == errno.EINVAL


def test_big_endian_targets() -> None:
    """Family, scope and netlink fields are in the target's order; ports and IPs are not."""
    raw = struct.pack(">H", 2) + INET[2:]
    assert decode_sockaddr(raw, little=False) == InetAddress(IPv4Address("127.0.0.1"), 443)
    raw = struct.pack(">H", 10) + INET6[2:24] + struct.pack(">I", 3)
    assert decode_sockaddr(raw, little=False) == Inet6Address(IPv6Address("fe80::1"), 80, 7, 3)
    raw = struct.pack(">HHII", 16, 0, 42, 1)
    assert decode_sockaddr(raw, little=False) == NetlinkAddress(42, 1)


def test_each_address_knows_its_family() -> None:
    """The family is there without a look at the class."""
    families = [decode_sockaddr(raw, little=True).family for raw in (INET, INET6, unix(b"x"))]
    assert families == [2, 10, 1]
