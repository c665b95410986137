"""A :class:`subprocess.Popen` whose process runs under a filter."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from typing import Any

from unotify.abi.seccomp import FilterFlag
from unotify.kernel.command import StrOrBytesPath, prepare
from unotify.kernel.install import attempts, check_program, enforcement, is_no_new_privs
from unotify.kernel.interface import Enforcement
from unotify.kernel.launching import Launching
from unotify.kernel.listener import LinuxListener

__all__ = ["Popen"]

# What subprocess itself does for us: it sets up descriptors and pipes for the
# launcher, and the program inherits them from there.
_PIPES = frozenset(
    {
        "bufsize",
        "encoding",
        "errors",
        "pass_fds",
        "pipesize",
        "stderr",
        "stdin",
        "stdout",
        "text",
        "universal_newlines",
    }
)

_REFUSED = {
    "preexec_fn": "no Python code can run between the filter and the program",
    "startupinfo": "it is for Windows",
    "creationflags": "it is for Windows",
}


class Popen(subprocess.Popen[Any]):
    """Start a program under a filter; otherwise like :class:`subprocess.Popen`.

    Safe in programs with threads: nothing of this interpreter is forked but by subprocess
    itself. A Ctrl-C meanwhile leaves no process and no descriptor behind.

    Args:
        args: As for subprocess.
        program: The filter: encoded BPF.
        flags: Filter flags that the kernel must know.
        preferred: Flags to do without if it does not.
        no_new_privs: ``False`` needs CAP_SYS_ADMIN (S5): it keeps setuid programs working
            for the target.
        options: The other arguments of subprocess, by name. Refused are
            *preexec_fn*, ``close_fds=False`` and those for Windows.

    Attributes:
        args: As given; the launcher's own command line is not shown.
        listener: The filter's listener; close it when done. `Popen` itself never reads it.
        enforcement: What the filter got.
        backlog: Notifications of the program that were received during the launch:
            to be answered first.

    Raises:
        OSError: As subprocess: FileNotFoundError, PermissionError ... with the file name.
        AlreadySupervised: Another supervisor's listener is open above us (F4).
        Unsupported: The kernel lacks one of *flags*, or user notification.
        KernelError: Any other reason why the filter cannot be installed.
        ValueError: A torn program, or what subprocess calls a bad value.
        TypeError: An unknown or refused option.
    """

    listener: LinuxListener
    enforcement: Enforcement
    backlog: list[bytes]

    def __init__(
        self,
        args: StrOrBytesPath | Sequence[StrOrBytesPath],
        *,
        program: bytes,
        flags: FilterFlag = FilterFlag(0),
        preferred: FilterFlag = FilterFlag.WAIT_KILLABLE_RECV,
        no_new_privs: bool = True,
        **options: Any,
    ) -> None:
        # Should anything below raise: __del__ of the base class looks for it.
        self._child_created = False
        _refuse(options)
        pipes = {name: options.pop(name) for name in _PIPES & options.keys()}
        command = prepare(args, **options)
        check_program(program)
        tried = attempts(flags, preferred, listener=True)
        # No signal handler may raise while descriptors pass from hand to hand. And the
        # launcher starts with all signals blocked: it unblocks them when it has
        # undone what its interpreter did to them, so that Ctrl-C prints no traceback.
        mask = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        try:
            try:
                launching = Launching(command, program, tried, no_new_privs=no_new_privs, mask=mask)
                got = self._launch(launching, pipes)
            finally:
                # Raises what came meanwhile, KeyboardInterrupt too.
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BaseException:
            self._abandon()
            raise
        self.args = args
        # It may also be inherited from us.
        locked = no_new_privs or is_no_new_privs()
        self.enforcement = enforcement(got, tried[0], no_new_privs=locked, program=program)

    def _launch(self, launching: Launching, pipes: dict[str, Any]) -> FilterFlag:
        passed = (*pipes.pop("pass_fds", ()), *launching.pass_fds)
        with launching:
            try:
                super().__init__(launching.argv, pass_fds=passed, restore_signals=False, **pipes)
                got = launching.run(self)
            except BaseException:
                self._abandon()  # first of all: the helper ends with the launcher
                raise
        assert launching.listener is not None
        self.listener = launching.listener
        self.backlog = launching.backlog
        return got

    def _abandon(self) -> None:
        # What subprocess does itself after a failed exec.
        if hasattr(self, "listener"):
            self.listener.close()
        if self._child_created:
            self.kill()
            self.wait()
            for pipe in (self.stdin, self.stdout, self.stderr):
                if pipe is not None:
                    pipe.close()


def _refuse(options: dict[str, Any]) -> None:
    for name, reason in _REFUSED.items():
        if options.pop(name, None):
            raise TypeError(f"{name} is not possible for a supervised program: {reason}")
    if not options.pop("close_fds", True):
        raise TypeError(
            "close_fds=False is not possible for a supervised program: name what it inherits "
            "in pass_fds"
        )
