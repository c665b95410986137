"""What a policy says of calls that it decides by their registers alone, found once for each."""

from __future__ import annotations

from unotify.abi.tables import CallId
from unotify.bpf import Always, Decider, decider
from unotify.policy.deciding import Decision, accepted, cases
from unotify.policy.model import Policy
from unotify.policy.proving import on_registers

__all__ = ["foregone"]


def foregone(policy: Policy, identity: CallId) -> list[tuple[Decider, Decision]]:
    """The decisions of *policy* about one call, in order, each with its test of registers.

    The first whose test is true is the one that `unotify.policy.deciding.decide` comes to. If none
    is, a rule that takes a look decides, or one after it: the list ends before the first of those.
    It is empty for calls of an architecture that the policy does not have.

    Args:
        policy: The only one.
        identity: Which call.

    Raises:
        NotExpressible: A condition on registers has no meaning on this architecture.
    """
    arch, call = identity.arch, identity.name
    if arch is None or call is None or arch not in policy.architectures:
        return []
    found: list[tuple[Decider, Decision]] = []
    for case in cases(policy, arch, call):
        predicate = on_registers(case.condition, arch)
        if predicate is None:
            return found
        said = Decision(case.rule, case.verdict, accepted((), case.rule))
        found.append((decider(predicate, bits=arch.bits), said))
    found.append((decider(Always()), Decision(None, policy.default)))
    return found
