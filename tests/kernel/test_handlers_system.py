"""Handlers of an ordinary user's supervisor: what works without rights, and what is refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.conftest import missing
from tests.kernel.acting_support import Notes
from tests.kernel.perform_support import attempt
from unotify import Supervisor
from unotify.handlers import ADDONS
from unotify.policy.loader import load


@contextmanager
def handled(calls: str, do: str) -> Iterator[tuple[Supervisor, Notes]]:
    """A supervisor with one rule."""
    text = f'version = 1\ndefault = "allow"\n[[rule]]\ncalls = {json.dumps(calls.split())}\n'
    notes = Notes()
    with Supervisor(policy=load(text + f"do = {do}\n")) as supervisor:
        supervisor.add(*ADDONS)
        supervisor.add_instrument(notes)
        yield supervisor, notes


def ask(calls: str, do: str, code: str, *args: object) -> Any:
    """What the program says; no fault is left unseen."""
    with handled(calls, do) as (supervisor, notes):
        found = attempt(supervisor, code, *args)
    assert notes.faults == []
    return found


def test_sysinfo() -> None:
    """Nobody needs any right to be told of limits."""
    code = (
        "room = ctypes.create_string_buffer(112)\n"
        'say([called(99, ctypes.addressof(room)), struct.unpack_from("Q", room.raw, 32)[0] > 0,'
        " called(99, 8)])"
    )
    assert ask("sysinfo", '"emulate-sysinfo"', code) == [0, True, "EFAULT"]


def test_a_namespace_of_one_s_own_gives_no_rights_over_the_machine() -> None:
    """Root of a user namespace that the program has made is nobody to any of the handlers."""
    need_user_namespaces()
    own = "uid = os.getuid()\nassert libc.unshare(0x14000000) == 0\n"
    own += "open('/proc/self/uid_map', 'w').write(f'0 {uid} 1')\n"
    for calls, do, code in (
        ("init_module", '{ load-module = ["x"] }', 'called(175, b"x", 1, b"")'),
        ("reboot", '"emulate-reboot"', "called(169, 0xfee1dead, 672274793, 0x4321fedc, 0)"),
        ("swapoff", '"emulate-swap"', 'called(168, b"/")'),
        ("sethostname", '"emulate-hostname"', 'called(170, b"x", 1)'),
        ("setxattr", '"emulate-xattr"', 'called(188, b"/", b"trusted.overlay.x", b"y", 1, 0)'),
        ("clock_settime", '{ emulate-clock = "fake" }', "called(227, 0, bytes(16))"),
        ("bpf", '"emulate-device-programs"', "called(321, 5, bytes(72), 72)"),
        ("sched_setscheduler", '"emulate-sched"', 'called(144, 0, 2, struct.pack("i", 1))'),
    ):
        assert ask(calls, do, f"{own}say({code})") == "EPERM", calls


def need_user_namespaces() -> None:
    """Go on where programs can make user namespaces."""
    if subprocess.run(
        ["unshare", "-Ur", "true"], check=False, stderr=subprocess.DEVNULL
    ).returncode:
        missing("this needs user namespaces")


def test_less_is_everybody_s_right() -> None:
    """Lower priorities of one's own are set, without any capability of anybody."""
    if os.geteuid() == 0:
        code = "os.setresuid(65534, 65534, 65534)\n"
    else:
        code = ""
    code += (
        "say([tried(os.setpriority, 0, 0, 5), os.getpriority(0, 0), tried(os.setpriority, 0, 0, 2),"
        " tried(os.sched_setscheduler, 0, 3, os.sched_param(0)), os.sched_getscheduler(0)])"
    )
    found = ask("setpriority sched_setscheduler", '"emulate-sched"', code)
    assert found == [0, 5, "EPERM", 0, 3]


def test_a_network_of_one_s_own_reaches_the_user_s() -> None:
    """Rootless: a program without any network gets sockets of its user's, for what is listed."""
    need_user_namespaces()
    code = """
port = int(sys.argv[1])
assert libc.unshare(0x50000000) == 0
s, t = socket.socket(), socket.socket()
say([tried(s.connect, ("127.0.0.1", port)), s.recv(10).decode(), s.getpeername()[1] == port,
     tried(t.connect, ("127.0.0.2", port))])
"""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as peer:
                peer.sendall(b"host")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            found = ask(
                "connect getpeername",
                '{ host-socket = ["127.0.0.1"] }',
                code,
                server.getsockname()[1],
            )
        finally:
            socket.create_connection(server.getsockname()).close()
            thread.join()
    assert found == [0, "host", True, "ENETUNREACH"]
