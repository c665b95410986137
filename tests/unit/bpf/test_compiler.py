from __future__ import annotations

from typing import Any

import pytest

from unotify.abi.arch import X32_BIT, Arch
from unotify.abi.seccomp import BPF_MAXINSNS, Action
from unotify.bpf import (
    Always,
    Compare,
    CompareOp,
    In,
    Op,
    Program,
    SeccompData,
    check_program,
    compile_filter,
    disassemble,
    is_constant_allow,
    simulate,
    trace,
)
from unotify.errors import Conflict, FilterTooLarge, NotExpressible

EQ, NE, GE = CompareOp.EQ, CompareOp.NE, CompareOp.GE
ALLOW, NOTIFY, KILL = Action.ALLOW, Action.USER_NOTIF, Action.KILL_PROCESS
EPERM = Action.ERRNO | 1
X86_64, I386 = Arch.X86_64.audit, Arch.I386.audit


def verdict(program: Program, nr: int, arch: int = X86_64, *args: int) -> int:
    """What *program* returns for a call."""
    return simulate(program, SeccompData(nr, arch, (*args, *[0] * (6 - len(args)))))


def test_golden_text_of_a_small_filter() -> None:
    """The whole of a small program: architecture, number, then the one argument that matters."""
    program = compile_filter(
        {Arch.X86_64: {165: NOTIFY, 59: [(Compare(0, EQ, 0), EPERM), ALLOW]}}, default=ALLOW
    )
    assert disassemble(program) == (
        "        A = arch\n"
        "        if A != 0xc000003e goto L14\n"
        "        A = nr\n"
        "        if A < 0x40000000 goto L5\n"
        "        if A >= 0x80000000 goto L13 else goto L14\n"
        "L5:     if A != 0x3b goto L11\n"
        "        A = high(args[0])\n"
        "        if A != 0x0 goto L13\n"
        "        A = low(args[0])\n"
        "        if A != 0x0 goto L13\n"
        "        return ERRNO(1)\n"
        "L11:    if A != 0xa5 goto L13\n"
        "        return USER_NOTIF\n"
        "L13:    return ALLOW\n"
        "L14:    return KILL_PROCESS\n"
    )


def test_each_architecture_has_its_own_numbers() -> None:
    """B2: the same number is decided by the table of the architecture it came by."""
    program = compile_filter(
        {Arch.X86_64: {2: NOTIFY}, Arch.I386: {5: NOTIFY, 2: EPERM}}, default=ALLOW
    )
    check_program(program)
    assert [verdict(program, nr) for nr in (2, 5)] == [NOTIFY, ALLOW]
    assert [verdict(program, nr, I386) for nr in (2, 5)] == [EPERM, NOTIFY]
    assert verdict(program, 2, Arch.AARCH64.audit) == KILL


def test_unknown_and_negative_numbers_take_the_default() -> None:
    """B1: -1, huge numbers and gaps are decided like any number that is not listed."""
    program = compile_filter({Arch.X86_64: {1: NOTIFY}}, default=EPERM)
    for nr in (0, 2, 9999, X32_BIT - 1, 2 * X32_BIT, -1, 0xFFFFFFFF):
        assert verdict(program, nr) == EPERM, nr
    listed = compile_filter({Arch.X86_64: {0xFFFFFFFF: NOTIFY, 0: ALLOW}}, default=EPERM)
    assert [verdict(listed, nr) for nr in (-1, 0, -2)] == [NOTIFY, ALLOW, EPERM]


def test_x32_numbers_are_told_apart() -> None:
    """B4: x32 shares the audit value of x86-64; its numbers need a table or get `x32`."""
    ends = (X32_BIT, X32_BIT | 1, 2 * X32_BIT - 1)
    program = compile_filter({Arch.X86_64: {1: NOTIFY}}, default=ALLOW)
    assert {verdict(program, nr) for nr in ends} == {KILL}
    program = compile_filter({Arch.X86_64: {1: NOTIFY}}, default=ALLOW, x32=EPERM)
    assert {verdict(program, nr) for nr in ends} == {EPERM}
    both = compile_filter({Arch.X86_64: {1: NOTIFY}, Arch.X32: {X32_BIT | 1: EPERM}}, default=ALLOW)
    assert [verdict(both, nr) for nr in (1, *ends)] == [NOTIFY, ALLOW, EPERM, ALLOW]
    alone = compile_filter({Arch.X32: {X32_BIT | 1: EPERM}}, default=ALLOW)
    assert [verdict(alone, nr) for nr in (1, *ends, -1)] == [KILL, ALLOW, EPERM, ALLOW, KILL]


def test_default_of_each_architecture() -> None:
    """A mapping gives each architecture its own default."""
    program = compile_filter(
        {Arch.X86_64: {}, Arch.I386: {}}, default={Arch.X86_64: ALLOW, Arch.I386: EPERM}
    )
    assert verdict(program, 1) == ALLOW
    assert verdict(program, 1, I386) == EPERM


def test_pairs_are_tried_in_order() -> None:
    """The first pair that holds decides, else the final action; an argument may be in several."""
    program = compile_filter(
        {
            Arch.X86_64: {
                1: [
                    (Compare(0, EQ, 5), Action.ERRNO | 5),
                    (Compare(0, GE, 3), Action.ERRNO | 3),
                    (Compare(1, NE, 0), Action.ERRNO | 9),
                    ALLOW,
                ]
            }
        },
        default=EPERM,
    )
    found = [verdict(program, 1, X86_64, first, second) for first in (2, 4, 5) for second in (0, 1)]
    assert found == [ALLOW, Action.ERRNO | 9, *[Action.ERRNO | 3] * 2, *[Action.ERRNO | 5] * 2]


def test_plain_allow_is_constant_for_the_kernel() -> None:
    """Calls whose verdict needs no argument stay in the kernel's bitmap, the others do not."""
    tables = {
        Arch.X86_64: {
            **dict.fromkeys(range(300), ALLOW),
            59: [(In(0, (1, 2)), EPERM), ALLOW],
            60: [(Compare(0, EQ, 1), ALLOW), ALLOW],
            61: [(Always(), ALLOW), EPERM],
        },
        Arch.I386: dict.fromkeys(range(0, 300, 2), ALLOW),
    }
    program = compile_filter(tables, default=EPERM)
    assert [nr for nr in range(400) if not is_constant_allow(program, X86_64, nr)] == [
        59,
        *range(300, 400),
    ]
    assert [nr for nr in range(400) if is_constant_allow(program, I386, nr)] == [*range(0, 300, 2)]


def test_condition_that_decides_nothing_costs_nothing() -> None:
    """A pair with the action that follows anyway does not set its call apart from others."""
    plain = dict.fromkeys(range(20), ALLOW)
    idle = {**plain, 10: [(Compare(0, EQ, 1), ALLOW), (Compare(1, EQ, 1), ALLOW), ALLOW]}
    assert compile_filter({Arch.X86_64: idle}, default=EPERM) == compile_filter(
        {Arch.X86_64: plain}, default=EPERM
    )


def test_first_architecture_is_tested_first() -> None:
    """The order of the tables is the order of the tests: the usual architecture goes first."""
    for first, second in ((Arch.ARM, Arch.PPC), (Arch.PPC, Arch.ARM)):
        program = compile_filter({first: {1: NOTIFY}, second: {1: EPERM}}, default=ALLOW)
        steps = [len(trace(program, SeccompData(1, arch.audit))) for arch in (first, second)]
        assert steps[0] < steps[1]


def test_nothing_to_decide_is_one_return() -> None:
    """Equal actions everywhere make one instruction, without a load."""
    program = compile_filter({Arch.AARCH64: {5: ALLOW}}, default=ALLOW, bad_arch=ALLOW)
    assert len(program) == 1
    assert compile_filter({}, default=ALLOW, bad_arch=KILL).instructions[0].k == KILL


def test_equal_tails_are_shared_between_architectures() -> None:
    """A condition that several calls and ABIs have in common is code once."""
    cases = [(In(0, tuple(range(0, 100, 2)), bits=32), EPERM), ALLOW]
    one = len(compile_filter({Arch.X86_64: {7: cases}}, default=ALLOW))
    many = compile_filter(
        {Arch.X86_64: {7: cases, 90: cases}, Arch.I386: {7: cases}, Arch.AARCH64: {7: cases}},
        default=ALLOW,
    )
    assert len(many) < one + 12


def container_profile() -> dict[int, Any]:
    """334 plain calls between 26 gaps, and three that look at arguments."""
    table: dict[int, Any] = {nr: ALLOW for nr in range(363) if nr % 14 != 5}
    table[135] = [(In(0, (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)), ALLOW), EPERM]
    table[56] = [(Compare(0, EQ, 0, mask=0x7E020000), ALLOW), EPERM]
    table[41] = [(Compare(0, NE, 40), ALLOW), EPERM]
    return table


def test_container_profile_is_small_and_shallow() -> None:
    """A profile of the usual size takes at most 73 instructions, 10 of them for a plain call."""
    table = container_profile()
    plain = [nr for nr, action in table.items() if action == ALLOW]
    assert len(plain) == 334
    program = compile_filter({Arch.X86_64: table}, default=EPERM)
    assert len(program) <= 73
    assert max(len(trace(program, SeccompData(nr, X86_64))) for nr in plain) <= 10
    assert max(len(trace(program, SeccompData(nr, X86_64))) for nr in range(500)) <= 18


def test_large_table_with_far_jumps() -> None:
    """Hundreds of different verdicts on several ABIs need trampolines and stay right."""
    tables: dict[Arch, dict[int, Any]] = {
        arch: {
            nr: [(Compare(nr % 6, EQ, nr * 77, bits=32), Action.ERRNO | nr), Action.ERRNO | nr + 1]
            for nr in range(1, 250)
        }
        for arch in (Arch.X86_64, Arch.I386, Arch.ARM)
    }
    program = compile_filter(tables, default=ALLOW)
    check_program(program)
    assert any(at.code == Op.JA for at in program.instructions)
    for arch in tables:
        for nr in range(1, 250):
            hit = tuple(nr * 77 if arg == nr % 6 else 0 for arg in range(6))
            assert simulate(program, SeccompData(nr, arch.audit, hit)) == Action.ERRNO | nr
            assert simulate(program, SeccompData(nr, arch.audit)) == Action.ERRNO | nr + 1


def test_limit_is_4096_and_names_the_biggest_calls() -> None:
    """A program of more than 4096 instructions is refused, with the calls to blame."""
    big = [(In(0, range(0, 6000, 2), bits=32), EPERM), ALLOW]
    small = [(In(1, range(0, 2000, 2), bits=32), EPERM), ALLOW]
    with pytest.raises(
        FilterTooLarge,
        match=r"takes 4096; the biggest are mount on x86_64 \(\d+\), fstat on x86_64 \(\d+\)$",
    ):
        compile_filter({Arch.X86_64: {165: big, 5: small, 6: NOTIFY}}, default=ALLOW)
    assert len(compile_filter({Arch.X86_64: {165: small, 5: NOTIFY}}, default=ALLOW)) < BPF_MAXINSNS


def test_too_many_ranges_are_named_as_such() -> None:
    """Where only numbers are to blame the message says so."""
    table = {nr: Action.ERRNO | nr % 4000 + 1 for nr in range(5000)}
    with pytest.raises(FilterTooLarge, match="numbers alone are too many"):
        compile_filter({Arch.AARCH64: table}, default=ALLOW)


@pytest.mark.parametrize(
    ("tables", "options", "message"),
    [
        ({Arch.X86_64: {-1: ALLOW}}, {}, "-1 is not an unsigned 32-bit call number"),
        ({Arch.X86_64: {X32_BIT | 1: ALLOW}}, {}, "0x40000001 does not belong to x86_64"),
        ({Arch.X32: {1: ALLOW}}, {}, "0x1 does not belong to x32"),
        ({Arch.I386: {1: -1}}, {}, "exit on i386: -1 is not an unsigned 32-bit action"),
        ({Arch.I386: {1: ()}}, {}, "exit on i386: the verdict does not end in an action"),
        ({Arch.I386: {1: [(Always(), ALLOW)]}}, {}, "does not end in an action"),
        ({Arch.I386: {1: (Always(), ALLOW)}}, {}, r"Always\(\) is not a pair"),
        ({Arch.I386: {1: [(Always(), 1 << 32), ALLOW]}}, {}, "unsigned 32-bit action"),
        ({Arch.I386: {}}, {"default": -1}, "default of i386: -1"),
        ({Arch.I386: {}}, {"default": {Arch.ARM: ALLOW}}, "no default action for i386"),
        ({Arch.I386: {}}, {"bad_arch": None}, "bad_arch: None"),
        ({Arch.I386: {}}, {"x32": 1 << 32}, "x32: 4294967296"),
    ],
)
def test_malformed_tables_are_refused(tables: Any, options: Any, message: str) -> None:
    """A table that means nothing is refused in a sentence that names the place."""
    with pytest.raises(Conflict, match=message):
        compile_filter(tables, **{"default": ALLOW, **options})


def test_wide_test_for_a_32_bit_abi_is_refused() -> None:
    """B6: a 64-bit test in the table of a 32-bit ABI has no meaning."""
    with pytest.raises(NotExpressible, match="registers have 32 bits"):
        compile_filter(
            {Arch.I386: {1: [(Compare(0, EQ, 1, bits=64), EPERM), ALLOW]}}, default=ALLOW
        )


def test_weights_bring_hot_calls_near() -> None:
    """With weights the calls that are made most are found in 8 instructions, and it stays small."""
    table = container_profile()
    hot = {0: 40.0, 1: 30.0, 256: 15.0, 3: 10.0, 202: 5.0}
    program = compile_filter({Arch.X86_64: table}, default=EPERM, weights={Arch.X86_64: hot})
    assert len(program) <= 80
    assert max(len(trace(program, SeccompData(nr, X86_64))) for nr in hot) <= 8
    assert all(is_constant_allow(program, X86_64, nr) for nr in hot)


def test_error_about_a_condition_names_its_call() -> None:
    """B6: a test that has no meaning on an ABI is refused with the name of the call."""
    wide = [(Compare(0, EQ, 1, bits=64), EPERM), ALLOW]
    with pytest.raises(NotExpressible, match=r"^mount on i386: a 64-bit test cannot be made"):
        compile_filter({Arch.I386: {20: ALLOW, 21: wide}}, default=ALLOW)


def test_repeated_questions_cost_once() -> None:
    """Rules that ask the same of an argument, or what is implied, ask it once on each way."""
    tests = [Compare(0, EQ, number) & Compare(1, GE, 10 * number) for number in range(1, 5)]
    program = compile_filter(
        {Arch.X86_64: {1: [*((test, Action.ERRNO | at) for at, test in enumerate(tests)), ALLOW]}},
        default=ALLOW,
    )
    longest = 0
    for first in (1, 4, 5, 1 << 32):
        for second in (0, 100, 1 << 40):
            ran = trace(program, SeccompData(1, X86_64, (first, second, 0, 0, 0, 0)))
            loads = [at for at in ran if program.instructions[at].code == Op.LD_ABS]
            longest = max(longest, len(loads))
    # Architecture, number, and each half of each argument at most once.
    assert longest <= 6
