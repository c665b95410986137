"""`unotify.abi.refusals`: the errno that programs expect."""

from __future__ import annotations

from errno import EACCES, EADDRNOTAVAIL, ECONNREFUSED, ENOENT, EPERM, EROFS

import pytest

from unotify.abi import model
from unotify.abi.refusals import _CALLS, _PRIVILEGED, refusal


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("connect", ECONNREFUSED),
        ("bind", EADDRNOTAVAIL),
        ("openat", EACCES),
        ("execve", EACCES),
        ("mount", EPERM),
        ("chmod", EPERM),
        ("kill", EPERM),
        (None, EPERM),
    ],
)
def test_by_call(call: str | None, expected: int) -> None:
    """Each call fails with what its manual page has for those who may not."""
    assert refusal(call) == expected


def test_by_reason() -> None:
    """A hidden file does not exist, and a read-only one says so, whatever the call."""
    assert refusal("openat", "hidden") == ENOENT
    assert refusal("openat", "read-only") == EROFS


def test_names_exist() -> None:
    """Each call in the tables is one."""
    assert {*_CALLS, *_PRIVILEGED} <= set(model.names())
