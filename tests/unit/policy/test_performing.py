"""Which calls can be performed, and what is said of the others."""

from __future__ import annotations

import pytest

from unotify.abi import model
from unotify.calls.acts import performable
from unotify.policy.performing import unperformable


@pytest.mark.parametrize("call", performable())
def test_what_is_an_act_can_be_performed(call: str) -> None:
    """Groups that name it for another reason do not count."""
    assert unperformable(call) is None


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("execve", "it changes the calling process itself"),
        ("chdir", "it changes the calling process itself"),
        ("mmap", "it changes the memory of the calling process"),
        ("ioctl", "only the driver behind the descriptor knows what its argument means"),
        ("close", "it acts on the table of descriptors of the calling process"),
        ("read", "it moves the data of the calling process, which is better left to the kernel"),
        ("wait4", "it waits for, or handles, what concerns the calling process alone"),
        ("mount", "it wants a handler that knows file systems, not a mere copy of its arguments"),
        ("getpid", "its effect, or its answer, belongs to the calling process"),
    ],
)
def test_why_not(call: str, reason: str) -> None:
    """Each has a reason that an author can act on."""
    assert unperformable(call) == reason


def test_all_others_have_a_reason() -> None:
    """No call is left without an answer."""
    acts = set(performable())
    assert all(unperformable(call) for call in model.names() if call not in acts)
