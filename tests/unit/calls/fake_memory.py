"""A target's memory that counts who looked at what, and calls made by such a target."""

from __future__ import annotations

from typing import Any

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.structs import NOTIF
from unotify.abi.types import Address
from unotify.calls import Call
from unotify.calls.call import decode
from unotify.errors import BadAddress, PathTooLong
from unotify.protocol import Exchange

__all__ = ["FakeCaller", "make_call"]


class FakeCaller:
    """Pieces of memory by address; all else is unmapped."""

    def __init__(self, pieces: dict[int, bytes] | None = None) -> None:
        self.pieces = dict(pieces or {})
        self.reads: list[tuple[int, int]] = []
        """Address and length of each look, in order; by whomever."""
        self.observer = self

    def read(self, address: Address, length: int) -> bytes:
        """Exactly *length* bytes, from one piece."""
        self.reads.append((address, length))
        for start, piece in self.pieces.items():
            if start <= address and address + length <= start + len(piece):
                return piece[address - start :][:length]
        raise BadAddress(f"{address:#x}")

    def read_string(self, address: Address, limit: int) -> bytes:
        """Up to a NUL within one piece."""
        self.reads.append((address, limit))
        for start, piece in self.pieces.items():
            if start <= address < start + len(piece):
                rest = piece[address - start :]
                if b"\0" in rest[:limit]:
                    return rest.split(b"\0", 1)[0]
                if len(rest) >= limit:
                    raise PathTooLong
        raise BadAddress(f"{address:#x}")


def make_call(
    name: str,
    *args: int,
    arch: Arch = Arch.X86_64,
    memory: dict[int, bytes] | None = None,
    caller: FakeCaller | None = None,
) -> Any:
    """The typed call *name* with *args* in its registers, and memory behind it."""
    nr = tables.number(name, arch)
    assert nr is not None, f"{name} has no number on {arch}"
    registers = [arg & 0xFFFFFFFFFFFFFFFF for arg in args]
    registers += [0] * (6 - len(registers))
    exchange = Exchange(NOTIF.pack(1, 100, 0, nr, arch.audit, 0, *registers))
    target = caller or FakeCaller(memory)
    call: Call = decode(exchange, lambda _: target)
    return call
