"""What a supervisor must be able to do for a policy, asked before any program starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from unotify.abi import tables
from unotify.abi.seccomp import FilterFlag
from unotify.errors import NotExpressible, PolicyError, UnknownName
from unotify.policy.conditions import Need, needs
from unotify.policy.deciding import cases
from unotify.policy.model import TRUE, Policy, Rule, Verb, Verdict
from unotify.policy.races import check_races

__all__ = ["check", "filter_flags"]

_KERNEL_ONLY: Final = frozenset({Verb.KILL_THREAD, Verb.TRAP, Verb.TRACE})

_FLAGS: Final = {
    "SECCOMP_FILTER_FLAG_LOG": FilterFlag.LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": FilterFlag.SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": FilterFlag.WAIT_KILLABLE_RECV,
    # A program begins with one thread; the rest is what a spawn does anyway.
    "SECCOMP_FILTER_FLAG_TSYNC": FilterFlag(0),
    "SECCOMP_FILTER_FLAG_TSYNC_ESRCH": FilterFlag(0),
    "SECCOMP_FILTER_FLAG_NEW_LISTENER": FilterFlag(0),
}


def check(policies: Sequence[Policy], verbs: Collection[str]) -> None:
    """See to it that whatever *policies* can say can be done.

    Args:
        policies: In order.
        verbs: The handlers' own verbs that there is a handler for.

    Raises:
        PolicyError: A verb without a handler; names the rule.
        NotExpressible: A verdict of the kernel's that would be due after a look.
        RacyContinue: A call may go on after its memory was read, and nobody accepts that.
    """
    for policy in policies:
        for rule, verdict in _verdicts(policy):
            if verdict.verb is Verb.ACT and verdict.handler not in verbs:
                raise _at(
                    policy,
                    rule,
                    PolicyError(
                        f'{rule or "the default"} says "{verdict.handler}", and there is no '
                        "handler for it",
                        hint=f'Supervisor.add_verb("{verdict.handler}", function), or a function '
                        f'marked @unotify.verb("{verdict.handler}") in a file of --handlers',
                    ),
                )
        _check_late(policy)
        for race in check_races(policy):
            raise race


def _verdicts(policy: Policy) -> Iterator[tuple[Rule | None, Verdict]]:
    for rule in policy.rules:
        yield rule, rule.verdict
    for verdict in (policy.default, policy.unknown, policy.bad_arch):
        yield None, verdict


def _check_late(policy: Policy) -> None:
    # Once a call was notified the kernel's own verdicts are out of reach.
    for arch in policy.architectures:
        for call in tables.names(arch).values():
            looker: Rule | None = None
            found = cases(policy, arch, call)
            for case in found:
                if any(need is not Need.REGISTERS for need in needs(case.condition)):
                    looker = looker or case.rule
                if looker is not None and case.verdict.verb in _KERNEL_ONLY:
                    raise _late(policy, case.rule, case.verdict, looker, call)
            ends = bool(found) and found[-1].condition == TRUE
            if looker is not None and not ends and policy.default.verb in _KERNEL_ONLY:
                raise _late(policy, None, policy.default, looker, call)


def _late(
    policy: Policy, rule: Rule | None, verdict: Verdict, looker: Rule, call: str
) -> PolicyError:
    after = "its own look" if looker is rule else f"the look of {looker}"
    return _at(
        policy,
        rule or looker,
        NotExpressible(
            f"{rule or 'the default'} would {verdict.verb.value} {call} after {after}, and only "
            "the kernel can do that, which does not look",
            hint='use "kill-process" or { fail = "EPERM" }',
        ),
    )


def filter_flags(policies: Sequence[Policy]) -> FilterFlag:
    """The flags that *policies* want the filter to have.

    As for filters that stack, what protects is there if one wants it: the mitigation of
    speculative store bypass too, which all of them must do without.

    Raises:
        UnknownName: There is no such flag.
    """
    found = FilterFlag(0)
    common = ~FilterFlag(0)
    for policy in policies:
        own = FilterFlag(0)
        for name in policy.flags:
            if name not in _FLAGS:
                raise UnknownName(
                    f"no filter flag is named {name!r}",
                    source=policy.source,
                    hint=f"there are {', '.join(_FLAGS)}",
                )
            own |= _FLAGS[name]
        found |= own
        common &= own
    return found & (common | ~FilterFlag.SPEC_ALLOW)


def _at(policy: Policy, rule: Rule | None, error: PolicyError) -> PolicyError:
    error.source = policy.source
    if rule is not None:
        place = rule.place
        error.source = place.source or policy.source
        error.line, error.column = place.line, place.column
    return error
