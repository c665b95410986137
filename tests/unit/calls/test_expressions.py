from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.constants import MountFlags, OpenFlags
from unotify.bpf import And, Compare, CompareOp, In, Not, Or, evaluate
from unotify.calls import (
    Bind,
    Chmod,
    Fchown,
    Kill,
    Lseek,
    Mmap,
    Mount,
    OpenAt,
    Pwrite64,
    Where,
    as_where,
)
from unotify.errors import NotExpressible

X86_64, I386 = Arch.X86_64, Arch.I386


def holds(where: object, *args: int, arch: Arch = X86_64) -> bool:
    """Whether *where* holds for these registers."""
    registers = [arg & 0xFFFFFFFFFFFFFFFF for arg in args] + [0] * (6 - len(args))
    return evaluate(as_where(where).lower(arch), registers, bits=arch.bits)


@pytest.mark.parametrize(
    ("make", "op", "text"),
    [
        (lambda: Kill.sig == 9, CompareOp.EQ, "kill.sig == 9"),
        (lambda: Kill.sig != 9, CompareOp.NE, "kill.sig != 9"),
        (lambda: Kill.sig < 9, CompareOp.LT, "kill.sig < 9"),
        (lambda: Kill.sig <= 9, CompareOp.LE, "kill.sig <= 9"),
        (lambda: Kill.sig > 9, CompareOp.GT, "kill.sig > 9"),
        (lambda: Kill.sig >= 9, CompareOp.GE, "kill.sig >= 9"),
        (
            lambda: 9 == Kill.sig,  # noqa: SIM300
            CompareOp.EQ,
            "kill.sig == 9",
        ),
        (lambda: 9 > Kill.sig, CompareOp.LT, "kill.sig < 9"),  # noqa: SIM300
    ],
)
def test_comparisons(make: Callable[[], Where], op: CompareOp, text: str) -> None:
    """Each operator becomes one comparison of the right register, either way round."""
    where = make()
    assert where.lower(X86_64) == Compare(1, op, 9, bits=32, signed=True)
    assert where.text == text
    assert repr(where) == f"<Where {text}>"


def test_masks() -> None:
    """A mask compares part of a register; alone it means "any of these bits"."""
    bind = Mount.flags & MountFlags.MS_BIND
    assert as_where(bind).lower(X86_64) == Compare(3, CompareOp.NE, 0, mask=4096)
    assert as_where(bind).text == "(mount.flags & 0x1000) != 0"
    both = (Mount.flags & 0x30) == 0x10
    assert holds(both, 0, 0, 0, 0x1F)
    assert not holds(both, 0, 0, 0, 0x30)
    assert holds((Mount.flags & 0x30) != 0x10, 0, 0, 0, 0x30)
    assert holds(Mount.flags & 0x30 & 0x20, 0, 0, 0, 0x20)
    assert not holds(Mount.flags & 0x30 & 0x20, 0, 0, 0, 0x10)


def test_combinators() -> None:
    """``&``, ``|`` and ``~`` mean and, or and not; masks take part."""
    one, bits = Kill.pid == 1, Kill.sig & 8
    assert (one & bits).lower(X86_64) == And((one.lower(X86_64), bits.any.lower(X86_64)))
    assert (one | bits).lower(X86_64) == Or((one.lower(X86_64), bits.any.lower(X86_64)))
    assert (~one).lower(X86_64) == Not(one.lower(X86_64))
    assert (bits & one).lower(X86_64) == And((bits.any.lower(X86_64), one.lower(X86_64)))
    assert holds(~bits, 0, 7)
    assert holds(bits | one, 1, 0)
    assert (one & ~(one | bits)).text == (
        "(kill.pid == 1 and not (kill.pid == 1 or (kill.sig & 0x8) != 0))"
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: (Kill.pid == 1) and (Kill.sig == 2),
        lambda: (Kill.pid == 1) or (Kill.sig == 2),
        lambda: not (Kill.pid == 1),  # noqa: SIM201
        lambda: 0 < Kill.sig < 9,
        lambda: Kill.sig in (1, 2),
        lambda: (Kill.sig & 8) and (Kill.pid == 1),
        lambda: not (Kill.sig & 8),
    ],
)
def test_words_are_refused(make: Callable[[], object]) -> None:
    """Python's own ``and``, ``or``, ``not``, ``in`` and chains would drop half a condition."""
    with pytest.raises(TypeError, match="not with words"):
        make()


@pytest.mark.parametrize("value", [True, 1.0, "1", None, b"x", [1]])
def test_registers_are_compared_with_ints(value: Any) -> None:
    """A register holds a number, and a bool is a mistake."""
    for make in (
        lambda: Kill.pid == value,
        lambda: Kill.pid & value,
        lambda: Kill.pid.in_([value]),
        lambda: (Kill.pid & 1) == value,
    ):
        with pytest.raises(NotExpressible, match="int"):
            make()


def test_a_mask_takes_no_bool() -> None:
    """``(flags & A) & (a == b)`` of two plain values is a bool, and a mistake."""
    with pytest.raises(NotExpressible):
        (Kill.sig & 8) & True


@pytest.mark.parametrize("value", [True, False, None, 1, "x", lambda: 1, Kill.pid])
def test_as_where_takes_conditions(value: object) -> None:
    """A Python bool comes from comparing two values; it is no condition."""
    with pytest.raises(NotExpressible, match="condition on registers") as caught:
        as_where(value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "make",
    [
        lambda: OpenAt.path == "/etc",
        lambda: OpenAt.path == 0,
        lambda: Mount.data != 0,
        lambda: Bind.address < 1,
        lambda: OpenAt.path & 1,
        lambda: OpenAt.path.in_(["/etc"]),
    ],
)
def test_memory_is_not_expressible(make: Callable[[], object]) -> None:
    """A filter sees the address only, so a question about what is there is refused at once."""
    with pytest.raises(NotExpressible, match="memory") as caught:
        make()
    assert caught.value.hint


def test_null_is_expressible() -> None:
    """Whether the pointer is NULL is in the register."""
    where = Mount.data.is_null()
    assert holds(where, 1, 2, 3, 4, 0)
    assert not holds(where, 1, 2, 3, 4, 1 << 40)
    assert holds(where, 1, 2, 3, 4, 1 << 40, arch=I386)
    assert where.text == "mount.data == 0"


def test_membership() -> None:
    """One of several values."""
    where = Kill.sig.in_(range(1, 4))
    assert where.lower(X86_64) == In(1, frozenset({1, 2, 3}), bits=32)
    assert where.text == "kill.sig in (1, 2, 3)"


def test_signed_arguments_are_compared_signed() -> None:
    """A pid of -1 is below 0; its upper half does not count."""
    assert holds(Kill.pid < 0, 0xFFFFFFFF)
    assert holds(Kill.pid == -1, 0x12345678FFFFFFFF)
    assert not holds(Kill.pid < 0, 1 << 40)
    assert holds(Lseek.offset < 0, 3, -1)


def test_wide_arguments_have_the_register_width() -> None:
    """B3: a long has 64 bits, or 32 on a 32-bit ABI, whose upper halves are dirt."""
    where = Mount.flags == 4096
    assert not holds(where, 0, 0, 0, (1 << 32) | 4096)
    assert holds(where, 0, 0, 0, (1 << 32) | 4096, arch=I386)


def test_a_mode_has_16_bits() -> None:
    """B3: the kernel cuts a umode_t to 16 bits, so dirt above must not hide it from a filter."""
    dirty = 0x10000 | 0o4755
    assert holds(Chmod.mode == 0o4755, 0, dirty)
    assert holds(Chmod.mode.in_([0o4755, 0o755]), 0, dirty)
    assert not holds(Chmod.mode != 0o4755, 0, dirty)
    assert not holds(Chmod.mode > 0o7777, 0, dirty)
    assert holds((Chmod.mode & 0o7777) == 0o4755, 0, dirty)
    with pytest.raises(NotExpressible):
        as_where(Chmod.mode & 0x10000).lower(X86_64)
    assert holds(Chmod.mode == 0o4755, 0, dirty, arch=I386)


def test_old_uids_have_16_bits() -> None:
    """B3: the uids of i386's first calls are 16 bits wide there and 32 elsewhere."""
    assert holds(Fchown.owner == 7, 0, 0x10007, arch=I386)
    assert not holds(Fchown.owner == 7, 0, 0x10007)


def test_flags_are_spelled_as_the_architecture_does() -> None:
    """O_DIRECTORY is another bit on aarch64: the filter there looks at that one."""
    where = OpenAt.flags & OpenFlags.O_DIRECTORY
    x86, arm64 = as_where(where).lower(X86_64), as_where(where).lower(Arch.AARCH64)
    assert isinstance(x86, Compare)
    assert isinstance(arm64, Compare)
    assert (x86.mask, arm64.mask) == (0o200000, 0o40000)


@pytest.mark.parametrize(
    ("where", "arch"),
    [(Pwrite64.offset == 0, I386), (Mmap.prot & 4, I386), (Pwrite64.offset == 0, Arch.ARM)],
)
def test_arguments_that_an_architecture_lacks(where: object, arch: Arch) -> None:
    """B6: a value in two registers, or behind a pointer, is no single register there."""
    as_where(where).lower(X86_64)
    with pytest.raises(NotExpressible, match=arch.label):
        as_where(where).lower(arch)
    assert tables.number("pwrite64", arch) is not None
