"""Differences of programs against what the programs answer."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.test_bpf import EDGES, NUMBERS, tables_of
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Program, SeccompData, compile_filter, simulate
from unotify.bpf.audit import audit_program
from unotify.bpf.difference import differences, same_effect

X86 = Arch.X86_64

programs = st.builds(
    lambda table, default: compile_filter({X86: table}, default=default),
    tables_of(X86),
    st.sampled_from((int(Action.ALLOW), int(Action.USER_NOTIF))),
)
calls = st.builds(
    SeccompData,
    st.sampled_from(NUMBERS),
    st.sampled_from((X86.audit, Arch.I386.audit)),
    st.tuples(*[st.sampled_from(EDGES)] * 6),
    st.just(0),
)


@settings(max_examples=150, deadline=None)
@given(programs, programs, st.lists(calls, max_size=30))
def test_exact(left: Program, right: Program, tried: list[SeccompData]) -> None:
    """Each example shows its difference, and a call that differs is in exactly one of them."""
    found = differences(left, right)
    for entry in found:
        data = entry.witness()
        assert (simulate(left, data), simulate(right, data)) == (entry.left, entry.right)
        assert not same_effect(entry.left, entry.right)
    for data in tried:
        differ = not same_effect(simulate(left, data), simulate(right, data))
        assert sum(data in entry.box for entry in found) == differ


@settings(max_examples=60, deadline=None)
@given(programs)
def test_audits_of_any_program(program: Program) -> None:
    """Any program can be audited, and each finding says what, why and what to do."""
    for finding in audit_program(program):
        assert finding.title
        assert finding.reason
        assert finding.cure
        assert finding.check
