"""Inject: descriptors of given content instead of what was asked for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.kernel.acting_support import policy_of, python, supervised
from unotify.calls import Call, OpenAt
from unotify.calls import Socket as SocketCall
from unotify.protocol import Continue, InstallFd, Reply
from unotify.supervisor import Supervisor

WHERE = 'path == "/etc/answer"'
FLAGS = """
import errno, fcntl, os
fd = os.open("/etc/answer", os.O_RDWR | os.O_CLOEXEC)
print(fcntl.fcntl(fd, fcntl.F_GETFL) & 3, os.get_inheritable(fd))
try:
    print(os.write(fd, b"new"))
except OSError as error:
    print(errno.errorcode[error.errno])
print(os.pread(fd, 9, 0))
"""


def injecting(do: str) -> str:
    """A policy about one file."""
    return policy_of(do, "open openat", WHERE)


def test_text() -> None:
    """The content is there, from its start, for each who opens it."""
    with supervised(injecting('{ inject = "two\\nlines\\n" }')) as (sup, notes):
        code = "for _ in range(2):\n    print(open('/etc/answer').readlines())"
        assert python(sup, code).split("\n")[:2] == ["['two\\n', 'lines\\n']"] * 2
    assert len(notes.installed) == 2


def test_sealed_and_not() -> None:
    """Sealed content is for reading, whatever was asked for; other content is the opener's own."""
    with supervised(injecting('{ inject = "old" }')) as (sup, _):
        assert python(sup, FLAGS).splitlines() == ["0 False", "EBADF", "b'old'"]
    with supervised(injecting('{ inject = { text = "old", sealed = false } }')) as (sup, _):
        assert python(sup, FLAGS).splitlines() == ["2 False", "3", "b'new'"]


def test_the_cloexec_that_was_asked_for() -> None:
    """A program that passes the file on to its children can."""
    with supervised(injecting('{ inject = "x" }')) as (sup, _):
        code = "import ctypes, os\nfd = ctypes.CDLL(None).open(b'/etc/answer', 0)\n"
        code += "print(os.get_inheritable(fd))"
        assert python(sup, code).strip() == "True"


def test_a_file_and_dev_null(tmp_path: Path) -> None:
    """A file of the supervisor's, opened by it; a device too."""
    (tmp_path / "mine").write_text("injected")
    with supervised(injecting(f'{{ inject = {{ path = "{tmp_path}/mine" }} }}')) as (sup, _):
        assert python(sup, "print(open('/etc/answer').read())").strip() == "injected"
    with supervised(injecting('{ inject = { path = "/dev/null" } }')) as (sup, _):
        assert python(sup, "print(repr(open('/etc/answer').read()))").strip() == "''"


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    """Neither the supervisor nor the target hangs for want of a writer; reading says the end."""
    os.mkfifo(tmp_path / "fifo")
    with supervised(injecting(f'{{ inject = {{ path = "{tmp_path}/fifo" }} }}')) as (sup, _):
        assert python(sup, "print(repr(open('/etc/answer').read()))").strip() == "''"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is the policy's fault and not the target's: the default refusal, and a fault is told."""
    with supervised(injecting(f'{{ inject = {{ path = "{tmp_path}/none" }} }}')) as (sup, notes):
        code = "try: open('/etc/answer')\nexcept OSError as error: print(type(error).__name__)"
        assert python(sup, code).strip() == "PermissionError"
    assert len(notes.faults) == 1


@pytest.mark.parametrize("owned", [True, False])
def test_python_s_own_objects(tmp_path: Path, owned: bool) -> None:
    """A handler gives a file object or a socket; owned ones are closed when the reply is out."""
    (tmp_path / "mine").write_text("from a file object")
    ours, theirs = socket.socketpair()
    file = open(tmp_path / "mine")  # noqa: SIM115 - closed by the reply, or below
    with Supervisor() as sup:

        @sup.on(OpenAt)
        def opened(call: OpenAt) -> Reply:
            if str(call.path) != "/etc/answer":
                return Continue.racy(because="a test")
            return InstallFd(file, owned=owned)

        @sup.on(SocketCall)
        def made(call: Call) -> Reply:
            return InstallFd(theirs, owned=owned)

        assert python(sup, "print(open('/etc/answer').read())").strip() == "from a file object"
        python(sup, "import os, socket\ns = socket.socket()\nos.write(s.fileno(), b'hello')")
    assert ours.recv(9) == b"hello"
    assert (file.closed, theirs.fileno() < 0) == (owned, owned)
    for object_ in (file, ours, theirs):
        object_.close()


def test_bytes_from_python() -> None:
    """`InstallFd.of_bytes` is a file in memory."""
    with Supervisor() as sup:

        @sup.on(OpenAt)
        def opened(call: OpenAt) -> Reply:
            if str(call.path) == "/etc/answer":
                return InstallFd.of_bytes("42\n")
            return call.perform()

        assert python(sup, "print(open('/etc/answer').read())").strip() == "42"
