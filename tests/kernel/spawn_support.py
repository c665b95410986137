"""Small programs of BPF, supervisors of a few lines, and processes to throw away."""

from __future__ import annotations

import os
import pickle
import select
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from unotify.abi import tables
from unotify.abi.seccomp import Action, ResponseFlag
from unotify.abi.structs import NOTIF, RESPONSE
from unotify.kernel._libc import NATIVE
from unotify.kernel.interface import Spawned
from unotify.kernel.listener import LinuxListener
from unotify.kernel.spawn import spawn

PATIENCE = 20.0
"""Seconds after which something that should happen has not."""

_instruction = struct.Struct("=HBBI").pack
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06


def nr(name: str) -> int:
    """The number of a call on this machine."""
    number = tables.number(name, NATIVE)
    assert number is not None, name
    return number


def answer(rules: Mapping[str, int], default: int = Action.ALLOW) -> bytes:
    """A filter: one action for each call that is named, and one for the others."""
    program = _instruction(_LOAD, 0, 0, 0)
    for name, action in rules.items():
        program += _instruction(_JUMP_IF_EQUAL, 0, 1, nr(name))
        program += _instruction(_RETURN, 0, 0, action)
    return program + _instruction(_RETURN, 0, 0, default)


def notify(*names: str) -> bytes:
    """A filter that notifies of these calls."""
    return answer(dict.fromkeys(names, Action.USER_NOTIF))


def always(action: int, length: int = 1) -> bytes:
    """A filter of *length* instructions that has one answer to everything."""
    return _instruction(_RETURN, 0, 0, action) * length


def respond(
    listener: LinuxListener, raw: bytes | bytearray, *, value: int = 0, error: int = 0
) -> None:
    """Answer *raw* with a value or an errno."""
    id = NOTIF.unpack_from(raw)[0]
    listener.send(RESPONSE.pack(id, value, -error, 0))


def let_go(listener: LinuxListener, raw: bytes | bytearray) -> str:
    """Continue *raw*; returns the name of the call."""
    id, _, _, number, *_ = NOTIF.unpack_from(raw)
    listener.send(RESPONSE.pack(id, 0, 0, ResponseFlag.CONTINUE))
    return tables.name(number, NATIVE) or str(number)


def receive(listener: LinuxListener) -> bytes | None:
    """The next notification, or ``None`` when the filter has no users left."""
    poller = select.poll()
    poller.register(listener.fileno(), select.POLLIN)
    buffer = bytearray(listener.sizes.notif)
    while True:
        events = poll_once(poller)
        if not events & select.POLLIN:
            return None
        if listener.receive_into(buffer):
            return bytes(buffer)


def poll_once(poller: select.poll) -> int:
    """The events of the only descriptor; fails rather than to wait for ever."""
    events = poller.poll(PATIENCE * 1000)
    assert events, "nothing happened"
    return events[0][1]


def let_all_go(spawned: Spawned) -> list[str]:
    """Continue every call until the last target is gone; returns the calls' names."""
    listener: Any = spawned.listener
    seen = [let_go(listener, raw) for raw in spawned.backlog]
    while (raw := receive(listener)) is not None:
        seen.append(let_go(listener, raw))
    listener.close()
    return seen


@contextmanager
def supervised(program: bytes, args: Any, **options: Any) -> Iterator[tuple[Any, list[str]]]:
    """A process whose calls are all continued in another thread, and the list of them."""
    spawned = spawn(program, args, popen_options=options)
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.extend(let_all_go(spawned)))
    thread.start()
    try:
        with spawned.process:
            yield spawned.process, seen
    finally:
        if spawned.process.poll() is None:
            spawned.process.kill()
            spawned.process.wait()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def until(condition: Callable[[], Any]) -> Any:
    """Look until *condition* holds; fails after `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.002)
    return result


class Killed(Exception):
    """A process of `apart` was ended by this signal."""


def apart(work: Callable[[], Any]) -> Any:
    """The result of *work* in a forked process, whose filters die with it.

    Raises:
        Killed: A signal ended it.
        AssertionError: *work* raised; the message has its traceback.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            try:
                result = (True, work())
            except BaseException:
                result = (False, traceback.format_exc())
            data = pickle.dumps(result)
            os.write(write, struct.pack("=I", len(data)) + data)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with open(read, "rb") as pipe:
        header = pipe.read(4)
        # No further: something that *work* left behind may keep the pipe open.
        data = pipe.read(*struct.unpack("=I", header)) if header else b""
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise Killed(os.WTERMSIG(status))
    assert status == 0, f"exit status {status}"
    good, result = pickle.loads(data)
    if not good:
        raise AssertionError(result)
    return result


def open_fds() -> dict[str, str]:
    """What this process has open."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


def none_alive() -> bool:
    """Whether this process has no child that is alive; reaps those that have ended.

    An interrupt that kills the launcher and its helper within microseconds of the clone
    may leave the helper unreaped until the supervisor ends: nobody has heard of it.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        time.sleep(0.002)
    return False


def no_children() -> bool:
    """Whether this process has no child that is alive or unreaped."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False
