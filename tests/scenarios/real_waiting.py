"""How the stage on the running kernel waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["PATIENCE", "Job", "until"]

PATIENCE = 20.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """Look until *condition* holds."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.001)
    return found


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
        tid = until(lambda: self._thread.native_id, "a thread")
        call = Path(f"/proc/self/task/{tid}/syscall")
        until(lambda: self._sleeping in call.read_text(), "its sleep")

    def result(self) -> Any:
        """What came."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "it sleeps"
        return self._found
