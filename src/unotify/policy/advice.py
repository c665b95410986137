"""What a policy's author may not have meant; each is a warning, not an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.bpf import Compare, CompareOp
from unotify.policy.compiling import bound
from unotify.policy.conditions import Need, needs
from unotify.policy.deciding import Case, cases
from unotify.policy.model import LETTING_GO, TRUE, Place, Policy, Rule
from unotify.policy.problems import listed
from unotify.policy.reach import possible

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
    """Rules that are never reached, are about nothing, have no effect, or must fail."""
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
    return [*found, *_o_path(policy), *_host_sockets(policy)]


_ACTS: Final = frozenset({"perform", "redirect"})
_O_PATH: Final = 0o10000000


def _o_path(policy: Policy) -> Iterator[Advice]:
    """Rules that perform opens with O_PATH, which cannot be given to anybody (A5)."""
    told: set[int] = set()
    for arch in policy.architectures:
        for call in ("open", "openat"):
            found = cases(policy, arch, call)
            for at, case in enumerate(found):
                rule = case.rule
                if (
                    case.verdict.handler in _ACTS
                    and id(rule) not in told
                    and _opens_o_path(found[: at + 1], call, arch)
                ):
                    told.add(id(rule))
                    yield Advice(
                        f"{rule} performs {call} with O_PATH too, which fails with EOPNOTSUPP: "
                        "no such descriptor can be given to a program",
                        rule.place,
                        f'a rule before it decides these: calls = ["{call}"], '
                        'where = "flags & O_PATH"',
                    )


def _opens_o_path(found: Sequence[Case], call: str, arch: Arch) -> bool:
    """Whether the last of *found* may decide about an open with O_PATH."""
    flags = Compare(model.spec(call).arg("flags").index, CompareOp.EQ, _O_PATH, mask=_O_PATH)
    terms = [flags, *(~bound(case.condition, arch, looks=False) for case in found[:-1])]
    return possible([*terms, bound(found[-1].condition, arch, looks=True)], arch)


_REACHING: Final = ("connect", "bind", "listen", "sendto", "sendmsg", "sendmmsg", "io_uring_setup")
"""Calls by which a program that has a socket of the host's may reach anything with it."""


def _host_sockets(policy: Policy) -> Iterator[Advice]:
    """Sockets of the host's network, with which some call may go on to any address."""
    giving = [rule for rule in policy.rules if rule.verdict.handler == "host-socket"]
    if not giving:
        return
    free = [
        call
        for call in _REACHING
        if any(_goes_on(policy, arch, call) for arch in policy.architectures)
    ]
    if free:
        yield Advice(
            f"{giving[0]} gives out sockets of the host's network, and {listed(free)} may go on to "
            "any address with them",
            giving[0].place,
            'give these calls the same verb; io_uring_setup is refused with { fail = "ENOSYS" }',
        )


def _goes_on(policy: Policy, arch: Arch, call: str) -> bool:
    if call not in tables.names(arch).values():
        return False
    found = cases(policy, arch, call)
    verdicts = [case.verdict for case in found]
    if not found or found[-1].condition != TRUE:
        verdicts.append(policy.default)
    if any(verdict.handler == "host-socket" for verdict in verdicts):
        return False
    return any(verdict.verb in LETTING_GO or verdict.handler in _ACTS for verdict in verdicts)


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
