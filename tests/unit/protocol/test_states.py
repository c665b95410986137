from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from unotify.errors import LocalProtocolError
from unotify.protocol import (
    EXCHANGE,
    LISTENER,
    ExchangeMove,
    ExchangeState,
    ListenerMove,
    ListenerState,
)
from unotify.protocol.states import move

S, M = ExchangeState, ExchangeMove
L, LM = ListenerState, ListenerMove

LEGAL_EXCHANGE = {
    (S.RECEIVED, M.REPLY): S.ANSWERED,
    (S.RECEIVED, M.INSTALL_FD): S.RECEIVED,
    (S.RECEIVED, M.HOLD): S.HELD,
    (S.RECEIVED, M.VANISH): S.GONE,
    (S.HELD, M.RELEASE): S.RECEIVED,
    (S.HELD, M.VANISH): S.GONE,
    (S.ANSWERED, M.REFUSE): S.RECEIVED,
    (S.ANSWERED, M.VANISH): S.GONE,
    (S.GONE, M.REPLY): S.GONE,
    (S.GONE, M.INSTALL_FD): S.GONE,
    (S.GONE, M.HOLD): S.GONE,
    (S.GONE, M.RELEASE): S.GONE,
    (S.GONE, M.REFUSE): S.GONE,
    (S.GONE, M.VANISH): S.GONE,
}
LEGAL_LISTENER = {
    (L.OPEN, LM.RECEIVE): L.OPEN,
    (L.OPEN, LM.SPURIOUS): L.OPEN,
    (L.OPEN, LM.HANGUP): L.DRAINED,
    (L.OPEN, LM.CLOSE): L.CLOSED,
    (L.DRAINED, LM.SPURIOUS): L.DRAINED,
    (L.DRAINED, LM.HANGUP): L.DRAINED,
    (L.DRAINED, LM.CLOSE): L.CLOSED,
    (L.CLOSED, LM.CLOSE): L.CLOSED,
}
CELLS: list[Any] = [
    *((EXCHANGE, s, m, LEGAL_EXCHANGE.get((s, m))) for s in S for m in M),
    *((LISTENER, s, m, LEGAL_LISTENER.get((s, m))) for s in L for m in LM),
]


@pytest.mark.parametrize(
    ("table", "state", "step", "then"), CELLS, ids=[f"{c[1]}-{c[2]}" for c in CELLS]
)
def test_each_cell(table: Any, state: Enum, step: Enum, then: Enum | None) -> None:
    """Each move in each state leads where it should, or is refused by name."""
    if then is not None:
        assert move(table, state, step) is then
        return
    with pytest.raises(LocalProtocolError) as caught:
        move(table, state, step)
    assert repr(step.value) in str(caught.value)
    assert str(state.value) in str(caught.value)
    assert caught.value.__suppress_context__


def test_tables_name_each_state() -> None:
    """A state without a row would be a KeyError in disguise."""
    assert set(EXCHANGE) == set(S)
    assert set(LISTENER) == set(L)


def test_a_target_may_vanish_whenever_it_likes() -> None:
    """I9: VANISH is legal in every state and ends in GONE, which nothing leaves."""
    assert all(EXCHANGE[state][M.VANISH] is S.GONE for state in S)
    assert set(EXCHANGE[S.GONE].values()) == {S.GONE}


def test_a_listener_may_be_closed_at_any_time_and_twice() -> None:
    """Closing is always legal."""
    assert all(LISTENER[state][LM.CLOSE] is L.CLOSED for state in L)


def test_tables_cannot_be_changed() -> None:
    """The tables are facts, not settings."""
    with pytest.raises(TypeError):
        EXCHANGE[S.GONE] = {}  # type: ignore[index]
    with pytest.raises(TypeError):
        LISTENER[L.OPEN] = {}  # type: ignore[index]
