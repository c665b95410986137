"""Which rules of a policy become shortcuts, and which do not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Program, SeccompData, simulate
from unotify.bpf.instructions import decode
from unotify.kernel.interface import Making, Shortcut
from unotify.policy.loader import load
from unotify.policy.model import Verb, Verdict
from unotify.supervisor.addons import verb
from unotify.supervisor.shortcuts import ASK, CONTINUE, MAKE, PERFORM, RETURN, shortcuts

X86 = Arch.X86_64
OPENAT = 257


def of(rules: str, handled: frozenset[str] = frozenset()) -> tuple[Shortcut, ...]:
    """The shortcuts of a policy."""
    return shortcuts(load('version = 1\ndefault = "allow"\n' + rules), X86, handled)


def rule(calls: str, do: str, where: str = "") -> str:
    """One rule."""
    written = f"where = '{where}'\n" if where else ""
    return f'[[rule]]\ncalls = ["{calls}"]\n{written}do = {do}\n'


def _made(call: str, parameters: Mapping[str, Any]) -> Making | None:
    """What a verb of these tests comes to."""
    devices = parameters.get("devices", ["c:0:0"])
    return None if "c:9:9" in devices else Making(((0o020000, (1, 1), (3, 3)),), 1, 2, 4)


@verb("emulate-mknod", native=_made)
def _makes(call: Any, parameters: Mapping[str, Any]) -> None:
    """Would be asked otherwise."""


@functools.wraps(_makes)
def _wraps(call: Any, parameters: Mapping[str, Any]) -> None:
    """Has more to say, and all of its attributes."""


MAKES: Mapping[str, Callable[..., object]] = {"emulate-mknod": _makes}


def matches(shortcut: Shortcut, *args: int) -> bool:
    """Whether its program is about these registers."""
    data = SeccompData(shortcut.nr, X86.audit, (*args, *[0] * (6 - len(args))))
    return simulate(Program(decode(shortcut.program)), data) == Action.ALLOW


def test_values() -> None:
    """A value is given as it is, but for those that are no number of 63 bits."""
    (found,) = of(rule("openat", "{ return = 7 }"))
    assert (found.verdict, found.value) == (RETURN, 7)
    assert of(rule("openat", "{ return = 9223372036854775807 }"))[0].value == (1 << 63) - 1
    policy = load('version = 1\ndefault = "allow"\n' + rule("openat", "{ return = 7 }"))
    address = replace(policy.rules[0], verdict=Verdict(Verb.RETURN, value=1 << 63))
    assert not shortcuts(replace(policy, rules=(address,)), X86, frozenset())


def test_what_a_plain_rule_becomes() -> None:
    """Registers are a program, tests of a path are texts, and the verdict is a number."""
    (found, last) = of(
        rule("openat", '{ fail = "EXDEV" }', 'flags & O_CREAT and not under(path, "/a")')
        + rule("openat", '"perform"')
    )
    assert (found.nr, found.verdict, found.tests) == (OPENAT, -18, ((True, True, (b"/a",)),))
    assert (found.dirfd, found.path, found.flags) == (0, 1, 2)
    assert matches(found, 0, 0, 0o100)
    assert not matches(found, 0, 0, 0)
    assert last == Shortcut(OPENAT, PERFORM, dirfd=0, path=1, flags=2)


def test_alternatives_are_shortcuts_of_their_own() -> None:
    """What one of several conditions is enough for is there once for each."""
    found = of(rule("open", '"perform"', 'path == "/a" or path in ("/b", "/c") or mode == 0'))
    assert [each.tests for each in found] == [
        ((False, False, (b"/a",)),),
        ((False, False, (b"/b", b"/c")),),
        (),
    ]
    assert matches(found[2], 0, 0, 0)
    assert not matches(found[2], 0, 0, 1)


def test_nodes_that_are_made() -> None:
    """A verb that tells which is a shortcut for mknod and mknodat, with all that it takes."""
    for call, at in (("mknod", -1), ("mknodat", 0)):
        policy = load('version = 1\ndefault = "deny"\n' + rule(call, '"emulate-mknod"'))
        block, char, last = shortcuts(policy, X86, frozenset(), MAKES)
        assert (block.verdict, char.verdict, last.verdict) == (MAKE, MAKE, -1)
        assert block.making == char.making == _made(call, {})
        arguments = (None if at else 0, 1 + at, 2 + at, 3 + at)
        assert (char.dirfd, char.path, char.mode, char.dev) == arguments
        before = [0] * (2 + at)
        assert matches(block, *before, 0o060600, 0)
        assert matches(char, *before, 0o020600, 259)
        assert not matches(char, *before, 0o020600, 0)  # a whiteout


def test_nodes_in_a_place() -> None:
    """With a condition of its own, such a rule has alternatives within a conjunction."""
    where = 'under(path, "/dev") and dev != 5'
    policy = load('version = 1\ndefault = "deny"\n' + rule("mknod", '"emulate-mknod"', where))
    *found, last = shortcuts(policy, X86, frozenset(), MAKES)
    assert [each.verdict for each in found] == [MAKE, MAKE]
    assert [each.tests for each in found] == [((True, False, (b"/dev",)),)] * 2
    assert matches(found[1], 0, 0o020600, 259)
    assert not matches(found[1], 0, 0o020600, 5)
    assert last.verdict == -1


def test_verbs_that_have_to_be_asked() -> None:
    """One without a native form, one that says so, and one that wraps another."""
    policy = load('version = 1\ndefault = "allow"\n' + rule("mknod", '"emulate-mknod"'))
    for verbs in (
        {},
        {"emulate-mknod": test_verbs_that_have_to_be_asked},
        {"emulate-mknod": _wraps},
    ):
        found = shortcuts(policy, X86, frozenset(), verbs)
        assert {each.verdict for each in found} == {ASK, CONTINUE}, verbs
    policy = load(
        'version = 1\ndefault = "allow"\n' + rule("mknod", '{ emulate-mknod = ["c:9:9"] }')
    )
    found = shortcuts(policy, X86, frozenset(), MAKES)
    assert {each.verdict for each in found} == {ASK, CONTINUE}


def test_too_many_alternatives() -> None:
    """A conjunction of disjunctions is taken apart only while that is few."""
    either = "({0} == 1 or {0} == 2)"
    few = " and ".join(either.format(name) for name in ("flags", "mode"))
    found = of(rule("openat", '"perform"', few))
    assert [each.verdict for each in found] == [PERFORM] * 4 + [CONTINUE]
    many = " and ".join([few, few, either.format("dirfd")])
    found = of(rule("openat", '"deny"', many + ' and path == "/x"') + rule("openat", '"perform"'))
    assert [each.verdict for each in found] == [ASK, PERFORM]


def test_what_takes_more_keeps_its_place() -> None:
    """A rule that cannot be decided here is there, for all calls that it may be about."""
    for where in ('glob(path, "/*")', 'comm == "x"', 'resolved == "/x"', 'path != "/x"'):
        found = of(
            rule("openat", '"deny"', f"flags == 1 and {where}") + rule("openat", '"perform"')
        )
        assert [each.verdict for each in found] == [ASK, PERFORM]
        assert not found[0].tests
        assert matches(found[0], 0, 0, 1)
        assert not matches(found[0], 0, 0, 2)


def test_verdicts_that_are_not_for_here() -> None:
    """Only values, errnos, and opens that the target does by itself, are answered here."""
    for do in (
        '{ perform = { as = "supervisor" } }',
        '{ redirect = { path = "/x" } }',
        '{ inject = "x" }',
        '"kill-process"',
        '"notify"',
    ):
        found = of(rule("openat", do, 'path == "/x"') + rule("openat", '"perform"'))
        assert [each.verdict for each in found] == [ASK, PERFORM], do
    assert of(rule("mkdir", '"perform"')) == ()
    assert [each.verdict for each in of(rule("unlink", '"deny"', 'path == "/x"'))] == [-13]


def test_what_may_go_on() -> None:
    """A call goes on if nobody has looked at memory, or if somebody has accepted that."""
    racy = 'racy = true\nbecause = "it is a test"\n'
    looks = rule("openat", '"deny"', 'path == "/x"')
    goes = rule("openat", '"continue"', 'path == "/y"')
    assert [each.verdict for each in of(looks + goes)] == [-13, ASK]
    assert [each.verdict for each in of(looks + goes + racy)] == [-13, CONTINUE]
    assert [each.verdict for each in of(looks + racy + goes)] == [-13, ASK]
    assert [each.verdict for each in of(looks + racy + goes + racy)] == [-13, CONTINUE, CONTINUE]
    first = rule("openat", '"allow"', "flags == 0")
    assert [each.verdict for each in of(first + looks)] == [CONTINUE, -13]


def test_the_default_is_the_last_of_all() -> None:
    """What no rule is about gets the default, if that is plain."""
    rules = rule("openat", '"perform"', 'under(path, "/x")')
    for default, verdict in (('"deny"', -13), ('{ fail = "EIO" }', -5), ('"kill-process"', ASK)):
        policy = load(f"version = 1\ndefault = {default}\n" + rules)
        found = shortcuts(policy, X86, frozenset())
        assert [each.verdict for each in found] == [PERFORM] + [verdict] * (verdict != ASK)


def test_two_paths_are_too_many() -> None:
    """A rule that looks at both paths of a call is not decided here."""
    both = 'under(oldpath, "/a") and under(newpath, "/b")'
    assert of(rule("rename", '"deny"', both)) == ()
    (found,) = of(rule("rename", '"deny"', 'under(newpath, "/b")'))
    assert found.path == 1


def test_whom_they_are_not_for() -> None:
    """Not for what no rule is about, if a handler wants it; nor for other architectures."""
    rules = rule("openat", '"perform"') + rule("open", '"perform"')
    assert {each.nr for each in of(rules)} == {OPENAT, tables.number("open", X86)}
    policy = load('version = 1\ndefault = "deny"\n' + rule("openat", '"perform"', 'path == "/x"'))
    assert [each.verdict for each in shortcuts(policy, X86, frozenset())] == [PERFORM, -13]
    assert [each.verdict for each in shortcuts(policy, X86, frozenset({"openat"}))] == [PERFORM]
    elsewhere = load('version = 1\ndefault = "allow"\narchitectures = ["i386"]\n' + rules)
    assert shortcuts(elsewhere, X86, frozenset()) == ()


def test_texts_that_no_path_is() -> None:
    """What has a NUL, or what no bytes are read as, is not compared here."""
    for text in ("a\\x00b", "\\ud800", "\\udcc3\\udca9"):
        assert of(rule("openat", '"deny"', f'path == "{text}"')) == (), text
    (found,) = of(rule("openat", '"deny"', 'path == "\\udcc3"'))
    assert found.tests == ((False, False, (b"\xc3",)),)


def test_directories_have_plain_names() -> None:
    """What a path lies below is compared name by name."""
    (found,) = of(rule("openat", '"deny"', 'under(path, "//a/./b/")'))
    assert found.tests == ((True, False, (b"/a/b",)),)
