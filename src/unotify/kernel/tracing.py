"""Following a command from before its exec, to see the filters that it installs.

All of this runs in one thread, which is the tracer of all targets. They stop at each
entry to and exit from a call; between the two it is remembered who installs what.

To let go takes a stop of each as well, so it is a phase of the same loop and not an
end of it: whoever runs is interrupted, and whoever stops from then on is detached. That
includes a child whose birth nobody has told of yet, which would stay stopped for ever
otherwise, and its parent with it. The loop ends with the command.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from signal import (
    SIG_BLOCK,
    SIGINT,
    SIGKILL,
    SIGSTOP,
    SIGTRAP,
    SIGTSTP,
    SIGTTIN,
    SIGTTOU,
    SIGURG,
    pthread_sigmask,
)
from threading import Event
from typing import Any, Final

from unotify.abi import tables
from unotify.abi.seccomp import PR_SET_SECCOMP, FilterFlag, Mode, Operation
from unotify.errors import KernelError, Unsupported
from unotify.kernel.command import StrOrBytesPath, prepare
from unotify.kernel.ptrace import (
    CALL,
    DETACH,
    INTERRUPT,
    LISTEN,
    SYSCALL,
    WALL,
    attach,
    comm_of,
    event_of,
    ptrace,
    signal_of,
    wait_stopped,
)
from unotify.kernel.readback import Caught, read_filters

__all__ = ["Tracing"]

_WNOTHREAD: Final = 0x20000000
_GET_SYSCALL_INFO: Final = 0x420E
_ENTRY, _EXIT = 1, 2
_EVENT_STOP: Final = 128
_TRACESYSGOOD, _FORK, _VFORK, _CLONE, _EXEC = 1, 2, 4, 8, 16
_OPTIONS: Final = _TRACESYSGOOD | _FORK | _VFORK | _CLONE | _EXEC
_STOPS: Final = (SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU)
_INFO: Final = struct.Struct("=BxxxIQQ")
_INFO_SIZE: Final = 128

# Waits until it is traced, then becomes the command; what it learns comes through a pipe,
# so that the interpreter's own arguments and environment do not matter.
_LAUNCHER: Final = """
import errno, marshal, os, signal, sys
gate, report = map(int, sys.argv[1:])
with open(gate, "rb") as pipe:
    candidates, argv, env, ignored, mask = marshal.loads(pipe.read())
os.set_inheritable(report, False)
for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, mask)
failed = errno.ENOENT
for path in candidates:
    try:
        os.execve(path, argv, dict(entry.split(b"=", 1) for entry in env if b"=" in entry[1:]))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            failed = error.errno
os.write(report, str(failed).encode())
os._exit(127)
"""


class Tracing:
    """A command under ptrace.

    Args:
        args: The command.
        limit: After how many filters to let it go.
    """

    def __init__(self, args: Sequence[StrOrBytesPath], limit: int | None) -> None:
        self._command = prepare(args)
        self._left = limit
        self._stopping = False
        self._letting_go = False
        self._free = Event()
        self._leader = 0
        self._traced: set[int] = set()
        # Threads in seccomp(2) or prctl(2), and the flags that they gave.
        self._installing: dict[int, FilterFlag] = {}

    def run(self, tell: Callable[[Caught | Exception | None], None]) -> None:
        """Start the command and follow it to its end; tell each filter, an error, and ``None``."""
        try:
            self._run(tell)
        except Exception as error:
            tell(error)
        finally:
            self._traced.clear()
            self._free.set()
            tell(None)

    def stop(self, patience: float) -> None:
        """Let all go, from another thread, and wait at most *patience* seconds for it."""
        self._stopping = True
        for tid in tuple(self._traced):
            # Programs ignore it unless they use it, and hardly one of these is delivered.
            with suppress(ProcessLookupError):
                os.kill(tid, SIGURG)
                break
        self._free.wait(patience)

    def _run(self, tell: Callable[[Caught | Exception | None], None]) -> None:
        report, theirs = os.pipe()
        try:
            mask = pthread_sigmask(SIG_BLOCK, ())
            gate = self._start(theirs, mask)
            try:
                attach(self._leader, _OPTIONS)
                self._traced.add(self._leader)
                ptrace(INTERRUPT, self._leader)
                wait_stopped(self._leader)
            except BaseException:
                os.close(gate)
                os.kill(self._leader, SIGKILL)
                os.waitpid(self._leader, WALL)
                raise
            ptrace(SYSCALL, self._leader)
            spec = (
                list(self._command.candidates),
                list(self._command.argv),
                list(self._command.env),
                list(self._command.ignored),
                [int(number) for number in mask],
            )
            with open(gate, "wb") as pipe:
                pipe.write(marshal.dumps(spec))
            os.close(theirs)
            theirs = -1
            self._follow(tell)
            if failed := os.read(report, 16):
                number = int(failed)
                raise OSError(number, os.strerror(number), self._command.executable)
        finally:
            os.close(report)
            if theirs >= 0:
                os.close(theirs)

    def _start(self, report: int, mask: set[Any]) -> int:
        """Start the launcher; returns the pipe that it waits for."""
        interpreter = getattr(sys, "_base_executable", None) or sys.executable
        if not interpreter:
            raise Unsupported(
                "spawn", "execve(2)", "no Python interpreter to launch the command with"
            )
        theirs, gate = os.pipe()
        try:
            os.set_inheritable(theirs, True)
            os.set_inheritable(report, True)
            options = ["-I", "-S", "-c", _LAUNCHER, str(theirs), str(report)]
            # Ctrl-C is for the command, not for an interpreter that nobody asked for.
            self._leader = os.posix_spawn(
                interpreter, [interpreter, *options], os.environ, setsigmask=mask | {SIGINT}
            )
        except BaseException:
            os.close(gate)
            raise
        finally:
            os.close(theirs)
        return gate

    def _follow(self, tell: Callable[[Caught | Exception | None], None]) -> None:
        while self._leader:
            if self._letting_go and not self._traced:
                self._free.set()
            tid, status = os.waitpid(-1, WALL | _WNOTHREAD)
            if not os.WIFSTOPPED(status):
                self._forget(tid)
                if tid == self._leader:
                    self._leader = 0
                continue
            self._traced.add(tid)
            if os.WSTOPSIG(status) == SIGTRAP | 0x80 and not self._letting_go:
                caught = self._look(tid)
                if caught is not None:
                    tell(caught)
                    if self._left is not None:
                        self._left -= 1
            if (self._stopping or self._left == 0) and not self._letting_go:
                self._interrupt_others(tid)
            self._resume(tid, status)

    def _forget(self, tid: int) -> None:
        self._traced.discard(tid)
        self._installing.pop(tid, None)

    def _resume(self, tid: int, status: int) -> None:
        number = signal_of(status)
        if self._letting_go:
            # What is stopped as a job stays so.
            ptrace(DETACH, tid, 0, 0 if number == SIGURG and self._stopping else number)
            self._forget(tid)
        elif event_of(status) == _EVENT_STOP and os.WSTOPSIG(status) in _STOPS:
            # A stopped job stays so, until it is continued.
            ptrace(LISTEN, tid)
        else:
            ptrace(SYSCALL, tid, 0, number)

    def _interrupt_others(self, stopped: int) -> None:
        self._letting_go = True
        for tid in self._traced - {stopped}:
            if ptrace(INTERRUPT, tid) < 0:
                self._forget(tid)  # it is gone; a thread's exec leaves no other sign

    def _look(self, tid: int) -> Caught | None:
        """A filter that *tid* has installed, if it stopped at the end of doing so."""
        raw = ctypes.create_string_buffer(_INFO_SIZE)
        size = ptrace(_GET_SYSCALL_INFO, tid, _INFO_SIZE, ctypes.addressof(raw))
        if size == -errno.ESRCH:
            return None
        if size < 0:
            raise Unsupported(
                "ptrace-syscall-info",
                CALL,
                "this kernel does not tell a tracer about calls",
                hint="it came with Linux 5.3",
            )
        op, audit, _, _ = _INFO.unpack_from(raw)
        if op == _ENTRY:
            nr, first, second = struct.unpack_from("=3Q", raw, _INFO.size)
            self._enter(tid, tables.identify(audit, nr).name, first, second)
            return None
        flags = self._installing.pop(tid, None)
        if op != _EXIT or flags is None:
            return None
        result, failed = struct.unpack_from("=qB", raw, _INFO.size)
        if failed or (result > 0 and not flags & FilterFlag.NEW_LISTENER):
            return None  # above 0 without a listener: a thread that TSYNC stumbled over (S2)
        try:
            return Caught(tid, comm_of(tid), flags, read_filters(tid))
        except KernelError as error:
            if error.errno == errno.ESRCH:
                return None
            raise

    def _enter(self, tid: int, name: str | None, first: int, second: int) -> None:
        self._installing.pop(tid, None)
        if name == "seccomp" and first & 0xFFFFFFFF == Operation.SET_MODE_FILTER:
            self._installing[tid] = FilterFlag(second & 0xFFFFFFFF)
        elif name == "prctl" and (first & 0xFFFFFFFF, second) == (PR_SET_SECCOMP, Mode.FILTER):
            self._installing[tid] = FilterFlag(0)
