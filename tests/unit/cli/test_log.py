"""Calls and replies as JSON."""

from __future__ import annotations

import errno
import json
import socket
from enum import Enum, IntFlag
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from unotify.abi.constants import MountFlags, OpenFlags, SeekWhence
from unotify.calls import TargetPath
from unotify.cli.log import describe_reply, plain
from unotify.errors import BadAddress, PathTooLong, Refused
from unotify.protocol import Continue, Fail, InstallFd, Return


class Colour(Enum):
    RED = 1


class Bits(IntFlag):
    ONE = 1
    TWO = 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (-100, -100),
        ("é\n", "é\n"),
        (b"plain", "plain"),
        (b"\xff\x00", "\\xff\x00"),
        (TargetPath("/a/\udcfe"), "/a/\\xfe"),
        (MountFlags.MS_BIND | MountFlags.MS_RDONLY, "MS_RDONLY|MS_BIND"),
        (MountFlags(0), 0),
        (MountFlags(1 << 40), "0x10000000000"),
        (OpenFlags(0), "O_RDONLY"),
        (Bits.ONE | Bits.TWO, "ONE|TWO"),
        (Bits(0), 0),
        (Bits(4), "0x4"),
        (SeekWhence.SEEK_END, "SEEK_END"),
        (Colour.RED, "RED"),
        (IPv4Address("10.0.0.1"), "10.0.0.1"),
        (IPv6Address("::1"), "::1"),
        (BadAddress(), {"unreadable": "EFAULT"}),
        (PathTooLong(), {"unreadable": "ENAMETOOLONG"}),
        (Refused(errno=4000), {"unreadable": "4000"}),
        ((1, b"a"), [1, "a"]),
        ([TargetPath("x"), None], ["x", None]),
    ],
)
def test_plain(value: object, expected: Any) -> None:
    """A decoded argument becomes what JSON has, and what a person would call it."""
    assert plain(value) == expected
    json.dumps(plain(value))


def test_plain_of_structures() -> None:
    """Named tuples and dataclasses become objects, with everything in them plain."""
    from unotify.calls.sockaddr import decode_sockaddr

    raw = socket.AF_INET.to_bytes(2, "little") + bytes([0, 53, 127, 0, 0, 1]) + bytes(8)
    shown = plain(decode_sockaddr(raw))
    assert "127.0.0.1" in json.dumps(shown)
    assert 53 in shown.values()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Fail(errno.EPERM), {"fail": "EPERM"}),
        (Fail(4000), {"fail": "4000"}),
        (Return(3), {"return": 3}),
        (Continue(), {"continue": True}),
        (Continue.racy(because="why"), {"continue": True, "racy": "why"}),
        (InstallFd(3, at=7, cloexec=True), {"install_fd": {"at": 7, "cloexec": True}}),
    ],
)
def test_describe_reply(reply: Any, expected: dict[str, Any]) -> None:
    """Each kind of reply is an object whose first key says which."""
    assert describe_reply(reply) == expected
