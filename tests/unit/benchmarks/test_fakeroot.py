"""The benchmark of fake root: what is compared with what, and how each way is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fakeroot import FAKEROOT, NATIVE, OURS, STORED, WAYS, results_of
from benchmarks.rounds import NotHere, Outcome
from benchmarks.users import User

USER = User("user", "python", Path("/srv/user"))


def test_ratios() -> None:
    """The base is the native run; who did not run has no row."""
    found = results_of("job", Outcome({NATIVE: [10.0], OURS: [15.0, 25.0], STORED: [30.0]}, {}))
    assert [(result.name, result.ratio) for result in found] == [
        (f"job: {NATIVE}", 1.0),
        (f"job: {OURS}", 2.0),
        (f"job: {STORED}", 3.0),
    ]


def test_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way ends with the command itself; without fakeroot that one is not measured."""
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    for way in WAYS.values():
        assert way(USER, ["tar", "x"])[-2:] == ["tar", "x"]
    assert WAYS[STORED](USER, [])[-1] == "/srv/user/store"
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(NotHere, match="not installed"):
        WAYS[FAKEROOT](USER, [])
