"""Of the stage on the running kernel: workers that supervise, tracers, and looks into memory."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.scenarios.language import Missing, Seen
from unotify.abi.structs import NOTIF, RESPONSE
from unotify.kernel import ptrace

if TYPE_CHECKING:
    from tests.scenarios.real import RealWorker

__all__ = ["Job", "RealHeld", "RealMemory", "RealTracer", "read_vm"]

libc = ctypes.CDLL(None, use_errno=True)
libc.process_vm_readv.restype = ctypes.c_long
RECV, SEND, VALID, ADDFD = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103


def name_of(number: int) -> str:
    """An errno's name."""
    return errno.errorcode[number]


class Job:
    """Something that may sleep, in a thread of ours."""

    def __init__(self, work: Callable[[], Any], sleeping: str) -> None:
        self._found: Any = None
        self._sleeping = sleeping
        self._thread = threading.Thread(target=self._run, args=(work,))
        self._thread.start()

    def _run(self, work: Callable[[], Any]) -> None:
        self._found = work()

    def sleeps(self) -> None:
        """Wait until it does."""
        from tests.scenarios.real import until

        tid = until(lambda: self._thread.native_id, "a thread")
        call = Path(f"/proc/self/task/{tid}/syscall")
        until(lambda: self._sleeping in call.read_text(), "its sleep")

    def result(self) -> Any:
        """What came."""
        from tests.scenarios.real import PATIENCE

        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "it sleeps"
        return self._found


class Ordered:
    """An ioctl that a worker makes."""

    def __init__(self, held: RealHeld, request: int, understand: Callable[[Any], Any]) -> None:
        self._held, self._request, self._understand = held, request, understand

    def sleeps(self) -> None:
        """Wait until it does."""
        from tests.scenarios.real import until

        call = Path(f"/proc/{self._held.worker.pid}/syscall")
        until(lambda: f" {self._request:#x} " in call.read_text(), "its sleep")

    def result(self) -> Any:
        """What came."""
        return self._understand(self._held.worker.said(""))


class RealHeld:
    """A listener that a worker has a copy of."""

    def __init__(self, worker: RealWorker, fd: int, *, compat: bool) -> None:
        self.worker, self.fd, self._compat = worker, fd, compat

    def _begin(self, request: int, data: bytes) -> None:
        compat = self._compat
        self.worker.start("ioctl", fd=self.fd, request=request, hex=data.hex(), compat=compat)

    def _ioctl(self, request: int, data: bytes) -> Any:
        self._begin(request, data)
        return self.worker.said("")

    def recv(self, buffer: str = "clean") -> Seen | str:
        """RECV."""
        return seen(self._ioctl(RECV, bytes(NOTIF.size)))

    def recv_later(self) -> Ordered:
        """RECV that sleeps."""
        self._begin(RECV, bytes(NOTIF.size))
        return Ordered(self, RECV, seen)

    def send(self, id: int, value: int = 0, error: int = 0, flags: int = 0) -> str:
        """SEND."""
        return failure(self._ioctl(SEND, RESPONSE.pack(id, value, error, flags)))

    def valid(self, id: int, *, old: bool = False) -> str:
        """ID_VALID."""
        return failure(self._ioctl(VALID, struct.pack("=Q", id)))

    def addfd(self, id: int, *, flags: int = 0) -> int | str:
        """ADDFD of what the worker has as 0."""
        return number(self._ioctl(ADDFD, struct.pack("=QIIII", id, flags, 0, 0, 0)))

    def addfd_later(self, id: int, *, flags: int = 0) -> Ordered:
        """The same, sleeping."""
        self._begin(ADDFD, struct.pack("=QIIII", id, flags, 0, 0, 0))
        return Ordered(self, ADDFD, number)

    def close(self) -> None:
        """Close it."""
        self.worker.close(self.fd)


def failure(answer: Any) -> str:
    """Nothing for a success, or an errno."""
    return name_of(answer["errno"]) if answer["errno"] else ""


def number(answer: Any) -> int | str:
    """A number, or an errno."""
    return failure(answer) or int(answer["ret"])


def seen(answer: Any) -> Seen | str:
    """A notification, or an errno."""
    if answer["errno"]:
        return name_of(answer["errno"])
    id, pid, flags, nr, arch, ip, *args = NOTIF.unpack(bytes.fromhex(answer["hex"]))
    return Seen(id, pid, flags, nr, arch, ip, tuple(args))


def read_vm(tid: int, address: int, length: int) -> bytes | str:
    """process_vm_readv(2)."""
    buffer = ctypes.create_string_buffer(max(length, 1))
    ours = struct.pack("@PN", ctypes.addressof(buffer), length)
    theirs = struct.pack("@PN", address, length)
    found = libc.process_vm_readv(tid, ours, 1, theirs, 1, 0)
    return buffer.raw[:found] if found >= 0 else name_of(ctypes.get_errno())


class RealMemory:
    """``/proc/TID/mem``, open."""

    def __init__(self, pid: int) -> None:
        self.fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)

    def read(self, address: int, length: int) -> bytes | str:
        """pread(2)."""
        try:
            return os.pread(self.fd, length, address)
        except OSError as error:
            return name_of(error.errno or 0)

    def write(self, address: int, data: bytes) -> int | str:
        """pwrite(2)."""
        try:
            return os.pwrite(self.fd, data, address)
        except OSError as error:
            return name_of(error.errno or 0)

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)


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
