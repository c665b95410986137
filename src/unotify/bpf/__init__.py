"""Seccomp filters: predicates, a compiler, the kernel's checks, a simulator.

`expressions` says what can be asked about registers and what it means,
`compiler` makes programs of decision tables (by way of `lowering` and
`codegen`), `checker` and `simulator` say what the kernel would do with a
program, and `disassembler` shows it to people.
"""

from __future__ import annotations

from unotify.bpf.checker import check_program, is_constant_allow
from unotify.bpf.compiler import Verdict, compile_filter
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
from unotify.bpf.simulator import SeccompData, simulate, trace

__all__ = [
    "Always",
    "And",
    "Compare",
    "CompareOp",
    "In",
    "Instruction",
    "Never",
    "Not",
    "Op",
    "Or",
    "Program",
    "RegisterPredicate",
    "SeccompData",
    "Verdict",
    "check_program",
    "compile_filter",
    "decode",
    "disassemble",
    "encode",
    "evaluate",
    "is_constant_allow",
    "simulate",
    "trace",
]
