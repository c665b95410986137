"""What a tracer does to processes of the running kernel."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING, Any

from tests.scenarios.language import Missing
from tests.scenarios.real_words import name_of
from unotify.kernel import ptrace

if TYPE_CHECKING:
    from tests.scenarios.real_worker import RealWorker

__all__ = ["RealTracer"]


CONT, GETREGS, SETREGS, GETEVENTMSG, METADATA = 7, 12, 13, 0x4201, 0x420D
TRACESYSGOOD, TRACESECCOMP, EVENT_SECCOMP = 1, 1 << 7, 7
# Of struct user_regs_struct of x86-64, in words.
ORIG_RAX, RAX = 15, 10
ARGUMENTS = (14, 13, 12, 7, 9, 8)


class RealTracer:
    """What this thread does by ptrace(2) to the leader of a worker."""

    def __init__(self, worker: RealWorker, traces: tuple[str, ...]) -> None:
        if os.uname().machine != "x86_64":
            raise Missing("registers are known of x86-64 alone")
        self._worker, self._tid = worker, worker.pid
        self._entries = "entries" in traces
        self._stopped = False
        options = TRACESYSGOOD | (TRACESECCOMP if "filters" in traces else 0)
        ptrace.attach(self._tid, options)
        if self._entries:
            self.interrupt()
            self._go(ptrace.SYSCALL)

    def _ptrace(self, request: int, address: int = 0, data: int = 0) -> int:
        done = ptrace.ptrace(request, self._tid, address, data)
        assert done >= 0, (request, done)
        return done

    def _go(self, request: int = 0, signal: int = 0) -> None:
        self._stopped = False
        self._ptrace(request or (ptrace.SYSCALL if self._entries else CONT), 0, signal)

    def _registers(self) -> Any:
        words = (ctypes.c_ulonglong * 27)()
        self._ptrace(GETREGS, 0, ctypes.addressof(words))
        return words

    def wait(self, call: str = "") -> int:
        """Wait for its stop."""
        wanted = self._worker.stage.nr(call) if call else None
        while True:
            status = ptrace.wait_stopped(self._tid)
            if ptrace.event_of(status) == EVENT_SECCOMP:
                message = ctypes.c_ulong()
                self._ptrace(GETEVENTMSG, 0, ctypes.addressof(message))
                self._stopped = True
                return message.value
            if os.WSTOPSIG(status) == 5 | 0x80:
                words = self._registers()
                # At an entry the result is not there yet.
                if words[ORIG_RAX] == wanted and words[RAX] == 2**64 - errno.ENOSYS:
                    self._stopped = True
                    return 0
            self._go(signal=ptrace.signal_of(status))

    def interrupt(self) -> None:
        """PTRACE_INTERRUPT."""
        self._ptrace(ptrace.INTERRUPT)
        ptrace.wait_stopped(self._tid)
        self._stopped = True

    def quiet(self) -> bool:
        """Whether there is no stop."""
        return os.waitid(os.P_PID, self._tid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None

    def go_on(self, call: str = "", *args: int, value: int | None = None) -> None:
        """Let it go on."""
        words = self._registers()
        if call:
            words[ORIG_RAX] = self._worker.stage.nr(call)
            for position, word in zip(ARGUMENTS, args, strict=False):
                words[position] = word
        if value is not None:
            words[ORIG_RAX], words[RAX] = 2**64 - 1, value & 2**64 - 1
        self._ptrace(SETREGS, 0, ctypes.addressof(words))
        self._go(CONT)

    def metadata(self, offset: int) -> int | str:
        """The flags of a filter."""
        words = (ctypes.c_uint64 * 2)(offset, 0)
        done = ptrace.ptrace(METADATA, self._tid, 16, ctypes.addressof(words))
        return words[1] if done >= 0 else name_of(-done)

    def detach(self) -> None:
        """PTRACE_DETACH."""
        if not self._stopped:
            self.interrupt()
        self._ptrace(ptrace.DETACH)
