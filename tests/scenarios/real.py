"""The stage of scenarios on the running kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.scenarios.kernel_log import KernelLog
from tests.scenarios.language import Missing
from tests.scenarios.real_listener import RealListener
from tests.scenarios.real_memory import RealMemory, read_vm
from tests.scenarios.real_tracer import RealTracer
from tests.scenarios.real_waiting import Job
from tests.scenarios.real_words import libc
from tests.scenarios.real_worker import RealWorker
from tests.scenarios.starving import busy
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action, FilterFlag
from unotify.abi.tables import number
from unotify.kernel._libc import NATIVE, SYS_SECCOMP

__all__ = ["RealStage"]

MAIN = str(Path(__file__).with_name("worker_main.py"))


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
        own = libc.syscall(438, pidfd, fd, 0)
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
        own = libc.syscall(438, pidfd, fd, 0)
        os.close(pidfd)
        if own < 0:
            return errno.errorcode[ctypes.get_errno()]
        link = os.readlink(f"/proc/self/fd/{own}")
        os.close(own)
        return link

    def same_file(self, worker: RealWorker, fd: int) -> bool:
        """kcmp(2)."""
        ours = os.getpid()
        found = int(libc.syscall(self.nr("kcmp"), ours, worker.pid, 0, self.source, fd))
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
