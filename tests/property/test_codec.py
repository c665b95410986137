"""Bytes in: any of them decode, or are the kernel's mistake; nothing else happens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unotify.abi.structs import ADDFD, NOTIF, RESPONSE, NotifSizes
from unotify.abi.types import NotificationId
from unotify.errors import KernelProtocolError, LocalProtocolError
from unotify.protocol import (
    Exchange,
    Fail,
    InstallFd,
    ListenerProtocol,
    Return,
    check_sizes,
    encode_addfd,
    pad_response,
)

U64 = st.integers(0, (1 << 64) - 1)
ANY_INT = st.integers(-(1 << 70), 1 << 70) | st.integers(-5000, 5000)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_the_kernels_mistake(raw: bytes) -> None:
    """Whatever a kernel writes is an exchange or a KernelProtocolError."""
    try:
        exchange = ListenerProtocol().received(raw)
    except KernelProtocolError:
        assert len(raw) < NOTIF.size
        return
    id, tid, _, nr, audit, _, *args = NOTIF.unpack_from(raw)
    assert (exchange.id, exchange.tid, exchange.nr, exchange.audit) == (id, tid, nr, audit)
    assert exchange.args == tuple(args)
    assert repr(exchange)


@given(ANY_INT)
def test_a_return_is_what_the_target_sees_or_cannot_be_built(value: int) -> None:
    """V1, V4: a Return that exists arrives as its own value, and never as an errno."""
    try:
        reply = Return(value)
    except LocalProtocolError:
        return
    response = Exchange(NOTIF.pack(1, 1, 0, 0, 0xC000003E, *[0] * 7)).answer(reply)
    _, sent, error, flags = RESPONSE.unpack(response)
    assert (sent - value) % (1 << 64) == 0
    assert not -4095 <= sent < 0
    assert (error, flags) == (0, 0)


@given(ANY_INT)
def test_a_fail_is_an_errno_or_cannot_be_built(number: int) -> None:
    """V2, V3, V5: a Fail that exists arrives as errno -1..-4095, none of the kernel's own."""
    try:
        reply = Fail(number)
    except LocalProtocolError:
        assert not 1 <= number <= 4095 or 512 <= number <= 531
        return
    value, error, flags = reply.wire
    assert (value, error, flags) == (0, -number, 0)
    assert -4095 <= error <= -1
    assert not -531 <= error <= -512


@given(U64, ANY_INT, st.none() | ANY_INT, st.booleans())
def test_addfd_round_trips_or_is_refused(id: int, fd: int, at: int | None, cloexec: bool) -> None:
    """A3, A4: what an InstallFd says is what the kernel reads."""
    try:
        reply = InstallFd(fd, at=at, cloexec=cloexec)
    except LocalProtocolError:
        return
    raw = encode_addfd(NotificationId(id), reply.fileno(), at=reply.at, cloexec=reply.cloexec)
    flags = 0 if at is None else 1
    assert ADDFD.unpack(raw) == (id, flags, fd, at or 0, 0o2000000 if cloexec else 0)


@given(st.tuples(*[st.integers(0, 0xFFFF)] * 3))
def test_sizes_are_served_or_refused(sizes: tuple[int, int, int]) -> None:
    """A kernel's structs are at least ours, or there is a clear error."""
    theirs = NotifSizes(*sizes)
    try:
        check_sizes(theirs)
    except KernelProtocolError:
        assert theirs.notif < 80 or theirs.response < 24 or theirs.data < 64
        return
    assert len(pad_response(bytes(24), theirs)) == theirs.response
