"""Redirect: other paths and addresses than the program asked for, without its noticing."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.acting_support import policy_of, python, rule_of, supervised
from unotify.calls import Call, Connect, OpenAt
from unotify.protocol import Reply
from unotify.supervisor import Supervisor

OPENS = "open openat openat2"
ERRNO = """
import errno, os, socket
def attempt(act, *args):
    try:
        return act(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
"""


@contextmanager
def serving(
    family: int = socket.AF_INET, where: object = ("127.0.0.1", 0)
) -> Iterator[socket.socket]:
    """A server that tells each who connects that it is there."""
    with socket.socket(family) as server:
        server.bind(where)
        server.listen()

        def serve() -> None:
            while True:
                try:
                    peer = server.accept()[0]
                except OSError:
                    return
                with peer:
                    peer.sendall(b"here")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def fetched(
    supervisor: Supervisor, where: object, *, family: str = "AF_INET", more: str = ""
) -> str:
    """What a program gets from *where*, or the name of the errno."""
    code = f"""{ERRNO}
s = socket.socket(socket.{family})
{more}
print(attempt(s.connect, {where!r}) or (s.setblocking(True) or s.recv(9)))"""
    return python(supervisor, code).strip()


def test_a_path(tmp_path: Path) -> None:
    """One file stands for another; the program's own name for it stays."""
    (tmp_path / "mine").write_text("redirected")
    do = f'{{ redirect = {{ path = "{tmp_path}/mine" }} }}'
    with supervised(policy_of(do, OPENS, where='path == "/etc/passwd"')) as (sup, _):
        assert python(sup, "print(open('/etc/passwd').read())").strip() == "redirected"
        assert python(sup, "print(open('/etc/group').read())").strip() != "redirected"


def test_a_prefix(tmp_path: Path) -> None:
    """`from`: a whole directory stands for another, for each call and each of its paths."""
    (tmp_path / "real/sub").mkdir(parents=True)
    do = f'{{ redirect = {{ path = "{tmp_path}/real", from = "/no/such" }} }}'
    below = 'under({}, "/no/such")'
    policy = policy_of(do, f"{OPENS} mkdir mkdirat stat newfstatat statx", below.format("path"))
    policy += rule_of(do, "rename renameat renameat2", below.format("newpath"))
    code = f"""{ERRNO}
open("/no/such/sub/file", "w").write("x")
os.mkdir("/no//such/./sub/dir")
os.rename("/no/such/sub/file", "/no/such/moved")
print(os.stat("/no/such/moved").st_size, attempt(os.stat, "/no/such/../such/moved"))"""
    with supervised(policy) as (sup, notes):
        assert python(sup, code).split() == ["1", "ENOENT"]
        assert notes.faults == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["dir", "moved", "real", "sub"]


def test_outside_of_the_prefix(tmp_path: Path) -> None:
    """What is not below `from` is refused rather than opened as it is."""
    do = f'{{ redirect = {{ path = "{tmp_path}", from = "/srv/data" }} }}'
    with supervised(policy_of(do, "mkdir mkdirat")) as (sup, _):
        code = f"{ERRNO}\nprint(attempt(os.mkdir, '/srv/data/../x'), attempt(os.mkdir, '/tmp/x'))"
        assert python(sup, code).split() == ["EACCES", "EACCES"]


def test_an_address() -> None:
    """All of an address; the program believes it is elsewhere, and hears from here."""
    with serving() as server:
        port = server.getsockname()[1]
        do = f'{{ redirect = {{ address = "127.0.0.1:{port}" }} }}'
        with supervised(policy_of(do, "connect")) as (sup, _):
            assert fetched(sup, ("192.0.2.1", 5432)) == "b'here'"


def test_an_ip_only_and_a_port_only() -> None:
    """The part that is not named stays."""
    with serving() as server:
        port = server.getsockname()[1]
        with supervised(policy_of('{ redirect = { address = "127.0.0.1" } }', "connect")) as (
            sup,
            _,
        ):
            assert fetched(sup, ("192.0.2.1", port)) == "b'here'"
        do = f'{{ redirect = {{ address = ":{port}" }} }}'
        with supervised(policy_of(do, "connect")) as (sup, _):
            assert fetched(sup, ("127.0.0.1", 9)) == "b'here'"


def test_a_range_of_ports() -> None:
    """`ports`: each port of one range stands for its like in the other."""
    with serving() as server:
        port = server.getsockname()[1]
        low, high = port - 2, min(port + 2, 65535)
        address, given = f"127.0.0.1:{low}-{high}", f"100-{100 + high - low}"
        do = f'{{ redirect = {{ address = "{address}", ports = "{given}" }} }}'
        with supervised(policy_of(do, "connect")) as (sup, _):
            assert fetched(sup, ("192.0.2.1", 102)) == "b'here'"
            assert fetched(sup, ("192.0.2.1", 99)) == "EACCES"


def test_from_ipv6_to_ipv4() -> None:
    """A socket of IPv6 reaches an IPv4 service by its mapped address."""
    try:
        socket.socket(socket.AF_INET6).close()
    except OSError:
        missing("this kernel has no IPv6")
    with serving() as server:
        do = f'{{ redirect = {{ address = "127.0.0.1:{server.getsockname()[1]}" }} }}'
        with supervised(policy_of(do, "connect")) as (sup, _):
            assert fetched(sup, ("2001:db8::1", 80), family="AF_INET6") == "b'here'"


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("inheritable", [True, False])
def test_a_unix_socket(tmp_path: Path, blocking: bool, inheritable: bool) -> None:
    """TCP becomes local: the number, O_NONBLOCK and close-on-exec stay as they were."""
    path = str(tmp_path / "socket")
    with serving(socket.AF_UNIX, path):
        do = f'{{ redirect = {{ address = "unix:{path}" }} }}'
        with supervised(policy_of(do, "connect", where="address.family == AF_INET")) as (
            sup,
            _,
        ):
            code = f"""{ERRNO}
s = socket.socket()
s.setblocking({blocking})
s.set_inheritable({inheritable})
before = s.fileno(), os.get_blocking(s.fileno()), s.get_inheritable()
print(attempt(s.connect, ("192.0.2.1", 80)))
u = socket.socket(fileno=s.detach())
print(before == (u.fileno(), os.get_blocking(u.fileno()), u.get_inheritable()), u.family.name)
u.setblocking(True)
print(u.recv(9))"""
            assert python(sup, code).split() == ["None", "True", "AF_UNIX", "b'here'"]


def test_a_connection_of_another_family_that_is_under_way() -> None:
    """EINPROGRESS: the new socket is there, and becomes writable when it is connected."""
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        missing("there is no IPv6 here")
    with server:
        do = f'{{ redirect = {{ address = "[::1]:{server.getsockname()[1]}" }} }}'
        code = f"""{ERRNO}
import select
s = socket.socket()
s.setblocking(False)
print(attempt(s.connect, ("192.0.2.1", 80)))
print(len(select.select([], [s], [], 20)[1]), s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))"""
        with supervised(policy_of(do, "connect")) as (sup, notes):
            assert python(sup, code).split() == ["EINPROGRESS", "1", "0"]
            assert notes.faults == []


def test_datagrams() -> None:
    """Of sendto and sendmsg: they carry addresses with them, or are of a connected socket."""
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        port = server.getsockname()[1]
        do = f'{{ redirect = {{ address = "127.0.0.1:{port}", ports = "53" }} }}'
        with supervised(policy_of(do, "connect sendto sendmsg sendmmsg")) as (sup, _):
            code = f"""{ERRNO}
s = socket.socket(type=socket.SOCK_DGRAM)
s.sendto(b"one", ("192.0.2.1", 53))
s.sendmsg([b"t", b"wo"], [], 0, ("192.0.2.1", 53))
print(attempt(s.sendto, b"x", ("192.0.2.1", 54)))
s.connect(("192.0.2.1", 53))
s.send(b"three")"""
            assert python(sup, code).split() == ["EACCES"]
        assert [server.recv(9) for _ in range(3)] == [b"one", b"two", b"three"]


def test_no_socket_at_all(tmp_path: Path) -> None:
    """A redirect of what is no socket fails as a connect would, and leaves nothing open."""

    def open_here() -> int:
        links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        return sum(os.path.lexists(link) and os.readlink(link) == str(tmp_path) for link in links)

    do = f'{{ redirect = {{ address = "unix:{tmp_path}/x" }} }}'
    with supervised(policy_of(do, "connect")) as (sup, notes):
        code = f"""{ERRNO}
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for fd in (os.open("/dev/null", 0), 999):
    libc.connect(fd, b"\\2\\0" + bytes(14), 16)
    print(errno.errorcode[ctypes.get_errno()])"""
        assert python(sup, code).split() == ["ENOTSOCK", "EBADF"]
        assert open_here() == 0
        assert notes.faults == []


def test_from_python(tmp_path: Path) -> None:
    """`call.perform(path=..., address=...)` is the same from a handler."""
    (tmp_path / "mine").write_text("redirected")
    with serving() as server, Supervisor() as sup:
        port = server.getsockname()[1]

        @sup.on(OpenAt)
        def opened(call: OpenAt) -> Reply:
            if str(call.path) == "/etc/passwd":
                return call.perform(path=tmp_path / "mine")
            return call.perform()

        @sup.on(Connect)
        def connected(call: Call) -> Reply:
            return call.perform(address=("127.0.0.1", port))

        assert python(sup, "print(open('/etc/passwd').read())").strip() == "redirected"
        assert fetched(sup, ("192.0.2.1", 1)) == "b'here'"


def test_errors_are_those_of_the_other_place(tmp_path: Path) -> None:
    """What is not there is ENOENT, who does not listen ECONNREFUSED: as if asked for."""
    do = f'{{ redirect = {{ path = "{tmp_path}/none" }} }}'
    with supervised(policy_of(do, OPENS, where='path == "/etc/passwd"')) as (sup, _):
        code = f"{ERRNO}\nprint(attempt(open, '/etc/passwd'))"
        assert python(sup, code).strip() == errno.errorcode[errno.ENOENT]
