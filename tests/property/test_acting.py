"""What travels as bytes comes back as it was: socket addresses, acts, outcomes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from unotify.calls import (
    Inet6Address,
    InetAddress,
    NetlinkAddress,
    OtherAddress,
    SocketAddress,
    UnixAddress,
    VsockAddress,
)
from unotify.calls.acts import Act, Out
from unotify.calls.layouts import Answer
from unotify.calls.lookups import Spot
from unotify.calls.messages import Control, Message
from unotify.calls.sockaddr import decode_sockaddr, encode_sockaddr
from unotify.kernel.acts import Outcome
from unotify.kernel.packing import pack_act, pack_outcome, unpack_act, unpack_outcome

U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
ADDRESSES: st.SearchStrategy[SocketAddress] = st.one_of(
    st.builds(InetAddress, st.integers(0, 2**32 - 1).map(IPv4Address), U16),
    st.builds(Inet6Address, st.integers(0, 2**128 - 1).map(IPv6Address), U16, U32, U32),
    st.builds(UnixAddress, st.binary(min_size=1, max_size=107).filter(lambda b: b"\0" not in b)),
    st.builds(UnixAddress, st.none(), st.binary(max_size=107)),
    st.just(UnixAddress(None)),
    st.builds(NetlinkAddress, U32, U32),
    st.builds(VsockAddress, U32, U32),
    st.builds(
        OtherAddress, U16.filter(lambda f: f not in (1, 2, 10, 16, 40)), st.binary(max_size=126)
    ),
)


@given(ADDRESSES, st.booleans())
def test_addresses(address: SocketAddress, little: bool) -> None:
    """Put together and taken apart, in either byte order."""
    assert decode_sockaddr(encode_sockaddr(address, little=little), little=little) == address


NAMES = st.text("abc", min_size=1, max_size=3)
INTS = st.integers(-(2**31), 2**63)
ACTS = st.builds(
    Act,
    NAMES,
    NAMES,
    st.dictionaries(NAMES, st.none() | INTS | st.binary(max_size=9)),
    st.dictionaries(
        NAMES,
        st.builds(Spot, st.binary(), INTS, st.booleans(), st.booleans(), INTS, st.booleans()),
    ),
    outs=st.dictionaries(NAMES, st.builds(Out, st.just(0), INTS, st.just(Answer()))),
    messages=st.lists(
        st.builds(
            Message,
            st.binary(),
            st.binary(),
            st.lists(st.builds(Control, INTS, INTS, st.binary(), st.tuples(INTS))).map(tuple),
            st.booleans(),
        )
    ).map(tuple),
    real_ids=st.booleans(),
    returns_fd=st.booleans(),
)


@given(ACTS, st.lists(NAMES), st.dictionaries(NAMES, st.binary()), INTS, INTS)
def test_acts(act: Act, fds: list[str], pins: dict[str, bytes], tid: int, limit: int) -> None:
    """An act that goes to another process is the same there, but for where its answers go."""
    packed = pack_act(act, fds, pins, tid=tid, tgid=7, limits=(True, limit))
    *found, told = unpack_act(packed)
    assert found == [act, fds, pins]
    assert (told["tid"], told["tgid"], told["limits"]) == (tid, 7, [True, limit])


@given(INTS, st.dictionaries(NAMES, st.binary()), st.none() | st.text(), st.integers(-1, 9))
def test_outcomes(value: int, outs: dict[str, bytes], refused: str | None, fd: int) -> None:
    """What came of it comes back, with the descriptor that came beside it."""
    packed = pack_outcome(Outcome(value, 77, outs), refused)
    assert unpack_outcome(packed, fd) == (Outcome(value, fd, outs), refused)
