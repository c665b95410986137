"""What a policy decides by registers alone is found once for each call."""

from __future__ import annotations

from typing import Final

from tests.unit.supervisor.policies_by_hand import ALLOW, fail, look, policy, register, rule
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.policy.model import Policy, Verdict
from unotify.supervisor.foregone import foregone

NR: Final = tables.number("openat", Arch.X86_64) or 0


def said(found: Policy, first: int, audit: int = Arch.X86_64.audit, nr: int = NR) -> Verdict | None:
    """The verdict on an openat with *first* in its first register; ``None``: not foregone."""
    for test, decision in foregone(found, tables.identify(audit, nr)):
        if test((first, 0, 0, 0, 0, 0)):
            return decision.verdict
    return None


def test_first_rule_that_matches() -> None:
    """The first rule whose registers match decides, or else the default."""
    found = policy(
        rule("openat", fail(5), register(0, 1)),
        rule("openat", fail(6), register(0, 2)),
        default=fail(7),
    )
    assert [said(found, first) for first in (1, 2, 3)] == [fail(5), fail(6), fail(7)]


def test_up_to_a_look() -> None:
    """What comes after a rule that takes a look is not foregone, and what comes before is."""
    found = policy(
        rule("openat", fail(5), register(0, 1)),
        rule("openat", fail(6), look(lambda facts: False)),
        rule("openat", ALLOW),
    )
    assert said(found, 1) == fail(5)
    assert said(found, 2) is None


def test_of_other_architectures_nothing() -> None:
    """Calls that the policy does not know, by their number or architecture, are for others."""
    found = policy(rule("openat", fail(5)), architectures=[Arch.X86_64])
    assert said(found, 1, audit=Arch.I386.audit, nr=295) is None
    assert said(found, 1, nr=9999) is None
    assert said(found, 1) == fail(5)
