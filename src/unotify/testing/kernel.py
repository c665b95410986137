"""A kernel without a kernel: what a supervisor needs, on the simulated facility.

Theory of operation. One lock guards one world. Whatever changes it does so under the lock, and
then lets all go on that can (`SimulatedKernel.settle`): threads inside the facility, and programs,
which are Python generators that yield the calls they make. So with ``Supervisor(embedded=True)``
all happens in the caller's thread, in the same order each time; with threads, readers sleep on the
lock's condition. A *seed* makes the order of what may happen at the same time a random one, and
always the same one.

Descriptors that handlers give to targets are real ones, since handlers open and close them; the
facility knows them by name.
"""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Condition, RLock
from typing import IO, Any, NamedTuple

from unotify.abi.arch import Arch
from unotify.abi.features import Feature
from unotify.abi.seccomp import FilterFlag
from unotify.abi.types import Tid
from unotify.bpf import Program
from unotify.bpf.instructions import decode
from unotify.errors import AlreadySupervised, KernelError, TargetGone
from unotify.kernel.interface import Enforcement, Listener, Spawned
from unotify.testing.facility import descriptors, installing, natives, signals, stepping, tasks
from unotify.testing.facility.entering import enter
from unotify.testing.facility.state import CallData, File, Task, World
from unotify.testing.facility.traits import LATEST, VERSIONS, Trait, features_of
from unotify.testing.journaled import SimulatedJournaledListener, SimulatedMemory, journaled, revive
from unotify.testing.listener import SimulatedListener, SimulatedPoller
from unotify.testing.processes import Running, SimulatedProcess
from unotify.testing.target import FakeTarget
from unotify.testing.thread import Outcome, SimulatedThread

__all__ = ["Outcome", "SimulatedKernel"]

_MISSING: Mapping[FilterFlag, Feature] = {
    FilterFlag.TSYNC: Feature.TSYNC,
    FilterFlag.LOG: Feature.LOG,
    FilterFlag.SPEC_ALLOW: Feature.SPEC_ALLOW,
    FilterFlag.NEW_LISTENER: Feature.NEW_LISTENER,
    FilterFlag.TSYNC_ESRCH: Feature.TSYNC_ESRCH,
    FilterFlag.WAIT_KILLABLE_RECV: Feature.WAIT_KILLABLE_RECV,
}
_APART = 1 << 18
"""Where the supervisor's descriptors inside the facility begin: no real one is so high."""


class _Given(NamedTuple):
    """What a real descriptor stands for, and how to see that it is that one still."""

    identity: tuple[int, int]
    name: str


class SimulatedKernel:
    """A kernel in memory: give it to ``Supervisor(kernel=...)``.

    Nothing here makes a process or needs a privilege. Its rules are those of
    ``docs/kernel-facts.md``; the same scenarios prove them here and on Linux.

    Args:
        version: One of `VERSIONS`, such as ``"5.9"``.
        traits: Instead of a version, a set of traits.
        seed: The order in which things happen that may happen at the same time; without it the
            one with the lowest id goes first.

    Attributes:
        world: The facility itself; change it under `changed` and call `settle`.
        changed: The lock and the bell.
        programs: What can be spawned by name: a generator function of a `FakeTarget` and words.
        files: Content by path, for targets and for what is performed.
        acts: What performing does, by the name of the act, where `SimulatedThread` knows nothing.
        links: What paths resolve to, where that is not the path itself.
        cgroup: The control group of all targets.
        clock: Simulated seconds since the beginning.
        memories: What is in journals, by file.

    Example:
        >>> from unotify import Fail, Supervisor
        >>> kernel = SimulatedKernel()
        >>> with Supervisor(kernel=kernel, embedded=True) as supervisor:
        ...     @supervisor.on("getppid")
        ...     def refuse(call):
        ...         return Fail(1)
        ...     def program(me):
        ...         answer = yield me.begin("getppid")
        ...         print(answer)
        ...         return 3
        ...     process = supervisor.popen(program)
        ...     supervisor.process_pending()
        ...     process.wait()
        -1 EPERM
        1
        3
    """

    def __init__(
        self,
        version: str = LATEST,
        *,
        traits: Iterable[Trait] | None = None,
        seed: int | None = None,
    ) -> None:
        self.changed = Condition(RLock())
        self.world = World(VERSIONS[version] if traits is None else traits)
        self.supervisor = tasks.boot(self.world, comm="supervisor")
        self.world.disk.update({"/bin/true": b"", "/etc/hostname": b"simulated\n"})
        self.programs: dict[str, Callable[..., Any]] = {}
        self.acts: dict[str, Callable[..., Outcome]] = {}
        self.links: dict[str, str] = {}
        self.cgroup = ""
        self.clock = 0.0
        self.stalls = 0
        self._sleepers: dict[int, float] = {}
        self._given: dict[int, _Given] = {}
        self._running: dict[int, Running] = {}
        self._pollers: list[SimulatedPoller] = []
        self.memories: dict[int, SimulatedMemory] = {}
        self._next = _APART
        self._chance = None if seed is None else random.Random(seed)

    # -- unotify.kernel.interface.Kernel ---------------------------------------

    @property
    def arch(self) -> Arch:
        """The architecture of the supervisor."""
        return self.world.arch

    @property
    def architectures(self) -> tuple[Arch, ...]:
        """All ABIs whose calls a target may issue."""
        return (self.world.arch, Arch.I386) if self.arch is Arch.X86_64 else (self.arch,)

    @property
    def files(self) -> dict[str, bytes]:
        """Content by path."""
        return self.world.disk

    def stalled(self) -> int:
        """How many threads are lost to stalled reads: what a test has put into `stalls`."""
        return self.stalls

    def features(self) -> frozenset[Feature]:
        """What a probe of this kernel finds."""
        return features_of(self.world.traits)

    def poller(self) -> SimulatedPoller:
        """A new poller."""
        poller = SimulatedPoller(self)
        self._pollers.append(poller)
        return poller

    def journaled(self, listener: Listener) -> SimulatedJournaledListener | None:
        """The same with a new journal; see `unotify.kernel.interface.Kernel`."""
        return journaled(self, listener)

    def revive(self, fds: Sequence[int]) -> SimulatedJournaledListener | None:
        """A listener of its descriptor inside the facility and its journal's, in any order."""
        return revive(self, fds)

    def user_namespace(self, pid: int) -> str:
        """There are no user namespaces here: empty."""
        return ""

    def rest(self) -> None:
        """Nothing is kept for targets."""

    def memory_file(self, data: bytes, *, sealed: bool) -> IO[bytes]:
        """A file with *data*; a real one without a name, since handlers close it."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        file.write(data)
        file.seek(0)
        self.name(file.fileno(), "/memfd:unotify (deleted)")
        return file

    def open_thread(self, tid: Tid, still_valid: Callable[[], bool]) -> SimulatedThread:
        """Open a blocked target thread."""
        with self.changed:
            task = tasks.find(self.world, self.supervisor, tid)
            if task is None or not still_valid():
                raise TargetGone(f"thread {tid} is not there, or not visible from here")
            return SimulatedThread(self, task.tid, Tid(tid), still_valid)

    def spawn(
        self,
        program: bytes,
        args: Any,
        *,
        flags: FilterFlag = FilterFlag(0),
        preferred: FilterFlag = FilterFlag.WAIT_KILLABLE_RECV,
        no_new_privs: bool = True,
        popen_options: Mapping[str, Any] | None = None,
    ) -> Spawned:
        """Start *args* under the filter *program*.

        Args:
            program: Encoded instructions.
            args: A generator function of a `FakeTarget`, or the name of one in `programs` with
                words behind it.
            flags: Filter flags that are required.
            preferred: Those that are done without if need be.
            no_new_privs: Set the bit.
            popen_options: Not looked at: there are no pipes here.

        Raises:
            FileNotFoundError: `programs` has no such program.
            KernelError: The facility refused the filter.
        """
        script, words = self._program_of(args)
        with self.changed:
            task = tasks.fork(self.world, self.supervisor)
            try:
                listener, enforcement = self._install(
                    task, program, flags, preferred, no_new_privs=no_new_privs
                )
            except BaseException:
                self._discard(task)
                raise
            process = SimulatedProcess(self, task.tid, args, enforcement)
            target = FakeTarget(self, task.tid)
            started = script(target, *words)
            if started is not None:
                self._running[task.tid] = Running(started)
            self.settle()
            return Spawned(process, listener, enforcement)

    def server(self, *_: object) -> None:
        """Nobody answers without Python here."""

    # -- more than that --------------------------------------------------------

    def target(
        self,
        program: bytes | Program,
        *,
        flags: FilterFlag = FilterFlag(0),
        no_new_privs: bool = True,
    ) -> tuple[FakeTarget, SimulatedListener]:
        """A process under *program* that makes the calls that a test tells it to, and a listener.

        Raises:
            KernelError: The facility refused the filter.
        """
        raw = program.encode() if isinstance(program, Program) else program
        with self.changed:
            task = tasks.fork(self.world, self.supervisor)
            task.comm = "target"
            try:
                listener, _ = self._install(
                    task, raw, flags, FilterFlag(0), no_new_privs=no_new_privs
                )
            except BaseException:
                self._discard(task)
                raise
            return FakeTarget(self, task.tid), listener

    def settle(self) -> None:
        """Let all go on that can, until nobody can; then ring the bell. The lock is held."""
        while movable := self._movable():
            tid = self._chance.choice(movable) if self._chance else movable[0]
            task = self.world.tasks[tid]
            if tid in self._running and stepping.is_free(task):
                self._go_on(tid, task)
            else:
                stepping.advance(self.world, tid)
        self.changed.notify_all()
        for poller in self._pollers:
            poller.refresh()

    def _movable(self) -> list[int]:
        found = stepping.movable(self.world)
        ready = [
            tid
            for tid in self._running
            if tid not in found
            and (task := self.world.tasks.get(tid)) is not None
            and stepping.is_free(task)
        ]
        return found + ready

    def _go_on(self, tid: int, task: Task) -> None:
        running = self._running[tid]
        answer = task.result if running.began else None
        call = running.go_on(self, tid, answer)
        if call is None:
            self._running.pop(tid, None)
            tasks.end_process(self.world, self.world.process_of(task), running.code)
        else:
            enter(self.world, task, call)

    def begin(self, tid: int, call: CallData) -> None:
        """Let a thread make a call."""
        with self.changed:
            enter(self.world, self.world.tasks[tid], call)
            self.settle()

    def advance(self, seconds: float) -> None:
        """Let simulated time pass: sleeps of targets that are over by then end."""
        with self.changed:
            self.clock += seconds
            for task in list(self.world.tasks.values()):
                until = natives.sleeps_until(self.world, task)
                if until is None:
                    self._sleepers.pop(task.tid, None)
                    continue
                # A sleep is noted when time passes for the first time in it.
                due = self._sleepers.setdefault(task.tid, self.clock - seconds + until)
                if due <= self.clock:
                    del self._sleepers[task.tid]
                    stepping.wake_sleeper(self.world, task)
            self.settle()

    def kill(self, pid: int, signal: int, *, tid: int = 0) -> None:
        """Send a signal to a process, or to one of its threads."""
        with self.changed:
            process = self.world.processes.get(pid)
            if process is not None:
                signals.send_signal(self.world, process, signal, tid=tid)
                self.settle()

    # -- descriptors of the supervisor's ---------------------------------------

    def name(self, fd: int, name: str) -> None:
        """Say what a real descriptor stands for here."""
        status = os.fstat(fd)
        self._given[fd] = _Given((status.st_dev, status.st_ino), name)

    def adopt(self, fd: int) -> File:
        """The file that a real descriptor stands for, which nothing refers to yet.

        Raises:
            KernelError: EBADF: it is not open.
        """
        try:
            status = os.fstat(fd)
        except (OSError, OverflowError):
            raise KernelError(errno.EBADF, "ioctl(SECCOMP_IOCTL_NOTIF_ADDFD)") from None
        known = self._given.get(fd)
        name = f"descriptor {fd}"
        if known is not None and known.identity == (status.st_dev, status.st_ino):
            name = known.name
        file = descriptors.new_file(self.world, "file", name)
        try:
            file.content = os.pread(fd, 1 << 20, 0)
        except OSError:
            file.kind = "other"  # it has no content that stays where it is: a socket, a pipe
        return file

    def place(self, file: File) -> int:
        """A descriptor of the supervisor's inside the facility."""
        self._next += 1
        descriptors.put(self.world, self.supervisor, self._next, file.key, cloexec=True)
        return self._next

    def helper(self) -> Task:
        """A thread of the supervisor's that makes one call."""
        return tasks.new_thread(self.world, self.supervisor)

    # -- inside ----------------------------------------------------------------

    def _program_of(self, args: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        if callable(args):
            return args, ()
        words = [args] if isinstance(args, str) else list(args)
        found = self.programs.get(os.fspath(words[0])) if words else None
        if found is None:
            raise FileNotFoundError(
                errno.ENOENT, "the simulated kernel has no such program", str(words[:1])
            )
        return found, words[1:]

    def _install(
        self,
        task: Task,
        program: bytes,
        flags: FilterFlag,
        preferred: FilterFlag,
        *,
        no_new_privs: bool,
    ) -> tuple[SimulatedListener, Enforcement]:
        code = decode(program)
        task.no_new_privs = task.no_new_privs or no_new_privs
        required = flags | FilterFlag.NEW_LISTENER
        if required & FilterFlag.TSYNC:
            required |= FilterFlag.TSYNC_ESRCH
        wanted = required | preferred
        got = wanted
        extra = [flag for flag in reversed(list(_MISSING)) if flag & preferred & ~required]
        result = installing.add_filter(self.world, task, code, int(got))
        while result == -errno.EINVAL and extra:
            got &= ~extra.pop(0)
            result = installing.add_filter(self.world, task, code, int(got))
        if result == -errno.EBUSY:
            raise AlreadySupervised("an ancestor's filter has a listener")
        if result < 0:
            raise KernelError(-result, "seccomp(SECCOMP_SET_MODE_FILTER)")
        file = descriptors.file_at(self.world, task, result)
        assert file is not None
        listener = SimulatedListener(self, self.place(file), file.filter)
        descriptors.close(self.world, task, result)
        missing = frozenset(feature for flag, feature in _MISSING.items() if flag & wanted & ~got)
        return listener, Enforcement(got, missing, no_new_privs, len(code))

    def _discard(self, task: Task) -> None:
        tasks.end_process(self.world, self.world.process_of(task), 127)
        stepping.settle(self.world)
        tasks.reap(self.world, task.tid)
