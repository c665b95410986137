"""Programs of the simulated kernel, and what `Supervisor.popen` returns for one."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from unotify.kernel.interface import Enforcement
from unotify.testing.facility import signals, tasks
from unotify.testing.facility.state import CallData

if TYPE_CHECKING:
    from unotify.testing.kernel import SimulatedKernel

__all__ = ["Running", "SimulatedProcess"]


class Running:
    """A program that runs: a generator that yields the calls it makes, and gets the answers."""

    def __init__(self, program: Generator[Any, Any, Any]) -> None:
        self.program = program
        self.began = False
        self.code = 0

    def go_on(self, answer: int | None) -> CallData | None:
        """Run it to its next call; ``None`` when it has ended, with `code`."""
        from unotify.testing.target import Answer

        try:
            if not self.began:
                self.began = True
                call = next(self.program)
            else:
                call = self.program.send(Answer.of(answer or 0))
        except StopIteration as end:
            self.code = int(end.value or 0) & 0xFF
            return None
        if not isinstance(call, CallData):
            raise TypeError(f"a program yields me.begin(...), not {call!r}")
        return call


class SimulatedProcess:
    """A process, as far as `subprocess.Popen` is used of it.

    Attributes:
        pid: Its id.
        args: What was spawned.
        returncode: Its exit code, a negative signal, or ``None`` while it lives.
        enforcement: What its filter got.
    """

    stdin = stdout = stderr = None

    def __init__(
        self, kernel: SimulatedKernel, pid: int, args: Any, enforcement: Enforcement
    ) -> None:
        self._kernel = kernel
        self.pid = pid
        self.args = args
        self.enforcement = enforcement
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status if it has ended; then it is reaped."""
        with self._kernel.changed:
            if self.returncode is None:
                self.returncode = tasks.reap(self._kernel.world, self.pid)
                if self.returncode is not None:
                    self._kernel.settle()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, in real seconds.

        With an embedded supervisor somebody has to call ``process_pending()`` first.

        Raises:
            subprocess.TimeoutExpired: It lives.
        """
        with self._kernel.changed:
            if not self._kernel.changed.wait_for(lambda: self.poll() is not None, timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[None, None]:
        """Wait for its end; it has no pipes."""
        self.wait(timeout)
        return None, None

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""
        self._kernel.kill(self.pid, int(sig))

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signals.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.wait()
