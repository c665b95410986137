"""Listeners and filters without a supervisor: real, documented, and sharp.

Everything the kernel offers, one step above the ioctls. Nobody here asks handlers,
counts, or answers for you: a notification that is not answered leaves its
target waiting. `unotify.Supervisor` is built on this and on nothing else.

Example:
    A loop that answers ``getppid`` with 42, at the speed of Python:

    .. code-block:: python

        from unotify.lowlevel import ListenerProtocol, spawn

        listener = spawn(program.encode(), ["sh"]).listener
        protocol, buffer = ListenerProtocol(), bytearray(listener.sizes.notif)
        while listener.receive_into(buffer):
            exchange = protocol.received(buffer)
            listener.send(exchange.answer(Return(42)))
            protocol.finished(exchange)
"""

from unotify.bpf import Program, compile_filter
from unotify.kernel.handover import listener_from_pid, receive_listener, send_listener
from unotify.kernel.install import Installed, install
from unotify.kernel.interface import Enforcement, Ready, Spawned
from unotify.kernel.listener import LinuxListener as Listener
from unotify.kernel.poller import LinuxPoller as Poller
from unotify.kernel.probe import probe
from unotify.kernel.spawn import spawn
from unotify.kernel.thread import LinuxThread as Thread
from unotify.protocol import Exchange, ListenerProtocol

__all__ = [
    "Enforcement",
    "Exchange",
    "Installed",
    "Listener",
    "ListenerProtocol",
    "Poller",
    "Program",
    "Ready",
    "Spawned",
    "Thread",
    "compile_filter",
    "install",
    "listener_from_pid",
    "probe",
    "receive_listener",
    "send_listener",
    "spawn",
]
