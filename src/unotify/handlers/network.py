"""Sockets of the host's network for targets that have a network of their own, or none.

Theory of operation. What a target connects to, binds or sends to is copied once, and looked up in
lists. If it is for the host, the supervisor makes a socket in its own network namespace, like the
target's and with the same options, does the call on that with the copied address, and puts
it in the place of the target's (ADDFD with SETFD). So nothing is decided about memory that the
target may rewrite, and nothing is ever continued. From then on the target works on that socket
by itself, at full speed; that it is the host's, the socket itself tells (SO_NETNS_COOKIE).

All else is done on the target's own socket with its own rights, in its own network. On a socket
of the host's it is refused: what is not listed cannot be reached that way either.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import OrderedDict
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from threading import Lock
from typing import Any, Final

from unotify.abi.capabilities import Capability
from unotify.abi.types import Address
from unotify.calls import Call, Inet6Address, InetAddress
from unotify.calls.acts import Act, plan
from unotify.calls.messages import Message
from unotify.calls.sockaddr import decode_sockaddr, encode_sockaddr
from unotify.errors import Refused, TargetError
from unotify.handlers.descriptors import taken
from unotify.kernel.host_sockets import cookie_of, is_ours, kind_of, listen_on, name_of
from unotify.kernel.socketing import HOST
from unotify.policy.host_sockets import Mapping, Network, Published, mapping, network, published
from unotify.policy.redirections import Endpoint
from unotify.protocol import Continue, Fail, InstallFd, Reply, Return
from unotify.supervisor.addons import verb

__all__ = ["host_socket"]

_Address = InetAddress | Inet6Address
_TYPES: Final = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
_NAMES: Final = ("getpeername", "getsockname")
_PUBLISHED: Final = "published"
_MOST: Final = 1 << 14


class _Lists:
    """What the policy says."""

    def __init__(self, to: Sequence[str], mapped: Sequence[str], ports: Sequence[str]) -> None:
        self.networks: tuple[Network, ...] = tuple(map(network, to))
        self.mappings: tuple[Mapping, ...] = tuple(map(mapping, mapped))
        self.published: tuple[Published, ...] = tuple(map(published, ports))

    def leads(self, address: _Address) -> _Address | None:
        """Where on the host *address* leads; ``None``: nowhere."""
        ip = _plain(address)
        for entry in self.mappings:
            if entry.given.has(ip, address.port):
                return _instead(address, entry.instead)
        if any(entry.has(ip, address.port) for entry in self.networks):
            return address
        return None

    def publishes(self, address: _Address) -> _Address | None:
        """Where on the host what binds *address* is bound; ``None``: nowhere."""
        for entry in self.published:
            if entry.port == address.port:
                return _instead(address, entry.instead)
        return None


_lists = lru_cache(maxsize=256)(_Lists)


def _plain(address: _Address) -> IPv4Address | IPv6Address:
    # An IPv6 socket reaches IPv4 hosts by mapped addresses: the same rules are for these.
    if isinstance(address, Inet6Address) and address.ip.ipv4_mapped is not None:
        return address.ip.ipv4_mapped
    return address.ip


def _instead(address: _Address, to: Endpoint) -> _Address:
    return to.instead_of(address, address.port if to.first is None else to.first)


class _Names:
    """What sockets of the host's were asked to be, for those that ask them later."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[tuple[int, str], bytes] = OrderedDict()

    def keep(self, cookie: int, kind: str, name: bytes | None) -> None:
        """Say *name* when the socket is asked; ``None``: what is so."""
        with self._lock:
            self._known.pop((cookie, kind), None)
            if name is not None:
                self._known[cookie, kind] = name
                if len(self._known) > _MOST:
                    self._known.popitem(last=False)

    def get(self, cookie: int, kind: str) -> bytes | None:
        """What to say."""
        with self._lock:
            return self._known.get((cookie, kind))


_names: Final = _Names()


def host_socket(
    call: Call,
    *,
    to: Sequence[str] = (),
    map: Sequence[str] = (),
    ports: Sequence[str] = (),
) -> Reply:
    """Connect, bind or send on the host's network, where the lists say so.

    For connect, bind, listen, sendto, sendmsg and sendmmsg; and for getpeername and getsockname,
    which then tell what the target asked for where it got something else.

    Args:
        call: The call.
        to: What may be reached: addresses or networks, with a port or a range of them
            after a colon (``10.0.0.0/8``, ``127.0.0.1:5432``, ``[fd00::/8]:80-90``).
        map: What is reached instead: ``10.0.2.2:80=127.0.0.1:8080``.
        ports: What may be bound: ``8080=18080``, ``80=127.0.0.1:8080``.

    Returns:
        What the call would return. A socket that is registered with an epoll instance of the target
        is never exchanged, since the registration would stay with the old one.

    Raises:
        TargetError: As the kernel refuses the arguments. EACCES: a port below those that
            anybody may bind, without CAP_NET_BIND_SERVICE in the container. EPERM: it is for the
            host, and the container may have CAP_NET_ADMIN in the supervisor's user namespace.
        KernelError: The supervisor has no ptrace rights over the target.
    """
    lists = _lists(tuple(to), tuple(map), tuple(ports))
    if call.call_name in _NAMES:
        return _tell(call)
    # From now on the number means this socket, or none: what is looked at is what is acted on.
    call.caller.fd_kind(call.register("fd"))
    if call.call_name == "listen":
        return _listen(call)
    if call.call_name in ("connect", "bind"):
        return _exchange(call, lists)
    return _send(call, lists)


# -- connect and bind ---------------------------------------------------------------


def _exchange(call: Call, lists: _Lists) -> Reply:
    act = plan(call)
    given = act.values["address"]
    assert isinstance(given, bytes)
    address = _parsed(call, given)
    binds = call.call_name == "bind"
    wanted = None
    if address is not None:
        wanted = lists.publishes(address) if binds else lists.leads(address)
    with taken(call, "fd") as fd:
        kind = kind_of(fd)
        ours = _is_foreign(call, fd)
        if wanted is None or kind.type not in _TYPES:
            # No family dissolves a connection, but binds, and sends, as IPv4 does.
            dissolves = not binds and given[:2] == bytes(2)
            return _left(call, act, refused=ours and not dissolves)
        _require_harmless(call)
        if binds:
            _require_port(call, address)
        elif kind.type == socket.SOCK_STREAM and not ours and _is_connected(fd):
            return Fail(errno.EISCONN)
        told = given if wanted != address else None
        name = "getsockname" if binds else "getpeername"
        replaced = {"address": encode_sockaddr(wanted)}
        if ours or call.caller.around.shares("net"):
            done = call.caller.act(replace(act, values=replaced, as_supervisor=True))
            if done.value in (0, -errno.EINPROGRESS):
                _keep(fd, name, told)
            return Return(0) if done.value == 0 else Fail(-done.value)
        if call.caller.around.watches(call.register("fd")):
            return _left(call, act, refused=False)
        act = replace(act, values={**replaced, "fresh": HOST}, as_supervisor=True)
        return _installed(call, call.caller.act(act), name, told)


def _installed(call: Call, done: Any, name: str = "", told: bytes | None = None) -> Reply:
    """The new socket in the place of the target's own."""
    if done.fd < 0:
        return Fail(-done.value)
    try:
        if name:
            _keep(done.fd, name, told)
        number = call.register("fd")
        cloexec = bool(call.caller.fd_flags(number) & os.O_CLOEXEC)
        result = done.value if done.value >= 0 else Fail(-done.value)
        return InstallFd(done.fd, at=number, cloexec=cloexec, owned=True, result=result)
    except BaseException:
        os.close(done.fd)
        raise


def _keep(fd: int, name: str, told: bytes | None) -> None:
    cookie = cookie_of(fd)
    _names.keep(cookie, name, told)
    if name == "getsockname":
        _names.keep(cookie, _PUBLISHED, b"")


def _listen(call: Call) -> Reply:
    # On the very socket that was looked at: another may have its number by the time of an answer.
    with taken(call, "fd") as fd:
        if _is_foreign(call, fd) and _names.get(cookie_of(fd), _PUBLISHED) is None:
            return Fail(errno.EACCES)  # it would get some port of the host's
        listen_on(fd, call.register("backlog"))
    return Return(0)


def _left(call: Call, act: Act, *, refused: bool) -> Reply:
    """What is not for the host: done on the target's own network, or not at all."""
    if refused:
        return Fail(errno.EACCES if call.call_name == "bind" else errno.ENETUNREACH)
    done: Reply = call.perform()
    return done


def _parsed(call: Call, raw: bytes) -> _Address | None:
    try:
        found = decode_sockaddr(raw, little=call.arch.little)
    except Refused:
        return None  # the kernel says what is wrong with it
    return found if isinstance(found, _Address) else None


def _is_foreign(call: Call, fd: int) -> bool:
    """Whether the target's socket is one of ours, in a network that is not the target's."""
    if kind_of(fd).family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return is_ours(fd) and not call.caller.around.shares("net")


def _is_connected(fd: int) -> bool:
    try:
        name_of(fd, peer=True)
    except Refused:
        return False
    return True


def _require_harmless(call: Call) -> None:
    """Raise EPERM for a caller that could change the host's network by a socket that is in there.

    By ioctl(2) and setsockopt(2), which ask for CAP_NET_ADMIN over the network of the *socket*:
    in a user namespace of one's own nobody has it there. With CAP_SYS_ADMIN all is lost anyway.
    """
    around = call.caller.around
    if (
        not around.shares("net")
        and around.could_have(Capability.CAP_NET_ADMIN)
        and not around.could_have(Capability.CAP_SYS_ADMIN)
    ):
        raise Refused(
            "CAP_NET_ADMIN in the container would be one over the host's network", errno=errno.EPERM
        )


def _require_port(call: Call, address: _Address | None) -> None:
    """Raise EACCES for a port that the kernel would not let the caller bind."""
    around = call.caller.around

    def first() -> int:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
            return int(file.read())

    assert address is not None
    # Of low numbers alone, for it takes a thread to ask.
    if address.port < 1024 and address.port < around.within("net", first):
        try:
            around.require(Capability.CAP_NET_BIND_SERVICE)
        except TargetError:
            raise Refused(f"port {address.port}", errno=errno.EACCES) from None


# -- send ---------------------------------------------------------------------------


def _send(call: Call, lists: _Lists) -> Reply:
    act = plan(call)
    message = act.messages[0] if act.messages else Message(b"")
    address = _parsed(call, message.address) if message.address else None
    wanted = None if address is None else lists.leads(address)
    with taken(call, "fd") as fd:
        kind = kind_of(fd)
        ours = _is_foreign(call, fd)
        if wanted is None or kind.type != socket.SOCK_DGRAM:
            # Of several messages each has an address; on a socket of ours all have to be listed.
            return _left(call, act, refused=ours and _has_address(act))
        _require_harmless(call)
        if message.controls:
            return Fail(errno.EOPNOTSUPP)  # they may ask for rights that are ours alone
        # Of several messages the first, as the kernel may do too.
        message = replace(message, address=encode_sockaddr(wanted))
        act = replace(act, messages=(message,), as_supervisor=True)
        if ours or call.caller.around.shares("net"):
            return _sent(call, act, call.caller.act(act))
        if call.caller.around.watches(call.register("fd")):
            return _left(call, act, refused=False)
        values = {**act.values, "fresh": HOST, "address": message.address}
        done = call.caller.act(replace(act, values=values))
        return _sent(call, act, done) if done.fd < 0 else _sent_and_installed(call, act, done)


def _has_address(act: Act) -> bool:
    return any(message.address for message in act.messages)


def _sent(call: Call, act: Act, done: Any) -> Reply:
    if done.value < 0:
        return Fail(-done.value)
    for name, data in done.outs.items():
        call.caller.write(act.outs[name].address, data)
    return Return(done.value)


def _sent_and_installed(call: Call, act: Act, done: Any) -> Reply:
    try:
        if act.call == "sendmmsg" and act.outs:
            size = len(act.messages[0].data)
            call.caller.write(act.outs["length 0"].address, struct.pack("=I", size))
    except BaseException:
        os.close(done.fd)
        raise
    return _installed(call, done)


# -- names --------------------------------------------------------------------------


def _tell(call: Call) -> Reply:
    with taken(call, "fd") as fd:
        told = _names.get(cookie_of(fd), call.call_name)
        if told is None:
            return Continue()  # its own, and no memory was read
        if call.call_name == "getpeername":
            name_of(fd, peer=True)  # raises ENOTCONN
    caller = call.caller
    caller.require_quiet()
    order = "<" if call.arch.little else ">"
    where = Address(call.register("length"))
    (room,) = struct.unpack(order + "i", caller.read(where, 4))
    if room < 0:
        return Fail(errno.EINVAL)
    caller.write(Address(call.register("address")), told[:room])
    caller.write(where, struct.pack(order + "i", len(told)))
    return Return(0)


@verb("host-socket")
def _host_socket(call: Call, parameters: Table[str, Any]) -> Reply:
    return host_socket(call, **parameters)
