from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.calls import Inet6Address, InetAddress, UnixAddress
from unotify.errors import PolicyError, UnknownName
from unotify.policy.offline import OfflineFacts, Unanswered, call_of, prepare

X86 = Arch.X86_64


def made(call: str, *words: str, arch: Arch = X86) -> Any:
    """A typed call of these arguments."""
    args, memory = prepare(call, arch, words)
    return call_of(arch, call, tables.numbers(arch)[call], args, memory)


def test_numbers_and_constants() -> None:
    """Numbers in any base, and names joined by |."""
    call = made("openat", "-100", "0x1000", "O_RDWR|O_CREAT", "0o644")
    assert call.exchange.args == (0xFFFFFF9C, 0x1000, 0o102, 0o644, 0, 0)
    assert made("openat", "AT_FDCWD").exchange.args[0] == 0xFFFFFF9C
    assert made("socket", "AF_VSOCK", "SOCK_STREAM|SOCK_CLOEXEC").exchange.args[:2] == (
        40,
        0x80001,
    )
    assert made("ioctl", "0", "TIOCSTI").exchange.args[1] == 0x5412


def test_arguments_by_name() -> None:
    """An argument may be named, and the rest left out."""
    call = made("openat", "flags=O_DIRECTORY", "path=/a=b")
    assert str(call.path) == "/a=b"
    assert call.exchange.args[2] == 0o200000
    assert made("openat", "flags=O_DIRECTORY", arch=Arch.ARM).exchange.args[2] == 0o40000


@pytest.mark.parametrize(
    ("word", "address"),
    [
        ("10.0.0.1:5432", InetAddress(IPv4Address("10.0.0.1"), 5432)),
        ("[::1]:80", Inet6Address(IPv6Address("::1"), 80)),
        ("unix:/run/s", UnixAddress(b"/run/s")),
        ("/run/s", UnixAddress(b"/run/s")),
        ("@name", UnixAddress(None, b"name")),
    ],
)
@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.ARM, Arch.S390X])
def test_socket_addresses(word: str, address: object, arch: Arch) -> None:
    """A socket address is laid out for the architecture, with its length."""
    assert made("connect", "3", word, arch=arch).address == address


@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.I386])
def test_command_lines_and_structs(arch: Arch) -> None:
    """Command lines and structs are laid out with the pointers of the architecture."""
    assert made("execve", "/bin/sh", "sh -c 'echo 1'", arch=arch).argv == (b"sh", b"-c", b"echo 1")
    how = made("openat2", "_", "/x", "flags=O_CREAT|O_RDWR, mode=0o600", arch=arch).how
    assert (how.flags, how.mode, how.resolve) == (0o102, 0o600, 0)


@pytest.mark.parametrize(
    ("call", "words", "message", "hint"),
    [
        ("openat", ["_", "/x", "O_CRAET"], "flags: there is no number", "did you mean O_CREAT?"),
        ("close", ["1", "2"], "close has 1 arguments, not 2", "they are fd"),
        ("connect", ["1", "10.0.0.1"], "'10.0.0.1' is no socket address", "write 10.0.0.1:5432"),
        ("connect", ["1", "1.2.3.4:99999"], "is no socket address", "write"),
        ("openat2", ["_", "/x", "flag=1"], "has no field 'flag'", "it has flags, mode"),
        ("execve", ["/x", "'a"], "is no command line", None),
        ("close", ["99999999999999999999"], "does not fit", None),
    ],
)
def test_mistakes(call: str, words: list[str], message: str, hint: str | None) -> None:
    """A mistake is told in one sentence, with what would be right."""
    with pytest.raises(PolicyError) as caught:
        made(call, *words)
    assert message in str(caught.value)
    assert (caught.value.hint or "").startswith(hint or "")


def test_facts() -> None:
    """What was given is answered, paths without links are, and the rest is not made up."""
    call = made("openat", "AT_FDCWD", "/a/../b")
    facts = OfflineFacts(call, {"uid": "5", "fd:3": "file:/x", "fd:4": "socket"})
    assert facts.uid == 5
    assert facts.resolved("path") == "/b"
    twice = OfflineFacts(made("openat", "AT_FDCWD", "//a/b"), {})
    assert twice.resolved("path") == "/a/b"
    assert (facts.fd_kind(3), facts.fd_path(3), facts.fd_kind(4)) == ("file", "/x", "socket")
    for ask in (lambda: facts.gid, lambda: facts.fd_path(4), lambda: facts.fd_kind(5)):
        with pytest.raises(Unanswered, match="not given"):
            ask()
    assert OfflineFacts(call, {"resolved": "/real"}).resolved("path") == "/real"
    relative = OfflineFacts(made("openat", "AT_FDCWD", "a"), {})
    with pytest.raises(Unanswered, match="relative"):
        relative.resolved("path")
    unix = made("connect", "1", "unix:/run/../x.sock")
    assert OfflineFacts(unix, {}).resolved("address") == "/x.sock"


def test_memory_that_was_not_given() -> None:
    """An address that nothing was put at is not known; it is no bad address."""
    with pytest.raises(Unanswered, match="address 0x1234"):
        _ = made("openat", "AT_FDCWD", "0x1234").path


def test_wrong_facts() -> None:
    """A fact that there is not, or that is no number."""
    call = made("close", "1")
    with pytest.raises(UnknownName, match="no fact is named 'uidd'") as caught:
        OfflineFacts(call, {"uidd": "0"})
    assert caught.value.hint == "did you mean uid?"
    with pytest.raises(PolicyError, match="uid is a number"):
        OfflineFacts(call, {"uid": "root"})
