from __future__ import annotations

from tests.unit.policy.policies import (
    ALLOW,
    DENY,
    FILES,
    NOSYS,
    WRITES,
    path_is,
    policy,
    register,
    rule,
)
from unotify.abi.arch import Arch
from unotify.bpf import CompareOp
from unotify.policy.compiling import compile_policy
from unotify.policy.conditions import All, Need
from unotify.policy.explain import explain_call
from unotify.policy.model import Policy, Verb, Verdict
from unotify.policy.overview import Row, explain_policy

PROGRAM = compile_policy(FILES)
X86 = Arch.X86_64


def table(subject: Policy) -> dict[str, Row]:
    """The table of a policy, by title."""
    return {row.title: row for row in explain_policy(subject, compile_policy(subject))}


def halves(subject: Policy) -> dict[str, str]:
    """Which half of a policy decides by each rule."""
    words = {(True, True): "both", (True, False): "filter", (False, True): "supervisor"}
    return {
        title: words.get((row.filter, row.supervisor), "nobody")
        for title, row in table(subject).items()
        if row.rule or title == "default"
    }


def test_a_look_takes_the_rules_behind_it_along() -> None:
    """Behind a rule that must look for all arguments, the supervisor decides everything."""
    subject = policy(rule("mkdir", DENY, path_is("/x"), name="a"), rule("mkdir", NOSYS, name="b"))
    assert halves(subject) == {"a": "supervisor", "b": "supervisor", "default": "filter"}


def test_a_look_for_some_arguments() -> None:
    """Behind a rule that looks for some arguments only, the filter decides the others."""
    subject = policy(
        rule("openat", DENY, All((WRITES, path_is("/x"))), name="a"),
        rule("openat", NOSYS, name="b"),
        rule("openat", ALLOW, name="c"),
    )
    assert halves(subject) == {"a": "supervisor", "b": "both", "c": "nobody", "default": "filter"}


def test_conditions_that_leave_nothing() -> None:
    """Two rules that together take everything leave no call to the default."""
    low, high = (register("fd", 0, op, 10) for op in (CompareOp.LT, CompareOp.GE))
    subject = policy(rule("close", DENY, low, name="a"), rule("close", NOSYS, high, name="b"))
    rows = table(subject)
    assert "close" not in rows["default"].calls
    assert halves(subject)["b"] == "filter"


def test_the_table() -> None:
    """Golden: the whole policy, a row for each rule and each default."""
    rows = [
        (row.title, row.calls[:1], str(row.verdict), row.filter, row.supervisor, row.looks)
        for row in explain_policy(FILES, PROGRAM)
    ]
    assert rows == [
        ("no files made", ("openat",), "fail ENOSYS", True, False, ()),
        ("passwords", ("openat",), "fail EACCES", False, True, ('path == "/etc/passwd"',)),
        ("ordinary users", ("openat",), "allow", False, True, ("uid == 0",)),
        ("no directories", ("mkdir",), "fail EACCES", True, False, ()),
        ("mounts", ("mount",), "notify", False, True, ()),
        ("default", ("_sysctl",), "allow", True, True, ()),
        ("unknown numbers", (), "fail ENOSYS", True, False, ()),
        ("other architectures", (), "kill-process", True, False, ()),
    ]


def test_costs_in_the_table() -> None:
    """Costs are those of the paths of a rule's calls; only calls always allowed are cached."""
    rows = {row.title: row for row in explain_policy(FILES, PROGRAM)}
    files = rows["no files made"].cost
    assert files is not None
    assert 5 < files.least <= files.most <= len(PROGRAM)
    assert (files.cached, files.calls) == (0, 1)
    rest = rows["default"].cost
    assert rest is not None
    assert rest.calls == len(rows["default"].calls)
    assert rest.cached == rest.calls - 1  # openat may come down to it
    assert rows["passwords"].needs == {Need.REGISTERS, Need.MEMORY}


def test_logged_rules_are_supervised() -> None:
    """A rule with log is decided where it can be logged."""
    logged = policy(rule("mkdir", Verdict(Verb.ALLOW), log=True, name="seen"))
    program = compile_policy(logged)
    (row, *_) = explain_policy(logged, program)
    assert (row.filter, row.supervisor) == (False, True)
    assert explain_call(logged, program, X86, 83).supervised


def test_rules_that_never_match_have_no_calls() -> None:
    """A rule behind one that takes everything decides nothing."""
    shadowed = policy(rule("mkdir", NOSYS), rule("mkdir", ALLOW, name="never"))
    rows = explain_policy(shadowed, compile_policy(shadowed))
    assert (rows[1].title, rows[1].calls, rows[1].cost) == ("never", (), None)
    assert not rows[1].filter
    assert not rows[1].supervisor
