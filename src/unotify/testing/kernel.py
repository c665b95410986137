"""A kernel without a kernel: what a supervisor needs, on the simulated facility.

What happens in it, and when, is said in `moving`.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from functools import partial
from typing import IO, Any

from unotify.abi.arch import Arch
from unotify.abi.features import Feature
from unotify.abi.seccomp import FilterFlag
from unotify.abi.types import Tid
from unotify.bpf import Program
from unotify.bpf.instructions import decode
from unotify.calls.acts import act_of, performable
from unotify.errors import AlreadySupervised, KernelError, TargetGone
from unotify.kernel.interface import Enforcement, Listener, Spawned
from unotify.testing.facility import descriptors, installing, stepping, tasks, tree
from unotify.testing.facility.state import Task
from unotify.testing.facility.traits import LATEST, VERSIONS, Trait, features_of
from unotify.testing.going_on import run_performable
from unotify.testing.journaled import SimulatedJournaledListener, SimulatedMemory, journaled, revive
from unotify.testing.lending import Lending
from unotify.testing.listener import SimulatedListener, SimulatedPoller
from unotify.testing.performing import Contact, Outcome, performed
from unotify.testing.processes import Running, SimulatedProcess
from unotify.testing.target import FakeTarget
from unotify.testing.thread import SimulatedThread

__all__ = ["Contact", "Outcome", "SimulatedKernel"]

_MISSING: Mapping[FilterFlag, Feature] = {
    FilterFlag.TSYNC: Feature.TSYNC,
    FilterFlag.LOG: Feature.LOG,
    FilterFlag.SPEC_ALLOW: Feature.SPEC_ALLOW,
    FilterFlag.NEW_LISTENER: Feature.NEW_LISTENER,
    FilterFlag.TSYNC_ESRCH: Feature.TSYNC_ESRCH,
    FilterFlag.WAIT_KILLABLE_RECV: Feature.WAIT_KILLABLE_RECV,
}


class SimulatedKernel(Lending):
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
        umask: Of all targets.
        contacts: What targets did on sockets, in order: see `Contact`.
        acts: What performing does, by the name of the act, in the place of what is known here.
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
        super().__init__(VERSIONS[version] if traits is None else traits, seed)
        self.world.disk.update({"/bin/true": b"", "/etc/hostname": b"simulated\n"})
        tree.put_file(self.world, "/tmp", None).mode = 0o41777
        self.umask = 0o022
        self.contacts: list[Contact] = []
        for name in performable():
            if act_of(name) in performed():
                self.world.natives[name] = partial(run_performable, self)
        self.programs: dict[str, Callable[..., Any]] = {}
        self.acts: dict[str, Callable[..., Outcome]] = {}
        self.links: dict[str, str] = {}
        self.cgroup = ""
        self.stalls = 0
        self.memories: dict[int, SimulatedMemory] = {}

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
    def files(self) -> MutableMapping[str, bytes]:
        """Content by path; a directory ends in a slash, and is listed while it is empty."""
        return self.world.disk

    def stalled(self) -> int:
        """How many threads are lost to stalled reads: what a test has put into `stalls`."""
        return self.stalls

    def sleeps(self, tid: int) -> bool:
        """No thread of ours waits in here."""
        return False

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

    def server(self, *_: object, counting: bool = False) -> None:
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
