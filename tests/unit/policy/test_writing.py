"""Policies written as TOML: they load again, and mean the same."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from unotify.abi.arch import Arch
from unotify.bpf import Compare, CompareOp
from unotify.bpf.difference import differences
from unotify.errors import NotExpressible
from unotify.policy.compiling import compile_policy, tables
from unotify.policy.conditions import All, Any, Condition, Negation
from unotify.policy.loader import load
from unotify.policy.model import Place, Policy, Rule, Verb, Verdict
from unotify.policy.raw import raw_test
from unotify.policy.writing import to_toml

EPERM = Verdict(Verb.FAIL, errno=1)
WORD = 1 << 32


def policy(*rules: Rule, default: Verdict = EPERM) -> Policy:
    """A policy for x86."""
    return Policy(
        rules,
        default,
        (Arch.X86_64, Arch.I386),
        bad_arch=Verdict(Verb.KILL_THREAD),
        unknown=Verdict(Verb.FAIL, errno=38),
    )


def again(made: Policy) -> Policy:
    """What the text of a policy loads as; nothing may be left to say."""
    text, notes = to_toml(made)
    assert not notes
    return load(text)


def test_verdicts_and_settings() -> None:
    """Every verdict of the language and all settings come back."""
    verdicts = [
        Verdict(Verb.ALLOW),
        Verdict(Verb.DENY),
        Verdict(Verb.DENY, why="hidden"),
        Verdict(Verb.FAIL, errno=22),
        Verdict(Verb.FAIL, errno=4000),
        Verdict(Verb.RETURN),
        Verdict(Verb.KILL_PROCESS),
        Verdict(Verb.TRAP),
        Verdict(Verb.TRACE, value=9),
        Verdict(Verb.LOG),
        Verdict(Verb.NOTIFY),
    ]
    calls = "read write openat close fork vfork mount ptrace getpid getuid kill"
    rules = [Rule({call: None}, done) for call, done in zip(calls.split(), verdicts, strict=True)]
    made = policy(*rules)
    back = again(made)
    assert [str(rule.verdict) for rule in back.rules] == [str(verdict) for verdict in verdicts]
    assert (back.default, back.bad_arch, back.unknown) == (
        made.default,
        made.bad_arch,
        made.unknown,
    )
    assert back.architectures == made.architectures
    assert tables(back) == tables(made)


def test_what_people_wrote() -> None:
    """Names, reasons and architectures of calls come back, whatever is in them."""
    rule = Rule(
        {"open": frozenset([Arch.I386]), "read": None},
        EPERM,
        name='a "name"',
        because="a\nreason \\ of \x7f two",
        log=True,
        place=Place("x\ny", 3, 1),
    )
    (back,) = again(policy(rule)).rules
    assert (back.name, back.because, back.log) == (rule.name, rule.because, True)
    assert back.calls == rule.calls


def test_long_lists() -> None:
    """A long list of calls is broken into lines."""
    calls = "read write openat close fork vfork mount ptrace getpid getuid kill getgid getegid"
    text, _ = to_toml(policy(Rule(dict.fromkeys(calls.split()), EPERM)))
    assert max(map(len, text.split("\n"))) <= 100
    assert sorted(tomllib.loads(text)["rule"][0]["calls"]) == sorted(calls.split())


@pytest.mark.parametrize(
    ("call", "condition", "where"),
    [
        ("lseek", raw_test(1, CompareOp.EQ, 5), "offset == 5"),
        ("clone", raw_test(0, CompareOp.EQ, 0, 0x7E020000), "flags & 0x7e020000 == 0"),
        ("close", raw_test(0, CompareOp.EQ, 3, WORD - 1), "fd & 0xffffffff == 3"),
        ("brk", raw_test(0, CompareOp.GE, 4096), "addr >= 0x1000"),
        (
            "ioctl",
            Any(
                (
                    All((raw_test(2, CompareOp.EQ, 1), raw_test(2, CompareOp.NE, 2))),
                    Negation(raw_test(2, CompareOp.LT, 7)),
                )
            ),
            "(arg == 1 and arg != 2) or not (arg < 7)",
        ),
    ],
)
def test_conditions(call: str, condition: Condition, where: str | None) -> None:
    """Conditions on registers are said with the names of arguments, and mean the same."""
    allow = Verdict(Verb.ALLOW)
    made = Policy((Rule({call: None}, allow, {call: condition}),), EPERM, (Arch.X86_64,))
    back = again(made)
    assert differences(compile_policy(made), compile_policy(back)) == []
    assert back.rules[0].where == where


def test_conditions_on_an_int() -> None:
    """B3: of an int the kernel looks at 32 bits, and so does the language: a note says so."""
    test = raw_test(0, CompareOp.EQ, 3)
    made = Policy(
        (Rule({"close": None}, Verdict(Verb.ALLOW), {"close": test}),), EPERM, (Arch.X86_64,)
    )
    text, notes = to_toml(made)
    assert [note.partition(":")[0] for note in notes] == ["close"]
    found = differences(compile_policy(made), compile_policy(load(text)))
    assert found
    # Only what the kernel ignores makes a difference.
    assert all(difference.witness().args[0] >> 32 for difference in found)


def test_what_has_no_words() -> None:
    """A number in the place of a path cannot be said."""
    made = policy(
        Rule({"chdir": None}, EPERM, {"chdir": raw_test(0, CompareOp.EQ, 0x1000)}), default=EPERM
    )
    with pytest.raises(NotExpressible, match="chdir: arg0 == 0x1000 has no words"):
        to_toml(made)
    handler = policy(Rule({"mount": None}, Verdict(Verb.ACT, handler="perform")))
    with pytest.raises(NotExpressible, match="a handler's verb"):
        to_toml(handler)


def test_flags_and_listener() -> None:
    """How the filter is to be installed comes back, whatever is in the strings."""
    made = replace(
        policy(),
        flags=("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
        listener_path='/run/a "socket"',
        listener_metadata="two\nlines\x00",
    )
    back = again(made)
    assert back.flags == made.flags
    assert back.listener_path == made.listener_path
    assert back.listener_metadata == made.listener_metadata


def test_what_is_left_out() -> None:
    """What is not for a policy to say is left out, and told."""
    made = replace(
        policy(), flags=("SECCOMP_FILTER_FLAG_NEW_LISTENER",), listener_metadata="for nobody"
    )
    text, notes = to_toml(made)
    assert load(text).flags == ()
    assert [note.rpartition(":")[0] for note in notes] == [
        "SECCOMP_FILTER_FLAG_NEW_LISTENER is set by who installs the filter",
        "metadata for a listener that goes nowhere",
    ]


@pytest.mark.parametrize(
    ("test", "wide", "narrow"),
    [
        (
            raw_test(1, CompareOp.EQ, -1),
            Compare(1, CompareOp.EQ, (1 << 64) - 1, bits=64),
            Compare(1, CompareOp.EQ, WORD - 1),
        ),
        (
            raw_test(1, CompareOp.LT, WORD),
            Compare(1, CompareOp.LT, WORD, bits=64),
            Compare(1, CompareOp.LT, WORD),
        ),
        (
            raw_test(1, CompareOp.NE, 1, -2),
            Compare(1, CompareOp.NE, 1, bits=64, mask=(1 << 64) - 2),
            Compare(1, CompareOp.NE, 1, mask=WORD - 2),
        ),
    ],
)
def test_raw_tests(test: object, wide: Compare, narrow: Compare) -> None:
    """A test by position is as wide as the register, and -1 is -1 on all architectures."""
    from unotify.policy.raw import RawTest

    assert isinstance(test, RawTest)
    assert test.lower(Arch.X86_64) == wide
    assert test.lower(Arch.I386) == narrow
