"""The benchmark of performing: its goals, and that all contenders stop the same calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.loads import GIT
from benchmarks.peers.supervised import VERDICTS, text
from benchmarks.perform import ONE_CPU, OPEN, Measured, results_of
from benchmarks.rounds import Outcome
from benchmarks.roundtrip import C_LOOP
from benchmarks.users import User
from benchmarks.ways import DENIED, HANDLER, NATIVE, PEERS, POLICY, SANDLOCK, STRACE, ways
from unotify.policy.loader import load

USER = User("user", "python", Path("/srv/user"))


def measured(load: str, **samples: float) -> dict[str, tuple[float | None, bool | None]]:
    """The ratio of each row, and whether its goal is reached."""
    names = {"loop": C_LOOP, "native": NATIVE, "policy": POLICY, "handler": HANDLER}
    names |= {"strace": STRACE, "sandlock": SANDLOCK}
    outcome = Outcome({names[name]: [value] for name, value in samples.items()}, {})
    return {
        result.name.removeprefix(f"{load}, user: "): (result.ratio, result.met)
        for result in results_of(Measured("user", load, "us", outcome))
    }


@pytest.mark.parametrize("load", [OPEN, ONE_CPU])
def test_open_is_compared_with_the_c_loop(load: str) -> None:
    """An open that a policy performs may take four round trips of the C loop."""
    found = measured(load, loop=6.0, native=3.0, policy=24.0, handler=27.0)
    assert found == {
        C_LOOP: (1.0, None),
        NATIVE: (0.5, None),
        POLICY: (4.0, True),
        HANDLER: (4.5, None),
    }


def test_program_is_compared_with_itself() -> None:
    """A program's base is its native run, and performing has to beat the quickest peer."""
    found = measured(GIT, native=10.0, policy=20.0, strace=25.0, sandlock=30.0)
    assert found[POLICY] == (2.0, None)
    assert found[STRACE] == (2.5, None)
    assert found[f"{POLICY} : {STRACE}"] == (0.8, True)
    assert f"{POLICY} : {SANDLOCK}" not in found


def test_without_peers_nothing_is_compared() -> None:
    """Where no peer runs, no comparison is shown."""
    assert set(measured(GIT, native=10.0, policy=20.0)) == {NATIVE, POLICY}


def test_ways_lead_to_the_same_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way ends with the command; strace stops what our policy has rules for."""
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    found = ways("/venv/bin/python")
    lines = {name: way(USER, ["prog", "-x"]) for name, way in found.items()}
    assert all(line[-2:] == ["prog", "-x"] for line in lines.values())
    assert lines[NATIVE] == ["prog", "-x"]
    assert "trace=open,openat" in lines[STRACE]
    assert set(PEERS) <= set(lines)
    assert not {SANDLOCK, DENIED} & set(ways(None))


@pytest.mark.parametrize("mode", VERDICTS)
def test_policy_looks_at_each_path(mode: str) -> None:
    """Its last rule takes all opens that an earlier one, which looks at the path, let pass."""
    policy = load(text(mode))
    *_, looking, last = policy.rules
    assert looking.calls.keys() == last.calls.keys() == {"open", "openat"}
    assert looking.where is not None
    assert "path" in looking.where
    assert last.where is None
