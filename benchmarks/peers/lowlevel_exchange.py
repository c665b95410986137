"""`unotify.lowlevel` with the protocol: an object for each call, and only legal answers."""

from __future__ import annotations

from itertools import repeat

from benchmarks.peers.spawned import target
from benchmarks.peers.target import ANSWER, TOTAL
from unotify import Return
from unotify.lowlevel import ListenerProtocol

with target() as listener:
    protocol = ListenerProtocol()
    notification = bytearray(listener.sizes.notif)
    for _ in repeat(None, TOTAL):
        listener.receive_into(notification)
        exchange = protocol.received(notification)
        listener.send(exchange.answer(Return(ANSWER)))
        protocol.finished(exchange)
