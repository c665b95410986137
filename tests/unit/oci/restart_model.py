"""The agent's restart protocol on the model of the kernel, move by move.

What is explored is the code that agents run: the scripts of `unotify.oci.restart` and the order of
`unotify.protocol.journaling`. Here is what their steps do to a `World`: agents and the keeper are
processes of the facility, sockets, listeners and journals are files of it, and whoever is killed
closes what he has. Between any two steps all others may move; and where the code does several
things at once, it may be killed after each.

`World.extra` holds what agents have in their own memory, as `Notes`. What the agents themselves
put together of scripts (`Agent`, `Outfit`) is `Restart._next`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.unit.oci.restart_memory import (
    ASKED,
    ASKING,
    FIRST,
    JOURNAL,
    LISTENER,
    NAME,
    SCRIPTS,
    STRIDE,
    Agent,
    Handled,
    Killed,
    Modelled,
    Notes,
    Words,
    handled,
)
from tests.unit.oci.restart_rules import RIGHT, Over, Rules, step_of, told
from tests.unit.testing.models import Life, done, token
from unotify.abi.structs import NOTIF, RESPONSE
from unotify.oci.restart import (
    HUNG_UP,
    SILENT,
    AskLife,
    Begin,
    Desk,
    Finish,
    Hear,
    Hold,
    LetGo,
    Put,
    Recover,
    Say,
    Settle,
    Step,
    Take,
    WriteDown,
)
from unotify.protocol.codec import pad_response
from unotify.protocol.journaling import MOST_TRIES
from unotify.testing.exploring import Move, steps
from unotify.testing.facility import descriptors, listening, stepping, tasks
from unotify.testing.facility.state import Task, World

__all__ = ["Restart"]


@dataclass(frozen=True)
class Restart(Life):
    """Two targets, an agent, whoever comes after it, and whatever may happen to all of them.

    Attributes:
        store: Whether there is a keeper.
        rules: The protocol.
        most_tries: How many agents may begin to serve a call.
        trouble: ``signal`` and ``kill`` for targets; ``agent``: one is killed; ``take-over``: one
            is asked by another; ``stop``: one that has a store is told to end;
            ``patience``: one waits no longer for another; ``settle``: one cannot start.
    """

    store: bool = True
    rules: Rules = RIGHT
    most_tries: int = MOST_TRIES
    readers: int = 1
    killable: bool = True
    trouble: tuple[tuple[str, int], ...] = (("agent", 1), ("signal", 1))

    def world(self) -> World:
        """The beginning: an agent has been given a listener, and has done nothing yet."""
        world = super().world()
        first = next(task for task in world.tasks.values() if task.comm == "supervisor")
        descriptors.close(world, first, 4)
        first.comm = "machine"
        agent = self._fork(world, first, "agent")
        if self.store:
            self._fork(world, first, "keeper")
            keeper = self._keeper(world)
            assert keeper is not None
            descriptors.close(world, keeper, LISTENER)
        descriptors.close(world, first, LISTENER)
        world.extra = Notes(
            (Agent(1, agent.tid, "keep"),), desk=(self.store, ()), budget=self.trouble
        )
        return world

    @staticmethod
    def _fork(world: World, parent: Task, comm: str) -> Task:
        task = tasks.fork(world, parent)
        task.comm = comm
        return task

    @staticmethod
    def _keeper(world: World) -> Task | None:
        return next((task for task in world.tasks.values() if task.comm == "keeper"), None)

    # -- what can happen -------------------------------------------------------

    def moves(self, world: World) -> Iterable[Move]:
        """All that can happen next; nothing once all targets are done."""
        if all(done(target) for target in self.targets_of(world)):
            return []
        found = steps(world)
        notes: Notes = world.extra
        for agent in notes.agents:
            found += self._moves_of(world, agent)
        coming = f"agent {notes.started + 1}"
        going = all(agent.script in ("leave", "left") for agent in notes.agents)
        if len(notes.agents) < 2 and going and self.store:
            found.append((f"{coming} starts", self._start))
        elif (
            len(notes.agents) == 1 and notes.agents[0].script == "idle" and notes.left("take-over")
        ):
            asked = notes.agents[0].number
            found.append((f"{coming} starts, and connects to agent {asked}", self._start_asking))
        return [*found, *self.troubles(world)]

    def _moves_of(self, world: World, agent: Agent) -> list[Move]:
        notes: Notes = world.extra
        me, number = f"agent {agent.number}", agent.number
        found: list[Move] = []

        def add(name: str, make: Callable[[World, Agent], None]) -> None:
            found.append((f"{me} {name}", lambda other: make(other, _agent(other, number))))

        def die(name: str, make: Callable[[World, Agent, int], None], most: int) -> None:
            if notes.left("agent"):
                for fuse in range(1, most + 1):
                    found.append(
                        (
                            f"{me} {name}, and is killed after step {fuse} of that",
                            lambda other, fuse=fuse: self._die_in(other, number, make, fuse),  # type: ignore[misc]
                        )
                    )

        step = self._step_of(agent) if agent.script in SCRIPTS else None
        if agent.script == "connect" and self._desk(world).come():
            add("comes to the keeper", self._connect)
        elif agent.script == "idle" and self._has_mail(world, agent, ASKED):
            add("is asked for all that it has", self._asked)
        elif agent.script == "idle" and self.store and notes.left("stop"):
            add("is told to end", self._stop)
        elif agent.script == "left":
            add("ends", self._end)
        elif isinstance(step, Hear):
            sock = ASKED if agent.script == "give" else ASKING
            if self._has_mail(world, agent, sock) or self._is_alone(world, agent, sock):
                add("hears", self._hear)
            elif not step.ending and notes.left("patience"):
                add("loses patience", self._lose_patience)
        elif step is not None:
            add(told(step), self._do)
            if isinstance(step, Recover | Begin):
                die(told(step), self._do, 1)
            if isinstance(step, Settle) and notes.left("settle"):
                add("cannot start", self._fail)
        if agent.serving and not isinstance(step, Finish):
            bits = listening.poll(world, world.tasks[agent.tid], LISTENER)
            if bits & listening.IN:
                add("receives", self._receive)
                die("receives", self._receive, self.rules.listener.receiving)
        for call in agent.calls:
            if not call.acted:
                add(
                    f"acts for {call.id}", lambda other, who, call=call: self._act(other, who, call)
                )  # type: ignore[misc]
            else:
                answer = lambda other, who, fuse=0, call=call: self._reply(other, who, call, fuse)  # type: ignore[misc]  # noqa: E731
                add(f"answers {call.id}", answer)
                die(f"answers {call.id}", answer, 1)
        return found

    def trouble_of(self, world: World, name: str) -> list[Move]:
        """What may go wrong with targets and agents."""
        if name in ("signal", "kill"):
            return super().trouble_of(world, name)
        if name == "agent":
            return [
                (
                    f"agent {agent.number} is killed",
                    lambda other, number=agent.number: self._kill(other, _agent(other, number)),  # type: ignore[misc]
                )
                for agent in world.extra.agents
            ]
        return []

    # -- agents come and go ------------------------------------------------------

    def _machine(self, world: World) -> Task:
        return next(task for task in world.tasks.values() if task.comm == "machine")

    def _start(self, world: World, script: str = "connect") -> Agent:
        notes: Notes = world.extra
        task = self._fork(world, self._machine(world), "agent")
        agent = Agent(notes.started + 1, task.tid, script)
        world.extra = notes._replace(agents=(*notes.agents, agent), started=agent.number)
        return agent

    def _start_asking(self, world: World) -> None:
        world.extra = world.extra.spend("take-over")
        (old,) = world.extra.agents
        new = self._start(world, "ask")
        one, other = world.tasks[old.tid], world.tasks[new.tid]
        left, right = descriptors.socketpair(world, other)
        file = descriptors.file_at(world, other, left)
        mine = descriptors.file_at(world, other, right)
        assert file is not None
        assert mine is not None
        descriptors.put(world, one, ASKED, file.key)
        descriptors.put(world, other, ASKING, mine.key)
        descriptors.close(world, other, left)
        descriptors.close(world, other, right)

    def _end(self, world: World, agent: Agent) -> None:
        """The process is no more, and what it had is closed."""
        notes: Notes = world.extra
        for call in agent.calls:
            notes = notes.more("died", call.id)
        if agent.script not in ("ask", "connect", "left") and self.store:
            desk = self._desk(world)
            desk.go()
            notes = notes._replace(desk=_frozen(desk))
        others = tuple(each for each in notes.agents if each.number != agent.number)
        world.extra = notes._replace(agents=others)
        task = world.tasks[agent.tid]
        tasks.end_process(world, world.process_of(task), 0)
        stepping.advance(world, agent.tid)
        tasks.reap(world, agent.tid)
        mail = tuple(row for row in world.extra.mail if row[0] in world.files)
        world.extra = world.extra._replace(mail=mail)

    def _kill(self, world: World, agent: Agent) -> None:
        notes: Notes = world.extra.spend("agent")
        # Is there anybody else who has the listener, and may serve it yet?
        others = any(
            other.number != agent.number
            and other.script not in ("leave", "left")
            and self._holds(world, other, (LISTENER, ASKING, ASKED))
            for other in notes.agents
        )
        kept = bool(notes.desk[1]) or (self.store and notes.received)
        if not (others or kept) and self._holds(world, agent, (LISTENER,)):
            notes = notes._replace(excused=True)
        world.extra = notes
        self._end(world, agent)

    def _holds(self, world: World, agent: Agent, fds: tuple[int, ...]) -> bool:
        for fd in fds:
            file = descriptors.file_at(world, world.tasks[agent.tid], fd)
            held = (file.key, *file.queue) if file is not None else ()
            if any(world.files[key].kind == "listener" for key in held):
                return True
        return False

    def _die_in(
        self, world: World, number: int, make: Callable[[World, Agent, int], None], fuse: int
    ) -> None:
        agent = _agent(world, number)
        try:
            make(world, agent, fuse)
        except Killed:
            for notification in agent.again:  # it has begun to serve them
                world.extra = world.extra.more("died", handled(notification).id)
        if any(agent.number == number for agent in world.extra.agents):
            self._kill(world, _agent(world, number))

    def _fail(self, world: World, agent: Agent) -> None:
        world.extra = world.extra.spend("settle")
        self._end(world, agent)

    # -- scripts -------------------------------------------------------------------

    def _step_of(self, agent: Agent) -> Step:
        step: Step = step_of(self.rules, agent.script, agent.handed, agent.came)
        return step

    def _came(self, world: World, agent: Agent, what: Any) -> None:
        """Something came of the step that *agent* was at."""
        agent = agent._replace(came=(*agent.came, what))
        over = step_of(self.rules, agent.script, agent.handed, agent.came)
        if isinstance(over, Over):
            self._next(world, agent, over.value)
        else:
            _put(world, agent)

    def _next(self, world: World, agent: Agent, value: Any) -> None:
        """What agents do when a script is over."""
        task = world.tasks[agent.tid]
        match agent.script:
            case "give" if value:
                script = "leave"
            case "ask" if value.serve:
                descriptors.close(world, task, ASKING)
                script = "connect" if self.store else "restore"
            case "ask":
                _put(world, agent)
                self._end(world, agent)
                return
            case "leave":
                script = "left"
            case "give":
                descriptors.close(world, task, ASKED)
                script = "idle"
            case _:
                script = "idle"
        handed = agent.handed if script in ("connect", "restore") else ()
        _put(world, agent._replace(script=script, handed=handed, came=()))

    def _do(self, world: World, agent: Agent, fuse: int = 0) -> None:
        step, task = self._step_of(agent), world.tasks[agent.tid]
        came: Any = None
        match step:
            case Say(message):
                sock = ASKED if agent.script == "give" else ASKING
                came = self._say(world, agent, sock, message, bool(step.bundle))
            case AskLife():
                came = self.rules.alive(world, agent)
            case Put():
                self._store(world, agent)
            case Take():
                agent, came = self._take(world, agent)
            case WriteDown():
                file = descriptors.new_file(world, "file", "journal")
                file.content = bytes(FIRST * STRIDE)
                descriptors.put(world, task, JOURNAL, file.key)
                agent = agent._replace(free=tuple(range(FIRST)))
            case Recover():
                agent = self._recover(world, agent, fuse)
                came = True
            case Begin():
                agent = self._begin(world, agent, fuse)
            case Finish():
                notes: Notes = world.extra
                for call in agent.calls:
                    notes = notes.more("died", call.id)
                world.extra = notes
                agent = agent._replace(serving=False, calls=(), used=(), free=())
                descriptors.close(world, task, LISTENER)
                descriptors.close(world, task, JOURNAL)
            case LetGo() if self.store:
                desk = self._desk(world)
                desk.go()
                world.extra = world.extra._replace(desk=_frozen(desk))
            case Hold() | Settle() | LetGo():
                pass
        self._came(world, agent, came)

    def _listener(self, world: World, agent: Agent, fuse: int = 0) -> Modelled:
        listener = self.rules.listener(world, agent, fuse=fuse)
        listener.most_tries = self.most_tries
        return listener

    def _recover(self, world: World, agent: Agent, fuse: int) -> Agent:
        file = descriptors.file_at(world, world.tasks[agent.tid], JOURNAL)
        assert file is not None
        slots = range(len(file.content) // STRIDE)
        empty = [s for s in slots if not any(file.content[s * STRIDE : (s + 1) * STRIDE])]
        listener = self._listener(world, agent._replace(free=tuple(empty)), fuse)
        again, hopeless = listener.recover()
        return listener.kept(agent._replace(again=tuple(again), hopeless=tuple(hopeless)))

    def _begin(self, world: World, agent: Agent, fuse: int) -> Agent:
        if descriptors.file_at(world, world.tasks[agent.tid], JOURNAL) is None:
            return agent._replace(serving=True)
        listener = self._listener(world, agent, fuse)
        for notification in agent.hopeless:
            listener.refuse(notification, errno.EPERM)
        listener.try_again(agent.again)
        calls = tuple(handled(each) for each in agent.again)
        return listener.kept(agent._replace(serving=True, calls=calls, again=(), hopeless=()))

    # -- words ---------------------------------------------------------------------

    def _say(self, world: World, agent: Agent, sock: int, message: Any, bundle: bool) -> bool:
        task = world.tasks[agent.tid]
        end = descriptors.file_at(world, task, sock)
        if end is None or end.peer not in world.files:
            return False
        fds = (LISTENER, JOURNAL) if bundle else ()
        for fd in fds:
            descriptors.pass_on(world, task, sock, fd)
        notes: Notes = world.extra
        mail = dict(notes.mail)
        letter = (Words(tuple(sorted(message.items()))), len(fds))
        mail[end.peer] = (*mail.get(end.peer, ()), letter)
        world.extra = notes._replace(mail=tuple(sorted(mail.items())))
        return True

    def _has_mail(self, world: World, agent: Agent, sock: int) -> bool:
        end = descriptors.file_at(world, world.tasks[agent.tid], sock)
        return end is not None and bool(dict(world.extra.mail).get(end.key))

    def _is_alone(self, world: World, agent: Agent, sock: int) -> bool:
        end = descriptors.file_at(world, world.tasks[agent.tid], sock)
        return end is None or end.peer not in world.files

    def _read(self, world: World, agent: Agent, sock: int) -> Words:
        task = world.tasks[agent.tid]
        end = descriptors.file_at(world, task, sock)
        assert end is not None
        notes: Notes = world.extra
        mail = dict(notes.mail)
        (words, fds), *rest = mail.pop(end.key)
        if rest:
            mail[end.key] = tuple(rest)
        world.extra = notes._replace(mail=tuple(sorted(mail.items())))
        if fds:
            for fd in (LISTENER, JOURNAL):
                key, end.queue = end.queue[0], end.queue[1:]
                descriptors.put(world, task, fd, key)
        return words

    def _asked(self, world: World, agent: Agent) -> None:
        self._read(world, agent, ASKED)
        kept = (NAME,) if self._holds(world, agent, (LISTENER,)) else ()
        _put(world, agent._replace(script="give", handed=kept, came=()))

    def _stop(self, world: World, agent: Agent) -> None:
        world.extra = world.extra.spend("stop")
        _put(world, agent._replace(script="leave", came=()))

    def _hear(self, world: World, agent: Agent) -> None:
        sock = ASKED if agent.script == "give" else ASKING
        if not self._has_mail(world, agent, sock):
            self._came(world, agent, HUNG_UP)
            return
        words = self._read(world, agent, sock)
        said = dict(words.items)
        if "agent" in said:
            before = (
                next(each for each in world.extra.agents if each.number != agent.number)
                if len(world.extra.agents) > 1
                else None
            )
            agent = agent._replace(before=before.tid if before else -1)
        if "name" in said:
            agent = agent._replace(handed=(str(said["name"]),))
        # The script began without knowing what it will be handed.
        self._came(world, agent, words)

    def _lose_patience(self, world: World, agent: Agent) -> None:
        world.extra = world.extra.spend("patience")
        self._came(world, agent, SILENT)

    # -- the keeper ----------------------------------------------------------------

    def _desk(self, world: World) -> Desk[Any]:
        desk = self.rules.desk()
        desk.busy, bundles = world.extra.desk
        desk.bundles = dict(bundles)
        return desk

    def _connect(self, world: World, agent: Agent) -> None:
        desk = self._desk(world)
        assert desk.come()
        world.extra = world.extra._replace(desk=_frozen(desk))
        _put(world, agent._replace(script="restore", came=()))

    def _store(self, world: World, agent: Agent) -> None:
        keeper, task = self._keeper(world), world.tasks[agent.tid]
        if keeper is None:
            return
        desk = self._desk(world)
        fds = []
        for fd in (LISTENER, JOURNAL):
            file = descriptors.file_at(world, task, fd)
            if file is not None:
                fds.append(descriptors.install(world, keeper, file.key))
        for fd in desk.store(NAME, tuple(fds)) or ():
            descriptors.close(world, keeper, fd)
        world.extra = world.extra._replace(desk=_frozen(desk))

    def _take(self, world: World, agent: Agent) -> tuple[Agent, tuple[str, ...]]:
        keeper, task = self._keeper(world), world.tasks[agent.tid]
        found = world.extra.desk[1]
        for _, fds in found:
            assert keeper is not None
            for number, fd in zip((LISTENER, JOURNAL), fds, strict=True):
                file = descriptors.file_at(world, keeper, fd)
                assert file is not None
                if descriptors.file_at(world, task, number) is None:
                    descriptors.put(world, task, number, file.key)
        return agent, tuple(name for name, _ in found)

    # -- calls ---------------------------------------------------------------------

    def _receive(self, world: World, agent: Agent, fuse: int = 0) -> None:
        listener = self._listener(world, agent, fuse)
        buffer = bytearray(NOTIF.size)
        if listener.receive_into(buffer):
            agent = agent._replace(calls=(*agent.calls, handled(bytes(buffer))))
        _put(world, listener.kept(agent))

    def _act(self, world: World, agent: Agent, call: Handled) -> None:
        notes = world.extra.more("acted", call.id)
        if call.id in [id for id, _, _ in notes.accepted]:
            notes = notes._replace(broken=f"something is done for {call.id}, which is answered")
        world.extra = notes
        calls = tuple(one._replace(acted=True) if one == call else one for one in agent.calls)
        _put(world, agent._replace(calls=calls))

    def _reply(self, world: World, agent: Agent, call: Handled, fuse: int) -> None:
        listener = self._listener(world, agent, fuse)
        packed = RESPONSE.pack(call.id, call.word, 0, 0)
        listener.send(pad_response(packed, listener.sizes))
        calls = tuple(one for one in agent.calls if one != call)
        _put(world, listener.kept(agent._replace(calls=calls)))

    # -- what must hold ------------------------------------------------------------

    def always(self, world: World) -> None:
        """No answer is doubled, misdirected or from nobody; nobody acts twice without need."""
        notes: Notes = world.extra
        assert not notes.broken, notes.broken
        receiving = [agent.number for agent in notes.agents if agent.serving]
        assert len(receiving) < 2, f"agents {receiving} receive at the same time"
        ids = [id for id, _, _ in notes.accepted]
        assert len(ids) == len(set(ids)), "an id was answered twice"
        died = dict(notes.died)
        for id, count in notes.acted:
            most = 1 + died.get(id, 0)
            assert count <= most, f"{count} times was done what {id} asks for, {most} is excused"
        for target in self.targets_of(world):
            for turn, value in enumerate(target.history):
                self._check(notes, target, turn, value)

    def _check(self, notes: Notes, target: Task, turn: int, value: int) -> None:
        if value == -errno.ENOSYS:
            assert notes.excused, f"target {target.tid} got ENOSYS"
            return
        mine = [(id, word) for id, tid, word in notes.accepted if tid == target.tid]
        assert value in [word for _, word in mine], f"target {target.tid} got {value}, from nobody"
        if value == -errno.EPERM:
            deaths = max(dict(notes.died).get(id, 0) for id, _ in mine)
            assert deaths >= self.most_tries, f"{target.tid} is refused, and {deaths} have died"
        else:
            assert value // 100 == token(target.tid, turn), f"{value} is another call's answer"

    def at_end(self, world: World) -> None:
        """Nobody hangs; what was taken has arrived."""
        for target in self.targets_of(world):
            assert done(target), f"target {target.tid} hangs"
            if self.killable and not target.dead:
                for _, thread, word in world.extra.accepted:
                    if thread == target.tid:
                        assert word in target.history, f"the answer to {thread} is lost"


def _agent(world: World, number: int) -> Agent:
    return next(agent for agent in world.extra.agents if agent.number == number)


def _put(world: World, agent: Agent) -> None:
    agent = agent._replace(calls=tuple(sorted(agent.calls)))
    world.extra = world.extra._replace(
        agents=tuple(agent if each.number == agent.number else each for each in world.extra.agents)
    )


def _frozen(desk: Desk[Any]) -> tuple[bool, tuple[tuple[str, tuple[int, ...]], ...]]:
    return desk.busy, tuple(sorted(desk.bundles.items()))
