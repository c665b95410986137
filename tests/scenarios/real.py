"""The stage of scenarios on the running kernel: raw ioctls, and processes that take orders."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import select
import signal as signals
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.scenarios.kernel_log import KernelLog
from tests.scenarios.language import Answer, Missing, Rules, Seen
from tests.scenarios.real_more import Job, RealHeld, RealMemory, RealTracer, read_vm
from tests.scenarios.simulated import code_of
from tests.scenarios.starving import busy
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action, FilterFlag
from unotify.abi.structs import NOTIF, RESPONSE
from unotify.abi.tables import number
from unotify.bpf.instructions import Instruction, Program
from unotify.kernel._libc import NATIVE, SYS_SECCOMP

__all__ = ["RealStage"]

PATIENCE = 20.0
MAIN = str(Path(__file__).with_name("worker_main.py"))
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_FULL = (1 << 64) - 1


def until(condition: Callable[[], Any], what: str) -> Any:
    """Look until *condition* holds."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.001)
    return found


def ioctl(fd: int, request: int, argument: Any) -> int | str:
    """An ioctl; a number, or an errno's name. Retried after EINTR."""
    while True:
        result = _libc.ioctl(fd, ctypes.c_ulong(request), argument)
        if result >= 0:
            return int(result)
        name = errno.errorcode[ctypes.get_errno()]
        if name != "EINTR":
            return name


def said(result: int | str) -> str:
    """Nothing for a success, or an errno."""
    return result if isinstance(result, str) else ""


class RealStage:
    """The running kernel."""

    real = True

    def __init__(self) -> None:
        self.workers: list[RealWorker] = []
        self.listeners: list[RealListener] = []
        self.memories: list[RealMemory] = []
        self.log: KernelLog | None = None
        self.directory = tempfile.TemporaryDirectory()
        self.source = os.open("/etc/hostname", os.O_RDONLY | os.O_CLOEXEC)

    def worker(self) -> RealWorker:
        """A new process."""
        python = getattr(sys, "_base_executable", None) or sys.executable
        process = subprocess.Popen(
            [python, "-I", "-S", MAIN, str(SYS_SECCOMP)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        worker = RealWorker(self, process.pid, process.stdin, process.stdout, process)
        self.workers.append(worker)
        if os.geteuid():
            worker.set_no_new_privs()
        return worker

    def take(self, worker: RealWorker, fd: int) -> RealListener:
        """pidfd_getfd(2)."""
        pidfd = os.pidfd_open(worker.pid)
        own = _libc.syscall(438, pidfd, fd, 0)
        os.close(pidfd)
        assert own >= 0, errno.errorcode[ctypes.get_errno()]
        worker.close(fd)
        self.listeners.append(RealListener(self, own))
        return self.listeners[-1]

    def supervised(self, *names: str, flags: int = 0) -> tuple[RealWorker, RealListener]:
        """A worker whose calls are notified."""
        worker = self.worker()
        fd = worker.install(
            dict.fromkeys(names, int(Action.USER_NOTIF)), flags | FilterFlag.NEW_LISTENER
        )
        assert isinstance(fd, int), fd
        return worker, self.take(worker, fd)

    def nr(self, name: str, *, compat: bool = False) -> int:
        """A call's number."""
        found = number(name, Arch.I386 if compat else NATIVE)
        assert found is not None
        return found

    def open_pidfd(self, tid: int, flags: int = 0) -> str:
        """pidfd_open(2)."""
        try:
            os.close(os.pidfd_open(tid, flags))
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return ""

    def audit(self, *, compat: bool = False) -> int:
        """The number of the architecture."""
        return (Arch.I386 if compat else NATIVE).audit

    def look(
        self, worker: RealWorker, address: int, length: int, *, thread: str = ""
    ) -> bytes | str:
        """process_vm_readv(2)."""
        return read_vm(worker._tids[thread], address, length)

    def look_later(self, worker: RealWorker, address: int, length: int) -> Job:
        """The same in a thread."""
        sleeping = f"{self.nr('process_vm_readv')} "
        return Job(lambda: read_vm(worker.pid, address, length), sleeping)

    def memory(self, worker: RealWorker) -> RealMemory:
        """/proc/TID/mem."""
        self.memories.append(RealMemory(worker.pid))
        return self.memories[-1]

    def take_fd(self, worker: RealWorker, fd: int, *, thread: str = "", whole: bool = False) -> str:
        """pidfd_getfd(2)."""
        pidfd = os.pidfd_open(worker.pid if whole else worker._tids[thread], 0 if whole else 0o200)
        own = _libc.syscall(438, pidfd, fd, 0)
        os.close(pidfd)
        if own < 0:
            return errno.errorcode[ctypes.get_errno()]
        link = os.readlink(f"/proc/self/fd/{own}")
        os.close(own)
        return link

    def same_file(self, worker: RealWorker, fd: int) -> bool:
        """kcmp(2)."""
        ours = os.getpid()
        found = int(_libc.syscall(self.nr("kcmp"), ours, worker.pid, 0, self.source, fd))
        if found < 0:
            raise Missing(f"kcmp(2) is {errno.errorcode[ctypes.get_errno()]} here")
        return not found

    def audited(self, worker: RealWorker) -> int:
        """As the kernel's log says, which drops lines when there are many."""
        if self.log is None:
            logged = Path("/proc/sys/kernel/seccomp/actions_logged").read_text().split()
            if "user_notif" not in logged or not Path("/dev/kmsg").exists():
                raise Missing("notified calls are not logged here")
            self.log = KernelLog()
        return self.log.audited(worker.pid)

    @contextmanager
    def starved(self, worker: RealWorker) -> Iterator[None]:
        """Bind it to a processor that somebody of real-time priority keeps busy."""
        if len(os.sched_getaffinity(0)) < 2:
            raise Missing("this needs two processors")
        cpu = max(os.sched_getaffinity(0))
        for tid in os.listdir(f"/proc/{worker.pid}/task"):
            os.sched_setaffinity(int(tid), {cpu})
        others = os.sched_getaffinity(0) - {cpu}
        for other in self.workers:
            if other is not worker:
                os.sched_setaffinity(other.pid, others)
                os.sched_setscheduler(other.pid, os.SCHED_FIFO, os.sched_param(1))
        with busy(cpu):
            yield

    def trace(self, worker: RealWorker, *traces: str) -> RealTracer:
        """PTRACE_SEIZE."""
        return RealTracer(worker, traces)

    def offset(self) -> int:
        """Of the file."""
        return os.lseek(self.source, 0, os.SEEK_CUR)

    def close(self) -> None:
        """End all."""
        for worker in self.workers:
            worker.end()
        for listener in self.listeners:
            listener.close()
        for worker in self.workers:
            worker.forget()
        for memory in self.memories:
            memory.close()
        if self.log is not None:
            self.log.close()
        os.close(self.source)
        self.directory.cleanup()


def receive(fd: int) -> Seen | str:
    """RECV."""
    buffer = ctypes.create_string_buffer(80)
    found = ioctl(fd, 0xC0502100, buffer)
    if isinstance(found, str):
        return found
    id, pid, flags, nr, arch, ip, *args = NOTIF.unpack(buffer.raw)
    return Seen(id, pid, flags, nr, arch, ip, tuple(args))


class RealListener:
    """The supervisor's end."""

    def __init__(self, stage: RealStage, fd: int) -> None:
        self.stage, self.fd = stage, fd
        self.epoll: select.epoll | None = None

    def receive(self) -> Seen:
        """The oldest."""
        while True:
            until(lambda: "IN" in self.poll(), "a notification")
            found = self.recv()
            if found != "ENOENT":  # it may have ended meanwhile (N8)
                assert isinstance(found, Seen), found
                return found

    def recv(self, buffer: str = "clean") -> Seen | str:
        """RECV that does not sleep."""
        if buffer == "clean":
            return receive(self.fd)
        if buffer == "dirty":
            dirty = ctypes.create_string_buffer(b"\0" * 79 + b"\1", 80)
            return said(ioctl(self.fd, 0xC0502100, dirty))
        address = None
        if buffer == "read-only":
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            address = ctypes.c_void_p(_libc.mmap(None, 4096, mmap.PROT_READ, flags, -1, 0))
        found = said(ioctl(self.fd, 0xC0502100, address))
        if address is not None:
            _libc.munmap(address, 4096)
        return found

    def recv_later(self) -> Job:
        """RECV that sleeps."""
        fd = self.fd
        return Job(lambda: receive(fd), "0xc0502100")

    def send(self, id: int, value: int = 0, error: int = 0, flags: int = 0) -> str:
        """SEND."""
        return said(ioctl(self.fd, 0xC0182101, RESPONSE.pack(id, value, error, flags)))

    def send_nothing(self) -> str:
        """SEND of a bad pointer."""
        return said(ioctl(self.fd, 0xC0182101, None))

    def valid(self, id: int, *, old: bool = False) -> str:
        """ID_VALID."""
        word = ctypes.c_uint64(id)
        return said(ioctl(self.fd, 0x80082102 if old else 0x40082102, ctypes.byref(word)))

    def addfd(
        self,
        id: int,
        *,
        source: str = "file",
        flags: int = 0,
        newfd: int = 0,
        newfd_flags: int = 0,
        size: int = 24,
        dirty: bool = False,
    ) -> int | str:
        """ADDFD."""
        made = -1
        if source == "path":
            made = os.open("/etc/hostname", os.O_PATH)
        fd = {"file": self.stage.source, "path": made, "closed": 999, "listener": self.fd}[source]
        raw = id.to_bytes(8, sys.byteorder) + b"".join(
            (word & 0xFFFFFFFF).to_bytes(4, sys.byteorder)
            for word in (flags, fd, newfd, newfd_flags)
        )
        raw = raw.ljust(max(size, 24), b"\0")
        if dirty:
            raw = raw[:-1] + b"\1"
        try:
            return ioctl(self.fd, 0x40002103 | size << 16, raw)
        finally:
            if made >= 0:
                os.close(made)

    def set_flags(self, flags: int) -> str:
        """SET_FLAGS."""
        return said(ioctl(self.fd, 0x40082104, ctypes.c_ulong(flags)))

    def other(self, number: int) -> str:
        """An ioctl on zeros."""
        return said(ioctl(self.fd, number, ctypes.create_string_buffer(4096)))

    def plain(self, operation: str) -> str:
        """No ioctl."""
        try:
            match operation:
                case "read":
                    os.read(self.fd, 1)
                case "write":
                    os.write(self.fd, b"x")
                case "lseek":
                    os.lseek(self.fd, 0, 0)
                case "mmap":
                    mmap.mmap(self.fd, 4096, prot=mmap.PROT_READ)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return ""

    def link(self) -> str:
        """As /proc says."""
        return os.readlink(f"/proc/self/fd/{self.fd}")

    def cloexec(self) -> bool:
        """The flag of the descriptor."""
        return bool(fcntl.fcntl(self.fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)

    def poll(self) -> set[str]:
        """The bits."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN | select.POLLOUT)
        bits = sum(mask for _, mask in poller.poll(0))
        names = (("IN", select.POLLIN), ("OUT", select.POLLOUT), ("HUP", select.POLLHUP))
        return {name for name, bit in names if bits & bit}

    def edges(self) -> int:
        """Events since the last look."""
        if self.epoll is None:
            self.epoll = select.epoll()
            self.epoll.register(self.fd, select.EPOLLIN | select.EPOLLET)
        return len(self.epoll.poll(0))

    def until(self, *bits: str) -> None:
        """Wait."""
        until(lambda: self.poll() == set(bits), f"poll {bits}")

    def copy(self) -> RealListener:
        """dup(2)."""
        self.stage.listeners.append(RealListener(self.stage, os.dup(self.fd)))
        return self.stage.listeners[-1]

    def close(self) -> None:
        """Close it."""
        fd, self.fd = self.fd, -1
        if self.epoll is not None:
            self.epoll.close()
        if fd >= 0:
            os.close(fd)


class RealWorker:
    """A process that does as it is told."""

    def __init__(
        self,
        stage: RealStage,
        pid: int,
        orders: Any,
        answers: Any,
        process: subprocess.Popen[bytes] | None,
        parent: RealWorker | None = None,
    ) -> None:
        self.stage, self.pid = stage, pid
        self._orders, self._answers, self._process, self._parent = orders, answers, process, parent
        self._tids = {"": pid}
        self._waiting: dict[str, list[dict[str, Any]]] = {}
        self._status: int | None = None

    def start(self, do: str, *, thread: str = "", **order: Any) -> None:
        """Give an order."""
        line = json.dumps({"do": do, "thread": thread, **order}).encode() + b"\n"
        self._orders.write(line)

    def said(self, thread: str) -> dict[str, Any]:
        """Wait for a thread's answer."""
        while not self._waiting.get(thread):
            ready, _, _ = select.select([self._answers], [], [], PATIENCE)
            assert ready, "the worker does not answer"
            line = self._answers.readline()
            assert line, "the worker has ended"
            answer = json.loads(line)
            self._waiting.setdefault(answer["thread"], []).append(answer)
        return self._waiting[thread].pop(0)

    def ask(self, do: str, *, thread: str = "", **order: Any) -> dict[str, Any]:
        """Give an order and wait."""
        self.start(do, thread=thread, **order)
        return self.said(thread)

    def install(self, rules: Rules, flags: int = 0, *, thread: str = "") -> int | str:
        """seccomp(2)."""
        found = code_of(rules)
        code = None if found is None else Program(tuple(found)).encode().hex()
        return number_of(self.ask("install", program=code, flags=int(flags), thread=thread))

    def prctl(self, rules: Rules, *, thread: str = "") -> str:
        """By the older call."""
        found = code_of(rules)
        assert found is not None
        code = Program(tuple(found)).encode().hex()
        return said(number_of(self.ask("by_prctl", program=code, thread=thread)))

    def holds(self, listener: RealListener, *, compat: bool = False) -> RealHeld:
        """By SCM_RIGHTS."""
        path = str(Path(self.stage.directory.name) / "door")
        os.chmod(self.stage.directory.name, 0o711)
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(path)
            os.chmod(path, 0o777)
            door.listen()
            self.start("take", path=path)
            end, _ = door.accept()
            with end:
                socket.send_fds(end, [b"x"], [listener.fd])
                fd = int(self.said("")["ret"])
        os.unlink(path)
        return RealHeld(self, fd, compat=compat)

    def repeat_call(self, name: str, *args: int, times: int, alarm: float) -> None:
        """Begin."""
        self.start("repeat", nr=self.stage.nr(name), args=args, times=times, alarm=alarm)

    def failures(self) -> list[str]:
        """The end of that."""
        return [errno.errorcode[number] for number in self.said("")["bad"]]

    def leave(self, to: str) -> None:
        """The leader ends."""
        self.start("leave", to=to)
        self.becomes("Z")
        self._tids[""] = self._tids[to]

    def clock(self, number: int) -> None:
        """Read a clock."""
        source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        if source.read_text().strip() not in ("tsc", "kvm-clock", "arch_sys_counter"):
            raise Missing("this clock source is no matter of the vDSO")
        self.ask("clock", id=number)

    def jump(self, address: int) -> None:
        """Call what is there."""
        if "[vsyscall]" not in Path("/proc/self/maps").read_text():
            raise Missing("this kernel has no vsyscall page")
        self.start("jump", address=address)

    def ring_open(self, path: str) -> int:
        """Through io_uring."""
        home = str(Path(__file__).resolve().parent.parent / "kernel")
        found = self.ask("ring", path=path, home=home)
        if found["setup"]:
            raise Missing(f"io_uring is {errno.errorcode[-found['setup']]} here")
        return int(found["ring"])

    def unshare_users(self) -> None:
        """unshare(CLONE_NEWUSER)."""
        self.ask("unshare", flags=0x10000000)

    def unshare_files(self, *, thread: str = "") -> None:
        """unshare(CLONE_FILES)."""
        self.ask("unshare", flags=0x400, thread=thread)

    def open(self, path: str, *, thread: str = "") -> int:
        """Open a file."""
        return int(self.ask("open", path=path, thread=thread)["ret"])

    def pages(self, data: bytes, protection: int = 3) -> int:
        """Map pages."""
        return int(self.ask("bytes", hex=data.hex(), protection=protection)["ret"])

    def guard(self) -> int:
        """userfaultfd(2)."""
        found = number_of(self.ask("guard"))
        if isinstance(found, str):
            raise Missing(f"userfaultfd(2) is {found} here")
        return found

    def deliver(self, address: int, data: bytes) -> None:
        """UFFDIO_COPY."""
        self.ask("deliver", address=address, hex=data.hex())

    def look(
        self, other: RealWorker, address: int, length: int = 1, way: str = "vm"
    ) -> bytes | str:
        """Into another."""
        found = self.ask("look", pid=other.pid, address=address, length=length, way=way)
        return said(number_of(found)) or bytes.fromhex(found.get("hex", ""))

    def repeat(self, length: int, flags: int = 0) -> int | str:
        """A long filter."""
        code = Program((Instruction(6, 0, 0, int(Action.ALLOW)),) * length).encode().hex()
        return number_of(self.ask("install", program=code, flags=int(flags)))

    def strict(self, call: str = "") -> str:
        """Strict mode."""
        if call:
            self.start("strict", nr=self.stage.nr(call))
            return ""
        return said(number_of(self.ask("strict", nr=None)))

    def seccomp(self, operation: int, flags: int = 0, *, bare: bool = True) -> str:
        """By its number."""
        pointer = 0 if bare else 1
        return said(number_of(self.ask("seccomp", op=operation, flags=flags, pointer=pointer)))

    def available(self, action: int) -> str:
        """GET_ACTION_AVAIL."""
        return said(number_of(self.ask("available", action=action)))

    def sizes(self) -> tuple[int, ...]:
        """GET_NOTIF_SIZES."""
        return tuple(self.ask("sizes")["sizes"])

    def mode(self) -> int:
        """As in /proc."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(text.partition("Seccomp:")[2].split()[0])

    def no_new_privs(self, *, thread: str = "") -> bool:
        """The bit."""
        return bool(self.ask("nnp", set=False, thread=thread)["ret"])

    def set_no_new_privs(self) -> None:
        """Set it."""
        self.ask("nnp", set=True)

    def drop(self) -> None:
        """Become an ordinary user."""
        if os.geteuid() == 0:
            self.ask("drop")

    def filters(self, *, thread: str = "") -> int:
        """The length of the chain."""
        text = Path(f"/proc/{self.pid}/task/{self._tids[thread]}/status").read_text()
        return int(text.partition("Seccomp_filters:")[2].split()[0])

    def thread(self, name: str) -> int:
        """A new thread."""
        self._tids[name] = int(self.ask("thread", thread=name)["ret"])
        return self._tids[name]

    def call(self, name: str | int, *args: int, thread: str = "", compat: bool = False) -> None:
        """Begin a call."""
        number = name if isinstance(name, int) else self.stage.nr(name, compat=compat)
        words = [arg & _FULL for arg in args]
        self.start("call", nr=number, args=words, compat=compat, thread=thread)

    def answer(self, *, thread: str = "") -> Answer:
        """What it returned."""
        answer = self.said(thread)
        number = answer["errno"]
        return Answer(answer["ret"], errno.errorcode.get(number, str(number)) if number else "")

    def waiting(self, *threads: str) -> None:
        """Wait until they sleep."""
        for thread in threads or ("",):
            where = Path(f"/proc/{self.pid}/task/{self._tids[thread]}/wchan")
            until(lambda: "seccomp_do_user" in where.read_text(), "a notification")  # noqa: B023

    def text(self, data: bytes) -> int:
        """A string in memory."""
        return self.pages(data + b"\0")

    def poke(self, address: int, data: bytes, *, thread: str = "") -> None:
        """A store; the main thread may sleep meanwhile."""
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(data + b"\0")

    def close(self, fd: int) -> str:
        """Close it."""
        return said(number_of(self.ask("close", fd=fd)))

    def fds(self) -> dict[int, str]:
        """Its descriptors."""
        found = {}
        for entry in os.listdir(f"/proc/{self.pid}/fd"):
            found[int(entry)] = os.readlink(f"/proc/{self.pid}/fd/{entry}")
        return found

    def limit(self, files: int) -> None:
        """RLIMIT_NOFILE."""
        self.ask("limit", files=files)

    def handle(self, signal: int, *, restart: bool) -> None:
        """Catch."""
        self.ask("handle", signal=signal, restart=restart)

    def ignore(self, signal: int) -> None:
        """Ignore."""
        self.ask("ignore", signal=signal)

    def handled(self) -> list[int]:
        """Caught."""
        return list(self.ask("handled")["handled"])

    def kill(self, signal: int, *, thread: str = "") -> None:
        """Send."""
        if thread:
            _libc.syscall(234, self.pid, self._tids[thread], signal)
        else:
            os.kill(self.pid, signal)

    def state(self, *, thread: str = "") -> str:
        """A letter."""
        path = Path(f"/proc/{self.pid}/task/{self._tids[thread]}/stat")
        return path.read_text().rpartition(")")[2].split()[0]

    def becomes(self, state: str, *, thread: str = "") -> None:
        """Wait."""
        until(lambda: self.state(thread=thread) == state, f"state {state}")

    def unshare_pids(self) -> None:
        """unshare(CLONE_NEWPID), as whoever may, or in a user namespace of its own."""
        self.ask("unshare", flags=0x20000000)

    def global_pid(self) -> int:
        """As /proc here has it."""
        return self.pid

    def fork(self) -> RealWorker:
        """A new process."""
        base = Path(self.stage.directory.name) / str(len(self.stage.workers))
        os.mkfifo(f"{base}.orders")
        os.mkfifo(f"{base}.answers")
        pid = int(self.ask("fork", orders=f"{base}.orders", answers=f"{base}.answers")["ret"])
        orders = open(f"{base}.orders", "wb", buffering=0)  # noqa: SIM115 - closed in forget()
        answers = open(f"{base}.answers", "rb", buffering=0)  # noqa: SIM115
        child = RealWorker(self.stage, pid, orders, answers, None, self)
        self.stage.workers.append(child)
        return child

    def end_thread(self, thread: str) -> None:
        """A thread ends."""
        self.start("end", thread=thread)
        path = Path(f"/proc/{self.pid}/task/{self._tids[thread]}")
        until(lambda: not path.exists(), "its end")

    def ended(self) -> int:
        """wait(2)."""
        if self._status is None:
            if self._process is not None:
                self._status = self._process.wait(PATIENCE)
            else:
                assert self._parent is not None
                status = int(self._parent.ask("reap", pid=self.pid)["ret"])
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def exit(self, code: int = 0) -> None:
        """exit_group(2)."""
        self.start("exit", code=code)
        stat = Path(f"/proc/{self.pid}/stat")
        until(lambda: not stat.exists() or ") Z" in stat.read_text(), "its end")

    def program(self) -> int:
        """A path."""
        return self.text(b"/bin/true")

    def end(self) -> None:
        """Kill it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signals.SIGKILL)

    def forget(self) -> None:
        """Close what it was spoken to by."""
        if self._process is not None:
            self._process.wait()
        self._orders.close()
        self._answers.close()


def number_of(answer: dict[str, Any]) -> int | str:
    """A number, or the name of an errno."""
    return answer["ret"] if not answer["errno"] else errno.errorcode[answer["errno"]]
