"""The command line as a process, with and without a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import unotify
from tests.kernel.spawn_support import PATIENCE, until

UNOTIFY = [sys.executable, "-m", "unotify.cli"]
SOURCES = str(Path(unotify.__file__).parents[1])
ENVIRON = {**os.environ, "PYTHONPATH": SOURCES, "COLUMNS": "110", "TERM": "dumb"}

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # These tests may run in the background of a script, whose jobs ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def cli(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run unotify to its end."""
    options = {"env": ENVIRON, "timeout": 3 * PATIENCE} | options
    if not {"stdout", "stderr"} & options.keys():
        options["capture_output"] = True
    return subprocess.run([*UNOTIFY, *args], text=True, check=False, **options)


def begin(*args: str, **options: Any) -> subprocess.Popen[str]:
    """Start unotify; in a session without a terminal, unless another is asked for."""
    options = {"env": ENVIRON, "stdout": subprocess.PIPE, "start_new_session": True} | options
    return subprocess.Popen([*UNOTIFY, *args], text=True, **options)


@contextmanager
def killing(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill the group of *process* if the test fails: nobody else would, if it is stopped."""
    try:
        yield
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def handlers(directory: Path, source: str, name: str = "handlers.py") -> str:
    """Write a handler file."""
    file = directory / name
    file.write_text(f"import errno, os\nimport unotify\nfrom unotify import *\n\n{source}\n")
    return str(file)


def log_of(file: Path) -> list[dict[str, Any]]:
    """The objects of a log."""
    return [json.loads(line) for line in file.read_text().splitlines()]


class Terminal:
    """A program as the leader of a session on a terminal of its own."""

    def __init__(self, *argv: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execvpe(argv[0], argv, ENVIRON)
            finally:
                os._exit(127)
        os.set_inheritable(self.fd, False)
        # A reader must never hang: look first, then read.
        fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_NONBLOCK)
        self.seen = ""
        self._status: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)  # hangs up: SIGHUP for all
        if self._status is None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)

    def send(self, text: str) -> None:
        """Type *text*."""
        os.write(self.fd, text.encode())

    def expect(self, text: str) -> str:
        """Read until *text* appears; returns what came before it, and forgets both."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {self.seen!r}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"ended without {text!r}: {self.seen!r}") from None
        before, _, self.seen = self.seen.partition(text)
        return before

    def status(self) -> int:
        """Wait for the end; as Popen's returncode."""
        deadline = time.monotonic() + PATIENCE
        while self._status is None:
            assert time.monotonic() < deadline, f"it does not end: {self.seen!r}"
            if select.select([self.fd], [], [], 0.002)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    time.sleep(0.002)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status


PROMPT = "<ready for more>"


class Shell(Terminal):
    """An interactive shell with job control."""

    def __init__(self) -> None:
        super().__init__("bash", "--norc", "--noprofile", "--noediting", "-i")
        command = " ".join(UNOTIFY)
        self.send(f"stty -echo; U='{command}'; PS1='<ready for ''more>'\n")
        self.expect(PROMPT)

    def accompanied(self) -> None:
        """Wait until unotify catches Ctrl-Z: before, it stops by itself, not after the target.

        What is typed then may reach a target that is about to stop.
        """
        bit = 1 << (signal.SIGTSTP - 1)
        until(lambda: self._caught() & bit)

    def _caught(self) -> int:
        pid = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0]
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("SigCgt:")[2].split()[0], 16)

    def run(self, line: str) -> str:
        """Type a line, and wait for the next prompt."""
        self.send(f"{line}\n")
        return self.expect(PROMPT)
