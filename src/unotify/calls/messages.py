"""What sendto, sendmsg and sendmmsg send: bytes, a name and descriptors, each read once."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from unotify.abi.types import Address
from unotify.calls.call import Call
from unotify.calls.structs import LAYOUTS
from unotify.errors import Refused

__all__ = ["Control", "Message", "address_of", "messages_of"]

_MOST: Final = 1 << 20
"""The most bytes that are read of one message; a stream takes the rest in a later call."""

_IOV_MAX: Final = 1024
_CONTROL_MAX: Final = 1 << 16
_SOL_SOCKET: Final = 1
_SCM_RIGHTS: Final = 1
_SCM_MAX_FD: Final = 253


@dataclass(frozen=True, slots=True)
class Control:
    """One control message; of SCM_RIGHTS *fds* are the target's descriptors, and *data* empty."""

    level: int
    kind: int
    data: bytes = b""
    fds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        data: Its bytes.
        address: A ``struct sockaddr``, or empty.
        controls: Its control messages.
        cut: There was more than is sent at once; only a stream may be cut.
    """

    data: bytes
    address: bytes = b""
    controls: tuple[Control, ...] = ()
    cut: bool = False


def messages_of(call: Call) -> tuple[tuple[Message, ...], tuple[Address, ...]]:
    """Read what *call* sends, and where the kernel would write how much of each it took.

    Raises:
        TargetError: It cannot be read, or is nonsense.
    """
    match call.call_name:
        case "sendmsg":
            header: Any = call.msg  # type: ignore[attr-defined]
            return (_message(call, header),), ()
        case "sendmmsg":
            return _several(call)
    return (_plain(call),), ()


def _plain(call: Call) -> Message:
    size = call.register("size")
    # What a rule has looked at is what is sent.
    data = call.copies.get("buf")
    if data is None:
        data = _read(call, call.register("buf"), min(size, _MOST))
    address = b""
    if call.call_name == "sendto" and call.register("address"):
        address = address_of(call)
    return Message(data, address, cut=size > _MOST)


def address_of(call: Call) -> bytes:
    """The ``struct sockaddr`` that *call* points to, as its bytes; the kernel judges them.

    Raises:
        TargetError: They cannot be read, or are more than any address has.
    """
    try:
        call.address  # type: ignore[attr-defined]  # noqa: B018 - read, and its bytes kept
    except Refused:
        # What is too short for its family may have another errno than that.
        if "address.raw" not in call.copies:
            raise
    raw: bytes = call.copies["address.raw"]
    return raw


def _several(call: Call) -> tuple[tuple[Message, ...], tuple[Address, ...]]:
    layout = LAYOUTS["user_msghdr"].format(call.arch)
    # msg_len follows, and the whole is aligned as a pointer is.
    stride = -(-(layout.size + 4) // call.arch.pointer) * call.arch.pointer
    count = min(call.register("vlen"), _IOV_MAX)
    start = call.register("msgvec")
    messages: list[Message] = []
    lengths: list[Address] = []
    size = fds = 0
    for at in range(start, start + count * stride, stride):
        message = _message(call, _read_header(call, at))
        size += len(message.data) + sum(len(control.data) for control in message.controls)
        fds += sum(len(control.fds) for control in message.controls)
        if messages and (size > _MOST or fds > _SCM_MAX_FD):
            break  # the kernel may send fewer than it was asked to, too
        messages.append(message)
        lengths.append(Address(at + layout.size))
    return tuple(messages), tuple(lengths)


def _read_header(call: Call, address: int) -> Any:
    layout = LAYOUTS["user_msghdr"]
    raw = call.caller.read(Address(address), layout.format(call.arch).size)
    return layout.decode(raw, call.arch)


def _message(call: Call, header: Any) -> Message:
    if header.iovlen > _IOV_MAX:
        raise Refused(f"{header.iovlen} pieces of a message", errno=errno.EMSGSIZE)
    if header.controllen > _CONTROL_MAX:
        raise Refused("control messages of more than 64 KiB", errno=errno.ENOBUFS)
    address = b""
    if header.name and header.namelen:
        if header.namelen < 0:
            raise Refused("the length of an address", errno=errno.EINVAL)
        address = _read(call, header.name, min(header.namelen, 128))
    layout = LAYOUTS["iovec"]
    size = layout.format(call.arch).size
    raw = _read(call, header.iov, size * header.iovlen)
    pieces, left, cut = [], _MOST, False
    for at in range(0, len(raw), size):
        vector = layout.decode(raw[at : at + size], call.arch)
        cut = cut or vector.length > left
        pieces.append(_read(call, vector.base, min(vector.length, left)))
        left -= len(pieces[-1])
    control = _read(call, header.control, header.controllen) if header.control else b""
    controls = tuple(_controls(call, control))
    if sum(len(each.fds) for each in controls) > _SCM_MAX_FD:
        raise Refused("too many descriptors in one message", errno=errno.EINVAL)
    return Message(b"".join(pieces), address, controls, cut)


def _controls(call: Call, raw: bytes) -> Iterator[Control]:
    order = "little" if call.arch.little else "big"
    word = call.arch.pointer
    head = word + 8

    def number(at: int, size: int) -> int:
        return int.from_bytes(raw[at : at + size], order, signed=size == 4)  # type: ignore[arg-type]

    at = 0
    while at + head <= len(raw):
        length = number(at, word)
        if not head <= length <= len(raw) - at:
            raise Refused("a control message that does not fit", errno=errno.EINVAL)
        level, kind, data = (
            number(at + word, 4),
            number(at + word + 4, 4),
            raw[at + head : at + length],
        )
        if (level, kind) == (_SOL_SOCKET, _SCM_RIGHTS):
            fds = tuple(number(at + head + offset, 4) for offset in range(0, len(data) // 4 * 4, 4))
            yield Control(level, kind, fds=fds)
        else:
            yield Control(level, kind, data)
        at += -(-length // word) * word


def _read(call: Call, address: int, length: int) -> bytes:
    data: bytes = call.caller.read(Address(address), length) if length else b""
    return data
