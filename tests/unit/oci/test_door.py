"""Who is let in, and what is done when nobody can be."""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from unotify.oci.door import Door
from unotify.oci.sockets import Peer, listen


class Full(socket.socket):
    """A listening socket of a process that has no descriptor left."""

    def accept(self) -> tuple[socket.socket, object]:
        """Fail, as the system call does."""
        raise OSError(errno.EMFILE, "Too many open files")


@pytest.fixture(name="selector")
def _selector() -> Iterator[selectors.DefaultSelector]:
    with selectors.DefaultSelector() as selector:
        yield selector


def turn(selector: selectors.BaseSelector) -> int:
    """Do what there is to do."""
    ready = selector.select(0)
    for key, _ in ready:
        key.data(key.fileobj)
    return len(ready)


def test_no_descriptor_left(
    tmp_path: Path, selector: selectors.DefaultSelector, caplog: pytest.LogCaptureFixture
) -> None:
    """Without descriptors nobody is accepted for a moment, instead of trying all the time."""
    path = str(tmp_path / "s")
    made = listen(path, socket.SOCK_STREAM)
    full = Full(fileno=made.detach())
    door = Door(selector, uids={os.geteuid()})
    door.open(full)
    with socket.socket(socket.AF_UNIX) as connected, caplog.at_level(logging.ERROR):
        connected.connect(path)
        assert turn(selector) == 1
        assert "Too many open files" in caplog.text
        again = door.balance()
        assert again is not None
        assert again > time.monotonic()
        assert turn(selector) == 0
    door.close()


def test_room(tmp_path: Path, selector: selectors.DefaultSelector) -> None:
    """While there is no room connections wait, and are accepted when there is."""
    path = str(tmp_path / "s")
    door = Door(selector, uids={os.geteuid()})
    let_in: list[Peer] = []
    room = [False]
    door.has_room = lambda: room[0]

    def greet(connected: socket.socket, peer: Peer) -> None:
        let_in.append(peer)
        connected.close()

    door.greet = greet
    door.open(listen(path, socket.SOCK_STREAM))
    with socket.socket(socket.AF_UNIX) as connected:
        connected.connect(path)
        assert turn(selector) == 0
        room[0] = True
        assert door.balance() is None
        assert turn(selector) == 1
        assert [peer.pid for peer in let_in] == [os.getpid()]
    door.close()
