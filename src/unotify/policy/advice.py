"""What a policy's author may not have meant; each is a warning, not an error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.policy.conditions import Need, needs
from unotify.policy.deciding import cases
from unotify.policy.model import TRUE, Place, Policy, Rule
from unotify.policy.problems import listed

__all__ = ["Advice", "advice"]


@dataclass(frozen=True, slots=True)
class Advice:
    """One warning.

    Attributes:
        message: What is odd.
        place: Where.
        hint: What to do about it, or ``None``.
    """

    message: str
    place: Place
    hint: str | None = None


def advice(policy: Policy) -> list[Advice]:
    """Rules that are never reached, are about nothing, or say what has no effect."""
    reached = {
        id(case.rule)
        for arch in policy.architectures
        for call in tables.names(arch).values()
        for case in cases(policy, arch, call)
    }
    found: list[Advice] = []
    names: dict[str, Rule] = {}
    for at, rule in enumerate(policy.rules):
        if id(rule) not in reached:
            found.append(_unreached(policy, at, rule))
        if rule.racy and not any(Need.MEMORY in needs(c) for c in rule.conditions.values()):
            found.append(
                Advice(
                    f"{rule} is racy = true and looks at nothing that can be raced",
                    rule.place,
                    "leave racy out",
                )
            )
        if rule.name is not None and rule.name in names:
            found.append(Advice(f"there are two rules named {rule}", rule.place))
        elif rule.name is not None:
            names[rule.name] = rule
    return found


def _unreached(policy: Policy, at: int, rule: Rule) -> Advice:
    asked = set(_concerns(policy, rule))
    if not asked:
        labels = listed(arch.label for arch in policy.architectures)
        return Advice(f"{rule} is never used: {labels} has none of its calls", rule.place)
    before = [
        earlier
        for earlier in policy.rules[:at]
        if any(
            earlier.covers(call, arch) and earlier.condition(call) == TRUE for arch, call in asked
        )
    ]
    who = listed(map(str, before[:3])) + (" and others" if len(before) > 3 else "")
    verb = "decides" if len(before) == 1 else "decide"
    return Advice(
        f"{rule} is never reached: {who} {verb} all its calls before",
        rule.place,
        "the first rule that matches decides: put this one before, or leave it out",
    )


def _concerns(policy: Policy, rule: Rule) -> Iterator[tuple[Arch, str]]:
    for arch in policy.architectures:
        for call in tables.names(arch).values():
            parts = (call, *tables.MULTIPLEXERS.get(call, {}).values())
            yield from ((arch, part) for part in parts if rule.covers(part, arch))
