"""What is sent, read once, in the layout of the calling ABI."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from tests.unit.calls.fake_memory import make_call
from unotify.abi.arch import Arch
from unotify.calls.messages import Control, Message, messages_of
from unotify.errors import BadAddress, Refused

HEAD, IOV, DATA, NAME, CONTROL = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
ABIS = pytest.mark.parametrize(
    "arch", [Arch.X86_64, Arch.I386, Arch.X32], ids=lambda arch: arch.label
)


def word(arch: Arch) -> str:
    """The format of a size."""
    return "Q" if arch is Arch.X86_64 else "I"


def header(
    arch: Arch, *, iovlen: int = 1, name: bytes = b"", control: bytes = b"", **more: int
) -> bytes:
    """A struct msghdr."""
    pad = "4x" if arch is Arch.X86_64 else ""
    w = word(arch)
    return struct.pack(
        f"<{w}i{pad}{w}{w}{w}{w}i{pad}",
        *(NAME if name else 0, more.get("namelen", len(name)), IOV, iovlen),
        *(CONTROL if control else 0, more.get("controllen", len(control)), 0),
    )


def sent(
    arch: Arch,
    head: bytes,
    pieces: list[bytes],
    *,
    call: str = "sendmsg",
    count: int = 0,
    **more: bytes,
) -> Any:
    """What a call sends."""
    memory = {HEAD: head, NAME: more.get("name", b""), CONTROL: more.get("control", b"")}
    vector, at = b"", DATA
    for piece in pieces:
        memory[at] = piece
        vector += struct.pack(f"<{word(arch)}{word(arch)}", at, len(piece))
        at += 0x10000
    return messages_of(make_call(call, 5, HEAD, count, arch=arch, memory=memory | {IOV: vector}))


def control(arch: Arch, level: int, kind: int, data: bytes) -> bytes:
    """One control message, padded."""
    size = arch.pointer
    raw = struct.pack(f"<{word(arch)}ii", size + 8 + len(data), level, kind) + data
    return raw + bytes(-len(raw) % size)


@ABIS
def test_pieces_and_a_name(arch: Arch) -> None:
    """The pieces are one message, with the address as its bytes."""
    name = b"\2\0" + bytes(14)
    (message,), outs = sent(arch, header(arch, iovlen=3, name=name), [b"a", b"", b"bc"], name=name)
    assert (message, outs) == (Message(b"abc", name), ())


@ABIS
def test_descriptors_and_other_controls(arch: Arch) -> None:
    """SCM_RIGHTS are numbers of the target; whatever else is passed on."""
    raw = control(arch, 1, 1, struct.pack("<3i", 0, 7, -1)) + control(arch, 41, 50, b"x" * 5)
    (message,), _ = sent(arch, header(arch, control=raw), [b"a"], control=raw)
    assert message.controls == (Control(1, 1, fds=(0, 7, -1)), Control(41, 50, b"x" * 5))


@ABIS
def test_several(arch: Arch) -> None:
    """Of sendmmsg each has a place where its length is told."""
    stride = 64 if arch is Arch.X86_64 else 32
    head = header(arch).ljust(stride, b"\0") + header(arch).ljust(stride, b"\0")
    messages, outs = sent(arch, head, [b"abc"], call="sendmmsg", count=2)
    assert [message.data for message in messages] == [b"abc", b"abc"]
    assert [out - HEAD for out in outs] == [len(header(arch)), stride + len(header(arch))]


@pytest.mark.parametrize(
    ("head", "number"),
    [
        (header(Arch.X86_64, iovlen=1025), errno.EMSGSIZE),
        (header(Arch.X86_64, control=b"x", controllen=1 << 17), errno.ENOBUFS),
        (header(Arch.X86_64, name=b"x", namelen=-1), errno.EINVAL),
    ],
)
def test_too_much(head: bytes, number: int) -> None:
    """What no message has is refused before it is read."""
    with pytest.raises(Refused) as caught:
        sent(Arch.X86_64, head, [b"a"])
    assert caught.value.errno == number


@pytest.mark.parametrize("length", [0, 15, 25])
def test_controls_that_do_not_fit(length: int) -> None:
    """One that is shorter than its head, or longer than all, is EINVAL."""
    raw = struct.pack("<Qii", length, 1, 1) + bytes(8)
    with pytest.raises(Refused) as caught:
        sent(Arch.X86_64, header(Arch.X86_64, control=raw), [b"a"], control=raw)
    assert caught.value.errno == errno.EINVAL


def test_too_many_descriptors() -> None:
    """SCM_MAX_FD."""
    raw = control(Arch.X86_64, 1, 1, bytes(4 * 254))
    with pytest.raises(Refused) as caught:
        sent(Arch.X86_64, header(Arch.X86_64, control=raw), [b"a"], control=raw)
    assert caught.value.errno == errno.EINVAL


def test_sendto() -> None:
    """Bytes, and an address that may be missing or too short for its family."""
    memory = {DATA: b"hello", NAME: b"\2\0\0"}
    call = make_call("sendto", 5, DATA, 5, 0, NAME, 3, memory=memory)
    assert messages_of(call)[0] == (Message(b"hello", b"\2\0\0"),)
    assert messages_of(make_call("sendto", 5, DATA, 5, memory=memory))[0] == (Message(b"hello"),)


def test_more_than_is_sent_at_once() -> None:
    """A stream takes the rest in the next call, so it is said that there is more."""
    size = (1 << 20) + 1
    call = make_call("sendto", 5, DATA, size, memory={DATA: bytes(size)})
    ((message,), _) = messages_of(call)
    assert (len(message.data), message.cut) == (1 << 20, True)


def test_what_cannot_be_read() -> None:
    """A piece that is not there is EFAULT."""
    with pytest.raises(BadAddress):
        messages_of(make_call("sendto", 5, DATA, 5, memory={DATA: b"hell"}))
