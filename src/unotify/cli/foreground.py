"""Standing between a terminal and a target without being noticed.

Theory of operation. The target stays in our process group, so what the terminal
sends (Ctrl-C, Ctrl-Z) reaches both. We only take note: whether it ends or stops
this program is the target's decision, and we do as the target does. Signals that
somebody sends to us alone are passed on. If the target stops we stop too, by the
same signal, so that the shell sees a stopped job; when one of us is continued, so
is the other. When the target is gone we end the way it did.

Nobody tells a program whether a SIGINT came from the terminal. It cannot have if
our group is not the terminal's foreground: then it is passed on.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from unotify.errors import KernelError

__all__ = ["accompany", "die_like", "end_like"]

_ENDING = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
_TERMINAL = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)
_OTHERS = (signal.SIGUSR1, signal.SIGUSR2)


def accompany(supervisor: Any, start: Callable[[], Any], *, quiet: bool) -> int:
    """Start a target, wait for it and for all that it leaves behind.

    Args:
        supervisor: Whose ``wait()`` tells when the last process is gone.
        start: Starts the target and returns its ``Popen``.
        quiet: Do not say that background processes are left.

    Returns:
        The target's exit status, or the negative number of the signal that ended it.
    """
    companion = _Companion()
    # Caught, not ignored: the target starts with the default, or ignores what we ignore.
    companion.catch(*_ENDING, *_OTHERS)
    signal.signal(signal.SIGCONT, companion.on_continued)
    try:
        process = start()
    except KernelError:
        if companion.early:
            # The signal ended the launcher too, before the program began.
            return -companion.early[0]
        raise
    companion.begin(process)
    code = _wait(process, companion)
    companion.end()
    # Closing listeners takes the kernel a moment.
    if not supervisor.wait(0.05):
        if not quiet and sys.stderr.isatty():
            click.echo(
                "unotify: the command has ended, its background processes have not", err=True
            )
        while not companion.let_go and not supervisor.wait(0.1):
            pass
    return code


_LATE = 1.0
"""Seconds that a busy machine may take to stop a process."""


class _Companion:
    """What signals do, before, while and after the target runs."""

    def __init__(self) -> None:
        self.early: list[int] = []
        self.let_go = False
        self._process: Any = None
        self._ended = False
        self._continued = -_LATE

    def catch(self, *numbers: int) -> None:
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def begin(self, process: Any) -> None:
        self._process = process
        # Not before: a launcher that is stopped must stop us too, and it is by the
        # terminal. And SIGCHLD may be ignored, for the target; then no child of ours
        # would leave a status.
        self.catch(signal.SIGTSTP)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in self.early:
            self._pass_on(number)

    def end(self) -> None:
        self._ended = True
        # Ctrl-Z is now for us and for what runs in the background.
        if signal.getsignal(signal.SIGTSTP) == self._on_signal:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)

    @property
    def just_continued(self) -> bool:
        """Whether a stop that the target reports now may be one that is over for us."""
        return time.monotonic() - self._continued < _LATE

    def _on_signal(self, number: int, frame: object) -> None:
        if self._process is None:
            self.early.append(number)
        elif self._ended or self._process.returncode is not None:
            self.let_go |= number in _ENDING
        else:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        if number not in _TERMINAL or not _in_foreground():
            with suppress(PermissionError):
                self._process.send_signal(number)

    def on_continued(self, number: int, frame: object) -> None:
        """See to it that the target goes on when we do."""
        # Both were stopped by SIGSTOP, which nobody can catch, and we alone may have
        # been continued. This may run late, for a thread that took the signal: a stop
        # by any other signal may be the next Ctrl-Z, and is not ours to undo.
        self._continued = time.monotonic()
        if self._process is not None and not self._ended:
            report = _stop_report(self._process.pid, os.WNOWAIT)
            if report is not None and report.si_status == signal.SIGSTOP:
                self._process.send_signal(signal.SIGCONT)


def _in_foreground() -> bool:
    # Whether the terminal sends its signals to our process group.
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _wait(process: Any, companion: _Companion) -> int:
    """Wait for the target's end; stop whenever it is stopped."""
    while True:
        try:
            found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        except ChildProcessError:
            return int(process.wait())
        if found is None or found.si_code not in (os.CLD_STOPPED, os.CLD_TRAPPED):
            return int(process.wait())
        # If all of us were stopped, and are now continued one after the other, it is
        # over in a moment.
        time.sleep(0.02)
        if _is_stopped(process.pid):
            _stop_report(process.pid)
            if found.si_status == signal.SIGSTOP and companion.just_continued:
                # All of us were stopped, and the target has come to it after we were continued.
                process.send_signal(signal.SIGCONT)
                continue
            _stop_like(process.pid, found.si_status)
            # The shell continues all of the group; somebody else perhaps us alone. With a
            # new report it is a new stop, by the next Ctrl-Z.
            if _is_stopped(process.pid) and _stop_report(process.pid, os.WNOWAIT) is None:
                process.send_signal(signal.SIGCONT)


def _stop_report(pid: int, flags: int = 0) -> os.waitid_result | None:
    # The stop that the kernel has to report; it is reported once, unless WNOWAIT.
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | flags)
    except ChildProcessError:
        return None


def _is_stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] == b"T"
    except OSError:
        return False


def _stop_like(pid: int, number: int) -> None:
    try:
        together = os.getpgid(pid) == os.getpgrp()
    except ProcessLookupError:
        return
    # The stop signals of terminals do nothing in a group that no shell looks after;
    # if the target is in another one, ours may be such a group.
    if number == signal.SIGSTOP or not together:
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    before = signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.signal(number, before)


def end_like(code: int) -> None:
    """Be ready to end with a target's *code*; if a signal ended it, end now."""
    # A second Ctrl-C must not find the interpreter halfway down, with its own answer.
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    if code < 0:
        die_like(-code)


def die_like(number: int) -> None:
    """End by signal *number*, as the target did, without a core file of our own."""
    sys.stdout.flush()
    # One byte is too little for a core file, and makes the kernel start no program
    # that collects them, which a limit of 0 does not.
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0 if hard == 0 else 1, hard))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    # A signal that does not kill (SIGCHLD ...) cannot have killed the target either.
    raise SystemExit(128 + number)
