"""What a policy forbids: effects, not names of calls.

A rule that refuses a call forbids what the call would have done, by whatever call. Not so where
it says ENOSYS, which sends programs to another call; where it counts or draws lots, which is a
test of the program; and where it is about all calls of one ABI. The default forbids what no rule
says anything about, by whatever call.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.calls.lookups import path_of
from unotify.errors import Error, UnknownName
from unotify.policy.conditions import Need, needs
from unotify.policy.deciding import Decision, decide
from unotify.policy.model import LETTING_GO, TRUE, Policy, Rule, Verb, Verdict
from unotify.policy.where.binding import bind
from unotify.testing.hostile.effects import Effect
from unotify.testing.hostile.spelling import Arguments, spelled, typed

__all__ = ["Ban", "Bans", "Identity", "TrueFacts", "goal_of", "refuses"]

_REFUSING: Final = frozenset(
    {Verb.DENY, Verb.FAIL, Verb.RETURN, Verb.KILL_PROCESS, Verb.KILL_THREAD, Verb.TRAP, Verb.TRACE}
)

_GRANTING: Final = frozenset({*LETTING_GO, Verb.ACT, Verb.NOTIFY})
_ALL: Final = 200
"""A rule about more calls than these is about all of them."""
_MEANS: Final = frozenset({"open_by_handle_at", "sendto", "sendmsg", "sendmmsg"})
"""Ways to an effect that may be refused for their own sake: that says nothing of the effect."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the target is when it starts; what it makes of itself later changes nothing here."""

    uid: int = 0
    gid: int = 0
    comm: str = "target"
    exe: str = "/bin/target"


@dataclass(frozen=True, slots=True)
class Ban:
    """One thing that is forbidden.

    Attributes:
        name: What it is called in a story.
        rule: The rule that says so; ``None``: the default.
        place: Where that stands.
    """

    name: str
    rule: Rule | None
    place: str = ""


class TrueFacts:
    """Implements `unotify.policy.conditions.Facts` for what a call truly does.

    Args:
        call: The typed call, whose paths are names of what it is really done to.
        identity: Who makes it.
        earlier: How many such calls the target has been allowed before, all its processes
            together.
        paths: What the effect is done to, by argument: a descriptor is open on that.
    """

    def __init__(
        self, call: Any, identity: Identity, earlier: int = 0, paths: tuple[str, ...] = ()
    ) -> None:
        self.call = call
        self.uid, self.gid = identity.uid, identity.gid
        self.comm, self.exe, self.cgroup = identity.comm, identity.exe, ""
        self.pid = self.tid = 2
        self._earlier = earlier
        self._path = paths[0] if paths else ""

    def resolved(self, argument: str) -> str:
        """The path, which is a true name already."""
        return str(path_of(self.call, argument))

    def fd_kind(self, fd: int) -> str:
        """A file where the effect is on one."""
        return "file" if self._path else "socket"

    def fd_path(self, fd: int) -> str:
        """What the effect is on."""
        return self._path

    def count(self, key: str, scope: str) -> int:
        """As if the whole target were one process that never execs."""
        return self._earlier + 1

    def random(self) -> float:
        """Never in its favour."""
        return 1.0

    def take(self, key: str, scope: str, rate: float, burst: float) -> bool:
        """Nobody gets more than *burst* at once."""
        return self._earlier < burst


def refuses(verdict: Verdict) -> bool:
    """Whether a verdict forbids what a call would do."""
    return verdict.verb in _REFUSING and verdict.errno != errno.ENOSYS


def goal_of(text: str, policy: Policy) -> tuple[str, Policy]:
    """What a user wants to be impossible: a call, or a call and a condition after a colon.

    Returns:
        The call's name, and a policy that forbids that and nothing else.

    Raises:
        UnknownName: There is no such call, or no such word in the condition.
        PolicyError: The condition says nothing.
    """
    call, colon, where = (part.strip() for part in text.partition(":"))
    if call not in model.names():
        raise UnknownName(
            f"goal {text!r}: there is no call {call!r}",
            hint=nearest(call, sorted(model.names()))
            or "a goal is a call, or a call and a condition: 'openat: path == \"/etc/shadow\"'",
        )
    archs = policy.architectures[:1]
    conditions = bind(where, [call], architectures=archs) if colon else {}
    rule = Rule(
        {call: None}, Verdict(Verb.DENY), conditions, name=text, where=where if colon else None
    )
    return call, Policy((rule,), Verdict(Verb.ALLOW), policy.architectures, source="--goal")


class Bans:
    """What one policy forbids, and what goals of a user do.

    Args:
        policy: The policy.
        goals: What `goal_of` makes of each goal.
    """

    def __init__(self, policy: Policy, goals: tuple[Policy, ...] = ()) -> None:
        self.policy = policy
        self._goals = goals
        self._counts = any(
            Need.STATE in needs(rule.condition(call))
            for rule in policy.rules
            for call in rule.calls
        )
        self._known: dict[tuple[Effect, Identity, int, str], Ban | None] = {}

    @property
    def counts(self) -> bool:
        """Whether the policy remembers earlier calls."""
        return self._counts

    @property
    def arch(self) -> Arch:
        """The ABI by whose calls effects are judged."""
        return self.policy.architectures[0]

    def forbids(
        self, effect: Effect, identity: Identity, call: str = "", earlier: int = 0
    ) -> Ban | None:
        """What forbids *effect*; ``None``: nothing does.

        Args:
            effect: What is done, to what it is truly done to.
            identity: Who the target was when it started.
            call: By which call. Where a rule grants that one exactly this, no later rule about
                it forbids it.
            earlier: How many calls of the target were carried out before.
        """
        key = effect, identity, earlier if self._counts else 0, call
        if key not in self._known:
            self._known[key] = self._forbids(*key)
        return self._known[key]

    def _forbids(self, effect: Effect, identity: Identity, earlier: int, made: str) -> Ban | None:
        ways = spelled(effect, self.arch)
        for goal in self._goals:
            for _, decision in decisions(goal, effect, ways, identity, earlier):
                if decision.rule is not None:
                    return Ban(f"the goal {decision.rule.name!r}", None)
        by_default = bool(ways)
        said = dict(decisions(self.policy, effect, ways, identity, earlier))
        own = said.get(made)
        granted = own is not None and own.rule is not None and own.verdict.verb in _GRANTING
        for call, decision in said.items():
            rule = decision.rule
            if rule is not None:
                by_default = False
                if granted and rule.covers(made, self.arch):
                    continue
                if refuses(decision.verdict) and forbidding(rule, call):
                    return Ban(str(rule), rule, str(rule.place))
        if by_default and refuses(self.policy.default):
            return Ban("the default", None, self.policy.source)
        return None


def decisions(
    policy: Policy,
    effect: Effect,
    ways: dict[str, Arguments],
    identity: Identity,
    earlier: int = 0,
) -> Iterator[tuple[str, Decision]]:
    """What a policy says of each call that has an effect, if that is all it knows."""
    paths = tuple(path for _, path in effect.paths)
    for call, given in ways.items():
        if call in _MEANS:
            continue
        made = typed(call, policy.architectures[0], given)
        try:
            yield call, decide(policy, made, TrueFacts(made, identity, earlier, paths))
        except Error:
            continue  # it looks at what such a call has not


def forbidding(rule: Rule, call: str) -> bool:
    """Whether a rule that refuses *call* forbids what it does."""
    if rule.calls.get(call, frozenset()) is not None and len(rule.calls) > _ALL:
        return False  # it ends an ABI, and what the others do is another matter
    condition = rule.condition(call)
    return condition == TRUE or Need.STATE not in needs(condition)
