"""Targets and supervisors in different pid namespaces: P2, P3, P4."""

from __future__ import annotations

import ctypes
import os
import struct

import pytest

from tests.kernel.targets import Target, nr
from unotify.abi.types import Tid
from unotify.errors import TargetGone
from unotify.kernel.listener import LinuxListener
from unotify.kernel.thread import LinuxThread

CLONE_NEWPID = 0x20000000
ANSWER = 42

libc = ctypes.CDLL(None, use_errno=True)


def tid_as_seen(target: Target, *, inside: bool) -> int:
    """Serve one call in a forked process, and tell the thread id that it got to see.

    That process has unshared its pid namespace. Its children live in the new one, not itself:
    with *inside* it is such a child that serves.
    """
    copy = os.dup(target.listener.fileno())  # a fork closes the listener, but no plain number
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            assert libc.unshare(CLONE_NEWPID) == 0
            if inside and (child := os.fork()):
                os.waitpid(child, 0)
            else:
                target.listener = LinuxListener(copy)
                exchange = target.receive()
                assert target.send(exchange, value=ANSWER)
                os.write(writing, struct.pack("=I", exchange.tid))
        finally:
            os._exit(0)
    os.close(writing)
    os.close(copy)
    result = os.read(reading, 4)
    os.close(reading)
    os.waitpid(pid, 0)
    assert len(result) == 4, "the forked process failed"
    return int(struct.unpack("=I", result)[0])


def test_the_id_is_the_one_of_the_receiver_s_active_namespace() -> None:
    """P2: whoever calls RECV counts; an unshare for later children changes nothing for it."""
    with Target("getppid") as target:
        target.call("getppid")
        assert tid_as_seen(target, inside=False) == target.pid
        assert target.answer()["ret"] == ANSWER


def test_a_target_that_is_not_visible_has_the_id_0() -> None:
    """P3: from a namespace without the target it is nobody, and is answered all the same."""
    with Target("getppid") as target:
        target.call("getppid")
        assert tid_as_seen(target, inside=True) == 0
        assert target.answer()["ret"] == ANSWER
        with pytest.raises(TargetGone, match="not visible"):
            LinuxThread(Tid(0), lambda: True)


def test_a_target_in_a_child_namespace_has_a_translated_id() -> None:
    """P4: it calls itself 1; we see, and open, the id that it has here."""
    with Target("getppid") as target:
        assert target.ask("call", nr=nr("unshare"), args=[CLONE_NEWPID])["ret"] == 0
        pid = target.ask("fork", nr=nr("getppid"))["pid"]
        exchange = target.receive()
        assert exchange.tid == pid
        waits = target.listener.is_valid
        with LinuxThread(exchange.tid, lambda: waits(exchange.id)) as thread:
            assert thread.tgid == pid
            with open(f"/proc/{pid}/status", encoding="utf-8") as status:
                line = next(line for line in status if line.startswith("NSpid:"))
            assert line.split()[1:] == [str(pid), "1"]
        target.send(exchange, value=7)
        assert target.ask("wait", pid=pid)["status"] == 7
