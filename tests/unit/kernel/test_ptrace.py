from __future__ import annotations

import errno
import signal

import pytest

from unotify.errors import KernelError
from unotify.kernel import ptrace
from unotify.kernel.ptrace import attach, event_of, signal_of

STOPPED = 0x7F


def stop(number: int, event: int = 0) -> int:
    """A status of waitpid(2)."""
    return event << 16 | number << 8 | STOPPED


def test_stops() -> None:
    """Only a stop that delivers a signal has one: not those of calls and events."""
    assert signal_of(stop(signal.SIGTERM)) == signal.SIGTERM
    assert signal_of(stop(signal.SIGTRAP | 0x80)) == 0
    assert signal_of(stop(signal.SIGTRAP, 128)) == 0
    assert signal_of(stop(signal.SIGSTOP, 128)) == 0
    assert (event_of(stop(signal.SIGTRAP, 4)), event_of(stop(signal.SIGTERM))) == (4, 0)


@pytest.mark.parametrize(
    ("number", "status", "told"),
    [
        (errno.ESRCH, {}, "there is no process 7"),
        (errno.EPERM, {}, "process 7 cannot be traced"),
        (errno.EPERM, {"TracerPid": "5"}, "process 5 traces process 7 already"),
        (errno.EPERM, {"State": "Z (zombie)"}, "process 7 has ended"),
    ],
)
def test_why_not(
    number: int, status: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why a process cannot be traced is found out, and said with what to do."""
    monkeypatch.setattr(ptrace, "ptrace", lambda *_: -number)
    monkeypatch.setattr(ptrace, "status_of", lambda pid: status if pid == 7 else {})
    with pytest.raises(KernelError, match=told) as caught:
        attach(7)
    assert caught.value.errno == number
