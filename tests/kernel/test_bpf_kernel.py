"""The simulator and the checker against the kernel.

A worker process installs programs in processes that it forks for each of them,
makes calls with chosen registers, by ``syscall`` and by ``int $0x80``, and says
what came of it. The calls are harmless: numbers that no kernel knows, and a few
that only read an identity.
"""

from __future__ import annotations

import json
import platform
import random
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import pytest

from unotify.abi.arch import X32_BIT, Arch
from unotify.abi.seccomp import ACTION_MASK, DATA_MASK, Action
from unotify.bpf import (
    Compare,
    CompareOp,
    In,
    Instruction,
    Op,
    Program,
    RegisterPredicate,
    SeccompData,
    Verdict,
    check_program,
    compile_filter,
    encode,
    simulate,
)
from unotify.bpf.instructions import and_, jeq, ld_abs, ret
from unotify.errors import InvalidProgram

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the worker's call gates are those of x86-64"
)

WORKER = r"""
import ctypes, errno, json, mmap, os, signal, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

# rdi points to the number and six registers: load them all, int $0x80, return eax.
CODE = bytes.fromhex(
    "5355488b07488b5f08488b4f10488b5718488b7720488b6f30488b7f28cd805d5bc3")
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(CODE)
int80 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(
    ctypes.addressof(ctypes.c_char.from_buffer(page)))


class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install(raw, flags):
    if libc.prctl(38, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    fprog = Fprog(len(raw) // 8, raw)
    if libc.syscall(317, 1, flags, ctypes.byref(fprog)) < 0:
        return ctypes.get_errno()
    return 0


def call(compat, nr, args):
    if compat:
        return int80((ctypes.c_uint64 * 7)(nr, *args))
    result = libc.syscall(ctypes.c_long(nr), *map(ctypes.c_uint64, args))
    return -ctypes.get_errno() if result == -1 else result


def in_process(raw, calls):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        failed = install(raw, 0)
        results = [failed] if failed else [0, *(call(*one) for one in calls)]
        os.write(writer, json.dumps(results).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        found = pipe.read()
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return "killed" if os.WTERMSIG(status) == signal.SIGSYS else status
    failed, *results = json.loads(found)
    if failed:
        raise OSError(failed, "seccomp")
    return results


def accepted(raw):
    # One listener of a chain is enough to make the kernel refuse a second one with
    # EBUSY, but only after it has looked at the program.
    return {errno.EBUSY: True, 0: True, errno.EINVAL: False}[install(raw, 1 << 3)]


job = json.load(sys.stdin)
if job["do"] == "check":
    allow = bytes.fromhex(job["allow"])
    accepted(allow)
    answer = [accepted(bytes.fromhex(raw)) for raw in job["programs"]]
else:
    answer = [in_process(bytes.fromhex(raw), calls) for raw, calls in job["programs"]]
json.dump(answer, sys.stdout)
"""

Call: TypeAlias = tuple[bool, int, tuple[int, ...]]
"""By ``int $0x80``, number, registers."""


def work(**job: Any) -> list[Any]:
    """What the worker answers."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", WORKER],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: list[Any] = json.loads(done.stdout)
    return answer


def predicted(program: Sequence[Instruction], call: Call) -> int:
    """The action that the simulator gives for a call."""
    compat, nr, args = call
    arch = Arch.I386 if compat else Arch.X86_64
    return simulate(program, SeccompData(nr, arch.audit, args))


def assert_kernel_agrees(jobs: Sequence[tuple[Sequence[Instruction], Sequence[Call]]]) -> None:
    """Make all calls under their programs; each ends as the simulator says."""
    batches: list[tuple[Sequence[Instruction], list[Call]]] = []
    for program, calls in jobs:
        deadly = [call for call in calls if predicted(program, call) & ACTION_MASK in KILLS]
        batches.append((program, [call for call in calls if call not in deadly]))
        batches += [(program, [call]) for call in deadly[:3]]
    answers = work(
        do="run", programs=[(encode(program).hex(), calls) for program, calls in batches]
    )
    for (program, calls), answer in zip(batches, answers, strict=True):
        if answer == "killed":
            assert predicted(program, calls[0]) & ACTION_MASK in KILLS, calls
            continue
        for call, result in zip(calls, answer, strict=True):
            action = predicted(program, call)
            if action == Action.ALLOW:
                # An unknown number, or one that reads an identity.
                assert result >= 0 if call[1] in HARMLESS[call[0]] else result == -38, call
            else:
                assert action & ACTION_MASK == Action.ERRNO, call
                assert result == -(action & DATA_MASK), call


KILLS = (Action.KILL_PROCESS, Action.KILL_THREAD)
HARMLESS = {False: (102, 104, 107, 108, 110), True: (24, 47, 49, 50, 64)}
EDGES = (0, 1, 40, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)


class Source:
    """Random filters and calls."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.errno = 200

    def action(self) -> int:
        """ALLOW, or an errno that no other verdict of the process has."""
        self.errno += 1
        return self.rng.choice((Action.ALLOW, Action.ERRNO | self.errno, Action.ERRNO | self.errno))

    def value(self, bits: int) -> int:
        """A number at an edge, or any, that fits *bits*."""
        value = self.rng.choice((self.rng.choice(EDGES), self.rng.getrandbits(64)))
        return value & (1 << (bits or 64)) - 1

    def predicate(self, arch: Arch) -> RegisterPredicate:
        """One test, or a few combined."""
        bits = self.rng.choice((0, 32, arch.bits))
        arg = self.rng.randrange(6)
        mask = self.rng.choice((None, None, self.value(bits) or 1))
        if self.rng.random() < 0.3:
            return In(arg, {self.value(bits) for _ in range(5)}, bits, mask)
        op = self.rng.choice(list(CompareOp))
        test = Compare(arg, op, self.value(bits), bits, self.rng.random() < 0.5, mask)
        if self.rng.random() < 0.3:
            other = self.predicate(arch)
            return self.rng.choice((test & other, test | other, ~test & other))
        return test

    def verdict(self, arch: Arch) -> Verdict:
        """Up to two conditions."""
        pairs = [(self.predicate(arch), self.action()) for _ in range(self.rng.randrange(3))]
        return (*pairs, self.action())

    def table(self, arch: Arch) -> dict[int, Verdict]:
        """Verdicts of harmless calls."""
        numbers = [*HARMLESS[arch is Arch.I386], *range(5000, 5010)]
        if arch is Arch.X32:
            numbers = [nr | X32_BIT for nr in range(5000, 5006)]
        table = {nr: self.verdict(arch) for nr in numbers if self.rng.random() < 0.7}
        if arch is Arch.X86_64:
            table[0xFFFFFFFF] = self.verdict(arch)
        return table

    def filter(self) -> tuple[Sequence[Instruction], list[Call]]:
        """A compiled filter, and calls that it may decide wrongly."""
        archs = [Arch.X86_64]
        archs += [arch for arch in (Arch.I386, Arch.X32) if self.rng.random() < 0.6]
        tables = {arch: self.table(arch) for arch in archs}
        program = compile_filter(
            tables,
            default={
                Arch.X86_64: Action.ALLOW,  # the process itself needs a few calls
                Arch.I386: Action.ERRNO | 66,
                Arch.X32: Action.ERRNO | 67,
            },
            bad_arch=self.rng.choice((Action.ERRNO | 88, Action.KILL_PROCESS)),
            x32=Action.ERRNO | 77,
        )
        calls: list[Call] = []
        for compat in (False, True):
            for nr in (*HARMLESS[compat], *range(4999, 5011), X32_BIT | 5001, -1):
                if compat and nr & X32_BIT:
                    continue
                for _ in range(3):
                    calls.append((compat, nr, tuple(self.value(64) for _ in range(6))))
        return program.instructions, calls

    def raw(self) -> tuple[Sequence[Instruction], list[Call]]:
        """A program of all instructions that seccomp has, for one unknown number."""
        body = [Instruction(Op.ST, 0, 0, word) for word in range(4)]
        plain = [op for op in Op if op & 7 not in (5, 6) and op != Op.LD_ABS]
        length = self.rng.randrange(4, 40)
        for left in range(length, 0, -1):
            match self.rng.randrange(6):
                case 0 | 1:
                    # Not the instruction pointer: it is not known here.
                    body.append(ld_abs(self.rng.choice((0, 4, *range(16, 64, 4)))))
                case 2:
                    jump = self.rng.choice([op for op in Op if op & 7 == 5])
                    jt, jf = (self.rng.randrange(min(left, 5)) for _ in range(2))
                    k = jt if jump == Op.JA else self.value(32)
                    body.append(Instruction(jump, *((0, 0) if jump == Op.JA else (jt, jf)), k))
                case _:
                    op = self.rng.choice(plain)
                    k = self.value(32)
                    if op in (Op.LSH_K, Op.RSH_K):
                        k %= 32
                    elif op in (Op.ST, Op.STX, Op.LD_MEM, Op.LDX_MEM):
                        k %= 4
                    elif op == Op.DIV_K:
                        k |= 1
                    body.append(Instruction(op, 0, 0, k))
        # Twelve bits of A are seen at a time.
        seen = Instruction(Op.RSH_K, 0, 0, self.rng.choice((0, 12, 20)))
        end = [seen, and_(0xFFF), Instruction(Op.OR_K, 0, 0, Action.ERRNO)]
        program = [
            *(ld_abs(0), jeq(5000, 1, 0), ret(Action.ALLOW)),
            *(*body, *end, Instruction(Op.RET_A, 0, 0, 0)),
        ]
        check_program(program)
        calls: list[Call] = [
            (False, 5000, tuple(self.value(64) for _ in range(6))) for _ in range(8)
        ]
        return program, calls


@pytest.mark.parametrize("seed", range(3))
def test_compiled_filters_decide_as_simulated(seed: int) -> None:
    """B1, B2, B3, B4: -1, i386 and x32 calls and dirty upper halves end as the simulator says."""
    source = Source(seed)
    jobs = [source.filter() for _ in range(25)]
    results = {predicted(program, call) for program, calls in jobs for call in calls}
    assert {Action.ALLOW, Action.KILL_PROCESS, Action.ERRNO | 77} < results
    assert len(results) > 100
    assert_kernel_agrees(jobs)


@pytest.mark.parametrize("seed", range(2))
def test_every_instruction_runs_as_simulated(seed: int) -> None:
    """Index register, scratch memory, arithmetic, shifts by X and division by zero are modelled."""
    source = Source(seed)
    jobs = [source.raw() for _ in range(100)]
    ran = {instruction.code for program, _ in jobs for instruction in program}
    assert ran == set(Op)
    results = [predicted(program, call) for program, calls in jobs for call in calls]
    assert Action.KILL_THREAD in results
    assert_kernel_agrees(jobs)


def test_dirty_upper_half_does_not_get_past_a_test() -> None:
    """B3: a compat call with a dirty upper half is caught by a test of the register width."""
    tables: dict[Arch, dict[int, Verdict]] = {
        Arch.X86_64: {},
        Arch.I386: {5000: [(Compare(0, CompareOp.EQ, 7), Action.ERRNO | 5), Action.ALLOW]},
    }
    program = compile_filter(tables, default=Action.ALLOW).instructions
    calls = [(True, 5000, (high << 32 | 7, 0, 0, 0, 0, 0)) for high in (0, 1, 0xFFFFFFFF)]
    assert work(do="run", programs=[(encode(program).hex(), calls)]) == [[-5, -5, -5]]


def random_programs(seed: int) -> list[list[Instruction]]:
    """Programs of which the kernel takes some and refuses others, each for one reason."""
    rng = random.Random(seed)
    programs = []
    for _ in range(1500):
        program = [
            Instruction(
                rng.choice(list(Op)),
                rng.choice((0, 0, 0, 1, 2, 3)),
                rng.choice((0, 0, 0, 1, 2, 3)),
                rng.choice((0, 1, 2, 3, 4, 15, 31)),
            )
            for _ in range(rng.randrange(1, 6))
        ]
        program.append(ret(0))
        if rng.random() < 0.2:
            at = rng.randrange(len(program))
            wrong = rng.choice((rng.randrange(256), rng.choice(list(Op))))
            program[at] = Instruction(wrong, 0, 0, rng.choice((0, 3, 4, 16, 60, 64, 32, 2**32 - 1)))
        programs.append(program)
    programs += [[Instruction(code, 0, 0, 1), ret(0)] for code in range(0x200)]
    programs += [[ld_abs(offset), ret(0)] for offset in range(70)]
    programs += [[ret(0)] * length for length in (0, 1, 4095, 4096, 4097)]
    return programs


def test_kernel_takes_what_the_checker_takes() -> None:
    """The checker accepts a program exactly if seccomp(2) does."""
    programs = random_programs(1)
    expected = []
    for program in programs:
        try:
            check_program(program)
        except InvalidProgram:
            expected.append(False)
        else:
            expected.append(True)
    assert 300 < sum(expected) < len(expected) - 300
    found = work(
        do="check",
        allow=Program((ret(Action.ALLOW),)).encode().hex(),
        programs=[encode(program).hex() for program in programs],
    )
    for program, ours, kernels in zip(programs, expected, found, strict=True):
        assert ours == kernels, program
