"""`unotify.lowlevel`: bytes in, bytes out."""

from __future__ import annotations

from itertools import repeat
from struct import Struct

from benchmarks.peers.spawned import target
from benchmarks.peers.target import ANSWER, TOTAL
from unotify.abi.structs import RESPONSE

ID = Struct("=Q")

with target() as listener:
    notification = bytearray(listener.sizes.notif)
    response = bytearray(listener.sizes.response)
    receive_into, send = listener.receive_into, listener.send
    id_of, answer = ID.unpack_from, RESPONSE.pack_into
    for _ in repeat(None, TOTAL):
        receive_into(notification)
        answer(response, 0, *id_of(notification), ANSWER, 0, 0)
        send(response)
