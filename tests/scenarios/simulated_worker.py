"""A process of the simulated kernel that does as it is told."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from tests.scenarios.language import Answer, Rules
from tests.scenarios.simulated_listener import SimulatedListener
from tests.scenarios.simulated_memory import look
from tests.scenarios.simulated_words import code_of, libc, name_of, value_of
from unotify.bpf.instructions import Instruction, Program
from unotify.testing.facility import (
    credentials,
    descriptors,
    entering,
    installing,
    looking,
    memory,
    noting,
    signals,
    stepping,
    tasks,
)
from unotify.testing.facility.state import CallData, Process, Task

if TYPE_CHECKING:
    from tests.scenarios.simulated import SimulatedStage

__all__ = ["SimulatedWorker"]

_RET, _ALLOW = 0x06, 0x7FFF0000
_FULL = (1 << 64) - 1


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
