"""What came of a search: stories, and what was covered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["UNKNOWN", "Covered", "PolicyExploration", "Story"]

UNKNOWN: Final = (
    "what the kernel itself permits: files, users, capabilities, Landlock; it is taken to permit "
    "everything, so a story may need rights that the target has not",
    "verbs of handlers other than perform, redirect and inject: that they do what their pages say",
    "rules that perform, redirect or inject: they forbid nothing, and what is asked for elsewhere "
    "is no story",
    "Python handlers, and what they answer to notify",
    "ptrace, and processes that are not under the filter",
    "descriptors that are open from the start, and those that are received, but for "
    "--suppose accomplice",
    "working directories, hard links to directories, magic links but those of one's own /proc/self",
    "calls that neither the policy nor a goal forbids in any spelling that is known here",
    "chance and time: rules that draw lots are taken not to match, and the clock stands still",
)
"""What the model does not know."""


@dataclass(frozen=True, slots=True)
class Story:
    """One way to what is forbidden.

    Attributes:
        got: What was done.
        forbidden_by: The rule, the default or the goal.
        place: Where that stands.
        kind: The kind of hole: ``twin``, ``abi``, ``ring``, ``rewrite`` ...
        steps: What happened, and what came of it, in order.
        calls: All calls that do it in this way.
        abis: By which ABIs.
        facts: Numbers of statements in ``docs/kernel-facts.md``.
        why: Why it works.
        cure: What to write instead.
    """

    got: str
    forbidden_by: str
    place: str
    kind: str
    steps: tuple[tuple[str, str], ...]
    calls: tuple[str, ...]
    abis: tuple[str, ...]
    facts: tuple[str, ...]
    why: str
    cure: str

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        place = f" ({self.place})" if self.place and self.place not in self.forbidden_by else ""
        yield f"{self.got} is forbidden by {self.forbidden_by}{place}, and is done:"
        for number, (text, outcome) in enumerate(self.steps, 1):
            yield f"  {number}. {text}: {outcome}" if outcome else f"  {number}. {text}"
        if len(self.calls) > 1 or len(self.abis) > 1:
            yield f"  The same goes for {', '.join(self.calls)}, by {', '.join(self.abis)}."
        facts = f" ({', '.join(self.facts)})" if self.facts else ""
        yield f"  Why: {self.why}{facts}."
        yield f"  Instead: {self.cure}."

    def as_json(self) -> dict[str, Any]:
        """It as plain values."""
        return {
            "got": self.got,
            "forbidden_by": self.forbidden_by,
            "place": self.place,
            "kind": self.kind,
            "steps": [{"move": move, "outcome": outcome} for move, outcome in self.steps],
            "calls": list(self.calls),
            "abis": list(self.abis),
            "facts": list(self.facts),
            "why": self.why,
            "cure": self.cure,
        }


@dataclass(frozen=True, slots=True)
class Covered:
    """What was searched.

    Attributes:
        goals: What was tried to be got, each with what forbids it.
        calls: The calls that were tried.
        abis: The ABIs that they were made by.
        moves: What was prepared beforehand, and what happened beside.
        states: Worlds that were visited.
        steps: Moves that were made.
        cut: Of the worlds those that had further moves, which the bound left out.
        depth: The most moves in a row.
        preparing: The most preparations.
        suppose: What was supposed beside.
        not_judged: Rules that refuse and forbid nothing, with the reason.
        not_reached: Rules that refuse and for which no arguments were found.
        unknown: What the model does not know.
    """

    goals: tuple[tuple[str, str], ...]
    calls: tuple[str, ...]
    abis: tuple[str, ...]
    moves: tuple[str, ...]
    states: int
    steps: int
    cut: int
    depth: int
    preparing: int
    suppose: tuple[str, ...]
    not_judged: tuple[str, ...]
    not_reached: tuple[str, ...]
    unknown: tuple[str, ...] = UNKNOWN

    def as_json(self) -> dict[str, Any]:
        """It as plain values."""
        return {
            "goals": [{"effect": effect, "forbidden_by": by} for effect, by in self.goals],
            **{
                name: list(getattr(self, name))
                for name in ("calls", "abis", "moves", "suppose", "not_judged", "not_reached")
            },
            **{
                name: getattr(self, name)
                for name in ("states", "steps", "cut", "depth", "preparing")
            },
            "unknown": list(self.unknown),
        }


@dataclass(frozen=True, slots=True)
class PolicyExploration:
    """What came of it.

    Attributes:
        stories: The ways that were found, the shortest first.
        covered: What was searched.
    """

    stories: tuple[Story, ...]
    covered: Covered

    def as_json(self) -> dict[str, Any]:
        """It as plain values."""
        return {
            "stories": [story.as_json() for story in self.stories],
            "covered": self.covered.as_json(),
        }
