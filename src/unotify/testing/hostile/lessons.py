"""Why a way is open, by the numbers of ``docs/kernel-facts.md``, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from unotify.policy.model import Rule

__all__ = ["LESSONS", "Lesson", "cure", "facts", "lesson_of"]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one kind of hole teaches.

    Attributes:
        facts: Numbers of statements.
        why: What they come to.
        cure: What to write instead; ``{rule}`` and ``{calls}`` are filled in.
    """

    facts: tuple[str, ...]
    why: str
    cure: str


LESSONS: Final[Mapping[str, Lesson]] = MappingProxyType(
    {
        "rewrite": Lesson(
            ("C1", "C2", "M7"),
            "the kernel reads memory again when the call goes on, and another thread has "
            "rewritten it meanwhile",
            'let the supervisor act on its own copy, do = "perform", instead of letting the call '
            "go on",
        ),
        "swap": Lesson(
            ("C1", "C2"),
            "the kernel looks the path up again when the call goes on, and it leads elsewhere by "
            "then",
            'let the supervisor act on what it has looked up, do = "perform"',
        ),
        "accomplice": Lesson(
            (),
            "a descriptor can come from somebody who is not under the filter",
            'refuse {calls}: do = "deny"',
        ),
        "filter": Lesson(
            ("F1", "F5", "R8"),
            "of equal answers the newest filter's counts, and with the supervisor's listener "
            "closed the target may have one of its own, and let the call go on",
            'refuse newer listeners: calls = ["seccomp"], where = "flags & '
            'SECCOMP_FILTER_FLAG_NEW_LISTENER", do = "deny"',
        ),
        "ring": Lesson(
            ("B9",),
            "what an io_uring carries out is seen by no filter",
            'refuse rings: calls = ["io_uring_setup", "io_uring_enter", "io_uring_register"], '
            'do = {{ fail = "ENOSYS" }}',
        ),
        "multiplexed": Lesson(
            ("B2", "B6"),
            "a 32-bit call may have its arguments in memory, behind a multiplexer",
            "leave calls of other ABIs to architectures = [...], whose default kills, or refuse "
            "{calls} by a rule without where",
        ),
        "abi": Lesson(
            ("B2", "B4"),
            "the ABI belongs to the call, not to the program, and this one has other numbers",
            "name the ABI in architectures, or leave calls of others to be killed, as "
            "bad-architecture does by itself",
        ),
        "fork": Lesson(
            ("R1",),
            "a child is under the same filter, and what is counted for each process begins anew",
            'count for all: nth(N, per="rule"), or rate(N, per="rule")',
        ),
        "comm": Lesson(
            ("M6",),
            "a thread's name is what it says it is",
            "do not decide by comm; a policy for each program is one that it cannot leave",
        ),
        "exe": Lesson(
            ("C4",),
            "a program that execs another one gives it code of its own to run, by LD_PRELOAD and "
            "the like; the filter stays",
            "do not decide by exe; a policy for each program is one that it cannot leave",
        ),
        "moved": Lesson(
            (),
            "a name is not the thing: it has got another one that the policy does not know",
            "refuse new names for it, too, and for its directories: link, linkat, rename, "
            "renameat, renameat2 and mount",
        ),
        "link": Lesson(
            (),
            "a path as given says nothing about what it leads to",
            'ask for resolved({path}), and then do = "perform"',
        ),
        "spelling": Lesson(
            (),
            "the same file has many paths",
            'ask for resolved({path}), and then do = "perform"',
        ),
        "descriptor": Lesson(
            (),
            "an open file can be acted on without its name",
            "name {calls}, too, in {rule}",
        ),
        "twin": Lesson(
            ("B1",),
            "a filter knows numbers of calls, and another call does the same",
            "name {calls}, too, in {rule}",
        ),
        "plain": Lesson(
            (),
            "nothing in the policy refuses it",
            "refuse {calls}",
        ),
    }
)
"""By tag, the most telling first."""


def lesson_of(tags: frozenset[str]) -> str:
    """The kind of hole that moves with these tags went through."""
    return next((name for name in LESSONS if name in tags), "plain")


def facts(tags: frozenset[str]) -> tuple[str, ...]:
    """The facts that explain it."""
    found = [fact for name in LESSONS if name in tags for fact in LESSONS[name].facts]
    return tuple(dict.fromkeys(found))


def cure(kind: str, rule: Rule | None, calls: tuple[str, ...], path: str = "path") -> str:
    """What to write instead."""
    named = ", ".join(calls)
    whose = str(rule) if rule is not None else "a rule that refuses them"
    return LESSONS[kind].cure.format(rule=whose, calls=named, path=path)
