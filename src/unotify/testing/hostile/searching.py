"""The search: all sequences of a hostile target's moves up to a bound, for each thing forbidden.

Theory of operation. For each ban a witness is sought, arguments that it refuses, and what they
would do is the goal. The target prepares, and tries: each attempt by itself, with all that the
supervisor has to say to it; a pretext step by step, so that another thread can come in between.
Worlds that are alike are visited once. An attempt that got nothing leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from unotify.abi.arch import Arch
from unotify.testing.exploring import Exploration, Move, Violation, explore
from unotify.testing.facility import noting
from unotify.testing.facility.memory import poke
from unotify.testing.facility.state import NoteState, World
from unotify.testing.hostile.attempts import (
    LINK,
    Attempt,
    Pretext,
    attempts,
    by_new_mount,
    from_outside,
    named,
    pretexts,
    spelled_otherwise,
    with_number,
)
from unotify.testing.hostile.bans import Ban, Identity
from unotify.testing.hostile.effects import Effect
from unotify.testing.hostile.names import extra
from unotify.testing.hostile.preparing import Preparation, preparations, relink
from unotify.testing.hostile.spelling import registers
from unotify.testing.hostile.stage import Pieces, Stage, may_go_on
from unotify.testing.hostile.witnesses import Words

__all__ = ["Goal", "Hunt", "Trace"]

_NUMBERED: Final = frozenset({"directory", "bare", "descriptor", "new mount"})
"""Preparations that give a descriptor, which the attempt is made with."""
_LOCAL: Final = _NUMBERED | {"link", "moved", "moved directory", "ring"}
"""Preparations that concern the attempts that need them, and no other."""


@dataclass(frozen=True)
class Goal:
    """What the target is after.

    Attributes:
        effect: What it wants to be done.
        ban: Why that is forbidden.
        identity: Who it is.
    """

    effect: Effect
    ban: Ban
    identity: Identity


@dataclass
class Trace:
    """A way that leads to what is forbidden.

    Attributes:
        moves: Their names, in order.
        tags: What is peculiar about them.
        calls: The call that got it.
    """

    moves: tuple[str, ...]
    tags: frozenset[str]
    call: str
    arch: Arch


@dataclass
class _Tried:
    """What one move is made of."""

    tags: frozenset[str] = frozenset()
    call: str = ""
    arch: Arch = Arch.X86_64
    make: Callable[[World], None] = field(default=lambda world: None)


class Hunt:
    """One goal, and all that the target can do for it.

    Args:
        stage: Where it happens.
        goal: What it is after.
        words: Of the policy's conditions.
        suppose: What is supposed beside: ``supervisor-ends``, ``accomplice``.
        preparing: How many preparations are made at most.
    """

    def __init__(
        self, stage: Stage, goal: Goal, words: Words, suppose: frozenset[str], preparing: int
    ) -> None:
        self._stage, self._goal = stage, goal
        self._suppose, self._most = suppose, preparing
        self._native = stage.bans.arch
        rule, policy = goal.ban.rule, stage.bans.policy
        self._attempts = [
            *attempts(goal.effect, rule, policy),
            *spelled_otherwise(goal.effect, rule, policy),
            *from_outside(goal.effect, self._native, suppose),
            *by_new_mount(goal.effect, self._native),
        ]
        self._pretexts = list(pretexts(goal.effect, rule, policy, words, goal.identity))
        self._preparations = list(preparations(goal.effect, stage, words))
        self._tried: dict[str, _Tried] = {}

    @property
    def ways(self) -> tuple[Attempt, ...]:
        """What is tried."""
        return tuple(self._attempts)

    @property
    def beforehand(self) -> tuple[str, ...]:
        """What is prepared."""
        return tuple(one.name for one in self._preparations)

    # -- the search --------------------------------------------------------------------------

    def run(self, depth: int, most: int) -> tuple[list[Trace], Exploration]:
        """Search.

        Raises:
            OverflowError: There are more than *most* worlds.
        """
        found: list[Violation] = []
        self._stage.counted = self._goal.effect.kind
        covered = explore(
            self._stage.start,
            self.moves,
            always=self._must_hold,
            most=most,
            depth=depth,
            found=found,
        )
        return [self._trace(one.trace) for one in found], covered

    def _trace(self, moves: tuple[str, ...]) -> Trace:
        tried = [self._tried[move] for move in moves]
        tags = frozenset(tag for one in tried for tag in one.tags)
        last = next(one for one in reversed(tried) if one.call)
        return Trace(moves, tags, last.call, last.arch)

    def _must_hold(self, world: World) -> None:
        got = extra(world).got
        assert not got, str(got[0][0])

    def replay(self, trace: Trace) -> list[tuple[str, str]]:
        """Make the moves of a trace once more; each with what came of it.

        Raises:
            LookupError: It does not lead there again.
        """
        stage = self._stage
        stage.counted = self._goal.effect.kind
        world = stage.start.thaw(stage.start.freeze())
        steps: list[tuple[str, str]] = []
        for name in trace.moves:
            moves = dict(self.moves(world))
            if name not in moves:
                raise LookupError(name)
            stage.told.clear()
            moves[name](world)
            steps.append((name, "; ".join(stage.told)))
        if not extra(world).got:
            raise LookupError("the end")
        return steps

    # -- moves -------------------------------------------------------------------------------

    def moves(self, world: World) -> Iterable[Move]:
        """What can happen in a world."""
        memory, stage = extra(world), self._stage
        first = world.tasks.get(stage.first)
        if memory.got or first is None or first.dead:
            return
        note = noting.note_of(world, first)
        if note is not None:
            if note.state == NoteState.INIT:
                yield self._move("the supervisor looks, and decides", _Tried(make=self._serves))
                if memory.rewrite:
                    yield self._move(
                        "the supervisor looks, and while it does, a second thread of the target "
                        "rewrites the memory",
                        _Tried(frozenset({"rewrite"}), make=self._serves_late),
                    )
            elif may_go_on(world, first.tid):
                yield from self._between(world)
                yield self._move("the target's call goes on", _Tried(make=self._goes_on))
            return
        prepared = [named(one) for one in memory.used if one != "pretext"]
        last = prepared[-1] if prepared else ""
        for attempt in self._attempts:
            # What the last preparation does not concern has been tried before it.
            if attempt.needs == last if last in _LOCAL else attempt.needs in ("", *prepared):
                yield self._try(world, attempt)
        if "pretext" not in memory.used and last not in _LOCAL and not memory.ended:
            for pretext in self._pretexts:
                yield self._pretend(pretext)
        if "supervisor-ends" in self._suppose and not memory.ended:
            yield self._move("the supervisor ends", _Tried(frozenset({"end"}), make=_ending(stage)))
        if len(prepared) < self._most:
            # In one order: a fork is the last, and its child has all that was there before.
            names = [one.name for one in self._preparations]
            for one in self._preparations[names.index(last) + 1 if last else 0 :]:
                yield self._prepare(one)

    def _move(self, text: str, tried: _Tried) -> Move:
        self._tried[text] = tried
        return text, tried.make

    def _between(self, world: World) -> Iterable[Move]:
        memory = extra(world)
        if memory.rewrite:
            yield self._move(
                "a second thread of the target rewrites the memory that was looked at",
                _Tried(frozenset({"rewrite"}), make=self._rewrites),
            )
        path = self._goal.effect.paths[0][1] if self._goal.effect.paths else ""
        if path and LINK not in dict(memory.links):
            yield self._move(
                f"a second thread of the target makes {LINK} a symbolic link to {path}",
                _Tried(frozenset({"swap"}), make=self._links),
            )

    def _serves(self, world: World) -> None:
        self._stage.on(world)
        self._stage.serve(world)
        self._settle(world)

    def _settle(self, world: World) -> None:
        # What was got that another ban is about is looked for by itself.
        memory = extra(world)
        mine = tuple(one for one in memory.got if one[1] == self._goal.ban.name)
        world.extra = memory._replace(got=mine)
        self._stage.keep(world)

    def _serves_late(self, world: World) -> None:
        self._stage.on(world)
        self._stage.kernel.after_look = self._rewrites
        self._stage.serve(world)
        self._settle(world)

    def _rewrites(self, world: World) -> None:
        task = world.tasks[self._stage.first]
        old = extra(world)
        for address, data in old.rewrite:
            poke(world.memory_of(task), address, data)
        world.extra = old._replace(rewrite=())

    def _links(self, world: World) -> None:
        stage = self._stage
        stage.on(world)
        make = relink(self._goal.effect.paths[0][1], self._native)
        make(stage, world, stage.second)
        self._settle(world)

    def _goes_on(self, world: World) -> None:
        self._stage.on(world)
        self._stage.go_on(world, self._stage.first)
        self._settle(world)

    def _pretend(self, pretext: Pretext) -> Move:
        attempt = pretext.attempt

        def make(world: World) -> None:
            stage = self._stage
            stage.on(world)
            parts = stage.begin(world, stage.first, attempt.call, attempt.arch, pretext.seemly)
            again = _Again([address for address, _ in parts], attempt.arch.pointer)
            registers(attempt.call, attempt.arch, attempt.given, again)
            old = extra(world)
            rewrite = tuple(again.parts) if tuple(again.parts) != parts else ()
            world.extra = old._replace(rewrite=rewrite, used=(*old.used, "pretext"))
            self._settle(world)

        text = f"the target {pretext.text()}"
        return self._move(text, _Tried(frozenset(), attempt.call, attempt.arch, make))

    def _try(self, world: World, attempt: Attempt) -> Move:
        memory = extra(world)
        made = with_number(attempt, memory.used)
        forked = "fork" in {named(one) for one in memory.used}
        who = "the child" if forked else "the target"

        def make(other: World) -> None:
            stage = self._stage
            before = other.freeze()
            stage.on(other)
            tid = _newest(other, stage.first) if forked else stage.first
            if made.ring:
                stage.submit(other, tid, made.call, made.given)
            else:
                stage.begin(other, tid, made.call, made.arch, made.given)
                stage.finish(other, tid)
            task = other.tasks.get(tid)
            if made.grants is not None and task is not None and not task.dead and task.result == 0:
                stage.got(other, task, made.grants)
            self._settle(other)
            counted = stage.bans.counts and not made.tags and not made.needs
            if not extra(other).got and not counted:
                _undo(other, before)

        text = f"{who} {made.text(self._native)}"
        return self._move(text, _Tried(attempt.tags, attempt.call, attempt.arch, make))

    def _prepare(self, one: Preparation) -> Move:
        def make(world: World) -> None:
            stage = self._stage
            before = world.freeze()
            stage.on(world)
            result = one.make(stage, world)
            if result is None:
                _undo(world, before)
                return
            old = extra(world)
            numbered = f"{one.name}={result}" if one.name in _NUMBERED else one.name
            world.extra = old._replace(used=(*old.used, numbered), got=())
            self._settle(world)

        tags = frozenset({one.tag}) if one.tag else frozenset[str]()
        return self._move(f"the target {one.text}", _Tried(tags, make=make))


def _ending(stage: Stage) -> Callable[[World], None]:
    """The supervisor's end, as a move."""

    def make(world: World) -> None:
        stage.on(world)
        stage.supervisor_ends(world)

    return make


class _Again(Pieces):
    """Lays the same pieces out at the addresses that they have."""

    def __init__(self, addresses: list[int], pointer: int) -> None:
        self.pointer = pointer
        self.parts = []
        self._addresses = addresses

    def put(self, data: bytes) -> int:
        address = self._addresses[len(self.parts)]
        self.parts.append((address, data))
        return address


def _newest(world: World, first: int) -> int:
    mine = world.tasks[first].process
    return max(task.tid for task in world.tasks.values() if world.process_of(task).parent == mine)


def _undo(world: World, before: tuple[object, ...]) -> None:
    world.__dict__.update(world.thaw(before).__dict__)
