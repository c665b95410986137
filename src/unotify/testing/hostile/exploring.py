"""A policy explored: goals made of what it forbids, each hunted for, and the stories of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.errors import NotExpressible, PolicyError
from unotify.policy.conditions import Condition
from unotify.policy.model import Policy
from unotify.supervisor.policies import policies_of
from unotify.testing.exploring import Exploration
from unotify.testing.hostile.attempts import ABIS
from unotify.testing.hostile.bans import Bans, Identity, forbidding, goal_of, refuses
from unotify.testing.hostile.effects import Effect, Places, observe
from unotify.testing.hostile.lessons import LESSONS, cure, facts, lesson_of
from unotify.testing.hostile.reporting import Covered, PolicyExploration, Story
from unotify.testing.hostile.searching import Goal, Hunt, Trace
from unotify.testing.hostile.spelling import Arguments, typed
from unotify.testing.hostile.stage import Stage
from unotify.testing.hostile.witnesses import ENOUGH, Words, witness

__all__ = ["SUPPOSITIONS", "explore_policy"]

SUPPOSITIONS: Final = ("accomplice", "supervisor-ends")
"""What may be supposed: somebody outside passes descriptors; the supervisor ends first."""

_SERIOUS: Final = (
    *("socket", "connect", "bind", "mount", "umount2", "pivot_root", "chroot", "setns", "unshare"),
    *("ptrace", "init_module", "kexec_load", "bpf", "perf_event_open", "reboot", "openat"),
    *("execve", "unlinkat", "renameat2", "linkat", "mkdirat", "mknodat", "fchmodat2", "fchownat"),
    *("truncate", "setxattr", "kill", "sethostname", "clock_settime", "swapon", "keyctl", "setuid"),
)
"""What is tried where the default refuses: one call of each kind that gets somebody something."""


def explore_policy(
    policy: Policy | str | os.PathLike[str],
    *,
    goals: Iterable[str] = (),
    depth: int = 8,
    preparing: int = 2,
    suppose: Iterable[str] = (),
    most: int = 100_000,
) -> PolicyExploration:
    """Search for ways by which a hostile target gets what a policy forbids.

    The policy's filter runs on a `SimulatedKernel`, and a real supervisor serves it. What is
    forbidden follows from the policy: what its refusing rules refuse, by whatever call, and what
    its default refuses. Each way that is found is made a second time before it is told.

    Args:
        policy: A policy, or the path of one.
        goals: More that must be impossible: a call, or a call and a condition as after
            ``where``: ``"mount"``, ``'openat: path == "/etc/shadow"'``.
        depth: The most moves in a row.
        preparing: The most preparations among them: links, renames, forks, newer filters ...
        suppose: Of `SUPPOSITIONS`.
        most: The most states for one goal.

    Raises:
        PolicyError: The policy or a goal is wrong, or is for another machine than x86.
        OverflowError: There are more than *most* states for one goal.

    Example:
        >>> from unotify.policy.loader import load
        >>> found = explore_policy(load('''
        ... version = 1
        ... default = "allow"
        ... [[rule]]
        ... name = "no renaming"
        ... calls = ["rename", "renameat"]
        ... do = "deny"
        ... [[rule]]
        ... calls = ["io_uring_setup"]
        ... do = { fail = "ENOSYS" }
        ... '''))
        >>> [(story.kind, story.calls) for story in found.stories]
        [('twin', ('renameat2',))]
    """
    (loaded,) = policies_of(policy, Arch.X86_64)
    supposed = frozenset(suppose)
    if unknown := supposed - set(SUPPOSITIONS):
        raise PolicyError(
            f"nothing is known of {sorted(unknown)[0]!r}",
            hint=f"suppose {' or '.join(SUPPOSITIONS)}",
        )
    if loaded.architectures[0] not in ABIS:
        raise NotExpressible(
            f"the simulated kernel is one of x86_64, and {loaded.source} is for "
            f"{loaded.architectures[0].label}"
        )
    wanted = [goal_of(text, loaded) for text in goals]
    bans = Bans(loaded, tuple(policy for _, policy in wanted))
    search = _Search(loaded, bans, wanted)
    with ExitStack() as stack:
        stages: dict[tuple[Identity, bool], Stage] = {}

        def hunt(goal: Goal, *, again: bool = False) -> Hunt:
            # What is played again is played by others, who know nothing of the first time.
            key = goal.identity, again
            if key not in stages:
                stages[key] = Stage(loaded, bans, goal.identity)
                stack.callback(stages[key].close)
            return Hunt(stages[key], goal, search.words, supposed, preparing)

        for goal in search.goals:
            hunted = hunt(goal)
            found, covered = hunted.run(depth, most)
            search.add(
                goal,
                hunted,
                found,
                covered,
                lambda trace, goal=goal: hunt(goal, again=True).replay(trace),  # type: ignore[misc]
            )
    return search.result(depth, preparing, tuple(sorted(supposed)))


class _Search:
    """The goals of one policy, and what has come of them."""

    def __init__(self, policy: Policy, bans: Bans, wanted: list[tuple[str, Policy]]) -> None:
        self._policy, self._bans = policy, bans
        conditions: list[Condition] = [
            condition for rule in policy.rules for condition in rule.conditions.values()
        ]
        for _, goal in wanted:
            conditions += goal.rules[0].conditions.values()
        self.words = Words(conditions)
        self._not_judged: list[str] = []
        self._not_reached: list[str] = []
        self._stories: dict[tuple[str, str], Story] = {}
        self._states = self._steps = self._cut = 0
        self._calls: set[str] = set()
        self._abis: set[Arch] = set()
        self._moves: dict[str, None] = {}
        found: dict[tuple[Effect, Identity], Goal] = {}
        for goal_ in (*self._of_goals(wanted), *self._of_rules(), *self._of_default()):
            found.setdefault((goal_.effect, goal_.identity), goal_)
        self.goals = tuple(found.values())

    # -- goals -------------------------------------------------------------------------------

    def _of_goals(self, wanted: list[tuple[str, Policy]]) -> Iterator[Goal]:
        for call, policy in wanted:
            found = witness(policy, policy.rules[0], call, self.words, Identity())
            goal = found and self._goal(call, *found)
            if goal:
                yield goal
            else:
                self._not_reached.append(f"the goal {policy.rules[0].name!r}")

    def _of_rules(self) -> Iterator[Goal]:
        for rule in self._policy.rules:
            if not refuses(rule.verdict):
                continue
            met = judged = False
            mine: list[Goal] = []
            for call in sorted(rule.calls):
                if not forbidding(rule, call):
                    continue
                judged = True
                found = witness(self._policy, rule, call, self._words_of(call), Identity())
                met = met or found is not None
                goal = found and self._goal(call, *found)
                if goal:
                    mine.append(goal)
            # The plainest first: it makes the plainest story.
            yield from sorted(mine, key=lambda one: len(one.effect.values))
            if not judged:
                self._not_judged.append(f"{rule}: it counts, draws lots, or ends an ABI")
            elif met and not mine:
                self._not_judged.append(f"{rule}: it refuses a way, and not what it leads to")
            elif not mine:
                self._not_reached.append(str(rule))

    def _of_default(self) -> Iterator[Goal]:
        if not refuses(self._policy.default):
            return
        conditional = [call for rule in self._policy.rules for call in rule.conditions]
        for call in dict.fromkeys([*sorted(conditional), *_SERIOUS]):
            if call not in model.names():
                continue
            found = witness(self._policy, None, call, self._words_of(call), Identity())
            goal = found and self._goal(call, *found)
            if goal:
                yield goal

    def _words_of(self, call: str) -> Words:
        return Words([rule.condition(call) for rule in self._policy.rules if call in rule.calls])

    def _goal(self, call: str, given: Arguments, who: Identity) -> Goal | None:
        places = Places(lambda spot: spot.path.decode("utf-8", "surrogateescape"), lambda fd: "")
        effect = observe(typed(call, self._bans.arch, given), places)
        ban = effect and self._bans.forbids(effect, who, earlier=ENOUGH)
        return Goal(effect, ban, who) if effect and ban else None

    # -- what came of them -----------------------------------------------------------------------

    def add(
        self,
        goal: Goal,
        hunt: Hunt,
        found: list[Trace],
        covered: Exploration,
        replay: Callable[[Trace], list[tuple[str, str]]],
    ) -> None:
        """Take in what came of one goal; *replay* makes a trace once more."""
        self._states += covered.states
        self._steps += covered.moves
        self._cut += covered.cut
        self._calls |= {one.call for one in hunt.ways}
        self._abis |= {one.arch for one in hunt.ways}
        self._moves.update(dict.fromkeys(hunt.beforehand))
        kept: list[frozenset[str]] = []
        for trace in found:
            if any(tags < trace.tags for tags in kept):
                continue
            kept.append(trace.tags)
            self._tell(goal, trace, replay)

    def _tell(
        self, goal: Goal, trace: Trace, replay: Callable[[Trace], list[tuple[str, str]]]
    ) -> None:
        kind = lesson_of(trace.tags)
        key = goal.ban.name, kind
        story = self._stories.get(key)
        if story is None or len(trace.moves) < len(story.steps):
            # A story is told only if it can be played again.
            steps = tuple(replay(trace))
            calls, abis = (story.calls, story.abis) if story else ((), ())
            story = Story(
                str(goal.effect),
                goal.ban.name,
                goal.ban.place,
                kind,
                steps,
                calls,
                abis,
                facts(trace.tags),
                LESSONS[kind].why,
                "",
            )
        calls = tuple(dict.fromkeys([*story.calls, trace.call]))
        abis = tuple(dict.fromkeys([*story.abis, trace.arch.label]))
        path = goal.effect.paths[0][0] if goal.effect.paths else "path"
        self._stories[key] = replace(
            story, calls=calls, abis=abis, cure=cure(kind, goal.ban.rule, calls, path)
        )

    def result(self, depth: int, preparing: int, suppose: tuple[str, ...]) -> PolicyExploration:
        """All of it."""
        stories = sorted(self._stories.values(), key=lambda story: len(story.steps))
        covered = Covered(
            tuple((str(goal.effect), goal.ban.name) for goal in self.goals),
            tuple(sorted(self._calls)),
            tuple(arch.label for arch in ABIS if arch in self._abis),
            tuple(self._moves),
            self._states,
            self._steps,
            self._cut,
            depth,
            preparing,
            suppose,
            tuple(self._not_judged),
            tuple(dict.fromkeys(self._not_reached)),
        )
        return PolicyExploration(tuple(stories), covered)
