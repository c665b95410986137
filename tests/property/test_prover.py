"""What a program can do, and the proof, against runs of the program."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.test_bpf import (
    BAD_ARCH,
    X32,
    actions,
    all_tables,
    decide,
    instructions,
    plausible,
    probes,
)
from unotify.abi.arch import Arch
from unotify.bpf import (
    Instruction,
    Op,
    ProofFailed,
    SeccompData,
    Verdict,
    compile_filter,
    paths,
    prove,
    regions,
    simulate,
    trace,
)
from unotify.bpf.prover import Ask, answer
from unotify.errors import FilterTooLarge, InvalidProgram, NotExpressible

numbers = st.integers(0, 17) | st.sampled_from((30, 60, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF))
followable = (
    st.builds(Instruction, st.just(Op.LD_ABS), *[st.just(0)] * 2, st.sampled_from((0, 4, 16, 20)))
    | st.builds(
        Instruction,
        st.sampled_from([op for op in Op if op.name.startswith("J") and op is not Op.JA]),
        st.integers(0, 3),
        st.integers(0, 3),
        numbers,
    )
    | st.builds(
        Instruction,
        st.sampled_from(
            [op for op in Op if op.name.startswith(("ADD", "SUB", "AND", "OR", "XOR", "NEG"))]
            + [Op.LSH_K, Op.RSH_K, Op.TAX, Op.TXA, Op.LDX_IMM, Op.LD_IMM, Op.RET_K, Op.JA, Op.ST]
        ),
        st.just(0),
        st.just(0),
        st.integers(0, 4),
    )
)


@settings(max_examples=300, deadline=None)
@given(st.lists(followable, max_size=14), st.lists(st.integers(0, 2**64 - 1), max_size=8))
def test_every_call_takes_one_path(program: list[Instruction], words: list[int]) -> None:
    """Of any program: each call is on one path and in one region, which say what a run does."""
    program += [Instruction(Op.RET_K, 0, 0, action) for action in (7, 8, 9, 10, 11)]
    try:
        found = list(paths(program))
    except (InvalidProgram, NotExpressible):
        return
    areas = regions(program)
    for path in found:
        witness = path.witness()
        assert simulate(program, witness) == path.action
        assert trace(program, witness) == list(path.executed)
    for area in areas:
        assert simulate(program, area.box.witness()) == area.action
    for word in (0, 1, 16, 17, 60, 0xFFFFFFFF, *words):
        call = SeccompData(word & 0xFFFFFFFF, (word >> 32) & 0xFFFFFFFF, (word,) * 6, word)
        (path,) = [path for path in found if call in path.box]
        assert list(path.executed) == trace(program, call)
        (area,) = [area for area in areas if call in area.box]
        assert area.action == path.action == simulate(program, call)


@settings(max_examples=200, deadline=None)
@given(st.lists(instructions | plausible, max_size=12))
def test_any_program_is_followed_or_refused(program: list[Instruction]) -> None:
    """Whatever the instructions, there is an answer or a clear error, never a fault."""
    try:
        for area in regions(program):
            assert simulate(program, area.box.witness()) == area.action
    except (InvalidProgram, NotExpressible, FilterTooLarge):
        return


@settings(max_examples=100, deadline=None)
@given(all_tables, st.data(), st.integers(0, 2**32))
def test_damage_that_changes_a_verdict_is_refused(
    tables: dict[Arch, dict[int, Verdict]], data: st.DataObject, seed: int
) -> None:
    """Any damage to any compiled program that changes a verdict makes the proof fail."""
    defaults = {arch: data.draw(actions) for arch in tables}
    code = compile_filter(tables, default=defaults, bad_arch=BAD_ARCH, x32=X32).instructions
    calls = list(probes(tables, seed))

    def model(audit: int, nr: int, ask: Ask) -> int:
        arch = next((arch for arch in Arch if arch.audit == audit), None)
        if arch is None:
            return BAD_ARCH
        at = Arch.X32 if arch is Arch.X86_64 and 1 << 30 <= nr < 1 << 31 else arch
        verdict = tables.get(at, {}).get(nr)
        if isinstance(verdict, tuple):
            *pairs, final = verdict
            for predicate, action in pairs:
                if answer(predicate, ask, arch.bits):
                    return int(action)
            return int(final)
        return decide(tables, defaults, SeccompData(nr, audit))

    cuts = {
        arch.audit: sorted(
            {0, 1 << 30, 1 << 31}
            | {
                end
                for other, table in tables.items()
                if other.audit == arch.audit
                for nr in table
                for end in (nr, nr + 1)
                if end < 1 << 32
            }
        )
        for arch in tables
    }
    prove(code, model, cuts)
    rng = random.Random(seed)
    for _ in range(5):
        at = rng.randrange(len(code))
        op, jt, jf, k = code[at]
        changed = rng.choice(
            (
                Instruction(op, jt + 1 & 0xFF, jf, k),
                Instruction(op, jt, jf + 1 & 0xFF, k),
                Instruction(op, jf, jt, k),
                Instruction(op, jt, jf, (k + rng.choice((-1, 1))) & 0xFFFFFFFF),
                Instruction(op, jt, jf, k ^ 1 << rng.randrange(32)),
            )
        )
        mutant = (*code[:at], changed, *code[at + 1 :])
        failure = None
        try:
            prove(mutant, model, cuts)
        except (ProofFailed, InvalidProgram, NotExpressible) as error:
            failure = error
        if failure is None:
            assert all(simulate(mutant, call) == simulate(code, call) for call in calls)
        elif isinstance(failure, ProofFailed):
            assert simulate(mutant, failure.data) == failure.found
            assert simulate(code, failure.data) == failure.expected
