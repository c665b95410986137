"""The target, started by unotify: for the contenders that serve a bare listener."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from benchmarks.peers.target import COMMAND
from unotify.abi import Action, Arch, ListenerFlag, number
from unotify.errors import Unsupported
from unotify.kernel import default_kernel
from unotify.kernel.interface import Listener
from unotify.lowlevel import compile_filter, spawn

__all__ = ["target"]


@contextmanager
def target() -> Iterator[Listener]:
    """Start the target, give its listener, and see that the target ends well."""
    arch: Arch = default_kernel().arch
    nr = number("getppid", arch)
    assert nr is not None
    program = compile_filter({arch: {nr: Action.USER_NOTIF}}, default=Action.ALLOW)
    spawned = spawn(program.encode(), COMMAND)
    with spawned.process as process, closing(spawned.listener) as listener:
        if spawned.backlog:
            raise SystemExit("the target called before its time")
        with suppress(Unsupported):
            listener.set_flags(ListenerFlag.SYNC_WAKE_UP)
        yield listener
        if process.wait():
            raise SystemExit(process.returncode)
