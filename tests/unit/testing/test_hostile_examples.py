"""The example policies, explored: nothing that they forbid is got."""

from __future__ import annotations

from pathlib import Path

import pytest

from unotify.testing import explore_policy

pytestmark = pytest.mark.slow
POLICIES = Path(__file__).resolve().parents[3] / "examples/policies"

# How many acts each forbids; those without any leave all to handlers, or test programs.
FORBIDDEN = {
    "ai-agent": 50,
    "build-sandbox": 40,
    "container-files": 0,
    "database-only": 7,
    "fake-root": 0,
    "fake-root-free": 12,
    "fault-injection": 0,
    "i386": 2,
    "modules": 0,
    "offline": 1,
    "read-only": 17,
    "record": 0,
    "scratch-mounts": 4,
    "staged-build": 1,
    "strict-compute": 30,
    "system-container": 0,
    "unprivileged": 40,
    "untrusted-tests": 60,
}


def test_all_are_here() -> None:
    """Each example policy is explored."""
    assert sorted(FORBIDDEN) == sorted(path.stem for path in POLICIES.glob("*.toml"))


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_nothing_is_found(name: str) -> None:
    """A hostile target gets nothing that the policy forbids, and something is forbidden."""
    explored = explore_policy(POLICIES / f"{name}.toml")
    assert not explored.stories, "\n".join(map(str, explored.stories))
    covered = explored.covered
    assert not covered.not_reached
    assert not covered.cut
    assert len(covered.goals) >= FORBIDDEN[name]
    assert bool(covered.goals) is bool(FORBIDDEN[name])


# What was found in them, and mended: without these words each has its hole again.
MENDED = (
    ("ai-agent", 'resolved(oldpath) == "/etc" or ', "moved", "open"),
    ("unprivileged", '"clock_adjtime64", ', "twin", "clock_adjtime64"),
    ("read-only", ', "open_by_handle_at"]', "twin", "open_by_handle_at"),
    ("untrusted-tests", '["open_by_handle_at"]', "twin", "open_by_handle_at"),
    ("staged-build", '"sendmmsg"', "twin", "sendmmsg"),
)


@pytest.mark.parametrize(
    ("name", "words", "kind", "call"), MENDED, ids=lambda value: str(value)[:20]
)
def test_what_was_mended(name: str, words: str, kind: str, call: str, tmp_path: Path) -> None:
    """What exploring found in an example is found again if it is taken back."""
    for policy in POLICIES.glob("*.toml"):
        (tmp_path / policy.name).write_text(policy.read_text())
    text = (tmp_path / f"{name}.toml").read_text()
    assert words in text
    left = {'"sendmmsg"': '"sendto"', '["open_by_handle_at"]': '["lookup_dcookie"]'}.get(words)
    if left is None:
        left = "]" if words.endswith("]") else ""
    (tmp_path / f"{name}.toml").write_text(text.replace(words, left))
    stories = explore_policy(tmp_path / f"{name}.toml", depth=2).stories
    assert (kind, True) in {(story.kind, call in story.calls) for story in stories}
