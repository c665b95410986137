"""Tallies of servers become what instruments are told."""

from __future__ import annotations

from typing import Any

from unotify.abi.arch import Arch
from unotify.kernel.interface import OUTCOMES, Tally
from unotify.oci import accounts
from unotify.supervisor.counting import Counted, summed

A: Any = object()
B: Any = object()


def test_one_for_each_listener_call_and_outcome() -> None:
    """Latencies and times are added up; a call that no table knows has no name."""
    tallies = [
        Tally(A, 257, "installed", 5, 2, 50),
        Tally(A, 257, "installed", 7, 1, 100),
        Tally(B, 257, "installed", 5, 4, 60),
        Tally(A, 257, "failed", 5, 8, 70),
        Tally(A, 257, "installed", 5, 16, 500),
        Tally(A, 99999, "gone", 0, 1, 9),
    ]
    found = summed(tallies, Arch.X86_64)
    assert found == [
        Counted(A, "openat", "installed", {5: 18, 7: 1}, 650),
        Counted(B, "openat", "installed", {5: 4}, 60),
        Counted(A, "openat", "failed", {5: 8}, 70),
        Counted(A, "", "gone", {0: 1}, 9),
    ]
    assert [each.count for each in found] == [19, 4, 8, 1]
    assert summed([], Arch.X86_64) == []


def test_accounts_have_a_place_for_each_outcome() -> None:
    """What servers tell of and what agents show are the same words."""
    assert accounts.OUTCOMES == OUTCOMES
