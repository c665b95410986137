from __future__ import annotations

import dataclasses
import errno
from typing import Any, get_args

import pytest

from unotify.errors import LocalProtocolError
from unotify.protocol import Content, Continue, Fail, InstallFd, PlainReply, Reply, Return

NOT_INTS = [True, False, 1.0, 0.0, "1", None, b"1", [], float("nan")]


class Descriptor:
    """Something with a descriptor."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        """Its number."""
        return self.number


class Index:
    """Something that operator.index would take."""

    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize("value", [*NOT_INTS, Index()])
def test_return_takes_ints_only(value: Any) -> None:
    """A bool, a float or anything else that is no int is refused, not converted."""
    with pytest.raises(LocalProtocolError, match="is an int"):
        Return(value)


@pytest.mark.parametrize("value", [-4095, -4094, -512, -38, -2, -1])
def test_return_refuses_what_libc_takes_for_an_errno(value: int) -> None:
    """V4: a value of -4095 to -1 would arrive as an errno; the hint says what to write."""
    with pytest.raises(LocalProtocolError, match="would arrive as errno") as caught:
        Return(value)
    assert caught.value.hint == f"use Fail({-value})"


@pytest.mark.parametrize("value", [(1 << 64) - 1, (1 << 64) - 4095])
def test_return_refuses_an_errno_given_unsigned(value: int) -> None:
    """V4: the same values as u64 are the same bits and refused as well."""
    with pytest.raises(LocalProtocolError, match="would arrive as errno"):
        Return(value)


@pytest.mark.parametrize("value", [1 << 64, -(1 << 63) - 1, 1 << 100])
def test_return_refuses_what_does_not_fit(value: int) -> None:
    """The field has 64 bits."""
    with pytest.raises(LocalProtocolError, match="64 bits"):
        Return(value)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (0, 0),
        (1, 1),
        (4095, 4095),
        (-4096, -4096),
        ((1 << 64) - 4096, -4096),
        ((1 << 63) - 1, (1 << 63) - 1),
        (1 << 63, -(1 << 63)),
        (-(1 << 63), -(1 << 63)),
        (0xFFFFFFFFFF600000, 0xFFFFFFFFFF600000 - (1 << 64)),
    ],
)
def test_return_sends_signed_64_bits(value: int, sent: int) -> None:
    """V1, V4: all other values, also addresses given unsigned, go out as the s64 of the field."""
    assert Return(value).wire == (sent, 0, 0)


def test_return_of_an_enum_is_sent_as_a_plain_int() -> None:
    """An IntEnum is an int; what goes on the wire is exactly an int."""
    from unotify.abi.seccomp import Mode

    assert type(Return(Mode.FILTER).wire[0]) is int


def test_return_defaults_to_success() -> None:
    """Return() is the plain success."""
    assert Return() == Return(0)


@pytest.mark.parametrize("value", NOT_INTS)
def test_fail_takes_ints_only(value: Any) -> None:
    """A bool, a float or anything else that is no int is refused, not converted."""
    with pytest.raises(LocalProtocolError, match="is an int"):
        Fail(value)


@pytest.mark.parametrize("number", [0, -1, -errno.EPERM, -4095, 4096, 65536, 1 << 63, 1 << 64])
def test_fail_refuses_what_is_no_errno(number: int) -> None:
    """V2, V3: an errno is positive, 1 to 4095."""
    with pytest.raises(LocalProtocolError, match="is no errno"):
        Fail(number)


def test_fail_zero_hints_at_return() -> None:
    """Fail(0) is what somebody writes who means success."""
    with pytest.raises(LocalProtocolError) as caught:
        Fail(0)
    assert "Return()" in str(caught.value.hint)


@pytest.mark.parametrize("number", range(512, 532))
def test_fail_refuses_the_kernels_own_codes(number: int) -> None:
    """V5: 512 to 531 leak into the target as they are."""
    with pytest.raises(LocalProtocolError, match="kernel-internal"):
        Fail(number)


@pytest.mark.parametrize("number", [1, errno.EPERM, errno.ENOSYS, 511, 532, 4095])
def test_fail_sends_a_negative_errno(number: int) -> None:
    """V2, V3: what goes out is negative."""
    assert Fail(number).wire == (0, -number, 0)


def test_continue_carries_nothing() -> None:
    """N10: value and error of a Continue are zero, and it has no argument."""
    assert Continue().wire == (0, 0, 1)
    assert Continue().because is None
    with pytest.raises(TypeError):
        Continue(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Continue(because="x")  # type: ignore[call-arg]


def test_racy_continue_says_why() -> None:
    """A racy Continue has the same bytes, and a reason that tells it from a plain one."""
    racy = Continue.racy(because="only counted")
    assert racy.because == "only counted"
    assert racy.wire == Continue().wire
    assert racy != Continue()


@pytest.mark.parametrize("because", ["", "   ", None, 1, b"x"])
def test_racy_continue_wants_a_reason(because: Any) -> None:
    """No empty reason, and no other type."""
    with pytest.raises(LocalProtocolError, match="because="):
        Continue.racy(because=because)
    with pytest.raises(TypeError):
        Continue.racy("positional")  # type: ignore[misc]


@pytest.mark.parametrize("fd", [True, 1.0, "1", None])
def test_install_fd_takes_a_descriptor(fd: Any) -> None:
    """The descriptor is an int or has fileno()."""
    with pytest.raises(LocalProtocolError, match="is an int"):
        InstallFd(fd)


@pytest.mark.parametrize("fd", [-1, 1 << 31, 1 << 40])
def test_install_fd_refuses_impossible_descriptors(fd: int) -> None:
    """Descriptors are 0 to 2**31-1, ours and the target's."""
    with pytest.raises(LocalProtocolError, match="no such descriptor"):
        InstallFd(fd)
    with pytest.raises(LocalProtocolError, match="no such descriptor"):
        InstallFd(3, at=fd)


@pytest.mark.parametrize("at", [True, 1.0, "1"])
def test_install_fd_at_is_an_int(at: Any) -> None:
    """A bool as at= is a mistake for another option."""
    with pytest.raises(LocalProtocolError, match="at= is an int"):
        InstallFd(3, at=at)


def test_install_fd_asks_objects_late() -> None:
    """An object's fileno() is asked when it is sent; zero is a number like any other."""
    assert InstallFd(Descriptor(7)).fileno() == 7
    assert InstallFd(0, at=0).fileno() == 0
    assert InstallFd(3).cloexec is True
    assert InstallFd(3).owned is False
    assert InstallFd(3).at is None


def test_install_fd_options_are_keywords() -> None:
    """What has a default is named."""
    with pytest.raises(TypeError):
        InstallFd(3, 4)  # type: ignore[misc]


@pytest.mark.parametrize("reply", [Return(1), Fail(1), Continue(), InstallFd(1)])
def test_replies_are_frozen_values(reply: Any) -> None:
    """Replies are equal by value, hashable and cannot be changed after the check."""
    field = dataclasses.fields(reply)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(reply, field, 0)
    again = Continue() if isinstance(reply, Continue) else type(reply)(1)
    assert {reply} == {again}


def test_the_union_is_closed() -> None:
    """Four replies, of which three go out in one SEND."""
    assert set(get_args(Reply)) == {Return, Fail, Continue, InstallFd}
    assert set(get_args(PlainReply)) == set(get_args(Reply)) - {InstallFd}


def test_install_fd_of_bytes() -> None:
    """A file in memory is made when it is sent; until then it has no descriptor."""
    reply = InstallFd.of_bytes("grüße", cloexec=False, at=5)
    assert reply.fd == Content("grüße".encode(), sealed=True)
    assert (reply.at, reply.cloexec, reply.owned) == (5, False, False)
    assert InstallFd.of_bytes(b"x", sealed=False).fd == Content(b"x", sealed=False)
    assert InstallFd.of_bytes(bytearray(b"x")).fd == Content(b"x")
    with pytest.raises(LocalProtocolError, match="no descriptor yet"):
        reply.fileno()


def test_content_is_not_shown() -> None:
    """What is in it may be secret, and long."""
    assert "secret" not in repr(InstallFd.of_bytes("secret"))


@pytest.mark.parametrize("result", [0, 7, Fail(errno.EINPROGRESS)])
def test_install_fd_with_another_result(result: Any) -> None:
    """The call may return something else than the descriptor's number, an errno too."""
    assert InstallFd(3, result=result).result == result


@pytest.mark.parametrize("result", [-1, -115, True, 1.5])
def test_install_fd_with_a_wrong_result(result: Any) -> None:
    """V4: an errno that is spelled as a value is refused, as Return refuses it."""
    with pytest.raises(LocalProtocolError):
        InstallFd(3, result=result)
