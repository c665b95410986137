"""What a loader says, as an errno."""

from __future__ import annotations

import errno
import sys

import pytest

from unotify.errors import KernelError
from unotify.handlers import modules as module
from unotify.handlers.modules import _errno_of, _load


@pytest.mark.parametrize(
    ("told", "number"),
    [
        ("modprobe: FATAL: Module foo not found in directory /lib/modules/6.1.0", errno.ENOENT),
        ("modprobe: ERROR: could not insert 'a': Operation not permitted", errno.EPERM),
        ("modprobe: ERROR: could not insert 'a': Key was rejected by service", errno.EKEYREJECTED),
        ("modprobe: ERROR: could not insert 'a': Exec format error\n", errno.ENOEXEC),
        (
            "x\nmodprobe: ERROR: could not insert 'a': Unknown symbol in module, or unknown "
            "parameter (see dmesg)",
            errno.ENOENT,
        ),
        ("5555", errno.EIO),
        ("-1", errno.EIO),
        ("", errno.EIO),
    ],
)
def test_errors_have_names_and_no_numbers(told: str, number: int) -> None:
    """An errno comes from its text alone; a number that a loader prints is not believed."""
    assert _errno_of(told) == number


def test_a_loader_that_works_and_one_that_does_not() -> None:
    """Status 0 is a success; a loader that is missing is the operator's fault."""
    assert _load([sys.executable, "-c", ""]) == 0
    assert _load([sys.executable, "-c", "import sys; sys.exit('x: Invalid argument')"]) == 22
    with pytest.raises(KernelError, match="cannot be run"):
        _load(["/nonexistent/modprobe", "a"])


def test_a_loader_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its time, and then the target gets ETIMEDOUT."""
    monkeypatch.setattr(module, "_LOAD_SECONDS", 0.05)
    assert _load([sys.executable, "-c", "import signal; signal.pause()"]) == errno.ETIMEDOUT
