"""Targets under test: real processes that make the calls they are told to.

A `Target` runs ``target_main.py`` under a filter that notifies of some calls.
`Target.ask` gives an order and waits for its answer; `Target.start` only gives it,
for orders that block in a notified call, and `Target.answer` waits later.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action, FilterFlag, ResponseFlag
from unotify.abi.structs import RESPONSE
from unotify.abi.tables import number
from unotify.bpf import compile_filter
from unotify.kernel import default_kernel
from unotify.kernel.spawn import spawn
from unotify.protocol import Exchange

PATIENCE = 20.0
"""Seconds after which something that should happen has not."""

MAIN = str(Path(__file__).with_name("target_main.py"))


def nr(name: str, arch: Arch | None = None) -> int:
    """The number of a call."""
    found = number(name, arch or default_kernel().arch)
    assert found is not None, name
    return found


def notifying(*names: str) -> bytes:
    """A filter that notifies of these calls on all ABIs, and allows the rest."""
    tables = {
        arch: {
            known: int(Action.USER_NOTIF)
            for name in names
            if (known := number(name, arch)) is not None
        }
        for arch in default_kernel().architectures
    }
    return compile_filter(tables, default=Action.ALLOW).encode()


def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Look until *condition* holds; fails after `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.001)
    return result


class Target:
    """One target process and its listener."""

    def __init__(
        self,
        *names: str,
        killable: bool = False,
        program: bytes | None = None,
        flags: FilterFlag = FilterFlag(0),
        **options: Any,
    ) -> None:
        spawned = spawn(
            notifying(*names) if program is None else program,
            [_python(), "-I", "-S", MAIN],
            flags=flags,
            preferred=FilterFlag.WAIT_KILLABLE_RECV if killable else FilterFlag(0),
            # Unbuffered: what poll() sees is all there is.
            popen_options={
                "stdin": subprocess.PIPE,
                "stdout": subprocess.PIPE,
                "bufsize": 0,
                **options,
            },
        )
        assert not spawned.backlog
        self.process = spawned.process
        self.listener: Any = spawned.listener
        self.enforcement = spawned.enforcement
        self.pid: int = self.process.pid

    def start(self, do: str, **order: Any) -> None:
        """Give an order."""
        self.process.stdin.write(json.dumps({"do": do, **order}).encode() + b"\n")

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to an order."""
        poller = select.poll()  # whoever tests may have thousands of descriptors
        poller.register(self.process.stdout, select.POLLIN)
        assert poller.poll(PATIENCE * 1000), "the target does not answer"
        line = self.process.stdout.readline()
        assert line, "the target has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        self.start(do, **order)
        return self.answer()

    def call(self, name: str, *args: int, **order: Any) -> None:
        """Start a call, which may block in a notification."""
        self.start("call", nr=nr(name), args=list(args), **order)

    def text(self, text: bytes) -> int:
        """Put a NUL-terminated string into its memory."""
        return int(self.ask("bytes", hex=text.hex())["address"])

    def events(self, timeout: float = PATIENCE) -> int:
        """Poll bits of the listener."""
        poller = select.poll()
        poller.register(self.listener.fileno(), select.POLLIN | select.POLLOUT)
        return sum(mask for _, mask in poller.poll(timeout * 1000))

    def receive(self) -> Exchange:
        """Wait for a notification."""
        until(self.listener.pending, "a notification")
        buffer = bytearray(self.listener.sizes.notif)
        assert self.listener.receive_into(buffer)
        return Exchange(buffer)

    def send(self, exchange: Exchange, value: int = 0, error: int = 0, flags: int = 0) -> bool:
        """Send raw numbers, right or wrong."""
        return bool(self.listener.send(RESPONSE.pack(exchange.id, value, error, flags)))

    def let_go(self, exchange: Exchange) -> bool:
        """Continue it."""
        return self.send(exchange, flags=ResponseFlag.CONTINUE)

    def wchan(self, tid: int | None = None) -> str:
        """Where in the kernel the thread sleeps."""
        # The compiler may have added a suffix such as .isra.0.
        return Path(f"/proc/{tid or self.pid}/wchan").read_text().partition(".")[0]

    def state(self, tid: int | None = None) -> str:
        """The thread's state, a letter."""
        return Path(f"/proc/{tid or self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.listener.close()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _python() -> str:
    # The bare interpreter starts sooner than a virtual environment's.
    return getattr(sys, "_base_executable", None) or sys.executable
