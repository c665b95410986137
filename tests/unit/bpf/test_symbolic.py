from __future__ import annotations

import pytest

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Instruction, Op, Program, SeccompData, simulate, trace
from unotify.bpf.instructions import and_, ja, jeq, jge, jgt, jset, ld_abs, ret
from unotify.bpf.symbolic import Box, paths, regions
from unotify.bpf.wordsets import FULL, WORDS, masked, span
from unotify.errors import InvalidProgram, NotExpressible

NR, ARCH, LOW, HIGH = 0, 4, 16, 20
X86_64 = Arch.X86_64.audit


def op(code: Op, k: int = 0) -> Instruction:
    """An instruction without jumps."""
    return Instruction(code, 0, 0, k)


def outcomes(*code: Instruction) -> dict[int, str]:
    """By action, the numbers that get it; each path and region checked by its witness."""
    found: dict[int, str] = {}
    for path in paths(code):
        witness = path.witness()
        assert witness in path.box
        assert simulate(code, witness) == path.action
        assert trace(code, witness) == list(path.executed)
    for region in regions(code):
        assert simulate(code, region.box.witness()) == region.action
        found[region.action] = str(region.box.nr)
    return found


def test_each_comparison_splits_the_numbers() -> None:
    """Equality, order and bits cut the numbers exactly where the kernel would."""
    assert outcomes(ld_abs(NR), jeq(5, 0, 1), ret(1), ret(2)) == {
        1: "0x5",
        2: "0x0..0x4, 0x6..0xffffffff",
    }
    assert outcomes(ld_abs(NR), jge(5, 0, 1), ret(1), ret(2)) == {
        1: "0x5..0xffffffff",
        2: "0x0..0x4",
    }
    assert outcomes(ld_abs(NR), jgt(5, 0, 1), ret(1), ret(2)) == {
        1: "0x6..0xffffffff",
        2: "0x0..0x5",
    }
    assert outcomes(ld_abs(NR), jset(0x80000000, 0, 1), ret(1), ret(2)) == {
        1: "0x80000000..0xffffffff",
        2: "0x0..0x7fffffff",
    }


def test_impossible_sides_are_left_out() -> None:
    """A test that is already decided, by a range or by masks, has one path."""
    code = (ld_abs(NR), jge(10, 0, 3), jeq(3, 1, 0), ret(1), ret(2), ret(3))
    assert outcomes(*code) == {1: "0xa..0xffffffff", 3: "0x0..0x9"}
    code = (ld_abs(LOW), jset(0x30, 0, 3), jset(0xF0, 0, 1), ret(1), ret(2), ret(3))
    assert set(outcomes(*code)) == {1, 3}


def test_constants_decide_jumps() -> None:
    """What is known without any input takes one way only."""
    assert outcomes(op(Op.LD_IMM, 6), jeq(6, 0, 1), ret(1), ret(2)) == {1: "0x0..0xffffffff"}
    assert set(outcomes(op(Op.LD_LEN), jgt(63, 0, 1), ret(1), ret(2))) == {1}
    assert set(outcomes(op(Op.LD_IMM, 8), op(Op.RET_A))) == {8}
    assert set(outcomes(ld_abs(NR), and_(0), jeq(0, 0, 1), ret(1), ret(2))) == {1}


def test_registers_and_memory_are_followed() -> None:
    """Values survive a detour by X and by scratch memory."""
    code = (
        ld_abs(NR),
        op(Op.TAX),
        op(Op.STX, 3),
        ld_abs(LOW),
        op(Op.ST, 4),
        op(Op.LDX_MEM, 3),
        op(Op.LD_MEM, 4),
        jeq(9, 0, 2),
        op(Op.TXA),
        jeq(7, 1, 0),
        ret(2),
        ret(1),
    )
    found = outcomes(*code)
    assert found[1] == "0x7"
    # Any number if the argument is not 9, and any other number if it is.
    assert sum(region.action == 2 for region in regions(code)) == 2
    assert (
        outcomes(op(Op.LDX_IMM, 5), ld_abs(NR), Instruction(Op.JEQ_X, 0, 1, 0), ret(1), ret(2))[1]
        == "0x5"
    )
    assert outcomes(op(Op.LDX_LEN), ld_abs(NR), Instruction(Op.JGE_X, 1, 0, 0), ret(1), ret(2)) == {
        1: "0x0..0x3f",
        2: "0x40..0xffffffff",
    }


@pytest.mark.parametrize(
    ("arithmetic", "hit"),
    [
        ([op(Op.ADD_K, 0xFFFFFFFE)], "0x9"),
        ([op(Op.SUB_K, 3)], "0xa"),
        ([op(Op.NEG), op(Op.ADD_K, 10)], "0x3"),
        ([op(Op.XOR_K, 0xF)], "0x8"),
        ([op(Op.RSH_K, 4)], "0x70..0x7f"),
        ([op(Op.LSH_K, 29), op(Op.RSH_K, 29), op(Op.XOR_K, 0x80000000), op(Op.NEG)], None),
        ([op(Op.OR_K, 0xFFFFFFF8), op(Op.AND_K, 15), op(Op.SUB_K, 1)], None),
        ([op(Op.TAX), op(Op.SUB_X), op(Op.ADD_K, 7)], "0x0..0xffffffff"),
    ],
)
def test_arithmetic_on_one_word(arithmetic: list[Instruction], hit: str | None) -> None:
    """Sums, shifts and bits of one word are followed exactly, by all numbers up to 1000."""
    code = (ld_abs(NR), *arithmetic, jeq(7, 0, 1), ret(1), ret(2))
    found = {region.action: region.box for region in regions(code)}
    if hit is not None:
        assert str(found[1].nr) == hit
    for nr in (*range(1000), FULL, 0x80000000):
        data = SeccompData(nr, X86_64)
        for action, box in found.items():
            assert (data in box) == (simulate(code, data) == action)


def test_bitmap_of_calls() -> None:
    """A filter that shifts a bit to the call's place in a word of a bitmap is followed."""
    code = (
        ld_abs(NR),
        op(Op.AND_K, 31),
        op(Op.TAX),
        op(Op.LD_IMM, 1),
        op(Op.LSH_X),
        op(Op.TAX),
        ld_abs(NR),
        op(Op.RSH_K, 5),
        jeq(1, 0, 3),
        op(Op.TXA),
        jset(0b1011, 0, 1),
        ret(1),
        ret(2),
    )
    assert outcomes(*code)[1] == "0x20..0x21, 0x23"


def test_division_by_zero_kills_the_thread() -> None:
    """A division by an X of 0 ends the program with 0."""
    code = (op(Op.LD_IMM, 8), op(Op.DIV_X), op(Op.RET_A))
    assert outcomes(*code) == {Action.KILL_THREAD: "0x0..0xffffffff"}


@pytest.mark.parametrize(
    "code",
    [
        (ld_abs(NR), op(Op.RET_A)),
        (ld_abs(NR), op(Op.MUL_K, 3), jeq(3, 0, 0), ret(1)),
        (ld_abs(NR), op(Op.TAX), ld_abs(LOW), Instruction(Op.JEQ_X, 0, 0, 0), ret(1)),
        (ld_abs(NR), op(Op.TAX), op(Op.LSH_X), ret(1)),
    ],
)
def test_what_cannot_be_followed_is_said(code: tuple[Instruction, ...]) -> None:
    """A program that computes too much is refused in words, not guessed at."""
    with pytest.raises(NotExpressible):
        list(paths(code))
    with pytest.raises(NotExpressible):
        regions(code)


def test_program_that_no_kernel_takes() -> None:
    """What the kernel would refuse has no paths."""
    for code in ((), (ld_abs(NR),), (ja(7), ret(1)), (ld_abs(3), ret(1))):
        with pytest.raises(InvalidProgram):
            regions(code)
        with pytest.raises(InvalidProgram):
            list(paths(Program(code)))


def test_regions_are_all_calls_once() -> None:
    """Regions do not overlap and leave nothing out, and are joined where they meet."""
    code = (
        ld_abs(ARCH),
        jeq(X86_64, 0, 7),
        ld_abs(NR),
        jeq(1, 4, 0),
        jeq(3, 3, 0),
        jge(9, 0, 3),
        ld_abs(LOW),
        jset(6, 1, 0),
        ret(1),
        ret(2),
    )
    found = regions(code)
    for at, region in enumerate(found):
        for other in found[at + 1 :]:
            overlap = zip(region.box.words, other.box.words, strict=True)
            assert not all(one & two for one, two in overlap)
    assert len(found) < len(list(paths(code)))
    for arch in (X86_64, 5):
        for nr in range(12):
            for low in range(8):
                data = SeccompData(nr, arch, (low, 0, 0, 0, 0, 0))
                (region,) = [region for region in found if data in region.box]
                assert region.action == simulate(code, data)


def test_shared_tails_do_not_multiply() -> None:
    """Where 2**24 paths share their tails, the regions are found at once."""
    code: list[Instruction] = []
    for at in range(24):
        code += [ld_abs(LOW + 4 * (at % 12)), jset(1 << at, 0, 0)]
    found = regions((*code, ret(1)))
    assert [(region.action, region.box) for region in found] == [(1, Box())]


def test_box_knows_its_arguments() -> None:
    """A box names the arguments that it restricts, by half and byte order."""
    box = Box().narrowed(5, span([(7, 9)]))
    assert box is not None
    assert box.tested == (0,)
    assert box.argument(0, little=True) == (span([(7, 9)]), WORDS)
    assert box.argument(0, little=False) == (WORDS, span([(7, 9)]))
    assert box.witness().args == (7 << 32, 0, 0, 0, 0, 0)
    big = box.narrowed(1, span([(Arch.S390X.audit,) * 2]))
    assert big is not None
    assert big.witness().args == (7, 0, 0, 0, 0, 0)
    assert box.narrowed(5, masked(FULL, 10, 20)) is None
