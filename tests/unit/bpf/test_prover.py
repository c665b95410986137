from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import (
    And,
    Compare,
    CompareOp,
    In,
    Instruction,
    Not,
    Op,
    Or,
    ProofFailed,
    RegisterPredicate,
    SeccompData,
    compile_filter,
    evaluate,
    prove,
    simulate,
)
from unotify.bpf.instructions import ja, jeq, jge, jgt, ld_abs, ret
from unotify.bpf.prover import Ask, Decide, answer
from unotify.errors import Error, FilterTooLarge, InvalidProgram, NotExpressible

ALLOW, KILL, EPERM = int(Action.ALLOW), int(Action.KILL_PROCESS), Action.ERRNO | 1
X86_64 = Arch.X86_64.audit
NR, ARCH, LOW, HIGH = 0, 4, 16, 20
EQ, NE, LT, LE, GT, GE = CompareOp


def policy(rules: Sequence[tuple[RegisterPredicate, int]], default: int) -> Decide:
    """Call 1 of x86-64 by *rules*, all other calls of it by *default*, the rest killed."""

    def decide(audit: int, nr: int, ask: Ask) -> int:
        if audit != X86_64:
            return KILL
        if nr == 1:
            for predicate, action in rules:
                if answer(predicate, ask, 64):
                    return action
        return default

    return decide


CUTS: Mapping[int, Sequence[int]] = {X86_64: (0, 1, 2)}


def call_one(*body: Instruction) -> tuple[Instruction, ...]:
    """A program that runs *body* for call 1 of x86-64; behind it stand EPERM, ALLOW and KILL.

    *body* ends in a jump or falls through to EPERM.
    """
    size = len(body)
    return (
        ld_abs(ARCH),
        jeq(X86_64, 0, size + 4),
        ld_abs(NR),
        jeq(1, 0, size + 1),
        *body,
        ret(EPERM),
        ret(ALLOW),
        ret(KILL),
    )


def refused(program: Sequence[Instruction], decide: Decide) -> ProofFailed:
    """The failure of a proof, its counterexample checked."""
    with pytest.raises(ProofFailed) as caught:
        prove(program, decide, CUTS)
    failure = caught.value
    assert simulate(program, failure.data) == failure.found != failure.expected
    return failure


def test_right_program_is_proved() -> None:
    """A program that says what its policy says, in whatever way, passes."""
    decide = policy([(Compare(0, EQ, 5), EPERM)], ALLOW)
    prove(call_one(ld_abs(HIGH), jeq(0, 0, 3), ld_abs(LOW), jeq(5, 0, 1)), decide, CUTS)
    other_way = call_one(ld_abs(LOW), jgt(5, 4, 0), jge(5, 0, 3), ld_abs(HIGH), jeq(0, 0, 1))
    prove(other_way, decide, CUTS)


def test_counterexample_shows_the_difference() -> None:
    """A wrong program is refused with a call that it answers wrongly, and both answers."""
    decide = policy([(Compare(0, EQ, 5), EPERM)], ALLOW)
    failure = refused(call_one(ld_abs(LOW), jeq(5, 0, 1)), decide)
    assert failure.data.nr == 1
    assert failure.data.args[0] & 0xFFFFFFFF == 5
    assert failure.data.args[0] >> 32
    assert (failure.found, failure.expected) == (EPERM, ALLOW)
    assert "returns 0x00050001 where the policy says 0x7fff0000" in str(failure)
    assert "number 0x1, arguments 0x1" in str(failure)


def test_each_kind_of_call_is_looked_at() -> None:
    """A fault for one number, for a foreign architecture or for negative numbers is found."""
    decide = policy([], EPERM)
    for nr in (0, 77, 0x40000001, 0xFFFFFFFF):
        wrong = (
            ld_abs(ARCH),
            jeq(X86_64, 0, 3),
            ld_abs(NR),
            jeq(nr, 0, 2),
            ret(ALLOW),
            ret(KILL),
            ret(EPERM),
        )
        assert refused(wrong, decide).data.nr == nr
    wrong = (ld_abs(ARCH), jeq(X86_64, 1, 0), jeq(7, 1, 2), ret(EPERM), ret(ALLOW), ret(KILL))
    assert refused(wrong, decide).data.arch == 7


def test_program_that_the_kernel_refuses_is_no_program() -> None:
    """A program that cannot be loaded is not proved."""
    with pytest.raises(InvalidProgram):
        prove((ld_abs(NR), jeq(1, 9, 9), ret(ALLOW)), policy([], ALLOW), CUTS)


def test_too_many_cases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy with more cases than can be compared ends in a clear error, not in a hang."""
    bits = [Compare(arg, NE, 0, 64, mask=1 << bit) for arg in range(6) for bit in range(64)]
    pairs = [(left & right, EPERM) for left, right in zip(bits[:40:2], bits[1:40:2], strict=True)]
    monkeypatch.setattr("unotify.bpf.prover._MOST", 1000)
    with pytest.raises(FilterTooLarge, match="more than 1000 cases"):
        prove((ret(EPERM),), lambda _, __, ask: policy(pairs, EPERM)(X86_64, 1, ask), CUTS)


def atoms(rng: random.Random, bits: int) -> Compare | In:
    """Any comparison or membership that means something on registers of *bits* bits."""
    width = rng.choice((0, 32, 64) if bits == 64 else (0, 32))
    top = 1 << (width or 64)
    edges = [0, 1, 5, 255, 1 << 31, (1 << 31) - 1, top - 1, top >> 1, (top >> 1) - 1]
    edges += [1 << 32, (1 << 32) - 1, 5 << 32, 1 << 33 | 7]
    edges = [edge for edge in edges if edge < top]

    def value() -> int:
        return rng.choice((*edges, rng.randrange(top), -rng.randrange(1, top >> 1)))

    mask = rng.choice((None, None, value() or 1, 0xF0, ~7))
    if rng.random() < 0.3:
        return In(0, {value() for _ in range(rng.randrange(1, 7))}, width, mask)
    return Compare(0, rng.choice(list(CompareOp)), value(), width, rng.random() < 0.5, mask)


def test_long_disjunctions_of_masks_are_few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """One false term decides a conjunction, also one that only the terms before it make false."""
    monkeypatch.setattr("unotify.bpf.prover._MOST", 40)
    rng = random.Random(3)

    def term() -> RegisterPredicate:
        tests = []
        for _ in range(3):
            mask = rng.randrange(1, 256)
            value = rng.randrange(256) & mask
            tests.append(Compare(rng.randrange(4), CompareOp.EQ, value, bits=32, mask=mask))
        return And(tuple(tests))

    long = Or(tuple(term() for _ in range(16)))
    program = compile_filter({Arch.X86_64: {1: [(long, EPERM), ALLOW]}}, default=ALLOW)
    assert len(program.instructions) < 200


def test_what_is_supposed_is_forgotten_again() -> None:
    """Where no term decides, a program that forgets one term of a conjunction is refused."""
    low = Compare(0, CompareOp.EQ, 1, bits=32, mask=1)
    high = Compare(0, CompareOp.EQ, 2, bits=32, mask=2)
    other = Compare(1, CompareOp.EQ, 1, bits=32, mask=1)
    for whole, part in (
        (And((low, high, other)), And((low, high))),
        (And((low, high, other)), And((low, other))),
        (Or((Not(low), high, other)), Or((Not(low), high))),
        (Or((And((low, high)), And((low, other)))), And((low, high))),
    ):
        table = {Arch.X86_64: {1: [(part, EPERM), ALLOW]}}
        refused(compile_filter(table, default=ALLOW).instructions, policy([(whole, EPERM)], ALLOW))


@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.I386, Arch.S390X, Arch.PPC])
def test_atoms_mean_what_they_mean(arch: Arch) -> None:
    """Of any atom and any register the proof knows what `evaluate` knows.

    A program that tells one register from all others is proved if it says of it what the
    atom says, and refused if it says the opposite.
    """
    rng = random.Random(arch.audit)
    low, high = (LOW, HIGH) if arch.little else (HIGH, LOW)
    for _ in range(300):
        atom = atoms(rng, arch.bits)
        near = [atom.value] if isinstance(atom, Compare) else list(atom.values)
        register = (rng.choice(near) + rng.choice((-1, 0, 0, 1))) & (1 << arch.bits) - 1
        register = rng.choice((register, register, rng.getrandbits(arch.bits)))
        pinned = Compare(0, EQ, register)

        def decide(audit: int, nr: int, ask: Ask) -> int:
            if audit != arch.audit or not ask(pinned, arch.bits):  # noqa: B023
                return KILL
            return ALLOW if ask(atom, arch.bits) else EPERM  # noqa: B023

        upper = (ld_abs(high), jeq(register >> 32, 0, 3)) if arch.bits == 64 else ()
        holds = evaluate(atom, (register, *[0] * 5), bits=arch.bits)
        for action in (ALLOW, EPERM):
            program = (
                ld_abs(ARCH),
                jeq(arch.audit, 0, 3 + len(upper)),
                *upper,
                ld_abs(low),
                jeq(register & 0xFFFFFFFF, 0, 1),
                ret(action),
                ret(KILL),
            )
            if holds == (action == ALLOW):
                prove(program, decide, {arch.audit: (0,)})
            else:
                with pytest.raises(ProofFailed):
                    prove(program, decide, {arch.audit: (0,)})


def probe(rules: Sequence[tuple[RegisterPredicate, int]], final: int, numbers: set[int]) -> None:
    """Compile the rules for two calls, and compare with the reference around *numbers*."""
    program = compile_filter({Arch.X86_64: {1: (*rules, final), 2: EPERM}}, default=KILL)
    halves = {number + off & 0xFFFFFFFF for number in numbers for off in (-1, 0, 1)}
    halves |= {(number >> 32) + off & 0xFFFFFFFF for number in numbers for off in (-1, 0, 1)}
    for high in halves:
        for low in halves:
            args = (high << 32 | low,) * 6
            found = simulate(program, SeccompData(1, X86_64, args))
            hits = [action for predicate, action in rules if evaluate(predicate, args)]
            assert found == [*hits, final][0], hex(args[0])


def test_libseccomp_112_chain_of_thresholds() -> None:
    """Libseccomp #112: of many thresholds on one argument the right one decides, in any order."""
    rules = [(Compare(2, GT, 4 << i), Action.ERRNO | i) for i in range(5, 13)]
    rest = (Compare(2, LE, 64), ALLOW)
    numbers = {4 << i for i in range(5, 13)} | {64, 8000}
    probe([*rules, rest], KILL, numbers)
    probe([rest, *reversed(rules)], KILL, numbers)
    decide = policy([*reversed(rules), rest], ALLOW)
    wrong = compile_filter({Arch.X86_64: {1: (*rules, rest, ALLOW)}}, default=ALLOW, x32=ALLOW)
    failure = refused(wrong.instructions, decide)
    assert failure.found == Action.ERRNO | 5
    assert failure.data.args[2] > 4 << 6


@pytest.mark.parametrize("op", [LT, LE, GT, GE])
def test_libseccomp_139_order_of_64_bit_numbers(op: CompareOp) -> None:
    """Libseccomp #139, CVE-2019-9893: the lower half decides only where the upper one is equal."""
    value = 5 << 32 | 7
    probe([(Compare(0, op, value), ALLOW)], EPERM, {value})
    # As it was then: both halves by themselves, whatever the upper one is.
    jump = jge if op in (GE, LT) else jgt
    yes, no = (0, 1) if op in (GE, GT) else (1, 0)
    wrong = call_one(ld_abs(HIGH), jge(5, 0, 2), ld_abs(LOW), jump(7, yes, no), ja(0))
    refused(wrong, policy([(Compare(0, op, value), EPERM)], ALLOW))


def test_libseccomp_148_blocks_that_only_look_alike() -> None:
    """Libseccomp #148: code is shared by calls that do the same, not by those that nearly do."""
    stream = 0x80800
    sockets = [
        (Compare(0, EQ, 1) & Compare(1, EQ, 1, mask=~stream), ALLOW),
        (Compare(0, EQ, 2) & Compare(1, EQ, 1, mask=~stream) & In(2, (0, 6)), ALLOW),
        (Compare(0, EQ, 2) & Compare(1, EQ, 2, mask=~stream) & In(2, (0, 17)), ALLOW),
        (Compare(0, EQ, 16) & Compare(1, EQ, 3, mask=~stream) & Compare(2, EQ, 0), ALLOW),
    ]
    signals = [(Compare(0, EQ, number), ALLOW) for number in (2, 15, 13, 10, 12, 1, 17, 25)]
    fewer = [rule for rule in signals if rule[0] != Compare(0, EQ, 1)]
    table = {41: (*sockets, EPERM), 13: (*signals, EPERM), 14: (*fewer, EPERM)}
    program = compile_filter({Arch.X86_64: table}, default=KILL)
    for nr, rules in table.items():
        for first in range(30):
            for second in (0, 1, 2, 3, 0x80801, 0x80802, 5):
                for third in (0, 6, 17):
                    args = (first, second, third, 0, 0, 0)
                    hit = any(evaluate(rule[0], args) for rule in rules[:-1])  # type: ignore[index]
                    found = simulate(program, SeccompData(nr, X86_64, args))
                    assert found == (ALLOW if hit else EPERM)
    # As it was then: one block for both lists of signals.
    shared = compile_filter(
        {Arch.X86_64: {1: (*fewer, EPERM)}}, default=EPERM, bad_arch=KILL, x32=EPERM
    )
    failure = refused(shared.instructions, policy([*signals, (Compare(0, GE, 0), EPERM)], EPERM))
    assert failure.data.args[0] == 1


def test_libseccomp_370_no_rules_at_all() -> None:
    """Libseccomp #370: without any rule the default is the answer to every call."""
    for weights in (None, {Arch.X86_64: {0: 1.0}}):
        program = compile_filter({Arch.X86_64: {}}, default=ALLOW, weights=weights)
        for nr in (0, 1, 300, -1):
            assert simulate(program, SeccompData(nr, X86_64)) == ALLOW
    refused((ret(KILL),), policy([], ALLOW))


def test_libseccomp_ghsa_4q85_merged_comparisons() -> None:
    """GHSA-4q85-33p6-j5g6: comparisons that share an upper half do not weaken each other."""
    one, other = 5 << 32 | 7, 5 << 32 | 0x100
    for first in CompareOp:
        for second in CompareOp:
            rules = [
                (Compare(0, first, one), Action.ERRNO | 2),
                (Compare(0, second, other), ALLOW),
            ]
            probe(rules, EPERM, {one, other, 6 << 32 | 7, 0})
            probe([(Or(tuple(rule[0] for rule in rules)), ALLOW)], EPERM, {one, other, 0})
    # As it was then: the test of the upper half is made once, and lost for the second rule.
    wrong = call_one(ld_abs(HIGH), jgt(5, 3, 0), ld_abs(LOW), jge(7, 0, 1), jge(0x100, 1, 0))
    refused(wrong, policy([(Compare(0, GE, other), EPERM), (Compare(0, LT, one), EPERM)], ALLOW))


def boundaries(tables: Mapping[int, Any]) -> list[SeccompData]:
    """Calls around all that *tables*, and damage to a program, can tell apart."""
    halves = (0, 1, 2, 4, 5, 6, 7, 8, 0x10, 0x18, 0x28, 0x80000000, 0xFFFFFFFF)
    calls = []
    ends = (*tables, 1 << 30, 1 << 31)
    for nr in {near & 0xFFFFFFFF for end in ends for near in (end - 1, end, end + 1)}:
        calls += [SeccompData(nr, arch) for arch in (X86_64, X86_64 ^ 1, 0)]
        if not isinstance(tables.get(nr, 0), int):
            calls += [
                SeccompData(nr, X86_64, (high << 32 | low, low, 0, 0, 0, 0))
                for high in (0, 1, 5)
                for low in halves
            ]
    return calls


def damaged(code: Sequence[Instruction], rng: random.Random) -> tuple[Instruction, ...]:
    """The program with one thing changed: a jump, a constant, a return or a load."""
    at = rng.randrange(len(code))
    op, jt, jf, k = code[at]
    if op == Op.LD_ABS:
        k = rng.choice([offset for offset in range(0, 64, 4) if offset != k])
    elif op == Op.RET_K:
        k = rng.choice([action for action in (ALLOW, KILL, EPERM, k ^ 1) if action != k])
    elif op == Op.JA:
        k = max(0, k + rng.choice((-1, 1)))
    elif op == Op.AND_K or rng.random() < 0.4:
        k = rng.choice((k + 1, k - 1, k ^ 1 << rng.randrange(32))) & 0xFFFFFFFF
    elif rng.random() < 0.2:
        op = rng.choice((Op.JEQ_K, Op.JGT_K, Op.JGE_K, Op.JSET_K))
    else:
        change = rng.choice((-2, -1, 1, 2))
        jt, jf = rng.choice(((max(0, jt + change), jf), (jt, max(0, jf + change)), (jf, jt)))
    return (*code[:at], Instruction(op, jt, jf, k), *code[at + 1 :])


def test_mutants_are_refused() -> None:
    """Each damage to a program that changes a verdict makes its proof fail; others may pass.

    The damage is done at random; that it changes a verdict is found by running the program.
    """
    rng = random.Random(3)
    table: dict[int, Any] = {
        **dict.fromkeys((0, 1, 2, 3, 7, 8, 9, 20, 21), ALLOW),
        4: [(In(0, (0, 8, 5, 6)), ALLOW), EPERM],
        5: [(Compare(0, EQ, 0, mask=0x18), ALLOW), (Compare(1, GE, 7, 32), KILL), EPERM],
        6: [(Compare(0, LT, 5 << 32 | 7), ALLOW), EPERM],
        30: [(Compare(1, LT, 5, 32, signed=True) & Compare(0, NE, 0x28), ALLOW), KILL],
    }
    program = compile_filter({Arch.X86_64: table}, default=EPERM).instructions
    calls = boundaries(table)

    def decide(audit: int, nr: int, ask: Ask) -> int:
        if audit != X86_64 or 1 << 30 <= nr < 1 << 31:
            return KILL
        verdict = table.get(nr, EPERM)
        if isinstance(verdict, int):
            return verdict
        *pairs, final = verdict
        return next((action for predicate, action in pairs if answer(predicate, ask, 64)), final)

    cuts = {X86_64: sorted({0, 1 << 30, 1 << 31, *table, *(nr + 1 for nr in table)})}
    right = [simulate(program, call) for call in calls]
    prove(program, decide, cuts)
    changed = refusals = 0
    for _ in range(1000):
        mutant = damaged(program, rng)
        try:
            pairs = zip(calls, right, strict=True)
            wrong = any(simulate(mutant, call) != action for call, action in pairs)
        except InvalidProgram:
            wrong = True  # it jumps out of the program
        changed += wrong
        failure = failure_of(mutant, decide, cuts)
        refusals += failure is not None
        assert failure or not wrong, mutant
        if isinstance(failure, ProofFailed):
            data = failure.data
            assert simulate(mutant, data) == failure.found != failure.expected
            assert simulate(program, data) == failure.expected
    assert 500 < changed <= refusals


def failure_of(
    program: Sequence[Instruction], decide: Decide, cuts: Mapping[int, Sequence[int]]
) -> Error | None:
    """Why a program is refused, or ``None``."""
    try:
        prove(program, decide, cuts)
    except (ProofFailed, InvalidProgram, NotExpressible) as error:
        return error
    return None


def test_failed_proof_is_an_error_of_ours() -> None:
    """A difference is an internal error, with a way to report it, and an assertion too."""
    assert issubclass(ProofFailed, Error)
    assert issubclass(ProofFailed, AssertionError)
    assert "report" in str(ProofFailed.hint)


def test_compiler_proves_against_a_model() -> None:
    """With a model of the caller's own, a filter that is not like it never leaves the compiler."""
    tables = {Arch.X86_64: {1: [(Compare(0, EQ, 5), EPERM), ALLOW]}}
    same = policy([(In(0, (5,)), EPERM)], ALLOW)
    compile_filter(tables, default=ALLOW, x32=ALLOW, model=(same, CUTS))
    other = policy([(In(0, (5, 6)), EPERM)], ALLOW)
    with pytest.raises(ProofFailed, match="arguments 0x6"):
        compile_filter(tables, default=ALLOW, x32=ALLOW, model=(other, CUTS))
