"""A target that makes the calls that a test, or a simulated program, tells it to."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.abi.model import Role
from unotify.calls import Call
from unotify.errors import Conflict, NotExpressible, UnknownName
from unotify.policy.offline import Memory, prepare
from unotify.testing.facility import descriptors, entering, memory, noting, signals, stepping, tasks
from unotify.testing.facility.state import CallData, Task

if TYPE_CHECKING:
    from unotify.testing.kernel import SimulatedKernel

__all__ = ["Answer", "FakeTarget"]

_FULL: Final = (1 << 64) - 1
_POINTERS: Final = frozenset({Role.PATH, Role.STRING, Role.IN_BUFFER, Role.SOCKADDR, Role.STRINGS})


class Answer(NamedTuple):
    """What a call returned, as a C program sees it.

    Attributes:
        value: The result; -1 with an errno.
        errno: 0 for none.
    """

    value: int
    errno: int = 0

    @classmethod
    def of(cls, result: int) -> Self:
        """From what the kernel returned."""
        return cls(-1, -result) if -4095 <= result < 0 else cls(result)

    def __str__(self) -> str:
        if not self.errno:
            return str(self.value)
        return f"-1 {errno.errorcode.get(self.errno, self.errno)}"


class _Pages(Memory):
    """Where `prepare` puts what a call points to: a target's own memory."""

    def __init__(self, target: FakeTarget, pointer: int) -> None:
        super().__init__(pointer)
        self._target = target

    def put(self, data: bytes) -> int:
        return self._target.put(data)


class FakeTarget:
    """One thread of a target on the simulated kernel.

    Example:
        >>> from unotify.abi.arch import Arch
        >>> from unotify.bpf import compile_filter
        >>> from unotify.testing import SimulatedKernel
        >>> kernel = SimulatedKernel()
        >>> target, listener = kernel.target(compile_filter({Arch.X86_64: {}}, default=0x7FFF0000))
        >>> print(target.call("openat", path="/nowhere"))
        -1 ENOENT
    """

    def __init__(self, kernel: SimulatedKernel, tid: int) -> None:
        self._kernel = kernel
        self.tid = tid

    @property
    def task(self) -> Task:
        """Its record in the facility.

        Raises:
            Conflict: It has ended.
        """
        found = self._kernel.world.tasks.get(self.tid)
        if found is None:
            raise Conflict(f"target {self.tid} has ended")
        return found

    # -- memory and descriptors ----------------------------------------------

    def put(self, data: bytes) -> int:
        """Map pages that begin with *data*; the address. The page behind them is not mapped."""
        with self._kernel.changed:
            return memory.put(self._kernel.world.memory_of(self.task), data)

    def text(self, text: str | bytes) -> int:
        """Put a string with its NUL into memory; the address."""
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        return self.put(raw + b"\0")

    def poke(self, address: int, data: bytes) -> None:
        """Overwrite memory, as another thread of it could at any time (C2)."""
        with self._kernel.changed:
            memory.poke(self._kernel.world.memory_of(self.task), address, data)

    def peek(self, address: int, length: int) -> bytes:
        """Read its memory, as it would itself."""
        with self._kernel.changed:
            return memory.vm_read(self._kernel.world.memory_of(self.task), address, length)

    @property
    def fds(self) -> Mapping[int, str]:
        """Its descriptors, and what they are open on."""
        world = self._kernel.world
        with self._kernel.changed:
            numbers = [fd for fd, _, _ in world.tables[self.task.table].fds]
            return {fd: descriptors.link(world, self.task, fd) for fd in numbers}

    def content(self, fd: int) -> bytes:
        """What is in the file that a descriptor is open on.

        Raises:
            Conflict: It has no such descriptor.
        """
        with self._kernel.changed:
            file = descriptors.file_at(self._kernel.world, self.task, fd)
        if file is None:
            raise Conflict(f"target {self.tid} has no descriptor {fd}")
        inode = self._kernel.world.inodes.get(file.inode)
        return file.content if inode is None else inode.data

    # -- calls -----------------------------------------------------------------

    def begin(
        self, call: str | int | type[Call], *args: Any, arch: Arch | None = None, **named: Any
    ) -> CallData:
        """A call's number and registers, with what it points to in memory.

        Args:
            call: A class of :mod:`unotify.calls`, the kernel's name, or a raw number.
            *args: Its arguments in order; named ones may follow.
            arch: The ABI it is made by; the kernel's own if not given.
            **named: Arguments by the names of the manual page. Numbers are registers, and so are
                names of constants (``"O_RDWR|O_CREAT"``). Text and bytes are put into memory
                where the call takes a pointer, and so are socket addresses (``"10.0.0.1:80"``,
                ``("10.0.0.1", 80)``), lists of strings, and structs as mappings
                (``{"flags": O_CREAT}``). ``None`` is NULL.

        Raises:
            UnknownName: There is no such call or argument.
            NotExpressible: An argument that no memory can be made of.
        """
        arch = arch or self._kernel.arch
        if isinstance(call, int):
            if named:
                raise UnknownName("a raw number has no named arguments")
            words = tuple(arg & _FULL for arg in args)
            return CallData(call, arch.audit, words + (0,) * (6 - len(words)))
        name = call if isinstance(call, str) else call.call_name
        number = tables.number(name, arch)
        if number is None:
            raise UnknownName(f"{arch.label} has no call {name}")
        spec = model.spec(name, arch)
        names = [arg.name for arg in spec.args]
        if len(args) > len(names):
            raise UnknownName(f"{name} has {len(names)} arguments, not {len(args)}")
        given = dict(zip(names, args, strict=False))
        for key, value in named.items():
            if key not in names:
                raise UnknownName(
                    f"{name} has no argument {key!r}", hint=f"it has {', '.join(names) or 'none'}"
                )
            given[key] = value
        words_ = [f"{key}={_word(spec.name, key, value, spec)}" for key, value in given.items()]
        registers, _ = prepare(name, arch, words_, _Pages(self, arch.pointer))
        return CallData(number, arch.audit, registers)

    def start(self, call: str | int | type[Call], *args: Any, **named: Any) -> None:
        """Make a call, which may wait for a supervisor; arguments as of :meth:`begin`.

        Raises:
            Conflict: It is in a call already, or has ended.
        """
        data = self.begin(call, *args, **named)
        with self._kernel.changed:
            if not stepping.is_free(self.task):
                raise Conflict(f"target {self.tid} is in a call already")
            self._kernel.begin(self.tid, data)

    def call(self, call: str | int | type[Call], *args: Any, **named: Any) -> Answer:
        """Make a call and return its answer; who has to wait for it waits (see :meth:`answer`)."""
        self.start(call, *args, **named)
        return self.answer()

    @property
    def waiting(self) -> bool:
        """Whether it waits for a supervisor's answer."""
        with self._kernel.changed:
            return noting.note_of(self._kernel.world, self.task) is not None

    def answer(self, timeout: float = 10.0) -> Answer:
        """What its call returned.

        Args:
            timeout: Real seconds until somebody has answered.

        Raises:
            TimeoutError: Nobody has.
            Conflict: It has ended.
        """
        with self._kernel.changed:
            there = self._kernel.changed.wait_for(
                lambda: self.ended or stepping.is_free(self.task), timeout
            )
            if not there:
                raise TimeoutError(f"target {self.tid} still waits in {self.task.call}")
            if self.ended:
                raise Conflict(f"target {self.tid} has ended in its call")
            result = self.task.result
        assert result is not None
        return Answer.of(result)

    # -- life ------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether it has."""
        found = self._kernel.world.tasks.get(self.tid)
        return found is None or found.dead

    @property
    def state(self) -> str:
        """The letter of its state: R, S, D, T or Z."""
        with self._kernel.changed:
            return entering.sleep_state(self._kernel.world, self.task)

    def fork(self) -> FakeTarget:
        """A process that it makes."""
        with self._kernel.changed:
            return FakeTarget(self._kernel, tasks.fork(self._kernel.world, self.task).tid)

    def thread(self) -> FakeTarget:
        """Another thread of the same process."""
        with self._kernel.changed:
            return FakeTarget(self._kernel, tasks.new_thread(self._kernel.world, self.task).tid)

    def handle(self, signal: int, *, restart: bool) -> None:
        """Catch a signal, with SA_RESTART or without."""
        with self._kernel.changed:
            process = self._kernel.world.process_of(self.task)
            signals.set_action(process, signal, "restart" if restart else "handle")

    @property
    def handled(self) -> tuple[int, ...]:
        """The signals that it has caught."""
        return self.task.handled

    def kill(self, signal: int) -> None:
        """Send it a signal."""
        self._kernel.kill(self.task.process, int(signal), tid=self.tid)

    def exit(self, code: int = 0) -> None:
        """End its process."""
        with self._kernel.changed:
            tasks.end_process(self._kernel.world, self._kernel.world.process_of(self.task), code)
            self._kernel.settle()

    @contextmanager
    def identity(self, **fields: Any) -> Iterator[Self]:
        """Be somebody else for a while: ``uid``, ``gid``, ``comm``, ``privileged``."""
        task = self.task
        old = {name: getattr(task, name) for name in fields}
        for name, value in fields.items():
            setattr(task, name, value)
        try:
            yield self
        finally:
            for name, value in old.items():
                setattr(task, name, value)


def _word(call: str, name: str, value: Any, spec: Any) -> str:
    """An argument as `unotify.policy.offline.prepare` reads it."""
    arg = next(one for one in spec.args if one.name == name)
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        # What is no pointer is the name of a constant, or of several.
        return f'"{value}"' if arg.role in _POINTERS else value
    if isinstance(value, Mapping):
        return " ".join(f"{key}={int(number)}" for key, number in value.items())
    if arg.role is Role.SOCKADDR and isinstance(value, tuple):
        host, port = value
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(value, (list, tuple)):
        return shlex.join(map(str, value))
    if hasattr(value, "__fspath__"):
        return f'"{value}"'
    raise NotExpressible(f"{call}: {name}={value!r} cannot be put into a target's memory")
