"""`host-socket`: the host's network, for programs that have one of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.kernel.targets import until
from tests.privileged.handlers_support import attempt, handled, start

CALLS = "connect bind listen sendto sendmsg sendmmsg getpeername getsockname"
NET = 0x70020000

_CODE = f"""
import select
contain({NET})
def said(sock):
    sock.settimeout(20)
    return sock.recv(100).decode()
"""


class Host:
    """A server of the host's that answers with the peer's first words, and an UDP echo."""

    def __init__(self, family: int = socket.AF_INET, ip: str = "127.0.0.1") -> None:
        self.stack = ExitStack()
        self.tcp = self.stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        self.udp = self.stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        self.tcp.bind((ip, 0))
        self.tcp.listen()
        self.udp.bind((ip, 0))
        self.port = self.tcp.getsockname()[1]
        self.udp_port = self.udp.getsockname()[1]
        self.accepted = 0
        self.threads = [
            threading.Thread(target=serve, daemon=True) for serve in (self._serve, self._echo)
        ]
        for thread in self.threads:
            thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.tcp.accept()
            except OSError:
                return
            with peer:
                self.accepted += 1
                peer.sendall(b"host")

    def _echo(self) -> None:
        while True:
            try:
                data, peer = self.udp.recvfrom(2000)
            except OSError:
                return
            if data == b"stop":
                return
            self.udp.sendto(b"echo " + data, peer)

    def close(self) -> None:
        """End it."""
        self.tcp.shutdown(socket.SHUT_RDWR)
        with socket.socket(self.udp.family, socket.SOCK_DGRAM) as last:
            last.sendto(b"stop", self.udp.getsockname())
        for thread in self.threads:
            thread.join(20)
        self.stack.close()


@pytest.fixture(name="host")
def _host() -> Iterator[Host]:
    with closing(Host()) as host:
        yield host


def rule(**parameters: list[str]) -> str:
    """The rule with these parameters."""
    inner = ", ".join(f"{key} = {value}" for key, value in parameters.items()).replace("'", '"')
    return f"{CALLS}: {{ host-socket = {{ {inner} }} }}"


def test_connect(host: Host) -> None:
    """A socket of the host's takes the number; its peer, its flags and its options are right."""
    code = (
        _CODE
        + """
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20000)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3))
s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 16)
os.set_inheritable(s.fileno(), True)
t = socket.socket()
port = int(sys.argv[1])
say([
    tried(s.connect, ("127.0.0.1", port)), said(s), s.getpeername()[1] == port,
    os.get_inheritable(s.fileno()), s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
    s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
    list(struct.unpack("ii", s.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))),
    s.getsockopt(socket.IPPROTO_IP, socket.IP_TOS),
    tried(s.connect, ("127.0.0.1", port)),
    tried(t.connect, ("127.0.0.1", port)), os.get_inheritable(t.fileno()),
])
"""
    )
    with handled(rule(to=["127.0.0.0/8"])) as (supervisor, notes):
        found = attempt(supervisor, code, host.port)
    assert found == [0, "host", True, True, 1, 1, 40000, [1, 3], 16, "EISCONN", 0, False]
    assert notes.faults == []


def test_what_is_not_listed_stays_in_the_container(host: Host) -> None:
    """Other addresses and ports are the container's own; nothing of the host is reached."""
    code = (
        _CODE
        + """
port = int(sys.argv[1])
server = socket.socket()
assert libc.ioctl(server.fileno(), 0x8914, struct.pack("16sH14x", b"lo", 1)) == 0
server.bind(("127.0.0.1", 0)); server.listen()
own = server.getsockname()[1]
inside, fresh = socket.socket(), socket.socket()
say([
    tried(socket.socket().connect, ("127.0.0.1", port)),
    tried(socket.socket().connect, ("192.0.2.1", 9)),
    tried(inside.connect, ("127.0.0.1", own)), bool(server.accept()),
    inside.getpeername()[1] == own,
    tried(socket.socket(socket.AF_UNIX).connect, "/nowhere"),
    called(42, 99, b"\\2\\0" + struct.pack(">H4s8x", port, socket.inet_aton("127.0.0.1")), 16),
    called(42, fresh.fileno(), 8, 16), called(42, fresh.fileno(), b"\\2\\0", 2),
    called(42, fresh.fileno(), b"\\2\\0" + bytes(300), 300),
    called(42, os.open("/", os.O_RDONLY), bytes([2, 0]) + bytes(14), 16),
])
"""
    )
    with handled(rule(to=["127.0.0.1:1-9"])) as (supervisor, notes):
        found = attempt(supervisor, code, host.port)
    assert found == [
        *("ECONNREFUSED", "ENETUNREACH", 0, True, True, "ENOENT"),
        *("EBADF", "EFAULT", "EINVAL", "EINVAL", "ENOTSOCK"),
    ]
    assert host.accepted == 0
    assert notes.faults == []


def test_a_refused_connection_is_refused(host: Host) -> None:
    """The errno is the real one, and the socket stays the container's own."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        code = _CODE + (
            "s = socket.socket()\nbefore = os.stat(s.fileno()).st_ino\n"
            'say([tried(s.connect, ("127.0.0.1", int(sys.argv[1]))),'
            " os.stat(s.fileno()).st_ino == before])"
        )
        with handled(rule(to=["127.0.0.1"])) as (supervisor, _):
            assert attempt(supervisor, code, port) == ["ECONNREFUSED", True]


def test_without_blocking(host: Host) -> None:
    """EINPROGRESS, or 0 at once; then poll, SO_ERROR and a second connect say how it went."""
    code = (
        _CODE
        + """
s = socket.socket()
s.setblocking(False)
address = ("127.0.0.1", int(sys.argv[1]))
first = s.connect_ex(address)
poll = select.poll()
poll.register(s, select.POLLOUT)
assert poll.poll(20000)
say([first in (0, errno.EINPROGRESS), s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
     s.connect_ex(address) in (0, errno.EISCONN), os.get_blocking(s.fileno()), said(s)])
"""
    )
    with handled(rule(to=["127.0.0.1"])) as (supervisor, notes):
        assert attempt(supervisor, code, host.port) == [True, 0, True, False, "host"]
    assert notes.faults == []


def test_an_address_that_stands_for_another(host: Host) -> None:
    """The peer's name is the one that was asked for; the rest is as of the kernel."""
    code = (
        _CODE
        + """
s = socket.socket()
result = tried(s.connect, ("10.0.2.2", 80))
size = struct.pack("i", 6)
room = ctypes.create_string_buffer(b"\\xff" * 20, 20)
length = ctypes.create_string_buffer(size, 4)
short = called(52, s.fileno(), room, length)
other = socket.socket()
say([
    result, list(s.getpeername()), said(s), short, room.raw[:8].hex(),
    struct.unpack("i", length.raw)[0], s.getsockname()[0],
    called(52, s.fileno(), 8, length), called(52, s.fileno(), room, 8),
    called(52, s.fileno(), room, struct.pack("i", -1)),
    called(52, other.fileno(), room, length), called(52, 99, room, length),
    called(52, 0, room, length) in ("ENOTSOCK", "EBADF"),
])
"""
    )
    with handled(rule(map=[f"10.0.2.2:80=127.0.0.1:{host.port}"])) as (supervisor, notes):
        found = attempt(supervisor, code, host.port)
    assert found == [
        *(0, ["10.0.2.2", 80], "host", 0, "020000500a00ffff", 16, "127.0.0.1"),
        *("EFAULT", "EFAULT", "EINVAL", "ENOTCONN", "EBADF", True),
    ]
    assert notes.faults == []


def test_ipv6(host: Host) -> None:
    """Networks of both versions, and IPv4 from an IPv6 socket."""
    try:
        six = Host(socket.AF_INET6, "::1")
    except OSError:
        six = None
    code = (
        _CODE
        + """
s, t = socket.socket(socket.AF_INET6), socket.socket(socket.AF_INET6)
say([tried(s.connect, ("::ffff:127.0.0.1", int(sys.argv[1]))), said(s)]
    + ([tried(t.connect, ("::1", int(sys.argv[2]))), said(t)] if sys.argv[2] != "0" else []))
"""
    )
    with handled(rule(to=["127.0.0.1", "::1"])) as (supervisor, notes):
        found = attempt(supervisor, code, host.port, six.port if six else 0)
    assert found[:2] == [0, "host"]
    assert found[2:] in ([0, "host"], [])
    assert notes.faults == []
    if six:
        six.close()


def test_udp(host: Host) -> None:
    """A datagram goes out on a socket of the host's, and its answer comes back to that."""
    code = (
        _CODE
        + """
port = int(sys.argv[1])
s, t, u, v = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(4))
found = [tried(s.sendto, b"one", ("127.0.0.1", port)), said(s),
         tried(s.sendto, b"two", ("127.0.0.1", port)), said(s),
         tried(t.connect, ("127.0.0.1", port)), t.send(b"three"), said(t),
         u.sendmsg([b"fo", b"ur"], [], 0, ("127.0.0.1", port)), said(u)]
raw = struct.pack(">H4s8x", port, socket.inet_aton("127.0.0.1"))
name = ctypes.create_string_buffer(b"\\2\\0" + raw)
data = ctypes.create_string_buffer(b"five", 4)
at = lambda o: ctypes.addressof(o)
iov = ctypes.create_string_buffer(struct.pack("QQ", at(data), 4), 16)
one = struct.pack("QI4xQQQQi4xI4x", at(name), 16, at(iov), 1, 0, 0, 0, 0)
vector = ctypes.create_string_buffer(one * 2, len(one) * 2)
found += [called(307, v.fileno(), vector, 2, 0), struct.unpack_from("I", vector, 56)[0], said(v)]
say(found)
"""
    )
    with handled(rule(to=["127.0.0.1"])) as (supervisor, notes):
        found = attempt(supervisor, code, host.udp_port)
    assert found == [
        *(3, "echo one", 3, "echo two", 0, 5, "echo three", 4, "echo four", 1, 4, "echo five")
    ]
    assert notes.faults == []


def test_a_socket_of_the_host_leads_nowhere_else(host: Host) -> None:
    """Once exchanged it reaches what is listed and nothing more, however the address is spelled."""
    code = (
        _CODE
        + """
udp, port = int(sys.argv[1]), int(sys.argv[2])
s = socket.socket(type=socket.SOCK_DGRAM)
assert s.sendto(b"one", ("127.0.0.1", udp)) == 3 and said(s)
raw = struct.pack(">H4s8x", port, socket.inet_aton("127.0.0.1"))
unspec = b"\\0\\0" + raw
say([
    tried(s.sendto, b"x", ("127.0.0.1", port)), tried(s.sendto, b"x", ("127.0.0.2", udp)),
    called(44, s.fileno(), b"x", 1, 0, unspec, 16), called(49, s.fileno(), unspec, 16),
    tried(s.bind, ("127.0.0.1", 0)), tried(s.connect, ("127.0.0.1", port)),
    tried(s.sendmsg, [b"x"], [(0, 8, bytes(12))], 0, ("127.0.0.1", udp)),
    called(42, s.fileno(), b"\\0\\0" + bytes(14), 16),
])
"""
    )
    with (
        socket.socket(type=socket.SOCK_DGRAM) as other,
        handled(rule(to=[f"127.0.0.1:{host.udp_port}"])) as (supervisor, notes),
    ):
        other.bind(("127.0.0.1", 0))
        other.setblocking(False)
        found = attempt(supervisor, code, host.udp_port, other.getsockname()[1])
        with pytest.raises(BlockingIOError):
            other.recv(10)
    assert found == [
        *("ENETUNREACH", "ENETUNREACH", "ENETUNREACH", "EACCES", "EACCES", "ENETUNREACH"),
        *("ENOTSUP", 0),
    ]
    assert notes.faults == []


def test_a_socket_of_the_host_listens_only_where_it_is_published(host: Host) -> None:
    """A connection that failed later leaves a socket of the host's, which gets no port there."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        code = (
            _CODE
            + """
s, own, t = socket.socket(), socket.socket(), socket.socket()
s.setblocking(False)
first = s.connect_ex(("127.0.0.1", int(sys.argv[1])))
t.connect(("127.0.0.1", int(sys.argv[2])))
say([first in (errno.EINPROGRESS, errno.ECONNREFUSED), tried(s.listen),
     tried(own.listen), own.getsockname()[1] > 0, tried(t.listen), called(50, 99, 1),
     called(50, os.open("/", os.O_RDONLY), 1)])
"""
        )
        with handled(rule(to=["127.0.0.1"])) as (supervisor, notes):
            found = attempt(supervisor, code, nobody.getsockname()[1], host.port)
    # Loopback refuses at once, and then the socket is still the container's own.
    assert found[0] is True
    assert found[1] in (0, "EACCES")
    assert found[2:] == [0, True, "EACCES", "EBADF", "ENOTSOCK"]
    assert notes.faults == []


def test_a_connection_that_waits_ends_with_its_target() -> None:
    """A target that is killed while its connection is made leaves neither thread nor descriptor."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        code = _CODE + (
            "s = socket.socket()\nprint('begins', flush=True)\n"
            's.connect(("127.0.0.1", int(sys.argv[1])))\nsay(0)'
        )
        before = len(os.listdir("/proc/self/fd"))
        with handled(rule(to=["127.0.0.1"])) as (supervisor, notes):
            process = start(supervisor, code, full.getsockname()[1], start_new_session=True)
            assert process.stdout.readline() == b"begins\n"
            until(lambda: supervisor.statistics().in_flight == 1)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            assert supervisor.wait(20)
        until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert notes.faults == []
        for client in clients:
            client.close()


def test_no_descriptor_is_left_behind(host: Host) -> None:
    """After many exchanges the supervisor has as many open as before."""
    code = _CODE + (
        "for _ in range(30):\n"
        '    s = socket.socket()\n    s.connect(("127.0.0.1", int(sys.argv[1])))\n    said(s)\n'
        'say(tried(socket.socket().connect, ("127.0.0.1", 1)))'
    )
    with handled(rule(to=["127.0.0.1"])) as (supervisor, notes):
        attempt(supervisor, code, host.port)
        before = len(os.listdir("/proc/self/fd"))
        assert attempt(supervisor, code, host.port) == "ECONNREFUSED"
        until(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert notes.faults == []


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_bind(host: Host) -> None:
    """A listed port is published; the program sees the one that it asked for, and serves."""
    port = free_port()
    code = (
        _CODE
        + """
s, t = socket.socket(), socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
result = [tried(s.bind, ("0.0.0.0", 80)), list(s.getsockname()), tried(s.listen),
          tried(t.bind, ("127.0.0.1", 8081)), list(t.getsockname())]
print("ready", flush=True)
peer, _ = s.accept()
peer.sendall(b"served")
say(result)
"""
    )
    with handled(rule(ports=[f"80=127.0.0.1:{port}"])) as (supervisor, notes):
        process = start(supervisor, code)
        assert process.stdout.readline() == b"ready\n"
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            assert client.recv(100) == b"served"
        output, _ = process.communicate(timeout=60)
    assert json.loads(output) == [0, ["0.0.0.0", 80], 0, 0, ["127.0.0.1", 8081]]
    assert notes.faults == []


def test_a_low_port_wants_the_capability_in_the_container() -> None:
    """As the kernel would: EACCES for who has no CAP_NET_BIND_SERVICE there."""
    code = _CODE + (
        "os.setresuid(5, 5, 5)\n"
        's, t = socket.socket(), socket.socket()\nsay([tried(s.bind, ("0.0.0.0", 80)),'
        ' tried(t.bind, ("0.0.0.0", 8080))])'
    )
    ports = [f"80=127.0.0.1:{free_port()}", f"8080=127.0.0.1:{free_port()}"]
    with handled(rule(ports=ports)) as (supervisor, _):
        assert attempt(supervisor, code) == ["EACCES", 0]


def test_an_address_that_is_rewritten_leads_nowhere_else(host: Host) -> None:
    """The address is read once: what was looked up is what is connected to."""
    code = (
        _CODE
        + """
good, bad = (b"\\2\\0" + struct.pack(">H4s8x", int(port), socket.inet_aton("127.0.0.1"))
             for port in sys.argv[1:])
memory = ctypes.create_string_buffer(good, 16)
stop = []
def rewrite():
    while not stop:
        memory.raw = bad
        memory.raw = good
thread = threading.Thread(target=rewrite)
thread.start()
found = set()
for _ in range(40):
    with socket.socket() as s:
        found.add(called(42, s.fileno(), memory, 16))
stop.append(1)
thread.join()
say(sorted(map(str, found)))
"""
    )
    with closing(Host()) as forbidden:
        with handled(rule(to=[f"127.0.0.1:{host.port}"])) as (supervisor, notes):
            found: list[Any] = attempt(supervisor, code, host.port, forbidden.port)
        assert forbidden.accepted == 0
    assert set(found) <= {"0", "ENETUNREACH", "ECONNREFUSED"}
    assert notes.faults == []


def test_no_raw_socket_of_the_host_comes_of_a_race(host: Host) -> None:
    """The number becomes a raw socket's meanwhile: what was looked at is acted on, or nothing."""
    code = (
        _CODE
        + """
port = int(sys.argv[1])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
own = raw.getsockopt(socket.SOL_SOCKET, 71, 8)
ping = tried(raw.sendto, bytes(8), ("127.0.0.1", port))
number = os.dup(raw.fileno())
stop = []
def swap():
    while not stop:
        plain = socket.socket(type=socket.SOCK_DGRAM)
        os.dup2(plain.fileno(), number)
        os.dup2(raw.fileno(), number)
        plain.close()
thread = threading.Thread(target=swap)
thread.start()
where = b"\\2\\0" + struct.pack(">H4s8x", port, socket.inet_aton("127.0.0.1"))
bad, found = 0, set()
for _ in range(40):
    found.add(str(called(44, number, b"x" * 8, 8, 0, where, 16)))
    with socket.socket(fileno=os.dup(number)) as now:
        other = now.getsockopt(socket.SOL_SOCKET, 71, 8) != own
        bad += other and now.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_RAW
stop.append(1)
thread.join()
say([bad, ping, sorted(found)])
"""
    )
    with handled(rule(to=["127.0.0.1"])) as (supervisor, notes):
        bad, ping, found = attempt(supervisor, code, host.udp_port)
    assert bad == 0
    assert ping == "ENETUNREACH"
    assert set(found) <= {"8", "EBADF", "ENETUNREACH"}
    assert notes.faults == []


def test_a_socket_that_epoll_watches_is_not_exchanged(host: Host) -> None:
    """The registration would stay with the old socket, and the program would wait for ever."""
    code = (
        _CODE
        + """
s = socket.socket()
epoll = select.epoll()
epoll.register(s)
before = os.stat(s.fileno()).st_ino
say([tried(s.connect, ("127.0.0.1", int(sys.argv[1]))), os.stat(s.fileno()).st_ino == before])
"""
    )
    with handled(rule(to=["127.0.0.1"])) as (supervisor, _):
        assert attempt(supervisor, code, host.port) == ["ENETUNREACH", True]
    assert host.accepted == 0


def test_in_the_host_s_network_only_mappings_matter(host: Host) -> None:
    """Who shares the supervisor's network keeps its own sockets."""
    code = """
s = socket.socket()
before = os.stat(s.fileno()).st_ino
say([tried(s.connect, ("10.0.2.2", 80)), list(s.getpeername()), s.recv(10).decode(),
     os.stat(s.fileno()).st_ino == before])
"""
    with handled(rule(map=[f"10.0.2.2:80=127.0.0.1:{host.port}"])) as (supervisor, notes):
        assert attempt(supervisor, code) == [0, ["10.0.2.2", 80], "host", True]
    assert notes.faults == []


def test_who_administers_networks_gets_no_socket_of_the_host_s(host: Host) -> None:
    """CAP_NET_ADMIN is over the network of a socket: who has it for its own gets none of ours."""
    code = """
import fcntl
assert libc.unshare(0x40000000) == 0
kept = int(sys.argv[2])
if kept != 21:
    assert libc.prctl(24, 21) == 0 and libc.prctl(24, 38) == 0  # PR_CAPBSET_DROP
    drop(21, 38)
if kept != 12:
    assert libc.prctl(24, 12) == 0
    drop(12)
if not kept:
    drop(*range(41))
def up(s):
    "Whether the loopback device of its network is up, and whether that can be said to be so."
    asked = fcntl.ioctl(s, 0x8913, struct.pack("16sh14x", b"lo", 0))
    flags = struct.unpack_from("h", asked, 16)[0]
    return [flags & 1, tried(fcntl.ioctl, s, 0x8914, asked)]
found = []
for s in socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM):
    address = ("127.0.0.1", int(sys.argv[1]))
    found.append([tried(s.connect if not found else lambda a: s.sendto(b"x", a), address), *up(s)])
s = socket.socket()
found.append(tried(s.bind, ("127.0.0.1", 20001)))
say(found)
"""
    lists = rule(to=["127.0.0.0/8"], ports=["20001=127.0.0.1:20001"])
    with handled(lists) as (supervisor, notes):
        found = {kept: attempt(supervisor, code, host.udp_port, kept) for kept in (12, 21, 0)}
        assert notes.faults == []
    assert found == {
        12: [["EPERM", 0, 0], ["EPERM", 0, 0], "EPERM"],
        21: [[0, 1, "EPERM"], [1, 1, "EPERM"], 0],
        0: [[0, 1, "EPERM"], [1, 1, "EPERM"], 0],
    }
