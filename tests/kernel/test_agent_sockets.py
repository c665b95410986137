"""The agent's sockets: who may connect, what is left behind, and what systemd passes."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.cli_support import ENVIRON
from unotify.errors import KernelError
from unotify.oci.sockets import listen, peer_of, receive, unlink


def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    """The socket has mode 0600, whatever the umask."""
    before = os.umask(0)
    try:
        with listen(str(tmp_path / "s"), socket.SOCK_STREAM):
            assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_socket_that_was_left(tmp_path: Path, kind: socket.SocketKind) -> None:
    """A socket that nobody listens at any more is replaced; one that is in use is not."""
    path = str(tmp_path / "s")
    listen(path, kind).close()
    with listen(path, kind):
        with pytest.raises(KernelError, match="another process listens") as raised:
            listen(path, kind)
        assert raised.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    ("name", "said"), [("", "no path"), ("@x", "no path"), ("x" * 120, "107"), ("a/b", "such")]
)
def test_bad_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    """A path that cannot be a socket's is refused with the reason."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KernelError, match=said):
        listen(name, socket.SOCK_STREAM)


def test_a_file_is_not_replaced(tmp_path: Path) -> None:
    """What is no socket stays."""
    (tmp_path / "s").write_text("mine")
    with pytest.raises(KernelError, match="is no socket"):
        listen(str(tmp_path / "s"), socket.SOCK_STREAM)
    assert (tmp_path / "s").read_text() == "mine"


def test_unlink(tmp_path: Path) -> None:
    """Only the very socket that was made is removed, not its successor's."""
    path = tmp_path / "s"
    with listen(str(path), socket.SOCK_STREAM):
        unlink(str(path), path.stat().st_ino + 1)
        assert path.exists()
        unlink(str(path), path.stat().st_ino)
        assert not path.exists()
        unlink(str(path), 1)


def test_peer(tmp_path: Path) -> None:
    """The kernel tells who connected."""
    with (
        listen(str(tmp_path / "s"), socket.SOCK_STREAM) as listening,
        socket.socket(socket.AF_UNIX) as connected,
    ):
        connected.connect(str(tmp_path / "s"))
        accepted, _ = listening.accept()
        with accepted:
            peer = peer_of(accepted)
            assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
            assert receive(accepted, 10) is None
            connected.sendall(b"abc")
            received = receive(accepted, 10)
            assert received is not None
            assert (received.data, received.fds, received.truncated) == (b"abc", (), False)


_PASSED = """
import os, sys
from unotify.errors import KernelError
from unotify.oci.sockets import listening
from unotify.oci.systemd import inherited
pid = os.environ["LISTEN_PID"] = sys.argv[1] if len(sys.argv) > 1 else str(os.getpid())
try:
    for each in listening(inherited(os.environ)):
        print(each.type.name, os.get_inheritable(each.fileno()), each.fileno())
        each.close()
except (KernelError, ValueError) as error:
    print(error)
"""


def passed(fd: int, *arguments: str, count: str = "1") -> list[str]:
    """What a process takes that systemd has given *fd* to."""
    environ = {**ENVIRON, "LISTEN_FDS": count}

    shell = ["sh", "-c", 'exec "$0" "$@" 3<&0 </dev/null', sys.executable, "-W", "ignore"]
    command = [*shell, "-c", _PASSED, *arguments]
    done = subprocess.run(
        command, env=environ, stdin=fd, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_socket_activation(tmp_path: Path) -> None:
    """Sockets that systemd passes are taken, close-on-exec, if they are meant for this process."""
    with listen(str(tmp_path / "s"), socket.SOCK_STREAM) as stream:
        assert passed(stream.fileno()) == ["SOCK_STREAM False 3"]
        assert passed(stream.fileno(), "1") == []
        assert passed(stream.fileno(), count="x") == ["LISTEN_FDS='x' is not a number"]
    with listen(str(tmp_path / "p"), socket.SOCK_SEQPACKET) as packets:
        assert passed(packets.fileno()) == ["SOCK_SEQPACKET False 3"]


def test_something_else_that_was_passed(tmp_path: Path) -> None:
    """What is no listening unix socket is refused by its number."""
    with open(os.devnull) as null:
        assert passed(null.fileno()) == [
            "getsockopt(2): descriptor 3 (unknown) of LISTEN_FDS: Socket operation on non-socket"
        ]
    with socket.socket(socket.AF_UNIX) as idle:
        assert "no listening unix socket" in passed(idle.fileno())[0]
