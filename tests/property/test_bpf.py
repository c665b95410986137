"""Compiled filters against the meaning of the tables that they come from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from unotify.abi.arch import X32_BIT, Arch
from unotify.abi.seccomp import Action
from unotify.bpf import (
    Always,
    And,
    Compare,
    CompareOp,
    In,
    Instruction,
    Never,
    Not,
    Op,
    Or,
    RegisterPredicate,
    SeccompData,
    Verdict,
    check_program,
    compile_filter,
    decode,
    disassemble,
    encode,
    evaluate,
    is_constant_allow,
    simulate,
    trace,
)
from unotify.errors import InvalidProgram

BAD_ARCH = Action.KILL_PROCESS
X32 = Action.ERRNO | 77
X32_NUMBERS = range(X32_BIT, 2 * X32_BIT)

# Numbers around which comparisons go wrong: ends of halves, signs, single bits.
EDGES = sorted(
    {0, 1, 7, 8, 255, 0x7E020000, 1 << 63, (1 << 63) - 1, (1 << 64) - 1}
    | {(1 << bit) + off for bit in (31, 32) for off in (-2, -1, 0, 1)}
)
ACTIONS = (Action.ALLOW, Action.LOG, Action.KILL_PROCESS, Action.ERRNO | 1, Action.ERRNO | 38)
actions = st.sampled_from(ACTIONS)
# Few numbers, so that they are often neighbours.
NUMBERS = (*range(24), 200, 450, X32_BIT - 1, 2 * X32_BIT, 0xFFFFFFFF)


@st.composite
def comparisons(draw: st.DrawFn, widths: Sequence[int]) -> RegisterPredicate:
    """A comparison or a membership, of any width and sign."""
    bits = draw(st.sampled_from(widths))
    width = bits or 64
    values = st.sampled_from([edge for edge in EDGES if edge < 1 << width]) | st.integers(
        -1 << (width - 1), (1 << width) - 1
    )
    arg = draw(st.sampled_from((0, 0, 0, 5)))
    mask = draw(st.none() | values.filter(bool))
    if draw(st.booleans()):
        return In(arg, draw(st.lists(values, min_size=1, max_size=9)), bits, mask)
    op = draw(st.sampled_from(CompareOp))
    return Compare(arg, op, draw(values), bits, draw(st.booleans()), mask)


def predicates(widths: Sequence[int]) -> st.SearchStrategy[RegisterPredicate]:
    """Any predicate."""
    return st.recursive(
        comparisons(widths) | st.builds(Always) | st.builds(Never),
        lambda inner: (
            st.builds(Not, inner)
            | st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple))
            | st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple))
        ),
        max_leaves=4,
    )


def tables_of(arch: Arch) -> st.SearchStrategy[dict[int, Verdict]]:
    """Verdicts of some calls of one ABI, most of them unconditional."""
    pairs = st.tuples(predicates((0, 32, 64) if arch.bits == 64 else (0, 32)), actions)
    conditional = st.builds(
        lambda cases, final: (*cases, final), st.lists(pairs, max_size=2), actions
    )
    keys = st.sampled_from([nr | X32_BIT for nr in range(24)] if arch is Arch.X32 else NUMBERS)
    return st.builds(
        lambda plain, rest: {**plain, **rest},
        st.dictionaries(keys, actions, max_size=10),
        st.dictionaries(keys, conditional, max_size=2),
    )


all_tables = st.lists(
    st.sampled_from(Arch) | st.sampled_from((Arch.X86_64, Arch.X32, Arch.S390X)),
    min_size=1,
    max_size=3,
    unique=True,
).flatmap(lambda archs: st.fixed_dictionaries({arch: tables_of(arch) for arch in archs}))


def decide(
    tables: Mapping[Arch, Mapping[int, Verdict]], defaults: Mapping[Arch, int], call: SeccompData
) -> int:
    """What the tables say: the reference, in plain Python."""
    nr = call.nr & 0xFFFFFFFF
    arch = next(arch for arch in Arch if arch.audit == call.arch)
    if arch is Arch.X86_64 and nr in X32_NUMBERS:
        if Arch.X32 not in tables:
            return X32 if Arch.X86_64 in tables else BAD_ARCH
        arch = Arch.X32
    if arch not in tables:
        return BAD_ARCH
    verdict = tables[arch].get(nr, defaults[arch])
    if isinstance(verdict, int):
        return verdict
    for case in verdict:
        if isinstance(case, int):
            return case
        if evaluate(case[0], call.args, bits=arch.bits):
            return case[1]
    raise AssertionError("a verdict ends in an action")


def constants(predicate: RegisterPredicate) -> Iterator[int]:
    """The numbers that a predicate compares with."""
    match predicate:
        case Not(term):
            yield from constants(term)
        case And(terms) | Or(terms):
            for term in terms:
                yield from constants(term)
        case Compare():
            yield predicate.value
        case In():
            yield from predicate.values


def probes(tables: Mapping[Arch, Mapping[int, Verdict]], seed: int) -> Iterator[SeccompData]:
    """Calls that are likely to be decided wrongly, if any are."""
    rng = random.Random(seed)

    def argument(near: Sequence[int]) -> int:
        value = rng.choice(near) + rng.choice((0, 0, -1, 1))
        if rng.random() < 0.3:
            value = (
                rng.choice((value, rng.getrandbits(32))) & 0xFFFFFFFF | rng.getrandbits(32) << 32
            )
        return value & (1 << 64) - 1

    for arch, table in tables.items():
        listed = [
            *table.items(),
            *((nr + off, 0) for nr in table for off in (-1, 1)),
            *((nr, 0) for nr in (-1, 0, X32_BIT, rng.getrandbits(32))),
        ]
        for nr, verdict in listed:
            near = [0, *EDGES]
            if not isinstance(verdict, int):
                for case in verdict:
                    if not isinstance(case, int):
                        near += 9 * list(constants(case[0]))
            for _ in range(1 if isinstance(verdict, int) else 12):
                args = tuple(argument(near) for _ in range(6))
                yield SeccompData(nr, arch.audit, args)
            yield SeccompData(nr, rng.choice(tuple(Arch)).audit)
            yield SeccompData(nr ^ X32_BIT, arch.audit)


@settings(max_examples=100, deadline=None)
@given(all_tables, st.data(), st.integers(0, 2**32))
def test_program_decides_as_its_tables_say(
    tables: dict[Arch, dict[int, Verdict]], data: st.DataObject, seed: int
) -> None:
    """B1-B4: for any tables, number, ABI and registers, also with dirty upper halves."""
    defaults = {arch: data.draw(actions) for arch in tables}
    program = compile_filter(tables, default=defaults, bad_arch=BAD_ARCH, x32=X32)
    check_program(program)
    for call in probes(tables, seed):
        expected = decide(tables, defaults, call)
        assert simulate(program, call) == expected, call
        where = [tables[arch] for arch in tables if arch.audit == call.arch]
        plain = not any(isinstance(table.get(call.nr & 0xFFFFFFFF), tuple) for table in where)
        if plain:
            # The verdict needs no argument, so the kernel can find it out by itself.
            cached = is_constant_allow(program, call.arch, call.nr)
            assert cached == (expected == Action.ALLOW), call


instructions = st.builds(
    Instruction,
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFF),
    st.integers(0, 0xFF),
    st.integers(0, 0xFFFFFFFF),
)
plausible = st.builds(
    Instruction,
    st.sampled_from(Op),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 17) | st.sampled_from((32, 60, 64, 0xFFFFFFFF)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(instructions, max_size=20))
def test_encoding_round_trip(program: list[Instruction]) -> None:
    """Any instructions survive their way to bytes and back."""
    assert decode(encode(program)) == tuple(program)
    assert len(encode(program)) == 8 * len(program)


@settings(max_examples=200, deadline=None)
@given(st.lists(plausible, max_size=12), st.integers(0, 2**64 - 1))
def test_accepted_program_returns(program: list[Instruction], argument: int) -> None:
    """A program that passes the kernel's checks runs forward to a return, whatever it does."""
    program.append(Instruction(Op.RET_A, 0, 0, 0))
    try:
        check_program(program)
    except InvalidProgram:
        return
    call = SeccompData(argument & 0xFFFFFFFF, Arch.X86_64.audit, (argument,) * 6)
    assert 0 <= simulate(program, call) <= 0xFFFFFFFF
    ran = trace(program, call)
    assert ran == sorted(set(ran))
    assert program[ran[-1]].code in (Op.RET_A, Op.RET_K, Op.DIV_X)


@settings(max_examples=100, deadline=None)
@given(st.lists(instructions | plausible, max_size=20))
def test_disassembly_has_one_line_each(program: list[Instruction]) -> None:
    """Any row of instructions has a text, also one that no kernel would take."""
    assert len(disassemble(program).splitlines()) == len(program)
