"""`unotify.abi.hints`: which name was meant."""

from __future__ import annotations

import pytest

from unotify.abi.hints import nearest

NAMES = ("openat", "openat2", "O_CREAT", "O_EXCL", "o_excl", "module", "SCMP_ACT_NOTIFY")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("opnat", "openat"),
        ("O_CRAET", "O_CREAT"),
        ("o_creat", "O_CREAT"),
        ("o_craet", "O_CREAT"),
        ("OPENAT", "openat"),
        ("SCMP_", "SCMP_ACT_NOTIFY"),
        ("zzz", None),
        ("S", None),
        ("x" * 100_000, None),
    ],
)
def test_nearest(name: str, meant: str | None) -> None:
    """A slip, other case or the beginning of a name is told; a very long one costs nothing."""
    assert nearest(name, iter(NAMES)) == (meant and f"did you mean {meant}?")


def test_nothing_to_choose_from() -> None:
    """Of no names none is the nearest."""
    assert nearest("openat", ()) is None
