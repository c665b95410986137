from __future__ import annotations

import pytest

from unotify.abi.arch import Arch
from unotify.abi.structs import NOTIF
from unotify.errors import KernelProtocolError, LocalProtocolError
from unotify.protocol import Exchange, ExchangeState, ListenerProtocol, ListenerState, Return


def notification(id: int) -> bytes:
    """A struct seccomp_notif."""
    return NOTIF.pack(id, 100, 0, 39, Arch.X86_64.audit, 0, *range(6))


def test_received_exchanges_are_under_way_until_finished() -> None:
    """A listener knows who waits; finishing twice is harmless."""
    protocol = ListenerProtocol()
    one, two = protocol.received(notification(1)), protocol.received(notification(2))
    assert protocol.under_way == {1: one, 2: two}
    protocol.finished(one)
    protocol.finished(one)
    assert protocol.under_way == {2: two}


def test_an_id_cannot_come_twice() -> None:
    """N4: ids are never used again before they wrap."""
    protocol = ListenerProtocol()
    first = protocol.received(notification(1))
    with pytest.raises(KernelProtocolError, match="0x1 came twice"):
        protocol.received(notification(1))
    assert protocol.under_way == {1: first}
    protocol.finished(first)
    protocol.received(notification(1))


def test_two_listeners_may_carry_one_id() -> None:
    """N4: ids are unique for their listener only."""
    one, two = ListenerProtocol(), ListenerProtocol()
    assert one.received(notification(9)) is not two.received(notification(9))


def test_begin_is_received_without_the_bytes() -> None:
    """Whoever decoded it already only makes it known; the same one may be made known twice."""
    protocol, exchange = ListenerProtocol(), Exchange(notification(3))
    protocol.begin(exchange)
    protocol.begin(exchange)
    assert protocol.under_way == {3: exchange}
    with pytest.raises(KernelProtocolError, match="twice"):
        protocol.begin(Exchange(notification(3)))


def test_short_notification_starts_nothing() -> None:
    """The kernel's mistake leaves the listener as it was."""
    protocol = ListenerProtocol()
    with pytest.raises(KernelProtocolError):
        protocol.received(bytes(79))
    assert not protocol.under_way


def test_spurious_enoent_is_life() -> None:
    """N8: RECV may find nothing, also when the listener is drained (E6)."""
    protocol = ListenerProtocol()
    protocol.spurious()
    assert protocol.state is ListenerState.OPEN
    protocol.hangup()
    protocol.spurious()
    assert protocol.state is ListenerState.DRAINED


@pytest.mark.parametrize("end", [ListenerProtocol.hangup, ListenerProtocol.close])
def test_all_vanish_at_the_end(end: object) -> None:
    """E6, R4: after hang-up or close nobody waits; late answers are dropped, not refused."""
    protocol = ListenerProtocol()
    exchanges = [protocol.received(notification(id)) for id in (5, 6, 7)]
    exchanges[1].hold()
    assert end(protocol) == exchanges  # type: ignore[operator]
    assert not protocol.under_way
    for exchange in exchanges:
        assert exchange.state is ExchangeState.GONE
        exchange.answer(Return())
    assert end(protocol) == []  # type: ignore[operator]


@pytest.mark.parametrize("end", [ListenerProtocol.hangup, ListenerProtocol.close])
def test_nothing_is_received_after_the_end(end: object) -> None:
    """E3: after HUP nothing comes; a reader that claims so is ours and wrong."""
    protocol = ListenerProtocol()
    end(protocol)  # type: ignore[operator]
    with pytest.raises(LocalProtocolError, match="receive"):
        protocol.received(notification(1))


def test_close_after_hangup_is_the_end() -> None:
    """A closed listener stays closed, and a hang-up of it is news from nowhere."""
    protocol = ListenerProtocol()
    protocol.hangup()
    protocol.close()
    assert protocol.state is ListenerState.CLOSED
    protocol.close()
    with pytest.raises(LocalProtocolError, match="closed"):
        protocol.hangup()
    with pytest.raises(LocalProtocolError, match="closed"):
        protocol.spurious()
