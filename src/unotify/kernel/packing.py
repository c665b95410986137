"""Acts and outcomes as text, for a process in another user namespace.

JSON: neither side has to trust the other with more than numbers and strings. Bytes are
written as latin-1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from unotify.abi.types import Address
from unotify.calls.acts import Act, Out
from unotify.calls.layouts import Answer
from unotify.calls.lookups import Spot
from unotify.calls.messages import Control, Message
from unotify.kernel.acts import Outcome

__all__ = ["pack_act", "pack_outcome", "unpack_act", "unpack_outcome"]


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _bytes(value: Any) -> Any:
    return value.encode("latin-1") if isinstance(value, str) else value


def pack_act(
    act: Act,
    fds: Sequence[str],
    pins: Mapping[str, bytes],
    *,
    tid: int,
    tgid: int,
    limits: tuple[bool, int],
) -> bytes:
    """*act* as text; *fds* says what the descriptors are that go with it."""
    told = {
        "name": act.name,
        "call": act.call,
        "values": {name: _text(value) for name, value in act.values.items()},
        "spots": {name: [_text(spot.path), *spot[1:]] for name, spot in act.spots.items()},
        "outs": {name: out.size for name, out in act.outs.items()},
        "messages": [
            [
                _text(message.data),
                _text(message.address),
                [[c.level, c.kind, _text(c.data), list(c.fds)] for c in message.controls],
                message.cut,
            ]
            for message in act.messages
        ],
        "real_ids": act.real_ids,
        "returns_fd": act.returns_fd,
        "fds": list(fds),
        "pins": {name: _text(pinned) for name, pinned in pins.items()},
        "tid": tid,
        "tgid": tgid,
        "limits": limits,
    }
    return json.dumps(told).encode()


def unpack_act(text: bytes) -> tuple[Act, list[str], dict[str, bytes], dict[str, Any]]:
    """The act, what its descriptors are, names of pins, and all else that was told."""
    told = json.loads(text)
    act = Act(
        told["name"],
        told["call"],
        {name: _bytes(value) for name, value in told["values"].items()},
        {name: Spot(_bytes(path), *rest) for name, (path, *rest) in told["spots"].items()},
        outs={name: Out(Address(0), size, Answer()) for name, size in told["outs"].items()},
        messages=tuple(
            Message(
                _bytes(data),
                _bytes(address),
                tuple(
                    Control(lvl, kind, _bytes(raw), tuple(fds)) for lvl, kind, raw, fds in controls
                ),
                cut,
            )
            for data, address, controls, cut in told["messages"]
        ),
        real_ids=told["real_ids"],
        returns_fd=told["returns_fd"],
    )
    pins = {name: _bytes(pinned) for name, pinned in told["pins"].items()}
    return act, told["fds"], pins, told


def pack_outcome(outcome: Outcome, refused: str | None = None) -> bytes:
    """*outcome* as text, without its descriptor."""
    outs = {name: _text(data) for name, data in outcome.outs.items()}
    return json.dumps([outcome.value, outs, refused]).encode()


def unpack_outcome(text: bytes, fd: int) -> tuple[Outcome, str | None]:
    """The outcome, with the descriptor that came; and why it was refused, if it was."""
    value, outs, refused = json.loads(text)
    return Outcome(value, fd, {name: _bytes(data) for name, data in outs.items()}), refused
