"""Which verdicts let a call go on after its memory was read, and who has accepted that."""

from __future__ import annotations

from collections.abc import Iterator

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.errors import RacyContinue
from unotify.policy.compiling import bound
from unotify.policy.deciding import Case, cases
from unotify.policy.model import LETTING_GO, Policy, Rule
from unotify.policy.reach import possible

__all__ = ["check_races"]


def check_races(policy: Policy) -> list[RacyContinue]:
    """All races that nobody has accepted, one for each pair of rules.

    A rule that looked at memory, or at descriptors, has looked at what another
    thread can change before the kernel reads it again (C2). So a call may only go on
    afterwards, by that rule, a later one or the default, if its author says that
    this is all right: ``racy = true`` and ``because = "..."`` on the rule that
    looks, or on the one that lets go.
    """
    found: dict[tuple[Rule, Rule | None], RacyContinue] = {}
    for arch in policy.architectures:
        for call in tables.names(arch).values():
            for looker, goer in _races(policy, arch, call):
                if (looker, goer) not in found:
                    found[looker, goer] = _error(policy, looker, goer, call)
    return list(found.values())


def _races(policy: Policy, arch: Arch, call: str) -> Iterator[tuple[Rule, Rule | None]]:
    found = cases(policy, arch, call)
    for position, case in enumerate(found):
        if not case.looks or case.rule.racy:
            continue
        for later in found[position:]:
            if (
                later.verdict.verb in LETTING_GO
                and not later.rule.racy
                and _meet(found, case, later, arch)
            ):
                yield case.rule, later.rule
        default = policy.default.verb in LETTING_GO
        if default and _meet(found, case, None, arch):
            yield case.rule, None


def _meet(found: tuple[Case, ...], looker: Case, goer: Case | None, arch: Arch) -> bool:
    """Whether registers exist for which *looker* must look, and *goer* may be what decides."""
    terms = [
        bound(looker.condition, arch, looks=True),
        ~bound(looker.condition, arch, looks=False),
    ]
    for case in found:
        if case is goer:
            terms.append(bound(case.condition, arch, looks=True))
            break
        terms.append(~bound(case.condition, arch, looks=False))
    return possible(terms, arch)


def _error(policy: Policy, looker: Rule, goer: Rule | None, call: str) -> RacyContinue:
    place = looker.place
    if goer is looker:
        what = f"{looker} looks at what {call} points to, and then lets it go on"
    else:
        then = "the default" if goer is None else str(goer)
        what = (
            f"{looker} looks at what {call} points to; if it does not match, {then} lets it go on"
        )
    return RacyContinue(
        f"{what}: another thread can change it in between (C2)",
        source=place.source or policy.source,
        line=place.line,
        column=place.column,
        hint='let the supervisor act on its copy (do = "perform"), refuse what is left, or accept '
        'the race on this rule: racy = true and because = "..."',
    )
