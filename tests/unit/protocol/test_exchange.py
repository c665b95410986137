from __future__ import annotations

from collections.abc import Callable

import pytest

from unotify.abi.arch import Arch
from unotify.abi.structs import NOTIF, RESPONSE
from unotify.errors import KernelProtocolError, LocalProtocolError
from unotify.protocol import (
    EXCHANGE,
    AddFd,
    Continue,
    Exchange,
    ExchangeMove,
    ExchangeState,
    Fail,
    InstallFd,
    PlainReply,
    Return,
)

X86_64, I386 = Arch.X86_64.audit, Arch.I386.audit
BIG = (1 << 64) - 3


def notification(
    *,
    id: int = 1,
    tid: int = 100,
    nr: int = 39,
    audit: int = X86_64,
    args: tuple[int, ...] = (0,) * 6,
) -> bytes:
    """A struct seccomp_notif."""
    return NOTIF.pack(id, tid, 0, nr, audit, 0x7F0000001234, *args)


def exchange(audit: int = X86_64) -> Exchange:
    """One that was just received."""
    return Exchange(notification(audit=audit))


def test_fields_are_decoded() -> None:
    """Each field lands where it belongs; an id above 2**63 and full registers stay unsigned."""
    args = (0, 1, 1 << 63, (1 << 64) - 1, 0x1FFFFFFFF, 5)
    got = Exchange(notification(id=BIG, tid=77, nr=257, audit=I386, args=args))
    assert (got.id, got.tid, got.nr, got.audit, got.args) == (BIG, 77, 257, I386, args)
    assert got.state is ExchangeState.RECEIVED
    assert got.memory_read is False
    assert got.waiting


@pytest.mark.parametrize("nr", [-1, -(1 << 31), 9999, 0x40000000 | 39, (1 << 31) - 1])
def test_any_number_can_arrive(nr: int) -> None:
    """B1, B4: the number is signed and unfiltered."""
    assert Exchange(notification(nr=nr)).nr == nr


def test_an_invisible_target_has_tid_zero() -> None:
    """P3: 0 is what the kernel says of threads it cannot name here."""
    assert Exchange(notification(tid=0)).tid == 0


@pytest.mark.parametrize("wrap", [bytes, bytearray])
def test_longer_notifications_are_understood(wrap: Callable[[bytes], bytes]) -> None:
    """A newer kernel's struct has the known fields in front."""
    got = Exchange(wrap(notification(id=BIG) + b"\xff" * 16))
    assert (got.id, got.args) == (BIG, (0,) * 6)


@pytest.mark.parametrize("size", [0, 1, 64, 79])
def test_short_notifications_are_the_kernels_mistake(size: int) -> None:
    """Fewer than 80 bytes cannot be decoded."""
    with pytest.raises(KernelProtocolError, match=f"{size} bytes"):
        Exchange(notification()[:size])


def test_the_buffer_may_be_used_again() -> None:
    """An exchange keeps no reference to the buffer it came from."""
    buffer = bytearray(notification(id=5, args=(1, 2, 3, 4, 5, 6)))
    got = Exchange(buffer)
    buffer[:] = bytes(len(buffer))
    assert (got.id, got.args) == (5, (1, 2, 3, 4, 5, 6))


@pytest.mark.parametrize(
    ("reply", "fields"),
    [
        (Return(7), (7, 0, 0)),
        (Return(1 << 63), (-(1 << 63), 0, 0)),
        (Fail(13), (0, -13, 0)),
        (Continue(), (0, 0, 1)),
        (Continue.racy(because="x"), (0, 0, 1)),
    ],
)
def test_answer_makes_the_response(reply: PlainReply, fields: tuple[int, int, int]) -> None:
    """The response carries the id of the notification and the reply's fields."""
    got = Exchange(notification(id=BIG))
    assert RESPONSE.unpack(got.answer(reply)) == (BIG, *fields)
    assert got.state is ExchangeState.ANSWERED
    assert not got.waiting


def test_answer_into_leaves_the_rest_of_the_buffer() -> None:
    """A longer buffer of a newer kernel keeps its zeros, and is overwritten each time."""
    buffer = bytearray(40)
    Exchange(notification(id=BIG)).answer_into(buffer, Return(-5000))
    Exchange(notification(id=2)).answer_into(buffer, Fail(1))
    assert RESPONSE.unpack_from(buffer) == (2, 0, -1, 0)
    assert buffer[24:] == bytes(16)


def test_second_answer_is_refused() -> None:
    """Whom we have answered we cannot answer again."""
    got = exchange()
    got.answer(Return())
    with pytest.raises(LocalProtocolError, match="answered"):
        got.answer(Fail(1))


def test_answer_to_the_departed_is_no_error() -> None:
    """N10, I10: nobody told us that they left."""
    got = exchange()
    got.vanish()
    assert RESPONSE.unpack(got.answer(Fail(1)))[0] == got.id
    assert got.state is ExchangeState.GONE


def test_a_failed_answer_changes_nothing() -> None:
    """A reply that is refused leaves the exchange to be answered otherwise."""
    got = exchange()
    got.memory_read = True
    buffer = bytearray(24)
    with pytest.raises(LocalProtocolError):
        got.answer_into(buffer, Continue())
    assert got.state is ExchangeState.RECEIVED
    assert buffer == bytes(24)
    got.answer(Fail(1))


@pytest.mark.parametrize("state", ExchangeState)
def test_the_shortcut_of_answer_agrees_with_the_table(state: ExchangeState) -> None:
    """Answering moves exactly as the table says, though it does not always look there."""
    got = exchange()
    got.state = state
    then = EXCHANGE[state].get(ExchangeMove.REPLY)
    if then is None:
        with pytest.raises(LocalProtocolError):
            got.answer(Return())
        assert got.state is state
    else:
        got.answer(Return())
        assert got.state is then


@pytest.mark.parametrize("state", ExchangeState)
def test_the_shortcut_of_vanish_agrees_with_the_table(state: ExchangeState) -> None:
    """Vanishing moves exactly as the table says, though it never looks there."""
    got = exchange()
    got.state = state
    got.vanish()
    assert got.state is EXCHANGE[state][ExchangeMove.VANISH]


@pytest.mark.parametrize("state", ExchangeState)
@pytest.mark.parametrize(
    ("step", "act"),
    [
        (ExchangeMove.INSTALL_FD, lambda e: e.install(InstallFd(3))),
        (ExchangeMove.HOLD, Exchange.hold),
        (ExchangeMove.RELEASE, Exchange.release),
        (ExchangeMove.REFUSE, Exchange.refused),
    ],
)
def test_each_method_is_its_move(
    state: ExchangeState, step: ExchangeMove, act: Callable[[Exchange], object]
) -> None:
    """Methods change the state as the table says, and not at all where it refuses."""
    got = exchange()
    got.state = state
    then = EXCHANGE[state].get(step)
    if then is None:
        with pytest.raises(LocalProtocolError):
            act(got)
        assert got.state is state
    else:
        act(got)
        assert got.state is then


def test_plain_continue_after_a_read_is_refused() -> None:
    """C2: what was read may have been rewritten; a racy one that says why is allowed."""
    got = exchange()
    got.memory_read = True
    with pytest.raises(LocalProtocolError, match="memory") as caught:
        got.answer(Continue())
    assert "racy" in str(caught.value.hint)
    got.answer(Continue.racy(because="only a log"))
    assert got.state is ExchangeState.ANSWERED


@pytest.mark.parametrize("value", [0xFFFFFFFF, 0xFFFFF001, 0x1FFFFFFFF, -(1 << 63) + 0xFFFFFFFF])
def test_32_bit_return_that_is_an_errno_there_is_refused(value: int) -> None:
    """V4: a 32-bit register keeps the low half, and libc takes the last 4095 for errnos."""
    got = exchange(I386)
    with pytest.raises(LocalProtocolError, match="32-bit") as caught:
        got.answer(Return(value))
    assert caught.value.hint == f"use Fail({(1 << 32) - (value & 0xFFFFFFFF)}) for an error"
    assert got.waiting
    exchange(X86_64).answer(Return(value))


@pytest.mark.parametrize("value", [0, 1, 0xFFFFF000, 0x80000000, 0x7FFFFFFF, -4096])
def test_32_bit_return_of_an_address_is_fine(value: int) -> None:
    """An address in the upper half of a 32-bit address space is a success."""
    assert RESPONSE.unpack(exchange(I386).answer(Return(value)))[1] == value


def test_install_is_two_steps() -> None:
    """A8: installing answers nothing yet; then the number is the return value."""
    got = Exchange(notification(id=BIG))
    assert got.install(InstallFd(5, at=9, cloexec=False)) == AddFd(BIG, 5, 9, False)
    assert got.waiting
    assert RESPONSE.unpack(got.installed(9)) == (BIG, 9, 0, 0)
    assert not got.waiting


def test_install_with_another_answer() -> None:
    """The target has the descriptor, and the call fails all the same."""
    got = Exchange(notification(id=BIG))
    got.install(InstallFd(5, at=9, result=Fail(115)))
    assert RESPONSE.unpack(got.installed(Fail(115))) == (BIG, 0, -115, 0)


def test_install_that_fails_is_answered_with_an_errno() -> None:
    """A7: after a failed ADDFD the exchange takes any other answer."""
    got = exchange()
    got.install(InstallFd(5))
    got.answer(Fail(24))
    assert got.state is ExchangeState.ANSWERED


def test_target_that_dies_between_addfd_and_send() -> None:
    """I10: nobody waits any more; what comes later is dropped."""
    got = exchange()
    got.install(InstallFd(5))
    got.vanish()
    got.installed(4)
    assert got.state is ExchangeState.GONE


def test_held_calls_wait_and_take_no_answer() -> None:
    """On hold the decision belongs to the holder until it is released."""
    got = exchange()
    got.hold()
    assert got.waiting
    with pytest.raises(LocalProtocolError, match="held"):
        got.answer(Return())
    with pytest.raises(LocalProtocolError, match="held"):
        got.install(InstallFd(3))
    got.release()
    got.answer(Return())


def test_refused_reply_can_be_replaced() -> None:
    """C5: an old kernel says EINVAL to Continue, and the target still waits."""
    got = exchange()
    got.answer(Continue())
    got.refused()
    assert got.waiting
    got.answer(Fail(38))


def test_repr_names_the_essentials() -> None:
    """A log line tells id, number, architecture, thread and state."""
    text = repr(exchange())
    for part in ("0x1", "nr=39", f"{X86_64:#x}", "tid=100", "received"):
        assert part in text


def test_no_other_attributes() -> None:
    """One is made for each call: it has slots."""
    with pytest.raises(AttributeError):
        exchange().other = 1  # type: ignore[attr-defined]
