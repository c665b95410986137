"""Policies made of objects, without any reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from unotify.abi.arch import Arch
from unotify.bpf import Compare, CompareOp
from unotify.policy.conditions import Condition, Facts, Look, Need, RegisterTest
from unotify.policy.model import Policy, Rule, Verb, Verdict

__all__ = ["ALLOW", "act", "fail", "look", "policy", "register", "rule"]

ALLOW = Verdict(Verb.ALLOW)


def fail(errno: int) -> Verdict:
    """It fails."""
    return Verdict(Verb.FAIL, errno=errno)


def act(name: str, **parameters: Any) -> Verdict:
    """A handler's verb."""
    return Verdict(Verb.ACT, handler=name, parameters=parameters)


def register(argument: int, value: int) -> RegisterTest:
    """A register is that value."""
    return RegisterTest(
        f"{argument} == {value}",
        lambda arch: Compare(argument, CompareOp.EQ, value, bits=32),
    )


def look(check: Callable[[Facts], bool], need: Need = Need.MEMORY) -> Look:
    """What only the supervisor can tell."""
    return Look("look", need, check)


def rule(
    calls: str, verdict: Verdict, where: Condition | None = None, name: str = "", **more: Any
) -> Rule:
    """A rule about *calls*, names with spaces between."""
    names = calls.split()
    return Rule(
        dict.fromkeys(names),
        verdict,
        {} if where is None else dict.fromkeys(names, where),
        name=name or None,
        **more,
    )


def policy(
    *rules: Rule,
    default: Verdict = ALLOW,
    architectures: Iterable[Arch] = (Arch.X86_64, Arch.I386),
    **more: Any,
) -> Policy:
    """A policy for x86."""
    return Policy(rules, default, tuple(architectures), **more)
