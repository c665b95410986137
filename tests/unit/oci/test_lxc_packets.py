"""The packets of LXC's seccomp proxy."""

from __future__ import annotations

import struct

import pytest

from unotify.abi.structs import NOTIF_SIZES, RESPONSE
from unotify.oci.lxc_packets import parse

CAPTURED = bytes.fromhex(
    "0000000000000000 1d310000 25310000 5000 1800 4000 0000 0d00000000000000"
    "fc4be6eea996f154 27310000 00000000 53000000 3e0000c0" + "00" * 56 + "fc4be6eea996f154"
    "00000000000000000000000000000000"
    "6d792d636f6f6b69652d313233"
)
"""What LXC 5.0.2 sent for a mkdir, but for the registers."""

HEADER = struct.Struct("=QiiHHH2xQ")


def changed(offset: int, *values: int) -> bytes:
    """The packet with other bytes somewhere."""
    packet = bytearray(CAPTURED)
    packet[offset : offset + len(values)] = bytes(values)
    return bytes(packet)


def test_a_packet() -> None:
    """A packet tells who asks what, and has the cookie at its end."""
    question = parse(CAPTURED, NOTIF_SIZES)
    assert len(CAPTURED) == 149
    assert (question.monitor, question.init, question.tid) == (0x311D, 0x3125, 0x3127)
    assert question.cookie == b"my-cookie-123"
    assert question.id == 0x54F196A9EEE64BFC
    assert len(question.notification) == 80


def test_an_answer() -> None:
    """An answer repeats header and notification, and has no cookie."""
    question = parse(CAPTURED, NOTIF_SIZES)
    response = RESPONSE.pack(question.id, 7, 0, 0)
    assert question.answer(response) == CAPTURED[:112] + response
    assert len(question.answer(response)) == 136
    with pytest.raises(ValueError, match="another notification"):
        question.answer(RESPONSE.pack(question.id + 1, 7, 0, 0))


def test_no_cookie() -> None:
    """A packet may come without a cookie."""
    packet = bytearray(CAPTURED[:136])
    packet[24:32] = bytes(8)
    assert parse(bytes(packet), NOTIF_SIZES).cookie == b""


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (b"", "0 bytes"),
        (CAPTURED[:31], "31 bytes"),
        (CAPTURED[:100], "cookie has"),
        (CAPTURED[:-1], "cookie has 12 bytes, not 13"),
        (CAPTURED + b"x", "cookie has 14 bytes, not 13"),
        (changed(0, 1), "reserved"),
        (changed(16, 0x58), "88, 24 and 64 bytes"),
        (changed(31, 0xFF), "cookie"),
        (changed(112, 1), "another id"),
    ],
)
def test_others(packet: bytes, said: str) -> None:
    """What is no such packet is refused with the reason."""
    with pytest.raises(ValueError, match=said):
        parse(packet, NOTIF_SIZES)
