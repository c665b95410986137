"""A process of the running kernel that takes orders (`worker_main.py`)."""

from __future__ import annotations

import errno
import json
import os
import select
import signal as signals
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.scenarios.language import Answer, Missing, Rules
from tests.scenarios.real_held import RealHeld
from tests.scenarios.real_waiting import PATIENCE, until
from tests.scenarios.real_words import libc, number_of, said
from tests.scenarios.simulated_words import code_of
from unotify.abi.seccomp import Action
from unotify.bpf.instructions import Instruction, Program

if TYPE_CHECKING:
    from tests.scenarios.real import RealStage
    from tests.scenarios.real_listener import RealListener

__all__ = ["RealWorker"]

_FULL = (1 << 64) - 1


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
            libc.syscall(234, self.pid, self._tids[thread], signal)
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
