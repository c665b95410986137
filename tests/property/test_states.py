"""Any order of moves ends in a legal state or in a protocol error, never in any other error."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from unotify.abi.arch import Arch
from unotify.abi.structs import NOTIF, RESPONSE
from unotify.errors import KernelProtocolError, LocalProtocolError, ProtocolError
from unotify.protocol import (
    EXCHANGE,
    LISTENER,
    Continue,
    Exchange,
    ExchangeMove,
    ExchangeState,
    Fail,
    InstallFd,
    ListenerMove,
    ListenerProtocol,
    ListenerState,
    PlainReply,
    Return,
)

IDS = st.integers(0, 3) | st.integers(0, (1 << 64) - 1)
AUDITS = st.sampled_from([Arch.X86_64.audit, Arch.I386.audit]) | st.integers(0, 0xFFFFFFFF)
REPLIES: st.SearchStrategy[PlainReply] = st.one_of(
    st.builds(Return, st.integers(0, (1 << 64) - 4096)),
    st.builds(Fail, st.integers(1, 511)),
    st.just(Continue()),
    st.just(Continue.racy(because="property")),
)


class Life(RuleBasedStateMachine):
    """One listener, its exchanges, and a model of where each of them is."""

    exchanges = Bundle("exchanges")

    def __init__(self) -> None:
        super().__init__()
        self.protocol = ListenerProtocol()
        self.listener = ListenerState.OPEN
        self.states: dict[Exchange, ExchangeState] = {}
        self.under_way: dict[int, Exchange] = {}

    @rule(
        target=exchanges,
        id=IDS,
        nr=st.integers(-(1 << 31), (1 << 31) - 1),
        audit=AUDITS,
        args=st.tuples(*[st.integers(0, (1 << 64) - 1)] * 6),
    )
    def receive(self, id: int, nr: int, audit: int, args: tuple[int, ...]) -> object:
        """A notification arrives, perhaps with an id that is under way."""
        raw = NOTIF.pack(id, 1, 0, nr, audit, 0, *args)
        try:
            exchange = self.protocol.received(raw)
        except LocalProtocolError:
            assert self.listener is not ListenerState.OPEN
            return multiple()
        except KernelProtocolError:
            assert id in self.under_way
            return multiple()
        assert self.listener is ListenerState.OPEN
        assert id not in self.under_way
        self.states[exchange] = ExchangeState.RECEIVED
        self.under_way[id] = exchange
        return exchange

    @rule(raw=st.binary(max_size=79))
    def receive_short(self, raw: bytes) -> None:
        """Bytes that are no notification start nothing."""
        try:
            self.protocol.received(raw)
        except ProtocolError as error:
            local = isinstance(error, LocalProtocolError)
            assert local == (self.listener is not ListenerState.OPEN)
        else:
            raise AssertionError("79 bytes were decoded")

    def _move(self, exchange: Exchange, step: ExchangeMove, act: Callable[[], object]) -> None:
        state = self.states[exchange]
        then = EXCHANGE[state].get(step)
        try:
            act()
        except LocalProtocolError:
            assert then is None
        else:
            assert then is not None
            self.states[exchange] = then

    @rule(exchange=exchanges, reply=REPLIES)
    def answer(self, exchange: Exchange, reply: PlainReply) -> None:
        """A reply is 24 legal bytes, or it is refused and nothing has changed."""
        before = self.states[exchange]
        low = reply.wire[0] & 0xFFFFFFFF
        compat = not exchange.audit & 0x80000000
        illegal = (reply == Continue() and exchange.memory_read) or (
            isinstance(reply, Return) and compat and bool(reply.wire[0]) and low > 0xFFFFF000
        )
        try:
            response = exchange.answer(reply)
        except LocalProtocolError:
            assert illegal or ExchangeMove.REPLY not in EXCHANGE[before]
            return
        assert not illegal
        self.states[exchange] = EXCHANGE[before][ExchangeMove.REPLY]
        id, value, error, flags = RESPONSE.unpack(response)
        assert id == exchange.id
        assert not -4095 <= value < 0
        assert -4095 <= error <= 0
        assert not flags or (flags == 1 and not value and not error)

    @rule(exchange=exchanges)
    def install(self, exchange: Exchange) -> None:
        """Start to answer with a descriptor."""
        self._move(exchange, ExchangeMove.INSTALL_FD, lambda: exchange.install(InstallFd(3)))

    @rule(exchange=exchanges, number=st.integers(0, (1 << 31) - 1))
    def installed(self, exchange: Exchange, number: int) -> None:
        """Finish that."""
        self._move(exchange, ExchangeMove.REPLY, lambda: exchange.installed(number))

    @rule(exchange=exchanges)
    def hold(self, exchange: Exchange) -> None:
        """Take the decision away."""
        self._move(exchange, ExchangeMove.HOLD, exchange.hold)

    @rule(exchange=exchanges)
    def release(self, exchange: Exchange) -> None:
        """Give it back."""
        self._move(exchange, ExchangeMove.RELEASE, exchange.release)

    @rule(exchange=exchanges)
    def refuse(self, exchange: Exchange) -> None:
        """The kernel did not take the reply."""
        self._move(exchange, ExchangeMove.REFUSE, exchange.refused)

    @rule(exchange=exchanges)
    def vanish(self, exchange: Exchange) -> None:
        """The target has gone."""
        self._move(exchange, ExchangeMove.VANISH, exchange.vanish)

    @rule(exchange=exchanges)
    def read_memory(self, exchange: Exchange) -> None:
        """Somebody looked at the target's memory."""
        exchange.memory_read = True

    @rule(exchange=consumes(exchanges))
    def finish(self, exchange: Exchange) -> None:
        """Nobody cares any more."""
        self.protocol.finished(exchange)
        if self.under_way.get(exchange.id) is exchange:
            del self.under_way[exchange.id]

    @rule()
    def spurious(self) -> None:
        """RECV found nothing."""
        self._end(ListenerMove.SPURIOUS, self.protocol.spurious)

    @rule(sure=st.integers(0, 9))
    def hangup(self, sure: int) -> None:
        """The last task has gone; not too often, or little else would be tried."""
        if not sure:
            self._end(ListenerMove.HANGUP, self.protocol.hangup)

    @rule(sure=st.integers(0, 9))
    def close(self, sure: int) -> None:
        """The descriptor is closed."""
        if not sure:
            self._end(ListenerMove.CLOSE, self.protocol.close)

    def _end(self, step: ListenerMove, act: Callable[[], object]) -> None:
        then = LISTENER[self.listener].get(step)
        try:
            vanished = act()
        except LocalProtocolError:
            assert then is None
            return
        assert then is not None
        self.listener = then
        if step is not ListenerMove.SPURIOUS:
            assert vanished == list(self.under_way.values())
            for exchange in self.under_way.values():
                self.states[exchange] = ExchangeState.GONE
            self.under_way.clear()

    @invariant()
    def agrees_with_the_model(self) -> None:
        """Each state is that of the tables, and those under way are those we think."""
        assert self.protocol.state is self.listener
        assert self.protocol.under_way == self.under_way
        for exchange, state in self.states.items():
            assert exchange.state is state
            assert exchange.waiting == (state in (ExchangeState.RECEIVED, ExchangeState.HELD))


TestLife = Life.TestCase
TestLife.settings = settings(stateful_step_count=40, deadline=None)
