"""Policies made by hand: conditions as the expression room would bind them."""

from __future__ import annotations

from collections.abc import Mapping
from errno import EACCES, ENOSYS
from functools import partial

from unotify.abi.arch import Arch
from unotify.bpf import Compare, CompareOp, RegisterPredicate
from unotify.policy.conditions import All, Condition, Facts, Look, Need, Negation, RegisterTest
from unotify.policy.model import Place, Policy, Rule, Verb, Verdict

ALLOW = Verdict(Verb.ALLOW)
DENY = Verdict(Verb.FAIL, errno=EACCES)
NOSYS = Verdict(Verb.FAIL, errno=ENOSYS)
NOTIFY = Verdict(Verb.NOTIFY)


def same(predicate: RegisterPredicate, arch: Arch) -> RegisterPredicate:
    """The same on every architecture."""
    return predicate


def register(text: str, arg: int, op: CompareOp, value: int, mask: int | None = None) -> Condition:
    """A test of 32 bits of an argument."""
    return RegisterTest(text, partial(same, Compare(arg, op, value, bits=32, mask=mask)))


def _path_is(path: str, facts: Facts) -> bool:
    return str(facts.call.path) == path  # type: ignore[attr-defined]


def path_is(path: str) -> Condition:
    """A look at memory."""
    return Look(f'path == "{path}"', Need.MEMORY, partial(_path_is, path))


def _uid_is(uid: int, facts: Facts) -> bool:
    return facts.uid == uid


def uid_is(uid: int) -> Condition:
    """A look at the caller."""
    return Look(f"uid == {uid}", Need.CALLER, partial(_uid_is, uid))


WRITES = register("flags & O_ACCMODE", 2, CompareOp.NE, 0, 3)


def rule(
    calls: str,
    verdict: Verdict,
    condition: Condition | None = None,
    *,
    name: str | None = None,
    where: str | None = None,
    line: int = 1,
    racy: bool = False,
    because: str | None = None,
    log: bool = False,
) -> Rule:
    """A rule about some calls, with one condition for all of them."""
    names = calls.split()
    conditions: Mapping[str, Condition] = {}
    if condition is not None:
        conditions = dict.fromkeys(names, condition)
    return Rule(
        dict.fromkeys(names),
        verdict,
        conditions,
        name,
        where,
        log,
        racy,
        because,
        Place("policy.toml", line, 1),
    )


def policy(
    *rules: Rule, default: Verdict = ALLOW, architectures: tuple[Arch, ...] = (Arch.X86_64,)
) -> Policy:
    """A policy of these rules."""
    return Policy(rules, default, architectures, source="policy.toml")


FILES = policy(
    rule("openat", NOSYS, register("flags & 64", 2, CompareOp.NE, 0, 64), name="no files made"),
    rule(
        "openat",
        DENY,
        All((WRITES, path_is("/etc/passwd"))),
        name="passwords",
        where='flags & O_ACCMODE and path == "/etc/passwd"',
        racy=True,
        because="a fence",
        line=5,
    ),
    rule("openat", ALLOW, Negation(uid_is(0)), name="ordinary users", line=9),
    rule("mkdir", DENY, name="no directories", line=12),
    rule("mount", NOTIFY, name="mounts", line=15),
)
"""A policy with all sorts of rules."""
