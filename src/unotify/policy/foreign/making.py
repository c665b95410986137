"""What the readers of lists share: rules under way, errors with places, names of calls."""

from __future__ import annotations

import errno as errnos
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NoReturn

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.errors import PolicyError, UnknownName
from unotify.policy.conditions import Condition
from unotify.policy.loader import COMPAT
from unotify.policy.model import TRUE, Place, Policy, Rule, Verdict
from unotify.policy.oci.importing import Imported
from unotify.policy.problems import listed, shown

__all__ = ["Making", "compat", "errno_of", "fail"]


def fail(
    place: Place, message: str, *, hint: str | None = None, kind: type[PolicyError] = PolicyError
) -> NoReturn:
    """Raise an error about what is at *place*."""
    raise kind(message, source=place.source, line=place.line, column=place.column, hint=hint)


def errno_of(word: str, place: Place) -> int:
    """The number of an error's name, or the number itself.

    Raises:
        UnknownName: No error is called that.
    """
    if word.isascii() and word.isdigit() and len(word) < 5:
        number: object = int(word)
    else:
        number = getattr(errnos, word, None) if word[:1] == "E" else None
    if not isinstance(number, int) or not 0 < number < 4096 or 512 <= number < 532:
        hint = nearest(word.upper(), errnos.errorcode.values()) or "such as EPERM"
        fail(place, f"{shown(word)} is no error", hint=hint, kind=UnknownName)
    return number


def compat(native: Arch) -> tuple[Arch, ...]:
    """The architecture of the host, and those of its older programs."""
    return (native, *COMPAT.get(native, ()))


@dataclass(slots=True)
class Making:
    """A policy under way.

    Attributes:
        source: What messages call the list.
        rules: So far.
        notes: What may surprise.
        unknown: Names of calls that are none.
    """

    source: str
    rules: list[Rule] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)

    def known(self, names: Iterable[str]) -> list[str]:
        """Those that are calls; the others are noted."""
        found = []
        for name in names:
            if name in model.names():
                found.append(name)
            else:
                self.unknown[name] = None
        return found

    def rule(
        self,
        calls: Iterable[str],
        verdict: Verdict,
        place: Place,
        conditions: Mapping[str, Condition] | None = None,
    ) -> None:
        """Add a rule, if it is about any call."""
        names = sorted(set(calls))
        told = {call: test for call, test in (conditions or {}).items() if test != TRUE}
        if names:
            self.rules.append(
                Rule(
                    calls=MappingProxyType(dict.fromkeys(names)),
                    verdict=verdict,
                    conditions=MappingProxyType(told),
                    place=place,
                )
            )

    def done(
        self,
        default: Verdict,
        architectures: tuple[Arch, ...],
        *,
        bad_arch: Verdict,
        unknown: Verdict,
    ) -> Imported:
        """The policy."""
        if self.unknown:
            self.notes[f"no call is named {listed(self.unknown)}: ignored"] = None
        policy = Policy(
            rules=tuple(self.rules),
            default=default,
            architectures=architectures,
            bad_arch=bad_arch,
            unknown=unknown,
            source=self.source,
        )
        return Imported(policy, tuple(self.notes))
