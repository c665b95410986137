"""The agent as LXC's seccomp proxy, with an LXC that is played and targets that are real."""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.conftest import need_root
from tests.kernel.agent_support import Running, connect, policy, send
from tests.kernel.perform_support import descriptors
from tests.kernel.targets import Target, until
from tests.privileged.handlers_support import open_to_all
from unotify.abi.seccomp import ListenerFlag
from unotify.abi.structs import RESPONSE
from unotify.calls import Call
from unotify.errors import KernelError, TargetGone, Unsupported
from unotify.oci.proxied import ProxiedListener
from unotify.oci.sockets import SO_TIMESTAMP, listen
from unotify.protocol import Exchange, InstallFd, Return

HEADER = struct.Struct("=QiiHHH2xQ")


class Monitor:
    """LXC's side: receives from the kernel, asks the proxy, and gives the kernel its answer."""

    def __init__(self, path: Path, target: Target, cookie: bytes = b"") -> None:
        self.target = target
        self.cookie = cookie
        self.connected = connect(path, socket.SOCK_SEQPACKET)

    def packet(self, exchange: Exchange, raw: bytes, **changes: Any) -> bytes:
        """The packet of a notification."""
        sizes = changes.get("sizes", (80, 24, 64))
        header = HEADER.pack(0, os.getpid(), self.target.pid, *sizes, len(self.cookie))
        return header + raw + RESPONSE.pack(exchange.id, 0, 0, 0) + self.cookie

    def ask(self, call: str, *args: int, **changes: Any) -> Exchange:
        """Let the target make a call, and ask about it."""
        self.target.call(call, *args)
        return self.pass_on(**changes)

    def pass_on(self, *, pid: int | None = None, count: int = 3, **changes: Any) -> Exchange:
        """Ask about what pends."""
        until(self.target.listener.pending)
        raw = bytearray(80)
        assert self.target.listener.receive_into(raw)
        exchange = Exchange(raw)
        proc = os.open(f"/proc/{pid or exchange.tid}", os.O_PATH | os.O_DIRECTORY)
        memory = os.open(f"/proc/{exchange.tid}/mem", os.O_RDWR)
        try:
            fds = (proc, memory, self.target.listener.fileno())[:count]
            send(self.connected, self.packet(exchange, bytes(raw), **changes), *fds)
        finally:
            os.close(proc)
            os.close(memory)
        return exchange

    def relay(self, exchange: Exchange) -> bool:
        """Wait for the answer and give it to the kernel; False if the proxy hung up."""
        answer = self.connected.recv(1000)
        if not answer:
            self.target.send(exchange, error=-errno.ENOSYS)
            return False
        assert len(answer) == 136
        assert struct.unpack_from("=Q", answer, 112)[0] == exchange.id
        self.target.listener.send(answer[112:])
        return True

    def called(self, call: str, *args: int) -> dict[str, Any]:
        """What a call of the target comes to."""
        assert self.relay(self.ask(call, *args))
        return self.target.answer()

    def hung_up(self) -> bool:
        """Whether the proxy has; what it has not read of us is a reset."""
        try:
            return self.connected.recv(1000) == b""
        except ConnectionResetError:
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connected.close()


class Proxy(Running):
    """An agent that serves LXC."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory, **options)
        self.lxc = directory / "lxc.sock"
        listening = listen(str(self.lxc), socket.SOCK_SEQPACKET)
        self.agent.open(listening)
        self.agent.wake()


NOTIFY = 'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["getppid"]\ndo = "notify"\n'
MKDIR = """version = 1
default = "allow"
[[rule]]
calls = ["mkdir"]
do = "perform"
"""


@pytest.fixture(name="proxy")
def _proxy(tmp_path: Path) -> Iterator[Proxy]:
    before = descriptors()
    with Proxy(tmp_path, policies={"web": policy(11), "default": policy(22)}) as proxy:
        yield proxy
    until(lambda: descriptors() == before, "the end of all that was open")


def test_by_cookie(proxy: Proxy) -> None:
    """The cookie chooses the policy, as metadata do; each call of the container is answered."""
    with Target("getppid") as one, Target("getppid") as other:
        with Monitor(proxy.lxc, one, b"web") as first, Monitor(proxy.lxc, other) as second:
            for _ in range(3):
                assert first.called("getppid")["ret"] == 11
                assert second.called("getppid")["ret"] == 22
            container = proxy.container(f"lxc-{one.pid}")
            assert (container.ward.name, container.state.metadata) == ("web", "web")
        proxy.ended()


def test_what_needs_the_target(tmp_path: Path) -> None:
    """Paths are read, and calls performed, as for any other container."""
    with (
        Proxy(tmp_path, policies={"default": MKDIR}) as proxy,
        Target("mkdir") as target,
        Monitor(proxy.lxc, target) as monitor,
    ):
        path = target.text(str(tmp_path / "made").encode())
        assert monitor.called("mkdir", path, 0o700)["ret"] == 0
        assert monitor.called("mkdir", path, 0o700)["errno"] == errno.EEXIST
        assert (tmp_path / "made").is_dir()


def test_a_descriptor(tmp_path: Path) -> None:
    """A descriptor goes to the target by LXC's own listener, and its number by LXC."""

    def prepare(supervisor: Any) -> None:
        @supervisor.on("getppid")
        def give(call: Call) -> InstallFd:
            return InstallFd.of_bytes(b"hello")

    with (
        Proxy(tmp_path, policies={"default": NOTIFY}, prepare=prepare) as proxy,
        Target("getppid") as target,
        Monitor(proxy.lxc, target) as monitor,
    ):
        number = monitor.called("getppid")["ret"]
        assert Path(f"/proc/{target.pid}/fd/{number}").read_bytes() == b"hello"


def test_no_answer_in_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that is overdue is never sent: the connection ends, and LXC makes another."""
    held: list[Any] = []

    def prepare(supervisor: Any) -> None:
        @supervisor.on("getppid")
        def hold(call: Call) -> Any:
            held.append(supervisor.hold(call))
            return held[-1]

    with (
        Proxy(tmp_path, policies={"default": NOTIFY}, prepare=prepare) as proxy,
        Target("getppid") as target,
    ):
        with Monitor(proxy.lxc, target) as monitor:
            exchange = monitor.ask("getppid")
            until(lambda: held)
            held[0].call.caller.listener._patience = 0.1
            assert not monitor.relay(exchange)
            assert target.answer()["errno"] == errno.ENOSYS
            assert not held[0].release(Return(5))
        proxy.ended()
        with Monitor(proxy.lxc, target) as monitor:
            exchange = monitor.ask("getppid")
            until(lambda: len(held) == 2)
            held[1].release(Return(6))
            assert monitor.relay(exchange)
            assert target.answer()["ret"] == 6


def test_asked_again(tmp_path: Path) -> None:
    """LXC that asks again has given up waiting: what it asked before is not answered any more."""
    held: list[Any] = []

    def prepare(supervisor: Any) -> None:
        @supervisor.on("getppid")
        def hold(call: Call) -> Any:
            held.append(supervisor.hold(call))
            return held[-1]

    with (
        Proxy(tmp_path, policies={"default": NOTIFY}, prepare=prepare) as proxy,
        Target("getppid", "getuid") as target,
        Monitor(proxy.lxc, target) as monitor,
    ):
        first = monitor.ask("getppid")
        until(lambda: held)
        target.send(first, error=-errno.ENOSYS)
        assert target.answer()["errno"] == errno.ENOSYS
        second = monitor.ask("getuid")
        assert monitor.hung_up()
        assert not held[0].release(Return(5))
        target.send(second, error=-errno.ENOSYS)
        assert target.answer()["errno"] == errno.ENOSYS
        proxy.ended()


def test_a_target_that_has_gone(proxy: Proxy) -> None:
    """A call whose target was killed is answered all the same: LXC waits for it."""
    with Target("getppid") as target, Monitor(proxy.lxc, target) as monitor:
        assert monitor.called("getppid")["ret"] == 22
        target.call("getppid")
        until(target.listener.pending)
        exchange = monitor.pass_on()
        target.process.kill()
        target.process.wait()
        assert len(monitor.connected.recv(1000)) == 136
        assert not target.send(exchange)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pid": os.getpid()}, "another pid namespace"),
        ({"count": 2}, "2 descriptors came"),
        ({"sizes": (88, 24, 64)}, "structs have"),
    ],
)
def test_what_is_not_lxc(
    proxy: Proxy, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], said: str
) -> None:
    """What is no packet of LXC's ends the connection, and nothing is answered."""
    caplog.set_level(logging.INFO)
    with Target("getppid") as target, Monitor(proxy.lxc, target) as monitor:
        exchange = monitor.ask("getppid", **changes)
        assert monitor.hung_up()
        until(lambda: said in caplog.text)
        target.send(exchange, value=1)
        target.answer()
    proxy.ended()


def test_connections_that_ask_nothing(proxy: Proxy) -> None:
    """A container that never asks costs a connection, and ends without a word."""
    connections = [connect(proxy.lxc, socket.SOCK_SEQPACKET) for _ in range(20)]
    until(lambda: len(proxy.agent.entrance.lxc) == 20)
    for connected in connections:
        connected.close()
    until(lambda: len(proxy.agent.entrance.lxc) == 0)
    assert proxy.agent.entrance.lxc.door.refused == 0
    with connect(proxy.lxc, socket.SOCK_SEQPACKET) as connected:
        connected.send(b"junk")
        until(lambda: proxy.agent.entrance.lxc.door.refused == 1)


class Pair:
    """A proxied listener and LXC's end of it, without an agent."""

    def __init__(self, path: Path, target: Target, **options: Any) -> None:
        with listen(str(path), socket.SOCK_SEQPACKET) as listening:
            self.monitor = Monitor(path, target)
            accepted, _ = listening.accept()
        accepted.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)
        self.listener = ProxiedListener(accepted, **options)
        self.buffer = bytearray(80)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.monitor.connected.close()
        self.listener.close()


def test_a_listener(tmp_path: Path) -> None:
    """It does what a listener does: one notification at a time, its id checked."""
    with Target("getppid") as target, Pair(tmp_path / "s", target) as pair:
        listener = pair.listener
        assert not listener.pending()
        assert not listener.receive_into(pair.buffer)
        exchange = pair.monitor.ask("getppid")
        until(listener.pending)
        assert listener.receive_into(pair.buffer)
        assert Exchange(pair.buffer).id == exchange.id
        assert listener.is_valid(exchange.id)
        assert not listener.is_valid(exchange.id + 1)  # type: ignore[arg-type]
        assert not listener.send(RESPONSE.pack(exchange.id + 1, 0, 0, 0))
        with pytest.raises(TargetGone):
            listener.add_fd(exchange.id + 1, 0)  # type: ignore[arg-type]
        with pytest.raises(Unsupported):
            listener.set_flags(ListenerFlag.SYNC_WAKE_UP)
        assert listener.send(RESPONSE.pack(exchange.id, 9, 0, 0))
        assert not listener.send(RESPONSE.pack(exchange.id, 9, 0, 0))
        assert pair.monitor.relay(exchange)
        assert target.answer()["ret"] == 9
        listener.close()
        listener.close()
        assert listener.closed
        with pytest.raises(KernelError):
            listener.send(RESPONSE.pack(exchange.id, 9, 0, 0))


def test_a_packet_that_was_kept_waiting(tmp_path: Path) -> None:
    """What LXC has sent long ago is not even looked at: its time is measured from the sending."""
    with Target("getppid") as target, Pair(tmp_path / "s", target, patience=0.05) as pair:
        exchange = pair.monitor.ask("getppid")
        end = time.monotonic() + 0.06
        until(lambda: time.monotonic() > end)
        with pytest.raises(EOFError, match="seconds old"):
            pair.listener.receive_into(pair.buffer)
        target.send(exchange)
        target.answer()


def test_a_late_answer(tmp_path: Path) -> None:
    """An answer after its time is not sent, nor is one after LXC has asked again."""
    with Target("getppid") as target, Pair(tmp_path / "s", target, patience=0.2) as pair:
        exchange = pair.monitor.ask("getppid")
        assert pair.listener.receive_into(pair.buffer)
        end = time.monotonic() + 0.21
        until(lambda: time.monotonic() > end)
        assert not pair.listener.send(RESPONSE.pack(exchange.id, 9, 0, 0))
        assert pair.monitor.hung_up()
        with pytest.raises(EOFError):
            pair.listener.receive_into(pair.buffer)
        target.send(exchange)
        target.answer()
    with Target("getppid") as target, Pair(tmp_path / "s2", target) as pair:
        exchange = pair.monitor.ask("getppid")
        assert pair.listener.receive_into(pair.buffer)
        pair.monitor.connected.send(b"another question")
        assert not pair.listener.send(RESPONSE.pack(exchange.id, 9, 0, 0))
        assert pair.monitor.hung_up()
        target.send(exchange)
        target.answer()


def test_descriptors_do_not_pile_up(tmp_path: Path) -> None:
    """Each packet brings three descriptors, and leaves one listener open in place of the last."""
    with Target("getppid") as target, Pair(tmp_path / "s", target) as pair:
        counts = []
        for number in range(5):
            exchange = pair.monitor.ask("getppid")
            assert pair.listener.receive_into(pair.buffer)
            counts.append(len(descriptors()))
            assert pair.listener.send(RESPONSE.pack(exchange.id, number, 0, 0))
            assert pair.monitor.relay(exchange)
            assert target.answer()["ret"] == number
        assert len(set(counts)) == 1


_STRANGER = """
import array, os, socket, sys
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connected:
    connected.connect(sys.argv[1])
    print(connected.recv(1))
"""


def test_other_users_cannot_say_who_calls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A packet's word for whose call it is counts from root and the agent's user alone."""
    need_root()
    open_to_all(tmp_path)
    with Proxy(tmp_path, policies={"default": policy(22)}, uids={0, 65534}) as proxy:
        proxy.lxc.chmod(0o666)
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _STRANGER, proxy.lxc],
            stdout=subprocess.PIPE,
            check=True,
            timeout=20,
        )
        assert done.stdout == b"b''\n"
        assert "user 65534 may not connect" in caplog.text
        assert len(proxy.agent.entrance.lxc) == 0


@pytest.mark.parametrize("kind", ["fifo", "text", "link"])
def test_a_directory_that_is_no_threads(proxy: Proxy, tmp_path: Path, kind: str) -> None:
    """Whatever comes in the place of it does not stop who looks at it."""
    forged = tmp_path / "forged"
    forged.mkdir()
    if kind == "fifo":
        os.mkfifo(forged / "stat")
    elif kind == "text":
        (forged / "stat").write_text("nothing")
    else:
        (forged / "stat").symlink_to("/proc/self/stat")
    with Target("getppid") as target, Monitor(proxy.lxc, target) as monitor:
        target.call("getppid")
        until(target.listener.pending)
        raw = bytearray(80)
        assert target.listener.receive_into(raw)
        exchange = Exchange(raw)
        directory = os.open(forged, os.O_PATH | os.O_DIRECTORY)
        fds = (directory, directory, target.listener.fileno())
        send(monitor.connected, monitor.packet(exchange, bytes(raw)), *fds)
        os.close(directory)
        assert monitor.hung_up()
        target.send(exchange, error=-errno.ENOSYS)
        assert target.answer()["errno"] == errno.ENOSYS
        # Others are served as ever.
        with Target("getppid") as other, Monitor(proxy.lxc, other) as next_one:
            assert next_one.called("getppid")["ret"] == 22
