"""The running kernel: what it keeps for targets."""

from __future__ import annotations

import os
from contextlib import suppress

from unotify.abi.types import Tid
from unotify.kernel.linux import LinuxKernel

ME = Tid(os.getpid())


def directories() -> int:
    """How many descriptors lead to this process's directory in /proc."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            found += os.readlink(f"/proc/self/fd/{fd}") == f"/proc/{ME}"
    return found


def test_rest_frees_what_is_kept() -> None:
    """A target's directory stays open after its call, until the kernel rests; and again."""
    kernel = LinuxKernel()
    before = directories()
    for _ in range(2):
        for _ in range(3):
            with kernel.open_thread(ME, lambda: True) as thread:
                thread.user_namespace()
        assert directories() == before + 1
        kernel.rest()
        assert directories() == before


def test_a_thread_that_outlives_the_rest() -> None:
    """What it gives back afterwards is closed."""
    kernel = LinuxKernel()
    before = directories()
    with kernel.open_thread(ME, lambda: True) as thread:
        thread.user_namespace()
        kernel.rest()
        assert thread.user_namespace() == os.readlink("/proc/self/ns/user")
    assert directories() == before


def test_who_acts_rests_too() -> None:
    """If there is one; none is made for it."""
    kernel = LinuxKernel()
    kernel.rest()
    assert "actor" not in vars(kernel)
    rests: list[int] = []
    kernel.actor.rest = lambda: rests.append(1)  # type: ignore[method-assign]
    kernel.rest()
    assert rests == [1]
