from __future__ import annotations

import ctypes
import errno

import pytest

from unotify.bpf import Program
from unotify.bpf.instructions import ret
from unotify.errors import KernelError, Unsupported
from unotify.kernel import readback
from unotify.kernel.readback import check_rights, read_filters

GET_FILTER = 0x420C
CHAIN = [Program((ret(number),) * number) for number in (1, 2)]
"""The oldest first."""


def kernel(request: int, tid: int, address: int = 0, data: int = 0) -> int:
    """A kernel before 4.16, whose thread 7 has `CHAIN`."""
    if request != GET_FILTER:
        return -errno.EIO
    if address >= len(CHAIN):
        return -errno.ENOENT
    raw = CHAIN[address].encode()
    if data:
        ctypes.memmove(data, raw, len(raw))
    return len(raw) // 8


def test_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest filter comes first; whether it logs is unknown without metadata."""
    monkeypatch.setattr(readback, "ptrace", kernel)
    found = read_filters(7)
    assert [one.program for one in found] == CHAIN[::-1]
    assert [one.log for one in found] == [None, None]


def test_no_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread without filters is EINVAL, which is an empty chain."""
    monkeypatch.setattr(readback, "ptrace", lambda *_: -errno.EINVAL)
    assert read_filters(7) == ()


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EACCES, "CAP_SYS_ADMIN in the first user namespace"),
        (errno.EMEDIUMTYPE, "has not kept the program"),
        (errno.ESRCH, "a filter cannot be read: No such process"),
    ],
)
def test_why_not(number: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hinders is told, with the errno."""
    monkeypatch.setattr(readback, "ptrace", lambda *_: -number)
    with pytest.raises(KernelError, match=told) as caught:
        read_filters(7)
    assert caught.value.errno == number


def test_kernels_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that was built without is named as such."""
    monkeypatch.setattr(readback, "ptrace", lambda *_: -errno.EIO)
    with pytest.raises(Unsupported, match="cannot read filters back") as caught:
        read_filters(7)
    assert caught.value.hint is not None
    assert "CONFIG_CHECKPOINT_RESTORE" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({"Seccomp": "2", "CapEff": "ffffffffff"}, "who is under a filter"),
        ({"Seccomp": "0", "CapEff": "0"}, "needs CAP_SYS_ADMIN"),
        ({}, "needs CAP_SYS_ADMIN"),
    ],
)
def test_rights(status: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes CAP_SYS_ADMIN, and no filter on whoever reads."""
    monkeypatch.setattr(readback, "status_of", lambda _: status)
    with pytest.raises(KernelError, match=told):
        check_rights()


def test_enough_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    """One capability is enough."""
    monkeypatch.setattr(readback, "status_of", lambda _: {"Seccomp": "0", "CapEff": "200000"})
    check_rights()
