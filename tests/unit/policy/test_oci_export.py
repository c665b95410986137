"""OCI seccomp profiles out: exact where the format has words, and told where it has none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from unotify.abi.arch import Arch
from unotify.bpf import (
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
from unotify.bpf.difference import differences
from unotify.policy.compiling import compile_policy
from unotify.policy.conditions import All, Condition, Look, Need, Negation, RegisterTest
from unotify.policy.model import Policy, Rule, Verb, Verdict
from unotify.policy.oci import export_profile, import_profile

KILL_THREAD = Verdict(Verb.KILL_THREAD)
EPERM = Verdict(Verb.FAIL, errno=1)
ALLOW = Verdict(Verb.ALLOW)


def on(predicate: RegisterPredicate) -> RegisterTest:
    """A test that is the same on all architectures."""
    return RegisterTest("test", lambda arch: predicate)


def policy(
    *rules: Rule, archs: Sequence[Arch] = (Arch.X86_64,), default: Verdict = EPERM
) -> Policy:
    """A policy with a profile's answers to what nobody knows."""
    return Policy(tuple(rules), default, tuple(archs), bad_arch=KILL_THREAD)


def rule(call: str, verdict: Verdict, condition: Condition | None = None) -> Rule:
    """A rule about one call."""
    conditions = {} if condition is None else {call: condition}
    return Rule({call: None}, verdict, conditions)


TWO_WIDTHS = Not(In(0, [3, 5]))
"""Its words are about 32 bits on one ABI and about 64 on another."""

PREDICATES: list[RegisterPredicate] = [
    Compare(1, CompareOp.EQ, 5),
    Compare(1, CompareOp.NE, 5, bits=64),
    Compare(1, CompareOp.LT, 100),
    Compare(1, CompareOp.EQ, 5, bits=32),
    Compare(1, CompareOp.NE, 5, bits=32),
    Compare(1, CompareOp.LT, 10, bits=32),
    Compare(1, CompareOp.GE, 10, bits=32),
    Compare(1, CompareOp.LE, 0x7FFFFFFF, bits=32),
    Compare(1, CompareOp.GT, -3, bits=32, signed=True),
    Compare(1, CompareOp.LT, 0, bits=32, signed=True),
    Compare(1, CompareOp.LE, -2, bits=32, signed=True),
    Compare(1, CompareOp.EQ, 0x40, bits=32, mask=0xC0),
    Compare(1, CompareOp.NE, 0x40, mask=0xC0),
    Compare(1, CompareOp.EQ, 0x41, mask=0xC0),
    Compare(1, CompareOp.LT, 0x41, mask=0xC3),
    Compare(1, CompareOp.GT, 0x41, mask=0xC3),
    In(1, [3, 5, 9], bits=32),
    Not(In(1, [3, 5], bits=32)),
    TWO_WIDTHS,
    And((Compare(0, CompareOp.EQ, 1), Compare(1, CompareOp.GE, 7))),
    And((Compare(1, CompareOp.GE, 7), Compare(1, CompareOp.LT, 9))),
    Or((Compare(0, CompareOp.EQ, 1), Not(Compare(2, CompareOp.EQ, 7, mask=7)))),
    Not(And((Compare(0, CompareOp.EQ, 1), Compare(1, CompareOp.EQ, 2)))),
    And((Compare(0, CompareOp.EQ, 1), Compare(0, CompareOp.EQ, 2))),
    Always(),
    Never(),
]


@pytest.mark.parametrize("archs", [[Arch.X86_64], [Arch.X86_64, Arch.I386], [Arch.ARM]], ids=str)
@pytest.mark.parametrize("predicate", PREDICATES, ids=str)
def test_conditions_are_exact(predicate: RegisterPredicate, archs: Sequence[Arch]) -> None:
    """What registers decide comes back from a profile with not one call treated differently."""
    if Arch.X86_64 not in archs and "bits=64" in str(predicate):
        pytest.skip("no such test on 32 bits")
    if len(archs) == 2 and ("bits=64" in str(predicate) or predicate == TWO_WIDTHS):
        pytest.skip("such a test is not the same on 32 bits")
    first = Arch.X86_64 if archs[0] is Arch.X86_64 else archs[0]
    made = policy(rule("ioctl", ALLOW, on(predicate)), archs=archs)
    document, notes = export_profile(made)
    assert not notes
    back = import_profile(json.dumps(document), native=first)
    assert differences(compile_policy(made), compile_policy(back)) == []


def test_order_is_said() -> None:
    """First match wins: what a rule takes from a later one, is taken from its entry."""
    made = policy(
        rule("ioctl", EPERM, on(Compare(1, CompareOp.EQ, 5))),
        rule("ioctl", Verdict(Verb.LOG), on(Compare(0, CompareOp.LT, 9))),
        rule("ioctl", ALLOW),
        rule("mount", Verdict(Verb.KILL_PROCESS)),
    )
    document, notes = export_profile(made)
    assert not notes
    assert differences(compile_policy(made), compile_policy(import_profile(document))) == []
    # In a profile no order counts.
    document["syscalls"].reverse()
    assert differences(compile_policy(made), compile_policy(import_profile(document))) == []


def test_verdicts() -> None:
    """Every verdict of the kernel has its action."""
    verdicts = [
        Verdict(Verb.KILL_PROCESS),
        KILL_THREAD,
        Verdict(Verb.TRAP),
        Verdict(Verb.FAIL, errno=38),
        Verdict(Verb.DENY),
        Verdict(Verb.RETURN),
        Verdict(Verb.TRACE, value=7),
        Verdict(Verb.LOG),
        Verdict(Verb.NOTIFY),
    ]
    calls = ["read", "write", "close", "mount", "connect", "ioctl", "openat", "fork", "getpid"]
    made = policy(*map(rule, calls, verdicts), default=ALLOW)
    document, _ = export_profile(made)
    found = {names: e for e in document["syscalls"] for names in e["names"]}
    assert found["read"]["action"] == "SCMP_ACT_KILL_PROCESS"
    assert found["write"]["action"] == "SCMP_ACT_KILL_THREAD"
    assert found["close"]["action"] == "SCMP_ACT_TRAP"
    assert (found["mount"]["action"], found["mount"]["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    assert found["connect"]["errnoRet"] == 111
    assert found["ioctl"]["errnoRet"] == 0
    assert (found["openat"]["action"], found["openat"]["errnoRet"]) == ("SCMP_ACT_TRACE", 7)
    assert found["getpid"]["action"] == "SCMP_ACT_NOTIFY"


def test_what_the_supervisor_decides() -> None:
    """What takes a look goes to the listener, and the rules that it must know are named."""
    look = Look("path", Need.MEMORY, lambda facts: True)
    made = policy(rule("openat", EPERM, look), rule("mount", Verdict(Verb.NOTIFY)), default=ALLOW)
    document, notes = export_profile(made)
    assert document["syscalls"] == [
        {"names": ["mount", "openat"], "action": "SCMP_ACT_NOTIFY"},
    ]
    assert any("listenerPath" in note for note in notes)
    assert any('"notify" takes the listener' in note for note in notes)
    assert [note for note in notes if "can tell" in note] == [
        "the rule at policy: only the listener can tell: path"
    ]


def test_rules_that_look_are_named() -> None:
    """Each with what it looks at; one that registers decide, or that never matches, is not."""
    first, second = (Look(text, Need.MEMORY, bool) for text in ("path", "other"))
    five = on(Compare(1, CompareOp.EQ, 5))
    rules = [
        replace(rule("openat", EPERM, All((five, first, second, first))), name="a"),
        replace(rule("openat", EPERM, five), name="b"),
        replace(rule("openat", ALLOW), name="c"),
        replace(rule("openat", EPERM, Negation(second)), name="never"),
        replace(rule("mkdir", ALLOW, Negation(second)), name="d", racy=True, because="x"),
    ]
    _, notes = export_profile(policy(*rules, default=Verdict(Verb.NOTIFY)))
    assert [note for note in notes if "can tell" in note] == [
        '"a": only the listener can tell: path; other',
        '"d": only the listener can tell: other',
    ]


def test_what_has_no_words() -> None:
    """A call that the format cannot describe goes to the listener as a whole, and is named."""
    many = And(tuple(Compare(at, CompareOp.NE, 3, bits=32) for at in range(3)))
    differing = RegisterTest(
        "x", lambda arch: Compare(0, CompareOp.EQ, 1 if arch is Arch.I386 else 2)
    )
    made = policy(
        rule("ioctl", ALLOW, on(many)),
        rule("close", ALLOW, differing),
        rule("read", ALLOW, on(TWO_WIDTHS)),
        archs=[Arch.X86_64, Arch.I386],
    )
    document, notes = export_profile(made)
    assert document["syscalls"] == [
        {"names": ["close", "ioctl", "read"], "action": "SCMP_ACT_NOTIFY"}
    ]
    assert any(note.startswith("ioctl: it would take more than") for note in notes)
    assert any(note.startswith("read: a 32-bit register") for note in notes)
    assert any(note.startswith("close: it is treated differently on") for note in notes)


def test_settings() -> None:
    """Flags and the listener's socket are kept; what has no words is told."""
    made = Policy(
        (rule("mount", Verdict(Verb.NOTIFY)),),
        Verdict(Verb.TRAP, value=5),
        (Arch.X86_64, Arch.RISCV32),
        flags=("SECCOMP_FILTER_FLAG_LOG",),
        unknown=ALLOW,
        listener_path="/run/a",
        listener_metadata="m",
    )
    document, notes = export_profile(made)
    assert document["architectures"] == ["SCMP_ARCH_X86_64"]
    assert document["flags"] == ["SECCOMP_FILTER_FLAG_LOG"]
    assert (document["listenerPath"], document["listenerMetadata"]) == ("/run/a", "m")
    text = " / ".join(notes)
    for part in ("riscv32", "other architectures", "no table knows", "the number 5"):
        assert part in text


def test_evaluation_of_the_predicates() -> None:
    """The predicates above are not all the same: some match, and some do not."""
    values = [(at, other, 0, 0, 0, 0) for at in range(3) for other in (0, 5, 8, 0x40, 0x80000000)]
    kinds = {tuple(evaluate(predicate, args) for args in values) for predicate in PREDICATES}
    assert len(kinds) > 10
