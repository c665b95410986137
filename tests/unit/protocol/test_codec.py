from __future__ import annotations

import struct

import pytest

from unotify.abi.structs import NOTIF_SIZES, NotifSizes
from unotify.abi.types import NotificationId
from unotify.errors import KernelProtocolError, LocalProtocolError
from unotify.protocol import Exchange, Fail, check_sizes, encode_addfd, pad_response

ID = NotificationId((1 << 63) + 7)


def test_our_sizes_are_those_of_the_first_kernel() -> None:
    """80, 24 and 64 bytes, and such a kernel is served."""
    assert NOTIF_SIZES == (80, 24, 64)
    assert check_sizes(NOTIF_SIZES) is NOTIF_SIZES


def test_larger_structs_are_fine() -> None:
    """A newer kernel's structs grow at their ends only."""
    sizes = NotifSizes(96, 32, 80)
    assert check_sizes(sizes) == sizes


@pytest.mark.parametrize("field", NotifSizes._fields)
def test_a_smaller_struct_cannot_be_served(field: str) -> None:
    """The error names the struct, and both sizes."""
    ours = getattr(NOTIF_SIZES, field)
    with pytest.raises(KernelProtocolError, match=rf"'{field}' has {ours - 8} .* {ours} ") as error:
        check_sizes(NOTIF_SIZES._replace(**{field: ours - 8}))
    assert error.value.hint


def test_sizes_are_read_from_six_bytes() -> None:
    """GET_NOTIF_SIZES fills in three u16."""
    assert NotifSizes.unpack(struct.pack("=HHH", 80, 24, 64)) == NOTIF_SIZES


def test_responses_are_padded_with_zeros() -> None:
    """What a newer kernel would read beyond our struct is zero."""
    response = bytes(Exchange(bytes(80)).answer(Fail(1)))
    assert pad_response(response, NOTIF_SIZES) == response
    assert pad_response(response, NotifSizes(80, 40, 64)) == response + bytes(16)
    assert len(pad_response(response, NotifSizes(80, 8, 64))) == 24


def test_addfd_for_the_lowest_free_number() -> None:
    """A3, A4: without at= there is no SETFD flag and newfd is zero."""
    raw = encode_addfd(ID, 5, at=None, cloexec=False)
    assert struct.unpack("=QIIII", raw) == (ID, 0, 5, 0, 0)


def test_addfd_at_zero_is_not_addfd_anywhere() -> None:
    """A3: at=0 replaces the target's descriptor 0."""
    raw = encode_addfd(ID, 5, at=0, cloexec=False)
    assert struct.unpack("=QIIII", raw) == (ID, 1, 5, 0, 0)


def test_addfd_cloexec_is_the_architectures_flag() -> None:
    """A4: O_CLOEXEC is the only flag, and differs on some architectures."""
    assert struct.unpack("=QIIII", encode_addfd(ID, 5, at=9, cloexec=True)) == (
        ID,
        1,
        5,
        9,
        0o2000000,
    )
    other = encode_addfd(ID, 5, at=9, cloexec=True, o_cloexec=0o10000000)
    assert struct.unpack("=QIIII", other)[4] == 0o10000000


@pytest.mark.parametrize(("fd", "at"), [(-1, None), (1 << 32, None), (3, -1), (3, 1 << 32)])
def test_addfd_refuses_what_does_not_fit(fd: int, at: int | None) -> None:
    """A number that its field cannot hold is our own mistake, told as such."""
    with pytest.raises(LocalProtocolError, match="ADDFD"):
        encode_addfd(ID, fd, at=at, cloexec=True)
