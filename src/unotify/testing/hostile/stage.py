"""The simulated kernel with a supervisor, a policy, and a target that means no good.

Theory of operation. The supervisor is the real one, with the policy's own filter and rules; only
verbs of handlers are not carried out. The world that it serves is put back for each move
(`Stage.on`), together with what the supervisor itself remembers: its counters. A target that may
go on with its call (CONTINUE) does not run at once, so that something can happen in between.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import ACTION_MASK, Action, ResponseFlag
from unotify.abi.types import Address, Tid
from unotify.calls.acts import Act, act_of, performable
from unotify.calls.lookups import Spot
from unotify.policy.actions import ACTIONS
from unotify.policy.model import Policy
from unotify.policy.offline import Memory
from unotify.protocol import Return
from unotify.supervisor import Instrument, Supervisor
from unotify.testing.facility import (
    descriptors,
    entering,
    judging,
    listening,
    memory,
    noting,
    stepping,
    tasks,
)
from unotify.testing.facility.state import CallData, NoteState, Task, World
from unotify.testing.hostile.bans import Bans, Identity
from unotify.testing.hostile.effects import Effect, of_act
from unotify.testing.hostile.names import Extra, extra, resolve
from unotify.testing.hostile.natives import UNTOUCHED, carry_out, take_effect, where
from unotify.testing.hostile.spelling import Arguments, registers
from unotify.testing.kernel import SimulatedKernel
from unotify.testing.listener import SimulatedListener
from unotify.testing.performing import Outcome
from unotify.testing.target import Answer, FakeTarget
from unotify.testing.thread import SimulatedThread
from unotify.testing.timing import simulated_time

__all__ = ["Pieces", "Stage"]

_ACTING: Final = frozenset({"perform", "redirect", "inject"})


class Pieces(Memory):
    """Puts things into a target's memory, and remembers where each is."""

    def __init__(self, world: World, task: Task, pointer: int) -> None:
        super().__init__(pointer)
        self._pages = world.memory_of(task)
        self.parts: list[tuple[int, bytes]] = []

    def put(self, data: bytes) -> int:
        """Put *data* into pages of its own."""
        address = memory.put(self._pages, data)
        self.parts.append((address, data))
        return address


class _Thread(SimulatedThread):
    """A target thread whose paths lead where links and renames have made them lead."""

    def read(self, address: Address, length: int) -> bytes:
        data = super().read(address, length)
        self._looked()
        return data

    def read_string(self, address: Address, limit: int) -> bytes:
        text = super().read_string(address, limit)
        self._looked()
        return text

    def _path(self, spot: Spot) -> str:
        found = resolve(self.kernel.world, self.task(), spot)
        self._looked()
        return found

    def _looked(self) -> None:
        assert isinstance(self.kernel, _Kernel)
        after, self.kernel.after_look = self.kernel.after_look, None
        if after is not None:
            after(self.kernel.world)


class _Kernel(SimulatedKernel):
    """One where a target that may go on waits for its next move.

    Attributes:
        after_look: What happens once the supervisor has looked at something of the target's.
    """

    after_look: Callable[[World], None] | None = None

    def open_thread(self, tid: Tid, still_valid: Callable[[], bool]) -> SimulatedThread:
        opened = super().open_thread(tid, still_valid)
        return _Thread(self, opened._inner, tid, still_valid)

    def settle(self) -> None:
        world = self.world
        while movable := [tid for tid in stepping.movable(world) if not may_go_on(world, tid)]:
            stepping.advance(world, movable[0])
        with self.changed:
            self.changed.notify_all()
            for poller in self._pollers:
                poller.refresh()


def may_go_on(world: World, tid: int) -> bool:
    """Whether a target has been let go, and has not gone."""
    note = noting.note_of(world, world.tasks[tid])
    return (
        note is not None
        and note.state == NoteState.REPLIED
        and bool(note.flags & ResponseFlag.CONTINUE)
    )


class _Watch(Instrument):
    """Notes what the supervisor decided by."""

    def __init__(self) -> None:
        self.said = ""

    def judged(self, call: Any, judgement: Any) -> None:
        self.said = f"{judgement}"


class Stage:
    """A target under a policy, whose world can be put back.

    Args:
        policy: The policy.
        bans: What is forbidden.
        identity: Who the target is in the beginning.

    Attributes:
        start: The world in the beginning.
        first: The thread that calls.
        second: Another one of the same process.
        bans: What is forbidden.
        told: What became of calls, in order.
        counted: The kind of effect whose number is counted, where the policy counts.
    """

    def __init__(self, policy: Policy, bans: Bans, identity: Identity) -> None:
        self.bans, self.identity = bans, identity
        self.told: list[str] = []
        self.counted = ""
        self._stack = ExitStack()
        self._stack.enter_context(simulated_time())
        self.kernel = _Kernel()
        natives = self.kernel.world.natives
        for arch in (Arch.X86_64, Arch.I386, Arch.X32):
            for name in tables.names(arch).values():
                if name not in UNTOUCHED:
                    natives[name] = self._native
        for act in {act_of(call) for call in performable()}:
            assert act is not None
            self.kernel.acts[act] = self._act
        self.supervisor = Supervisor(kernel=self.kernel, embedded=True, policy=policy)
        self._stack.callback(self.supervisor.close)
        judge = self.supervisor._judge
        assert judge is not None
        self._judge = judge
        judge.chance = lambda: 1.0
        for name in ACTIONS:
            if name not in _ACTING:
                judge.verbs[name] = _handled
        self._watch = _Watch()
        self.supervisor.add_instrument(self._watch)
        made: list[FakeTarget] = []
        self.supervisor.popen(made.append)
        source = next(iter(self.supervisor._readers.sources))
        assert isinstance(source, SimulatedListener)
        self._listener = source
        self._fd = source.fileno()
        world = self.kernel.world
        task = made[0].task
        task.comm, task.uid, task.gid = identity.comm, identity.uid, identity.gid
        world.process_of(task).exe = identity.exe
        self.first = task.tid
        self.second = tasks.new_thread(world, task).tid
        world.extra = Extra()
        self.start = world

    def close(self) -> None:
        """End the supervisor."""
        self._stack.close()

    # -- the world of one move -----------------------------------------------------------

    def on(self, world: World) -> None:
        """Let the kernel and the supervisor be in *world* from now on."""
        kernel = self.kernel
        kernel.world, kernel.after_look = world, None
        kernel.supervisor = world.tasks[kernel.supervisor.tid]
        self._listener.sent.clear()
        if self.bans.counts:
            _restore(self._judge._counters, extra(world).counters)

    def keep(self, world: World) -> None:
        """Keep what the supervisor remembers in *world*."""
        if self.bans.counts:
            world.extra = extra(world)._replace(counters=_saved(self._judge._counters))

    # -- what the target and the supervisor do ----------------------------------------------

    def begin(
        self, world: World, tid: int, call: str, arch: Arch, given: Arguments
    ) -> tuple[tuple[int, bytes], ...]:
        """Let a thread make a call; what was put into memory for it."""
        task = world.tasks[tid]
        pieces = Pieces(world, task, arch.pointer)
        words = registers(call, arch, given, pieces)
        number = tables.number(call, arch)
        assert number is not None
        self.enter(world, tid, CallData(number, arch.audit, words))
        return tuple(pieces.parts)

    def enter(self, world: World, tid: int, call: CallData) -> None:
        """Let a thread make a call with these registers."""
        task = world.tasks[tid]
        value, _ = judging.judge(world, task, call)
        entering.enter(world, task, call)
        self.kernel.settle()
        action = value & ACTION_MASK
        if action in (Action.ALLOW, Action.LOG):
            self.told.append(f"its filter lets it go, and it returns {self.answer(world, tid)}")
        elif action == Action.USER_NOTIF:
            self.told.append("it waits for an answer")
        elif action == Action.ERRNO:
            self.told.append(f"its filter answers {self.answer(world, tid)}")
        else:
            self.told.append("its filter ends it")

    def submit(self, world: World, tid: int, call: str, given: Arguments) -> None:
        """Let the ring carry a call out, which no filter sees (B9)."""
        task, arch = world.tasks[tid], self.kernel.arch
        number = tables.number(call, arch)
        assert number is not None
        words = registers(call, arch, given, Pieces(world, task, arch.pointer))
        entering.enter_unseen(world, task, CallData(number, arch.audit, words))
        self.told.append(f"no filter sees it, and it returns {self.answer(world, tid)}")

    def serve(self, world: World, *, who: str = "it") -> None:
        """Let the supervisor answer what waits."""
        self._watch.said = ""
        self.supervisor.process_pending()
        self.kernel.after_look = None
        said = f" ({self._watch.said})" if self._watch.said else ""
        sent = [one for replies in self._listener.sent.values() for one in replies]
        last = sent[-1] if sent else None
        if last is None:
            self.told.append(f"{who} does not answer{said}")
        elif last.kind == "continue":
            self.told.append(f"{who} lets the call go on{said}")
        elif last.kind == "fail":
            self.told.append(f"{who} answers {Answer.of(-last.number)}{said}")
        else:
            self.told.append(f"{who} answers {last.number}{said}")
        self._listener.sent.clear()

    def go_on(self, world: World, tid: int) -> None:
        """Let a target run the call that it may go on with (C1)."""
        stepping.advance(world, tid)
        self.kernel.settle()
        self.told.append(f"it returns {self.answer(world, tid)}")

    def answer(self, world: World, tid: int) -> str:
        """What a thread's last call returned, in words."""
        task = world.tasks.get(tid)
        if task is None or task.dead:
            return "nothing: it is dead"
        return "nothing yet" if task.result is None else str(Answer.of(task.result))

    def finish(self, world: World, tid: int) -> None:
        """Do all there is to do for a call, at once and in the usual order."""
        for _ in range(4):
            task = world.tasks.get(tid)
            note = None if task is None or task.dead else noting.note_of(world, task)
            if note is None:
                return
            if may_go_on(world, tid):
                self.go_on(world, tid)
            elif note.filter == self._own_filter(world):
                self._accomplice_lets_go(world)
            elif extra(world).ended:
                return
            else:
                self.serve(world, who="the supervisor")

    def supervisor_ends(self, world: World) -> None:
        """Close the supervisor's descriptor of the listener, as its death does (R4)."""
        descriptors.close(world, self.kernel.supervisor, self._fd)
        world.extra = extra(world)._replace(ended=True)
        self.kernel.settle()
        self.told.append("nobody has its listener any more")

    def _own_filter(self, world: World) -> int:
        own = extra(world).own
        if own < 0:
            return -1
        file = descriptors.file_at(world, world.tasks[self.first], own)
        return -1 if file is None else file.filter

    def _accomplice_lets_go(self, world: World) -> None:
        """The second thread, which is not under the newer filter, answers CONTINUE."""
        friend, own = world.tasks[self.second], extra(world).own
        listening.begin_receive(world, friend, own)
        assert friend.received is not None
        id = friend.received[0]
        listening.send(world, friend, own, id, 0, 0, int(ResponseFlag.CONTINUE))
        self.told.append("its second thread, which has the listener of that filter, lets it go on")

    # -- what calls come to ---------------------------------------------------------------------

    def _native(self, world: World, task: Task, call: CallData) -> int | None:
        return carry_out(world, task, call, self._note)

    def _note(self, world: World, task: Task, effect: Effect, call: str = "") -> None:
        old = extra(world)
        ban = self.bans.forbids(effect, self.identity, call, old.done)
        if self.bans.counts and effect.kind == self.counted:
            world.extra = old = old._replace(done=old.done + 1)
        if ban is not None:
            world.extra = old._replace(got=(*old.got, (effect, ban.name)))

    def got(self, world: World, task: Task, effect: Effect) -> None:
        """A task has got *effect* in a way that the facility knows nothing of."""
        self._note(world, task, effect)

    def _act(self, thread: SimulatedThread, act: Act, pins: Mapping[str, Any]) -> Outcome:
        """What the supervisor carries out for the target."""
        world, task = self.kernel.world, thread.task()
        spots = {
            name: Spot(pins[name].text.encode(), follow=False) if name in pins else spot
            for name, spot in act.spots.items()
        }
        # A pin is the thing itself, whatever its name is by now.
        done = replace(act, spots=spots)
        effect = of_act(done, where(world, task))
        self._note(world, task, effect, act.call)
        if act.returns_fd:
            return Outcome(0, self.kernel.real(resolve(world, task, spots["path"]), b""))
        return Outcome(take_effect(world, task, act.name, effect, spots))


def _handled(call: Any, parameters: Mapping[str, Any]) -> Return:
    """A handler's verb: nothing is done."""
    return Return(0)


def _saved(counters: Any) -> tuple[Any, ...]:
    counts = tuple(
        (scope, key, number)
        for scope, kept in counters._counts.items()
        for key, number in kept.items()
    )
    # Simulated time stands still: what is left of a bucket is all.
    buckets = tuple(
        (scope, key, left)
        for scope, kept in counters._buckets.items()
        for key, (left, _) in kept.items()
    )
    return counts, buckets


def _restore(counters: Any, saved: tuple[Any, ...]) -> None:
    counts, buckets = saved or ((), ())
    counters._counts = {}
    counters._buckets = {}
    for scope, key, number in counts:
        counters._counts.setdefault(scope, OrderedDict())[key] = number
    for scope, key, left in buckets:
        # As if it had been asked at the end of time: nothing is filled up.
        counters._buckets.setdefault(scope, OrderedDict())[key] = (left, float("inf"))
