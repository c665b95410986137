"""Seccomp filters: predicates, a compiler, the kernel's checks, a simulator.

`expressions` says what can be asked about registers and what it means,
`compiler` makes programs of decision tables (by way of `lowering` and
`codegen`), `prover` shows that each is what it was made of, by way of all that
`symbolic` says it can do, `checker` and `simulator` say what the kernel would do
with a program, and `disassembler` shows it to people.
"""

from __future__ import annotations

from unotify.bpf.checker import check_program, is_constant_allow
from unotify.bpf.compiler import Verdict, compile_filter
from unotify.bpf.deciders import Decider, decider
from unotify.bpf.disassembler import disassemble
from unotify.bpf.expressions import (
    Always,
    And,
    Compare,
    CompareOp,
    In,
    Never,
    Not,
    Or,
    RegisterPredicate,
    evaluate,
)
from unotify.bpf.instructions import Instruction, Op, Program, decode, encode
from unotify.bpf.prover import ProofFailed, prove
from unotify.bpf.simulator import SeccompData, simulate, trace
from unotify.bpf.symbolic import Box, Path, Region, paths, regions
from unotify.bpf.wordsets import WordSet

__all__ = [
    "Always",
    "And",
    "Box",
    "Compare",
    "CompareOp",
    "Decider",
    "In",
    "Instruction",
    "Never",
    "Not",
    "Op",
    "Or",
    "Path",
    "Program",
    "ProofFailed",
    "Region",
    "RegisterPredicate",
    "SeccompData",
    "Verdict",
    "WordSet",
    "check_program",
    "compile_filter",
    "decider",
    "decode",
    "disassemble",
    "encode",
    "evaluate",
    "is_constant_allow",
    "paths",
    "prove",
    "regions",
    "simulate",
    "trace",
]
