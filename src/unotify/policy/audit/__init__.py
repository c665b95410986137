"""Checks for holes in policies: those of their filter, and those that only rules can show."""

from __future__ import annotations

from typing import Final

from unotify.bpf.audit import CHECKS as FILTER_CHECKS
from unotify.bpf.audit import Check, Finding, View, run
from unotify.policy.audit import accepted_races, shadowed
from unotify.policy.compiling import compile_policy
from unotify.policy.model import LETTING_GO, Policy

__all__ = ["CHECKS", "audit_policy"]

CHECKS: Final[tuple[Check[Policy], ...]] = (shadowed.CHECK, accepted_races.CHECK)
"""The checks that need the rules."""


def audit_policy(policy: Policy) -> list[Finding]:
    """Look for holes in *policy* and in its filter, the worst first.

    Raises:
        NotExpressible: A condition on registers has no meaning on an architecture.
        FilterTooLarge: More than 4096 instructions, or too many cases to prove.
    """
    opens = policy.default.verb in LETTING_GO
    view = View(compile_policy(policy), native=policy.architectures, opens=opens)
    found = [*run(FILTER_CHECKS, view), *run(CHECKS, policy)]
    return sorted(found, key=lambda finding: -finding.severity)
