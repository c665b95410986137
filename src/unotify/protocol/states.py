"""The life of a notification and of a listener, as two tables.

Theory of operation. There are two machines. An *exchange* is one notification
from the moment we received it; what happened to it before is the kernel's
business, and a notification that dies unreceived never shows up (N8). A
*listener* is the descriptor that exchanges come from. Neither machine knows
whether a move was made by us or reported by the kernel: the tables judge both,
and `move` is the only function in the package that changes a state.

The target can vanish at any time and nobody tells us (I9); we learn of it from
ENOENT. So VANISH is legal everywhere, and a late answer to somebody who has
gone is dropped, not refused: whoever sends it could not have known. A second
answer to somebody we *have* answered is our own bug, and is refused.

The diagram in the documentation is drawn from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, TypeVar

from unotify.errors import LocalProtocolError

__all__ = [
    "EXCHANGE",
    "LISTENER",
    "ExchangeMove",
    "ExchangeState",
    "ListenerMove",
    "ListenerState",
    "move",
]


class ExchangeState(Enum):
    """Where one notification is in its life."""

    RECEIVED = "received"
    """The target waits, and a handler may act (the kernel's SENT)."""
    HELD = "held"
    """The target waits, and somebody took the decision away from the handler."""
    ANSWERED = "answered"
    """A reply was made; the target runs, or is about to (the kernel's REPLIED)."""
    GONE = "gone"
    """Nobody waits any more."""


class ExchangeMove(Enum):
    """What can happen to a notification."""

    REPLY = "reply"
    INSTALL_FD = "install fd"
    HOLD = "hold"
    RELEASE = "release"
    REFUSE = "refuse"
    """The kernel did not take the reply (EINVAL); the target still waits (C5)."""
    VANISH = "vanish"


class ListenerState(Enum):
    """Where a listener is in its life."""

    OPEN = "open"
    DRAINED = "drained"
    """Nobody uses the filter any more; nothing will ever come (POLLHUP, E3)."""
    CLOSED = "closed"


class ListenerMove(Enum):
    """What can happen to a listener."""

    RECEIVE = "receive"
    SPURIOUS = "spurious"
    """RECV said ENOENT: a notification died before it was received (N8)."""
    HANGUP = "hangup"
    CLOSE = "close"


_S, _M = ExchangeState, ExchangeMove

EXCHANGE: Final[Mapping[ExchangeState, Mapping[ExchangeMove, ExchangeState]]] = MappingProxyType(
    {
        _S.RECEIVED: {
            _M.REPLY: _S.ANSWERED,
            _M.INSTALL_FD: _S.RECEIVED,
            _M.HOLD: _S.HELD,
            _M.VANISH: _S.GONE,
        },
        _S.HELD: {_M.RELEASE: _S.RECEIVED, _M.VANISH: _S.GONE},
        # SEND may still say ENOENT: the target died between our decision and the ioctl.
        _S.ANSWERED: {_M.REFUSE: _S.RECEIVED, _M.VANISH: _S.GONE},
        _S.GONE: {
            _M.REPLY: _S.GONE,
            _M.INSTALL_FD: _S.GONE,
            _M.HOLD: _S.GONE,
            _M.RELEASE: _S.GONE,
            _M.REFUSE: _S.GONE,
            _M.VANISH: _S.GONE,
        },
    }
)

LISTENER: Final[Mapping[ListenerState, Mapping[ListenerMove, ListenerState]]] = MappingProxyType(
    {
        ListenerState.OPEN: {
            ListenerMove.RECEIVE: ListenerState.OPEN,
            ListenerMove.SPURIOUS: ListenerState.OPEN,
            ListenerMove.HANGUP: ListenerState.DRAINED,
            ListenerMove.CLOSE: ListenerState.CLOSED,
        },
        ListenerState.DRAINED: {
            # Readers race: the one that saw the hang-up may come first.
            ListenerMove.SPURIOUS: ListenerState.DRAINED,
            ListenerMove.HANGUP: ListenerState.DRAINED,
            ListenerMove.CLOSE: ListenerState.CLOSED,
        },
        ListenerState.CLOSED: {ListenerMove.CLOSE: ListenerState.CLOSED},
    }
)

_State = TypeVar("_State", bound=Enum)
_Move = TypeVar("_Move", bound=Enum)


def move(table: Mapping[_State, Mapping[_Move, _State]], state: _State, step: _Move) -> _State:
    """Return the state after *step*.

    Raises:
        LocalProtocolError: *step* is illegal in *state*.
    """
    try:
        return table[state][step]
    except KeyError:
        kind = "an exchange" if isinstance(state, ExchangeState) else "a listener"
        raise LocalProtocolError(
            f"{step.value!r} is illegal for {kind} that is {state.value}"
        ) from None
