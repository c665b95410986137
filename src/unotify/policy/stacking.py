"""Several policies over one program, as filters of their own would stack in the kernel.

What any of them decides in its filter half counts: of several actions the kernel's
precedence takes the most severe (F1, F2), and among equals that of the policy that comes
first. So a stack never lets a call go that one of its policies refuses. What a filter
half refuses is not asked about; else the supervisor weighs what each policy says,
with :func:`severity`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from unotify.abi import tables as call_tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Always, And, Never, Program, RegisterPredicate, compile_filter
from unotify.bpf import Verdict as Table
from unotify.policy.compiling import compile_policy, tables
from unotify.policy.kernel_actions import Handlers, action_of
from unotify.policy.model import LETTING_GO, Policy, Verb, Verdict
from unotify.policy.proving import cuts_of, model_of

__all__ = ["architectures", "compile_stack", "severity", "strictest"]

_NOTIFY: Final = int(Action.USER_NOTIF)
_ACTION: Final = 0xFFFF0000

_SEVERITY: Final = {
    Verb.KILL_PROCESS: 0,
    Verb.KILL_THREAD: 1,
    Verb.TRAP: 2,
    Verb.NOTIFY: 4,
    Verb.ACT: 4,
}


def severity(verdict: Verdict) -> int:
    """How strict a verdict is; less is stricter, as in the kernel's precedence of actions.

    What fails a call, or pretends that it succeeded, is 3; 4 is for a handler to decide, and
    5 lets the call go.
    """
    return 5 if verdict.verb in LETTING_GO else _SEVERITY.get(verdict.verb, 3)


def strictest(actions: Sequence[int]) -> int:
    """The action that the kernel takes of those of several filters; the first among equals."""
    return min(actions, key=lambda action: (action & _ACTION) ^ 0x80000000)


def architectures(policies: Sequence[Policy]) -> tuple[Arch, ...]:
    """All that one of *policies* looks at, in their order."""
    return tuple(dict.fromkeys(arch for policy in policies for arch in policy.architectures))


def compile_stack(
    policies: Sequence[Policy],
    *,
    handlers: Handlers | None = None,
    weights: Mapping[Arch, Mapping[int, float]] | None = None,
    dry_run: bool = False,
) -> Program:
    """Compile the filter halves of *policies* into one program, and prove it.

    Args:
        policies: One at least.
        handlers: Where Python handlers want to be asked.
        weights: How often each call is made; hot calls are found sooner.
        dry_run: Whatever is not simply allowed is notified instead.

    Raises:
        NotExpressible: A condition on registers has no meaning on an architecture.
        FilterTooLarge: More than 4096 instructions, or too many cases to prove.
        ProofFailed: The program differs from the policies: a bug of ours; nothing is lost.
    """
    if len(policies) == 1 and not dry_run:
        return compile_policy(policies[0], handlers=handlers, weights=weights)

    def final(actions: Sequence[int]) -> int:
        action = strictest(actions)
        return _NOTIFY if dry_run and action != Action.ALLOW else action

    halves = [tables(policy, handlers) for policy in policies]
    archs = architectures(policies)
    joined = {
        arch: {
            nr: _join([_of(*each, arch, nr) for each in zip(policies, halves, strict=True)], final)
            for nr in call_tables.names(arch)
        }
        for arch in archs
    }
    models = [model_of(policy, handlers) for policy in policies]

    def decide(audit: int, nr: int, ask: Callable[..., bool]) -> int:
        return final([model(audit, nr, ask) for model in models])

    bad = final([action_of(policy.bad_arch, None) for policy in policies])
    cuts: dict[int, set[int]] = {}
    for policy in policies:
        for audit, starts in cuts_of(policy).items():
            cuts.setdefault(audit, set()).update(starts)
    return compile_filter(
        joined,
        default={arch: final([_beside(policy, arch) for policy in policies]) for arch in archs},
        bad_arch=bad,
        x32=bad,
        weights=weights,
        model=(decide, {audit: sorted(starts) for audit, starts in cuts.items()}),
    )


def _beside(policy: Policy, arch: Arch) -> int:
    """The action for numbers that *policy* has no row for; it may not look at *arch* at all."""
    return action_of(policy.unknown if arch in policy.architectures else policy.bad_arch, None)


def _of(policy: Policy, half: Mapping[Arch, Mapping[int, Table]], arch: Arch, nr: int) -> Table:
    if arch not in half:
        return _beside(policy, arch)
    return half[arch][nr]


def _join(verdicts: Sequence[Table], final: Callable[[Sequence[int]], int]) -> Table:
    pairs: list[tuple[RegisterPredicate, int]] = []
    for predicate, actions in _paths(verdicts):
        if isinstance(predicate, Always):
            return (*pairs, final(actions)) if pairs else final(actions)
        pairs.append((predicate, final(actions)))
    raise AssertionError("each table ends in an action")


def _paths(verdicts: Sequence[Table]) -> Iterator[tuple[RegisterPredicate, list[int]]]:
    """All combinations of one entry each, in an order in which the first that holds is right."""
    if not verdicts:
        yield Always(), []
        return
    first, *others = verdicts
    for predicate, action in _entries(first):
        if action == Action.KILL_PROCESS:  # nothing is stricter
            yield predicate, [action]
            continue
        for further, actions in _paths(others):
            yield _both(predicate, further), [action, *actions]


def _entries(verdict: Table) -> Iterator[tuple[RegisterPredicate, int]]:
    for entry in (verdict,) if isinstance(verdict, int) else verdict:
        yield (Always(), entry) if isinstance(entry, int) else entry


def _both(one: RegisterPredicate, other: RegisterPredicate) -> RegisterPredicate:
    if isinstance(one, Never) or isinstance(other, Always):
        return one
    return other if isinstance(one, Always) else And((one, other))
