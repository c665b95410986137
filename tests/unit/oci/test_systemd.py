"""What a service tells systemd, and what it is given."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from unotify.oci.systemd import Notifier, inherited, watchdog_seconds


class Manager:
    """The other end, which reads messages."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(10)

    def next(self) -> tuple[str, list[int]]:
        """A message, and the descriptors beside it."""
        data, ancillary, _, _ = self.socket.recvmsg(4096, 1024)
        fds = array.array("i")
        for _, _, content in ancillary:
            fds.frombytes(content)
        return data.decode(), list(fds)


@pytest.fixture(name="manager", params=["path", "abstract"])
def _manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Manager, Notifier]]:
    name = str(tmp_path / "notify")
    address = name if request.param == "path" else f"@{name}"
    manager = Manager(address.replace("@", "\0", 1))
    environ = {"NOTIFY_SOCKET": address, "OTHER": "x"}
    notifier = Notifier.from_environment(environ)
    assert environ == {"OTHER": "x"}
    yield manager, notifier
    notifier.close()
    manager.socket.close()


def test_each_word(manager: tuple[Manager, Notifier]) -> None:
    """The words of sd_notify(3), one message each."""
    ours, notifier = manager
    assert notifier
    for tell, told in (
        (lambda: notifier.ready("3 containers\nof 4"), "READY=1\nSTATUS=3 containers of 4"),
        (notifier.ready, "READY=1"),
        (lambda: notifier.stopping("drains"), "STOPPING=1\nSTATUS=drains"),
        (lambda: notifier.status("busy"), "STATUS=busy"),
        (notifier.alive, "WATCHDOG=1"),
        (lambda: notifier.main_pid(7), "MAINPID=7"),
        (lambda: notifier.forget("a"), "FDSTOREREMOVE=1\nFDNAME=a"),
    ):
        tell()
        assert ours.next() == (told, [])
    notifier.reloading()
    word, time = ours.next()[0].split("\n")
    assert word == "RELOADING=1"
    assert int(time.removeprefix("MONOTONIC_USEC=")) > 0


def test_what_is_stored_is_there_when_it_returns(manager: tuple[Manager, Notifier]) -> None:
    """The descriptors go in one message under one name; a barrier follows, and is waited for."""
    ours, notifier = manager
    files = [os.memfd_create("a"), os.memfd_create("b")]
    storing = threading.Thread(target=notifier.store, args=("two", files))
    storing.start()
    told, fds = ours.next()
    assert told == "FDSTORE=1\nFDNAME=two\nFDPOLL=0"
    assert [os.readlink(f"/proc/self/fd/{fd}") for fd in fds] == [
        "/memfd:a (deleted)",
        "/memfd:b (deleted)",
    ]
    told, barrier = ours.next()
    assert told == "BARRIER=1"
    assert storing.is_alive()
    for fd in (*barrier, *fds, *files):
        os.close(fd)
    storing.join(10)
    assert not storing.is_alive()


def test_a_manager_that_does_not_listen_is_an_error(manager: tuple[Manager, Notifier]) -> None:
    """Otherwise we would serve what nobody keeps."""
    _, notifier = manager
    with pytest.raises(TimeoutError, match="systemd did not take notice"):
        notifier.barrier(timeout=0.01)


def test_nobody_is_told_without_a_socket() -> None:
    """An agent that was started by hand says the same words, into the void."""
    notifier = Notifier.from_environment({})
    assert not notifier
    notifier.ready("fine")
    notifier.store("a", [0])
    notifier.close()


def test_a_socket_that_nobody_listens_on_is_an_error(tmp_path: Path) -> None:
    """It is said at the start, not found out when the first container comes."""
    with pytest.raises(FileNotFoundError):
        Notifier(str(tmp_path / "nothing"))


PASSED = """
import os, sys
from unotify.oci.systemd import inherited
os.environ["LISTEN_PID"] = sys.argv[1] or str(os.getpid())
print([(each.name, each.fd, os.get_inheritable(each.fd)) for each in inherited()])
print([key for key in os.environ if key.startswith("LISTEN")])
"""


def passed(count: int, names: str | None, *, pid: str = "") -> list[str]:
    """What a process finds that was given so many descriptors from 3 on."""
    environ = {**os.environ, "LISTEN_FDS": str(count), "PYTHONPATH": os.pathsep.join(sys.path)}
    if names is not None:
        environ["LISTEN_FDNAMES"] = names
    line = 'exec 3</dev/null 4</dev/null; exec "$@"'
    told = subprocess.run(
        ["sh", "-c", line, "sh", sys.executable, "-c", PASSED, pid],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.splitlines()


def test_descriptors_that_were_passed() -> None:
    """From 3 on, by name, closed by exec; the variables are gone."""
    assert passed(2, "one:two") == ["[('one', 3, False), ('two', 4, False)]", "[]"]
    assert passed(1, None) == ["[('unknown', 3, False)]", "[]"]
    assert passed(2, "one", pid="1") == ["[]", "[]"]


@pytest.mark.parametrize("count", ["three", "-1", "1000"])
def test_passed_nonsense_is_an_error(count: str) -> None:
    """A number that is none, or descriptors that are not there."""
    with pytest.raises(ValueError, match="LISTEN_FDS"):
        inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count})


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_how_often_to_feed_the_watchdog(environ: dict[str, str], seconds: float | None) -> None:
    """Half of its time, if it is about this very process."""
    assert watchdog_seconds(environ) == seconds
