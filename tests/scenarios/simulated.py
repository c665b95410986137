"""The stage of scenarios on the simulated kernel."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.scenarios.language import Answer, Rules, Seen
from tests.scenarios.simulated_more import SimulatedMemory, SimulatedTracer, look, read_now
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action, FilterFlag
from unotify.abi.tables import number
from unotify.bpf import compile_filter
from unotify.bpf.instructions import Instruction, Program
from unotify.testing.facility import (
    credentials,
    descriptors,
    entering,
    giving,
    installing,
    listeners,
    listening,
    looking,
    memory,
    noting,
    signals,
    stepping,
    tasks,
)
from unotify.testing.facility.state import CallData, Process, Task, World
from unotify.testing.facility.traits import LATEST, VERSIONS, Trait

__all__ = ["SimulatedStage"]

_RET, _ALLOW = 0x06, 0x7FFF0000
_FULL = (1 << 64) - 1


def name_of(result: int) -> str:
    """The name of a negative errno, or "" for a success."""
    return "" if result >= 0 else errno.errorcode[-result]


def value_of(result: int) -> int | str:
    """The same for what returns numbers."""
    return result if result >= 0 else errno.errorcode[-result]


def libc(result: int) -> Answer:
    """What libc makes of a result."""
    if -4095 <= result < 0:
        return Answer(-1, errno.errorcode.get(-result, str(-result)))
    return Answer(result)


class SimulatedStage:
    """A simulated kernel."""

    real = False

    def __init__(self, traits: Iterable[Trait] = VERSIONS[LATEST]) -> None:
        self.world = World(traits)
        self.world.disk["/bin/true"] = b""
        self.world.disk["/etc/hostname"] = b"here\n"
        self.world.disk["/etc/passwd"] = b"root\n"
        self.supervisor = tasks.boot(self.world, comm="supervisor")
        self.file = descriptors.new_file(self.world, "file", "/etc/hostname")
        self.file.content = self.world.disk["/etc/hostname"]
        self.source = descriptors.install(self.world, self.supervisor, self.file.key)
        self.repeating: list[SimulatedWorker] = []
        self.starving: set[int] = set()

    def settle(self) -> None:
        """Let all go on that can; alarms ring before anybody goes on."""
        for worker in self.repeating:
            worker.ring()
        while True:
            while tids := [tid for tid in stepping.movable(self.world) if tid not in self.starving]:
                stepping.advance(self.world, tids[0])
            gone_on = [worker.go_on() for worker in tuple(self.repeating)]
            if not any(gone_on):
                return

    def worker(self) -> SimulatedWorker:
        """A new process."""
        task = tasks.fork(self.world, self.supervisor)
        # It has executed a program.
        for fd, _, cloexec in self.world.tables[task.table].fds:
            if cloexec:
                descriptors.close(self.world, task, fd)
        return SimulatedWorker(self, task)

    def take(self, worker: SimulatedWorker, fd: int) -> SimulatedListener:
        """As pidfd_getfd(2) does it."""
        file = descriptors.file_at(self.world, worker.task(), fd)
        assert file is not None
        own = descriptors.install(self.world, self.supervisor, file.key, cloexec=True)
        worker.close(fd)
        return SimulatedListener(self, own)

    def supervised(self, *names: str, flags: int = 0) -> tuple[SimulatedWorker, SimulatedListener]:
        """A worker whose calls are notified."""
        worker = self.worker()
        fd = worker.install(
            dict.fromkeys(names, int(Action.USER_NOTIF)), flags | FilterFlag.NEW_LISTENER
        )
        assert isinstance(fd, int), fd
        return worker, self.take(worker, fd)

    def nr(self, name: str, *, compat: bool = False) -> int:
        """A call's number."""
        found = number(name, Arch.I386 if compat else Arch.X86_64)
        assert found is not None
        return found

    def open_pidfd(self, tid: int, flags: int = 0) -> str:
        """pidfd_open(2)."""
        return name_of(tasks.open_pidfd(self.world, self.supervisor, tid, flags))

    def audit(self, *, compat: bool = False) -> int:
        """The number of the architecture."""
        return (Arch.I386 if compat else Arch.X86_64).audit

    def look(
        self, worker: SimulatedWorker, address: int, length: int, *, thread: str = ""
    ) -> bytes | str:
        """process_vm_readv(2)."""
        tid = worker._tids[thread]
        found: bytes | str = read_now(self, self.supervisor, tid, address, length)
        return found

    def look_later(self, worker: SimulatedWorker, address: int, length: int) -> SimulatedLater:
        """The same by a thread of its own."""
        task = self.helper()
        looking.begin_read(self.world, task, worker.pid, address, length)
        return SimulatedLater(self, task, lambda: (task.received or (b"",))[0])

    def memory(self, worker: SimulatedWorker) -> SimulatedMemory:
        """/proc/TID/mem."""
        return SimulatedMemory(self, worker.pid)

    def take_fd(
        self, worker: SimulatedWorker, fd: int, *, thread: str = "", whole: bool = False
    ) -> str:
        """pidfd_getfd(2)."""
        tid = worker._tids[thread]
        own = looking.take_fd(self.world, self.supervisor, tid, fd, of_thread=not whole)
        return name_of(own) or descriptors.link(self.world, self.supervisor, own)

    def same_file(self, worker: SimulatedWorker, fd: int) -> bool:
        """kcmp(2)."""
        task = self.supervisor
        return looking.same_file(self.world, task, self.source, worker.task(), fd)

    def audited(self, worker: SimulatedWorker) -> int:
        """As the kernel has logged."""
        count = sum(tid == worker.pid for tid, _, _ in self.world.audit)
        self.world.audit = ()
        return count

    @contextmanager
    def starved(self, worker: SimulatedWorker) -> Iterator[None]:
        """It makes no step."""
        self.starving |= {task.tid for task in self.world.threads(worker.pid)}
        yield
        self.starving.clear()
        self.settle()

    def trace(self, worker: SimulatedWorker, *traces: str) -> SimulatedTracer:
        """PTRACE_SEIZE."""
        return SimulatedTracer(self, worker, *traces)

    def offset(self) -> int:
        """Of the file."""
        return self.file.offset

    def close(self) -> None:
        """Nothing is left."""

    def helper(self) -> Task:
        """Another thread of the supervisor's."""
        return tasks.new_thread(self.world, self.supervisor)


class SimulatedLater:
    """An ioctl that sleeps."""

    def __init__(
        self, stage: SimulatedStage, task: Task, value: Callable[[], Any] | None = None
    ) -> None:
        self.stage, self.task, self.value = stage, task, value

    def sleeps(self) -> None:
        """It does."""
        self.stage.settle()
        assert self.task.doing

    def result(self) -> Any:
        """What came."""
        self.stage.settle()
        assert self.task.result is not None, "it sleeps"
        failed = name_of(self.task.result)
        if self.value is not None:
            return failed or self.value()
        return failed or (seen(self.task) if self.task.received else "")


def seen(task: Task) -> Seen:
    """What a thread has received."""
    assert task.received is not None
    id, pid, flags, nr, arch, args, ip = task.received
    return Seen(id, pid, flags, nr, arch, ip, args)


class SimulatedListener:
    """The supervisor's end."""

    def __init__(
        self, stage: SimulatedStage, fd: int, task: Task | None = None, *, compat: bool = False
    ) -> None:
        self.stage, self.world, self.fd = stage, stage.world, fd
        self.task = task or stage.supervisor
        self.arrivals = 0
        self.known = not compat or listeners.compat_ioctls_are_the_same()

    def receive(self) -> Seen:
        """The oldest."""
        assert "IN" in self.poll(), "nothing pends"
        found = self.recv()
        if found == "ENOENT" and self.stage.repeating:
            return self.receive()
        assert isinstance(found, Seen)
        return found

    def recv(self, buffer: str = "clean") -> Seen | str:
        """RECV that does not sleep."""
        assert self.known
        listening.begin_receive(self.world, self.task, self.fd, listening.Buffer(buffer))
        self.stage.settle()
        assert self.task.result is not None, "RECV sleeps"
        return name_of(self.task.result) or seen(self.task)

    def recv_later(self) -> SimulatedLater:
        """RECV that sleeps."""
        task = self.stage.helper() if self.task is self.stage.supervisor else self.task
        listening.begin_receive(self.world, task, self.fd)
        return SimulatedLater(self.stage, task)

    def addfd_later(self, id: int, **options: Any) -> SimulatedLater:
        """ADDFD that sleeps."""
        task = self.stage.helper() if self.task is self.stage.supervisor else self.task
        giving.begin_give(self.world, task, self.fd, id, self.source, **options)
        return SimulatedLater(self.stage, task, lambda: task.result)

    @property
    def source(self) -> int:
        """What is given as *file*: of a worker its descriptor 0."""
        return self.stage.source if self.task is self.stage.supervisor else 0

    def send(self, id: int, value: int = 0, error: int = 0, flags: int = 0) -> str:
        """SEND."""
        done = listening.send(self.world, self.task, self.fd, id, value, error, flags)
        self.stage.settle()
        return name_of(done)

    def send_nothing(self) -> str:
        """SEND of a bad pointer."""
        return name_of(listening.send(self.world, self.task, self.fd, 0, readable=False))

    def valid(self, id: int, *, old: bool = False) -> str:
        """ID_VALID."""
        number = 0x80082102 if old else 0x40082102
        if listeners.ioctl_number(self.world, number) != "valid":
            return "EINVAL"
        return name_of(listening.is_valid(self.world, self.task, self.fd, id))

    def addfd(self, id: int, *, source: str = "file", **options: Any) -> int | str:
        """ADDFD."""
        world, task = self.world, self.task
        made = -1
        if source == "path":
            path = descriptors.new_file(world, "path", "/etc/hostname")
            made = descriptors.install(world, task, path.key)
        fd = {"file": self.source, "path": made, "closed": 999, "listener": self.fd}[source]
        giving.begin_give(world, task, self.fd, id, fd, **options)
        self.stage.settle()
        assert task.result is not None
        if made >= 0:
            descriptors.close(world, task, made)
        return value_of(task.result)

    def set_flags(self, flags: int) -> str:
        """SET_FLAGS."""
        return name_of(listening.set_flags(self.world, self.task, self.fd, flags))

    def other(self, number: int) -> str:
        """An ioctl on zeros."""
        which = listeners.ioctl_number(self.world, number)
        if not which:
            return "EINVAL"
        if which == "addfd":
            size = number >> 16 & 0x3FFF
            found = self.addfd(0, size=size)
            return found if isinstance(found, str) else ""
        return self.valid(0) if which == "valid" else ""

    def plain(self, operation: str) -> str:
        """No ioctl."""
        return name_of(descriptors.listener_operation(self.world, self.task, self.fd, operation))

    def link(self) -> str:
        """As /proc says."""
        return descriptors.link(self.world, self.task, self.fd)

    def cloexec(self) -> bool:
        """The flag of the descriptor."""
        return {fd: flag for fd, _, flag in self.world.tables[self.task.table].fds}[self.fd]

    def poll(self) -> set[str]:
        """The bits."""
        self.stage.settle()
        bits = listening.poll(self.world, self.task, self.fd)
        assert bits >= 0
        return {name for name, bit in (("IN", 1), ("OUT", 4), ("HUP", 16)) if bits & bit}

    def edges(self) -> int:
        """Events since the last look."""
        file = descriptors.file_at(self.world, self.task, self.fd)
        assert file is not None
        filter = self.world.filters[file.filter]
        found = listening.edge(self.world, filter, self.arrivals)
        self.arrivals = filter.arrivals
        return int(found)

    def until(self, *bits: str) -> None:
        """They are so at once."""
        assert set(bits) == self.poll()

    def copy(self) -> SimulatedListener:
        """dup(2)."""
        return SimulatedListener(self.stage, descriptors.copy(self.world, self.task, self.fd))

    def close(self) -> None:
        """Close it."""
        descriptors.close(self.world, self.task, self.fd)
        self.stage.settle()


class SimulatedWorker:
    """A process that does as it is told."""

    def __init__(self, stage: SimulatedStage, main: Task) -> None:
        self.stage, self.world = stage, stage.world
        self.pid = main.tid
        self._status: int | None = None
        self._tids = {"": main.tid}
        self.left = 0
        self.bad: list[str] = []
        self.repeated: tuple[str, tuple[int, ...]] = ("", ())

    def task(self, thread: str = "") -> Task:
        """A thread."""
        return self.world.tasks[self._tids[thread]]

    @property
    def process(self) -> Process:
        """The process."""
        return self.world.processes[self.pid]

    def install(self, rules: Rules, flags: int = 0, *, thread: str = "") -> int | str:
        """seccomp(2)."""
        program = code_of(rules)
        return value_of(installing.add_filter(self.world, self.task(thread), program, int(flags)))

    def prctl(self, rules: Rules, *, thread: str = "") -> str:
        """By the older call."""
        program = code_of(rules)
        assert program is not None
        code = Program(tuple(program)).encode()
        at = memory.put(self.world.memory_of(self.task()), code)
        fprog = struct.pack("=HxxxxxxQ", len(program), at)
        self.call(
            "prctl", 22, 2, memory.put(self.world.memory_of(self.task()), fprog), thread=thread
        )
        return self.answer(thread=thread).errno

    def holds(self, listener: SimulatedListener, *, compat: bool = False) -> SimulatedListener:
        """As SCM_RIGHTS does it."""
        file = descriptors.file_at(self.world, listener.task, listener.fd)
        assert file is not None
        fd = descriptors.install(self.world, self.task(), file.key, cloexec=True)
        return SimulatedListener(self.stage, fd, self.task(), compat=compat)

    def repeat_call(self, name: str, *args: int, times: int, alarm: float) -> None:
        """Begin; `settle` goes on, and rings each time."""
        self.left, self.bad, self.repeated = times, [], (name, args)
        self.stage.repeating.append(self)
        self.call(name, *args)

    def ring(self) -> None:
        """SIGALRM."""
        signals.send_signal(self.world, self.process, signals.SIGALRM)

    def go_on(self) -> bool:
        """Make the call again if it has returned; whether anything was done."""
        task = self.task()
        if not stepping.is_free(task):
            return False
        result, self.left = task.result or 0, self.left - 1
        if result < 0:
            self.bad.append(errno.errorcode[-result])
        else:
            descriptors.close(self.world, task, result)
        if self.left:
            name, args = self.repeated
            words = (*args, *(0,) * (6 - len(args)))
            call = CallData(self.stage.nr(name), self.stage.audit(), words)
            entering.enter(self.world, task, call)
        else:
            self.stage.repeating.remove(self)
        return bool(self.left)

    def failures(self) -> list[str]:
        """The end of that."""
        self.stage.settle()
        assert not self.left
        return self.bad

    def leave(self, to: str) -> None:
        """The leader ends."""
        tasks.die(self.world, self.task())
        self._tids[""] = self._tids[to]

    def clock(self, number: int) -> None:
        """Read a clock."""
        call = CallData(self.stage.nr("clock_gettime"), self.stage.audit(), (number, 0, 0, 0, 0, 0))
        entering.read_clock(self.world, self.task(), call)
        self.stage.settle()

    def jump(self, address: int) -> None:
        """A call of the vsyscall page."""
        numbers = {0xFFFFFFFFFF600000: 96, 0xFFFFFFFFFF600400: 201, 0xFFFFFFFFFF600800: 309}
        call = CallData(numbers[address], self.stage.audit(), ip=address)
        entering.enter(self.world, self.task(), call)
        self.stage.settle()

    def ring_open(self, path: str) -> int:
        """Through io_uring."""
        call = CallData(
            self.stage.nr("openat2"),
            self.stage.audit(),
            ((1 << 64) - 100, self.text(path.encode()), self.text(bytes(24)), 24, 0, 0),
        )
        entering.enter_unseen(self.world, self.task(), call)
        return self.task().result or 0

    def unshare_users(self) -> None:
        """unshare(CLONE_NEWUSER)."""
        credentials.unshare_users(self.world, self.task())

    def unshare_files(self, *, thread: str = "") -> None:
        """unshare(CLONE_FILES)."""
        tasks.unshare_files(self.world, self.task(thread))

    def open(self, path: str, *, thread: str = "") -> int:
        """Open a file."""
        self.call("openat", -100, self.text(path.encode()), 0, thread=thread)
        return self.answer(thread=thread).ret

    def pages(self, data: bytes, protection: int = 3) -> int:
        """Map pages."""
        return memory.put(self.world.memory_of(self.task()), data, protection=protection)

    def guard(self) -> int:
        """userfaultfd(2)."""
        address = self.pages(b"")
        space = self.world.memory_of(self.task())
        space.guarded = (*space.guarded, address)
        return address

    def deliver(self, address: int, data: bytes) -> None:
        """UFFDIO_COPY."""
        looking.answer_fault(self.world.memory_of(self.task()), address, data)
        self.stage.settle()

    def look(
        self, other: SimulatedWorker, address: int, length: int = 1, way: str = "vm"
    ) -> bytes | str:
        """Into another."""
        return look(self.stage, self.task(), other, address, length, way)

    def repeat(self, length: int, flags: int = 0) -> int | str:
        """A long filter."""
        program = [Instruction(_RET, 0, 0, _ALLOW)] * length
        return value_of(installing.add_filter(self.world, self.task(), program, int(flags)))

    def strict(self, call: str = "") -> str:
        """Strict mode."""
        found = name_of(installing.set_strict(self.world, self.task()))
        if call:
            self.call(call)
        return found

    def seccomp(self, operation: int, flags: int = 0, *, bare: bool = True) -> str:
        """By its number."""
        return name_of(installing.operation(self.world, self.task(), operation, flags, bare))

    def available(self, action: int) -> str:
        """GET_ACTION_AVAIL."""
        return name_of(installing.available(self.world, action))

    def sizes(self) -> tuple[int, ...]:
        """GET_NOTIF_SIZES."""
        return installing.sizes(self.world)

    def mode(self) -> int:
        """As in /proc."""
        return self.task().mode

    def no_new_privs(self, *, thread: str = "") -> bool:
        """The bit."""
        return self.task(thread).no_new_privs

    def set_no_new_privs(self) -> None:
        """Set it."""
        self.task().no_new_privs = True

    def drop(self) -> None:
        """Become an ordinary user."""
        credentials.set_ids(self.world, self.task(), 65534, 65534)

    def filters(self, *, thread: str = "") -> int:
        """The length of the chain."""
        return len(self.world.chain(self.task(thread)))

    def thread(self, name: str) -> int:
        """A new thread."""
        self._tids[name] = tasks.new_thread(self.world, self.task()).tid
        return self._tids[name]

    def call(self, name: str | int, *args: int, thread: str = "", compat: bool = False) -> None:
        """Begin a call."""
        number = name if isinstance(name, int) else self.stage.nr(name, compat=compat)
        registers = tuple(arg & _FULL for arg in args) + (0,) * (6 - len(args))
        call = CallData(number, self.stage.audit(compat=compat), registers)
        entering.enter(self.world, self.task(thread), call)
        self.stage.settle()

    def answer(self, *, thread: str = "") -> Answer:
        """What it returned."""
        self.stage.settle()
        task = self.task(thread)
        assert task.result is not None, f"{thread or 'the call'} has not returned"
        return libc(task.result)

    def waiting(self, *threads: str) -> None:
        """They sleep at once."""
        self.stage.settle()
        for thread in threads or ("",):
            assert noting.note_of(self.world, self.task(thread)) is not None

    def text(self, data: bytes) -> int:
        """A string in memory."""
        return memory.put(self.world.memory_of(self.task()), data + b"\0")

    def poke(self, address: int, data: bytes, *, thread: str = "") -> None:
        """A store."""
        memory.poke(self.world.memory_of(self.task()), address, data + b"\0")

    def close(self, fd: int) -> str:
        """Close it."""
        return name_of(descriptors.close(self.world, self.task(), fd))

    def fds(self) -> dict[int, str]:
        """Its descriptors."""
        fds = self.world.tables[self.task().table].fds
        return {fd: descriptors.link(self.world, self.task(), fd) for fd, _, _ in fds}

    def limit(self, files: int) -> None:
        """RLIMIT_NOFILE."""
        self.process.limit = files

    def handle(self, signal: int, *, restart: bool) -> None:
        """Catch."""
        signals.set_action(self.process, signal, "restart" if restart else "handle")

    def ignore(self, signal: int) -> None:
        """Ignore."""
        signals.set_action(self.process, signal, "ignore")

    def handled(self) -> list[int]:
        """Caught."""
        return list(self.task().handled)

    def kill(self, signal: int, *, thread: str = "") -> None:
        """Send."""
        tid = self._tids[thread] if thread else 0
        signals.send_signal(self.world, self.process, signal, tid=tid)
        self.stage.settle()

    def state(self, *, thread: str = "") -> str:
        """A letter."""
        self.stage.settle()
        return entering.sleep_state(self.world, self.task(thread))

    def becomes(self, state: str, *, thread: str = "") -> None:
        """It is so at once."""
        assert state == self.state(thread=thread)

    def unshare_pids(self) -> None:
        """unshare(CLONE_NEWPID)."""
        tasks.new_space(self.world, self.task())

    def global_pid(self) -> int:
        """As the first namespace has it."""
        return self.pid

    def fork(self) -> SimulatedWorker:
        """A new process."""
        return SimulatedWorker(self.stage, tasks.fork(self.world, self.task()))

    def end_thread(self, thread: str) -> None:
        """A thread ends."""
        tasks.die(self.world, self.task(thread))

    def ended(self) -> int:
        """wait(2)."""
        self.stage.settle()
        if self._status is None:
            self._status = tasks.reap(self.world, self.pid)
        assert self._status is not None, "it lives"
        return self._status

    def exit(self, code: int = 0) -> None:
        """exit_group(2)."""
        tasks.end_process(self.world, self.process, code)
        self.stage.settle()

    def program(self) -> int:
        """A path."""
        return self.text(b"/bin/true")


def code_of(rules: Rules) -> Sequence[Instruction] | None:
    """The instructions of a filter."""
    if isinstance(rules, int):
        return (Instruction(_RET, 0, 0, rules),)
    if isinstance(rules, Mapping):
        return program_of(rules).instructions
    return rules


def program_of(rules: Mapping[str, int]) -> Program:
    """A filter: an action for each call on both ABIs, and ALLOW for the others."""
    tables = {
        arch: {
            found: action
            for name, action in rules.items()
            if (found := number(name, arch)) is not None
        }
        for arch in (Arch.X86_64, Arch.I386)
    }
    return compile_filter(tables, default=Action.ALLOW)
