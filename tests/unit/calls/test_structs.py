from __future__ import annotations

import struct

import pytest

from unotify.abi.arch import Arch
from unotify.calls import structs
from unotify.calls.structs import LAYOUTS

X86_64, I386, X32, ARM64, M68K = Arch.X86_64, Arch.I386, Arch.X32, Arch.AARCH64, Arch.M68K
ARM, S390X, PPC, N32 = Arch.ARM, Arch.S390X, Arch.PPC, Arch.MIPS64N32


@pytest.mark.parametrize("arch", Arch)
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("open_how", 24),
        ("clone_args", 88),
        ("mount_attr", 32),
        ("sched_attr", 56),
        ("xattr_args", 16),
        ("mnt_id_req", 32),
        ("__kernel_timespec", 16),
        ("old_timespec32", 8),
        ("rlimit64", 16),
        ("pollfd", 8),
        ("__user_cap_header_struct", 8),
        ("futex_waitv", 24),
    ],
)
def test_sizes_that_all_architectures_share(arch: Arch, name: str, size: int) -> None:
    """Newer structs have one layout everywhere, as C's sizeof says."""
    assert LAYOUTS[name].format(arch).size == size


@pytest.mark.parametrize(
    ("name", "arch", "size"),
    [
        ("epoll_event", X86_64, 12),
        ("epoll_event", X32, 12),
        ("epoll_event", I386, 12),
        ("epoll_event", M68K, 12),
        ("epoll_event", ARM64, 16),
        ("epoll_event", ARM, 16),
        ("epoll_event", S390X, 16),
        ("msghdr", X86_64, 56),
        ("msghdr", S390X, 56),
        ("msghdr", I386, 28),
        ("msghdr", ARM, 28),
        ("msghdr", X32, 28),
        ("user_msghdr", N32, 28),
        ("compat_msghdr", X32, 28),
        ("iovec", X86_64, 16),
        ("iovec", I386, 8),
        ("iovec", X32, 8),
        ("timespec", X86_64, 16),
        ("timespec", I386, 8),
        ("timespec", X32, 16),
        ("__kernel_old_timeval", ARM64, 16),
        ("__kernel_old_timeval", PPC, 8),
        ("utimbuf", X86_64, 16),
        ("utimbuf", I386, 8),
        ("rlimit", ARM64, 16),
        ("rlimit", I386, 8),
        ("rlimit", N32, 8),
    ],
)
def test_sizes_that_differ(name: str, arch: Arch, size: int) -> None:
    """Pointers, longs and alignment are those of the calling ABI, as C's sizeof says."""
    assert LAYOUTS[name].format(arch).size == size


def test_offsets_follow_the_abi() -> None:
    """Padding goes where the compiler puts it: the data of an epoll_event at 4, or at 8."""
    packed = struct.pack("<IQ", 1, 0xAABB)
    assert LAYOUTS["epoll_event"].decode(packed, X86_64) == structs.EpollEvent(1, 0xAABB)
    assert LAYOUTS["epoll_event"].decode(packed, I386) == structs.EpollEvent(1, 0xAABB)
    natural = struct.pack("<IxxxxQ", 1, 0xAABB)
    assert LAYOUTS["epoll_event"].decode(natural, ARM64) == structs.EpollEvent(1, 0xAABB)


def test_msghdr_of_both_widths() -> None:
    """The seven fields, padded or not."""
    header = structs.MsgHdr(0x1000, 16, 0x2000, 2, 0x3000, 24, 5)
    wide = struct.pack("<QixxxxQQQQIxxxx", *header)
    narrow = struct.pack("<IiIIIII", *header)
    assert LAYOUTS["user_msghdr"].decode(wide, X86_64) == header
    assert LAYOUTS["user_msghdr"].decode(narrow, I386) == header


def test_byte_order_is_the_targets() -> None:
    """A big-endian target's struct is read as such."""
    assert LAYOUTS["timespec"].decode(struct.pack(">qq", 3, 4), S390X) == structs.TimeSpec(3, 4)
    assert LAYOUTS["timespec"].decode(struct.pack(">ii", -3, 4), PPC) == structs.TimeSpec(-3, 4)


def test_extensible_structs_grow_and_shrink() -> None:
    """Fewer bytes are filled up with zeros, more are kept in `extra`."""
    layout = LAYOUTS["open_how"]
    assert layout.decode(struct.pack("<Q", 7), X86_64) == structs.OpenHow(7, 0, 0)
    whole = layout.decode(struct.pack("<QQQ", 7, 8, 9) + b"new", X86_64)
    assert whole == structs.OpenHow(7, 8, 9, b"new")


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_makes_its_tuple_on_each_architecture(name: str) -> None:
    """Fields and tuple have the same length, whatever the architecture."""
    layout = LAYOUTS[name]
    for arch in Arch:
        value = layout.decode(bytes(layout.format(arch).size), arch)
        assert type(value) is layout.make
        assert not any(value)
