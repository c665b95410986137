"""The proof that goes through a program and its reference side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import compile_filter
from unotify.bpf.expressions import And, Compare, CompareOp, In, Not, Or, RegisterPredicate
from unotify.bpf.instructions import Instruction, Program
from unotify.bpf.lockstep import Place, Reference, follows
from unotify.bpf.prover import Ask, ProofFailed, answer, prove
from unotify.errors import Error

ARCH = Arch.X86_64
NR = 7
YES, NO, OTHER = int(Action.ERRNO | 1), int(Action.ALLOW), int(Action.KILL_PROCESS)
CUTS: Mapping[int, Sequence[int]] = {ARCH.audit: (0, NR, NR + 1)}


def bit(arg: int, number: int) -> Compare:
    """Whether a bit of an argument is set."""
    return Compare(arg, CompareOp.NE, 0, mask=1 << number)


def decide_by(predicate: RegisterPredicate) -> object:
    """What `prove` asks."""

    def decide(audit: int, nr: int, ask: Ask) -> int:
        if audit != ARCH.audit:
            return OTHER
        return YES if nr == NR and answer(predicate, ask, ARCH.bits) else NO

    return decide


def rest_by(predicate: RegisterPredicate) -> object:
    """The same for `follows`."""

    def rest(reference: Reference, audit: int, nr: int) -> Place:
        if audit != ARCH.audit:
            return reference.end(OTHER)
        no = reference.end(NO)
        return reference.ask(predicate, ARCH.bits, reference.end(YES), no) if nr == NR else no

    return rest


def compiled(predicate: RegisterPredicate) -> Program:
    """The filter, of which another x32 is not told apart."""
    return compile_filter({ARCH: {NR: [(predicate, YES), NO]}}, default=NO, bad_arch=OTHER, x32=NO)


PREDICATES = [
    Or(tuple(And((bit(0, i), bit(1, 3 * i % 7))) for i in range(3))),
    Or((And((In(0, (3, 1 << 40, 9)), Not(bit(2, 33)))), Compare(1, CompareOp.GE, 1 << 35))),
    And((Or((bit(0, 1), Compare(3, CompareOp.LT, 5, signed=True, bits=32))), Not(bit(1, 2)))),
]


@pytest.mark.parametrize("predicate", PREDICATES)
def test_what_is_compiled_is_proved(predicate: RegisterPredicate) -> None:
    """The compiler's programs follow their predicates."""
    assert follows(compiled(predicate), rest_by(predicate), CUTS)


@pytest.mark.parametrize("predicate", PREDICATES)
def test_what_is_wrong_is_not_proved(predicate: RegisterPredicate) -> None:
    """Each change of one instruction that the other proof finds, this one finds too."""
    program = compiled(predicate).instructions
    wrong = 0
    for at, (op, jt, jf, k) in enumerate(program):
        for changed in (
            Instruction(op, jf, jt, k),
            Instruction(op, jt, jf, k ^ 1),
            Instruction(op, jt, jf, (k + 4) & 0xFFFFFFFF),
        ):
            other = Program((*program[:at], changed, *program[at + 1 :]))
            try:
                prove(other, decide_by(predicate), CUTS)
            except ProofFailed:
                wrong += 1
                assert not follows(other, rest_by(predicate), CUTS)
            except Error:
                continue  # no program at all, or not to be followed
    assert wrong > 20


def test_many_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of bits of three arguments thirty alternatives take no longer than they are many."""
    monkeypatch.setattr("unotify.bpf.compiler._FEW", 50)
    terms = [And((bit(0, i), bit(1, i * 5 % 31), bit(2, i * 7 % 31))) for i in range(30)]
    program = compiled(Or(tuple(terms)))
    assert follows(program, rest_by(Or(tuple(terms))), CUTS)
    assert not follows(program, rest_by(Or(tuple(terms[:-1]))), CUTS)
