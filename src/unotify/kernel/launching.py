"""The supervisor's side of a launch: from the launcher's start to the program's first call.

Theory of operation. Three parties: the launcher, which will be the target; the
helper, which shares the launcher's descriptor table and is not filtered; and
we. One socket joins us to both, and one memory file is shared with both. What we see:

===========================  ==================================================
message with a pidfd         the helper is there
message with a listener too  the filter is installed
the helper ends              the socket is now open in the launcher alone
end of file                  the launcher's copy is closed: execve(2) did that, or
                             the launcher's death; the program's first call is later
===========================  ==================================================

So end of file ends a launch, whatever the filter does. While it lasts, the calls that are
notified are the launcher's. We continue them: it is our own code, it has
not yet run a byte of the program, and nobody else can write its memory, which is
what makes CONTINUE racy elsewhere (C2). The helper has to be gone before the first
of them is received: while it lives no end of file would show that the program runs.

A launcher that dies closes the socket, so no wait here can hang on it. One that
failed and cannot exit, because the filter refuses exit_group(2), is killed.
"""

from __future__ import annotations

import array
import errno
import fcntl
import marshal
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from unotify.abi.seccomp import FilterFlag, ResponseFlag
from unotify.abi.structs import NOTIF, RESPONSE
from unotify.errors import KernelError, Unsupported
from unotify.kernel._libc import NATIVE, SYS_CLONE, SYS_SECCOMP
from unotify.kernel.command import Command
from unotify.kernel.install import install_error
from unotify.kernel.listener import LinuxListener, notif_sizes

__all__ = ["Launching", "Stage"]

_LAUNCHER: Final = str(Path(__file__).with_name("launch.py"))
_SPEC_OFFSET: Final = 64

# Seconds. All that ends a launch is an event; only a launcher that failed and cannot
# exit, and one without a pidfd (a sandbox forbids them), are found by looking again.
_TICK: Final = 0.02

# Seconds for the helper to notice that all is off.
_PATIENCE: Final = 5.0


class Stage(IntEnum):
    """How far the launcher came; as in ``launch.py``."""

    START = 0
    CHDIR = 1
    SETUP = 2
    HELPER = 3
    NO_NEW_PRIVS = 4
    INSTALL = 5
    EXEC = 6


class Header(NamedTuple):
    """The words that the launcher stores; as in ``launch.py``."""

    listener: int = -1
    stage: int = Stage.START
    errno: int = 0
    attempt: int = 0
    helper: int = -1


_HEADER: Final = struct.Struct("=5i")


class Launching:
    """One launch; a context manager that frees all that it does not hand out.

    All signals are to be blocked while it lasts: see `_wait`.

    Args:
        command: The program.
        program: The filter.
        flags: The sets of flags to try in turn.
        no_new_privs: Whether to set that first.
        mask: The signals that the program has blocked, and that are blocked while we wait.

    Attributes:
        argv: What to start the launcher with.
        pass_fds: What the launcher must inherit.
        listener: The listener, once it came.
        backlog: Notifications of the program that were received.
    """

    listener: LinuxListener | None = None

    def __init__(
        self,
        command: Command,
        program: bytes,
        flags: Sequence[FilterFlag],
        *,
        no_new_privs: bool,
        mask: Collection[int],
    ) -> None:
        self.backlog: list[bytes] = []
        self._command = command
        self._program = program
        self._flags = flags
        self._helper: int | None = None  # its pidfd
        self._helper_gone = False
        self._eof = False
        self._truncated = False
        self._mask = mask
        # Before anything is open, since it may raise.
        interpreter = _interpreter()
        self._sizes = notif_sizes()
        spec = command.spec() | {
            "program": program,
            "flags": list(map(int, flags)),
            "no_new_privs": no_new_privs,
            "mask": sorted(map(int, mask)),
            "seccomp": SYS_SECCOMP,
            "clone": SYS_CLONE,
            "clone_flags_first": not NATIVE.label.startswith("s390"),
        }
        with ExitStack() as stack:
            # Above the standard three, which the launcher's stdin, stdout and stderr
            # would replace if this process has closed its own.
            self._spec = _above_stdio(os.memfd_create("unotify-launch"))
            stack.callback(os.close, self._spec)
            content = _HEADER.pack(*Header()).ljust(_SPEC_OFFSET, b"\0") + marshal.dumps(spec)
            with open(self._spec, "wb", closefd=False) as file:
                file.write(content)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._control = stack.enter_context(ours)
            self._theirs: int | None = _above_stdio(theirs.detach())
            self._stack = stack.pop_all()
        self.pass_fds = (self._theirs, self._spec)
        # Isolated, and without site: nothing of the user's environment or of the
        # current directory can change what the launcher does.
        self.argv = [interpreter, "-I", "-S", _LAUNCHER, str(self._theirs), str(self._spec)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close_theirs()
        with self._stack:
            if not self._eof:
                # Only after an exception, with the launcher dead or never started:
                # the helper notices this, says its name and ends.
                self._control.shutdown(socket.SHUT_WR)
                self._control.settimeout(_PATIENCE)
                with suppress(TimeoutError):
                    while not self._eof:
                        self._receive(0)
            self._reap_helper()
            if kind is not None and self.listener is not None:
                self.listener.close()

    def run(self, process: subprocess.Popen[Any]) -> FilterFlag:
        """Accompany the launcher, which was just started, until the program runs.

        Returns:
            The flags that the filter was installed with. `listener` is open; the
            process may already have been killed by its own filter.

        Raises:
            OSError: What subprocess would raise for this command.
            KernelError: The filter could not be installed, or the launcher was killed.
        """
        self._close_theirs()
        self._control.setblocking(False)
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        launcher = self._open_pidfd(process.pid)
        if launcher is not None:
            poller.register(launcher, select.POLLIN)
        watched: set[int] = set()
        while not self._eof:
            for fd in self._sources() - watched:
                poller.register(fd, select.POLLIN)
                watched.add(fd)
            ready = self._wait(poller)
            self._look_at_launcher(process, idle=not ready)
            if process.returncode is not None and launcher in ready:
                poller.unregister(launcher)  # it would stay readable
            self._drain()
            if self._helper in ready and not self._helper_gone:
                self._helper_gone = True
                poller.unregister(self._helper)
                self._drain()  # its message came before its end
                if self.listener is None and not self._header().errno:
                    process.kill()
            if self._truncated:
                raise KernelError(
                    errno.EMFILE,
                    "recvmsg(2)",
                    "no free descriptor for the listener",
                    hint="raise RLIMIT_NOFILE, or close descriptors",
                )
            if self._helper_gone and self.listener is not None and not self._eof:
                self._serve(self.listener)
        return self._result(process)

    def _wait(self, poller: select.poll) -> set[int]:
        # Only here may a handler of a signal run and raise: everything that is open has
        # somebody who closes it.
        blocked = signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        try:
            return {fd for fd, _ in poller.poll(_TICK * 1000)}
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _sources(self) -> set[int]:
        # The listener only once the helper is gone: see the theory above.
        if not self._helper_gone:
            return set() if self._helper is None else {self._helper}
        return set() if self.listener is None else {self.listener.fileno()}

    def _look_at_launcher(self, process: subprocess.Popen[Any], *, idle: bool) -> None:
        if process.poll() is not None:
            # The helper may still wait for it.
            self._control.shutdown(socket.SHUT_WR)
        elif idle and self._header().errno:
            process.kill()

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while not self._eof:
                self._receive(socket.MSG_DONTWAIT)

    def _receive(self, flags: int) -> None:
        # Take one message: the helper's pidfd, and the listener if there is one.
        fds = array.array("i", bytes(2 * 4))
        message, ancillary, state, _ = self._control.recvmsg(
            1, socket.CMSG_SPACE(fds.itemsize * 2), flags | socket.MSG_CMSG_CLOEXEC
        )
        self._eof = not message
        for _, _, data in ancillary:
            helper, *listener = array.array("i", data)
            if self._helper is None:
                self._helper = helper
                self._stack.callback(os.close, helper)
            else:
                os.close(helper)
            if listener:
                self.listener = LinuxListener(listener[0], sizes=self._sizes)
        self._truncated |= bool(state & socket.MSG_CTRUNC)

    def _serve(self, listener: LinuxListener) -> None:
        # One reader, so it cannot block after poll said that something waits (N7).
        buffer = bytearray(self._sizes.notif)
        if not listener.pending() or not listener.receive_into(buffer):
            return
        # Only now is it certain whose call it is: the program calls nothing before
        # end of file, and the launcher nothing after it.
        self._drain()
        if self._eof:
            self.backlog.append(bytes(buffer))
            return
        id, *_ = NOTIF.unpack_from(buffer)
        reply = RESPONSE.pack(id, 0, 0, ResponseFlag.CONTINUE)
        listener.send(reply.ljust(self._sizes.response, b"\0"))

    def _result(self, process: subprocess.Popen[Any]) -> FilterFlag:
        header = self._header()
        if header.errno:
            process.kill()
            process.wait()
            raise self._error(header)
        if self.listener is None:
            raise _killed(process.wait())
        return self._flags[header.attempt]

    def _error(self, header: Header) -> Exception:
        number, command = header.errno, self._command
        match header.stage:
            case Stage.CHDIR:
                return OSError(number, os.strerror(number), command.cwd)
            case Stage.EXEC:
                error = OSError(number, os.strerror(number), command.executable)
                # What a missing file or a directory on the way says, no filter would say.
                if number not in (errno.ENOENT, errno.ENOTDIR):
                    error.add_note(
                        "the filter is in force already when the program is started: if it "
                        "answers execve with an errno, no program can start under it"
                    )
                return error
            case Stage.HELPER:
                return KernelError(number, "clone(2)", hint="spawn needs CLONE_PIDFD, of Linux 5.2")
            case Stage.NO_NEW_PRIVS:
                return KernelError(number, "prctl(2)", "no_new_privs cannot be set")
            case Stage.INSTALL:
                flags = self._flags[header.attempt]
                return install_error(number, flags=flags, program=self._program)
            case _:
                return OSError(number, os.strerror(number))

    def _header(self) -> Header:
        return Header(*_HEADER.unpack(os.pread(self._spec, _HEADER.size, 0)))

    def _open_pidfd(self, pid: int) -> int | None:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        self._stack.callback(os.close, pidfd)
        return pidfd

    def _reap_helper(self) -> None:
        if self._helper is not None:
            # It is about to exit; only one that was stopped is not.
            with suppress(OSError):
                signal.pidfd_send_signal(self._helper, signal.SIGKILL)
            # ECHILD: not our child (see start_helper), or SIGCHLD is ignored, or somebody
            # waits for any child.
            with suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self._helper, os.WEXITED)

    def _close_theirs(self) -> None:
        # Else there would never be an end of file.
        if self._theirs is not None:
            os.close(self._theirs)
            self._theirs = None


def _killed(returncode: int) -> KernelError:
    how = f"was killed by signal {-returncode}" if returncode < 0 else f"ended with {returncode}"
    return KernelError(
        errno.ECHILD, "execve(2)", f"the launcher {how} before it could start the program"
    )


def _interpreter() -> str:
    # The real one, not a virtual environment's link to it: it starts sooner.
    for path in (getattr(sys, "_base_executable", None), sys.executable):
        if path and os.access(path, os.X_OK):
            return str(path)
    raise Unsupported(
        "spawn",
        "execve(2)",
        "no Python interpreter to launch targets with",
        hint="sys.executable must name one: frozen programs have none",
    )


def _above_stdio(fd: int) -> int:
    # Move it where the launcher's stdin, stdout and stderr cannot replace it.
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)
