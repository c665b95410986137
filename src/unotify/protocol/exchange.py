"""One notification from RECV to SEND, and the listener it came from.

Pure: bytes that the kernel wrote come in, bytes to hand to the kernel go out;
the caller makes the system calls and reports what they said. So every order of
events, a target that dies between ADDFD and SEND included, is a unit test.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from unotify.abi.seccomp import MAX_ERRNO
from unotify.abi.structs import NOTIF, RESPONSE
from unotify.abi.types import NotificationId, Tid
from unotify.errors import KernelProtocolError, LocalProtocolError
from unotify.protocol.replies import Continue, Fail, InstallFd, PlainReply, Return
from unotify.protocol.states import (
    EXCHANGE,
    LISTENER,
    ExchangeMove,
    ExchangeState,
    ListenerMove,
    ListenerState,
    move,
)

__all__ = ["AddFd", "Exchange", "ListenerProtocol"]

# NOTIF in two parts, so that the registers come as a tuple of their own. Left out
# are the flags, which are 0 on all kernels so far, and the instruction pointer.
_HEAD = Struct("=QI4xiI").unpack_from
_ARGS = Struct("=6Q").unpack_from
_ARGS_OFFSET = NOTIF.size - Struct("=6Q").size

_PACK = RESPONSE.pack_into

_RECEIVED = ExchangeState.RECEIVED
_ANSWERED = ExchangeState.ANSWERED
_GONE = ExchangeState.GONE
_COMPAT_BIT = 0x80000000
"""__AUDIT_ARCH_64BIT: set in the audit architecture of 64-bit ABIs, clear in 32-bit ones."""


class AddFd(NamedTuple):
    """An ADDFD to make: install *fd*, then report to :meth:`Exchange.installed`."""

    id: NotificationId
    fd: int
    at: int | None
    cloexec: bool


class Exchange:
    """One received notification and what may still happen to it.

    A plain object with slots: one is made for each call, and this is the hot
    path.

    Attributes:
        id: The kernel's id of it, unique for its listener only (N4).
        tid: The calling thread; 0 if it is not visible from here (P1-P3).
        nr: The call's number, signed and unfiltered: -1 and unknown ones
            arrive too (B1).
        audit: Its ``AUDIT_ARCH_*``; per call, not per process (B2).
        args: Six raw registers, unsigned 64 bits each; those of 32-bit ABIs
            may have dirty upper halves (B3).
        state: Where it is in its life; see :mod:`unotify.protocol.states`.
        memory_read: Whether a decision may rest on memory the target can
            rewrite; set by whoever reads it, never cleared.
    """

    __slots__ = ("args", "audit", "id", "memory_read", "nr", "state", "tid")

    id: NotificationId
    tid: Tid
    nr: int
    audit: int
    args: tuple[int, int, int, int, int, int]
    state: ExchangeState
    memory_read: bool

    def __init__(self, notification: bytes | bytearray) -> None:
        """Decode a ``struct seccomp_notif``.

        Raises:
            KernelProtocolError: It has fewer than 80 bytes. More are fine: a
                newer kernel's struct only grows at its end.
        """
        if len(notification) < NOTIF.size:
            raise KernelProtocolError(
                f"a notification of {len(notification)} bytes; there are {NOTIF.size} at least"
            )
        self.id, self.tid, self.nr, self.audit = _HEAD(notification)
        self.args = _ARGS(notification, _ARGS_OFFSET)
        self.state = _RECEIVED
        self.memory_read = False

    def answer(self, reply: PlainReply) -> bytearray:
        """Decide: return the ``struct seccomp_notif_resp`` to SEND.

        Report afterwards with :meth:`vanish` if SEND found nobody.

        Raises:
            LocalProtocolError: It is answered or held already; a plain
                `Continue` after memory was read; a `Return` that a 32-bit
                target would take for an errno.
        """
        response = bytearray(RESPONSE.size)
        self.answer_into(response, reply)
        return response

    def answer_into(self, response: bytearray, reply: PlainReply) -> None:
        """As :meth:`answer`, into a buffer that is used again and again."""
        value, error, flags = reply.wire
        if flags:
            self._check_continue(reply)
        elif value and not self.audit & _COMPAT_BIT and _looks_like_errno(value):
            raise LocalProtocolError(
                f"{reply} would arrive as an errno in a 32-bit call",
                hint=f"use Fail({-value & 0xFFFFFFFF}) for an error",
            )
        # The common case without a table look-up; the table agrees (a test holds them together).
        if self.state is _RECEIVED:
            self.state = _ANSWERED
        else:
            self.state = move(EXCHANGE, self.state, ExchangeMove.REPLY)
        _PACK(response, 0, self.id, value, error, flags)

    def install(self, reply: InstallFd) -> AddFd:
        """Start to answer with a descriptor: return the ADDFD to make first.

        Then call :meth:`installed` with the number it returned, or answer with
        the errno it failed with, or :meth:`vanish`.
        """
        self.state = move(EXCHANGE, self.state, ExchangeMove.INSTALL_FD)
        return AddFd(self.id, reply.fileno(), reply.at, reply.cloexec)

    def installed(self, result: int | Fail) -> bytearray:
        """The target has the descriptor: return the reply, which is its number, or another."""
        return self.answer(result if isinstance(result, Fail) else Return(result))

    def hold(self) -> None:
        """Take the decision away from the handler until :meth:`release`."""
        self.state = move(EXCHANGE, self.state, ExchangeMove.HOLD)

    def release(self) -> None:
        """Give the decision back."""
        self.state = move(EXCHANGE, self.state, ExchangeMove.RELEASE)

    def refused(self) -> None:
        """SEND said EINVAL: this kernel does not know the reply (C5); the target still waits."""
        self.state = move(EXCHANGE, self.state, ExchangeMove.REFUSE)

    def vanish(self) -> None:
        """The kernel said ENOENT: nobody waits any more (N10, I10). Never an error."""
        self.state = _GONE

    @property
    def waiting(self) -> bool:
        """Whether the target waits for us, as far as we know."""
        return self.state in (_RECEIVED, ExchangeState.HELD)

    def _check_continue(self, reply: PlainReply) -> None:
        if self.memory_read and isinstance(reply, Continue) and reply.because is None:
            raise LocalProtocolError(
                "Continue after reading the target's memory: it may have been rewritten since (C2)",
                hint="act on the copy that was read, or say Continue.racy(because=...)",
            )

    def __repr__(self) -> str:
        return (
            f"<Exchange {self.id:#x} nr={self.nr} audit={self.audit:#x} "
            f"tid={self.tid} {self.state.value}>"
        )


def _looks_like_errno(value: int) -> bool:
    # The target's register has 32 bits: what arrives is the low half, signed.
    low = value & 0xFFFFFFFF
    return low > 0xFFFFFFFF - MAX_ERRNO


class ListenerProtocol:
    """The exchanges of one listener that are under way.

    Attributes:
        state: Where the listener is in its life.
        under_way: Exchanges that wait for us, by id.
    """

    __slots__ = ("state", "under_way")

    def __init__(self) -> None:
        self.state = ListenerState.OPEN
        self.under_way: dict[NotificationId, Exchange] = {}

    def received(self, notification: bytes | bytearray) -> Exchange:
        """RECV filled a buffer: return the exchange it starts.

        Raises:
            KernelProtocolError: Too short, or an id that is under way already.
            LocalProtocolError: The listener is closed.
        """
        if self.state is not ListenerState.OPEN:
            self.state = move(LISTENER, self.state, ListenerMove.RECEIVE)
        exchange = Exchange(notification)
        self.begin(exchange)
        return exchange

    def begin(self, exchange: Exchange) -> None:
        """Note that *exchange* is under way; :meth:`received` has done so."""
        if self.under_way.setdefault(exchange.id, exchange) is not exchange:
            raise KernelProtocolError(f"notification id {exchange.id:#x} came twice")

    def spurious(self) -> None:
        """RECV said ENOENT: life, not an error (N8)."""
        self.state = move(LISTENER, self.state, ListenerMove.SPURIOUS)

    def finished(self, exchange: Exchange) -> None:
        """Forget *exchange*: it is answered, or nobody waits."""
        self.under_way.pop(exchange.id, None)

    def hangup(self) -> list[Exchange]:
        """Nobody uses the filter any more; return those who have vanished with it."""
        self.state = move(LISTENER, self.state, ListenerMove.HANGUP)
        return self._all_vanish()

    def close(self) -> list[Exchange]:
        """The descriptor is closed: whoever waits gets ENOSYS (R4); return them."""
        self.state = move(LISTENER, self.state, ListenerMove.CLOSE)
        return self._all_vanish()

    def _all_vanish(self) -> list[Exchange]:
        vanished = list(self.under_way.values())
        self.under_way.clear()
        for exchange in vanished:
            exchange.vanish()
        return vanished
