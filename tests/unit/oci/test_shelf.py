"""The directory of policies, loaded as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unotify.abi.arch import Arch
from unotify.errors import InvalidPolicy, PolicyError
from unotify.oci.process_state import ProcessState
from unotify.oci.shelf import Shelf
from unotify.policy.model import Policy

GOOD = 'version = 1\ndefault = "allow"\n'


class Rig:
    """A directory, and what was made of its policies."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.made: list[str] = []
        self.discarded: list[str] = []
        self.bad: set[str] = set()
        self.shelf: Shelf[str] = Shelf(
            directory, native=Arch.X86_64, make=self._make, discard=self.discarded.append
        )

    def _make(self, policy: Policy, name: str) -> str:
        if name in self.bad:
            raise PolicyError(f"{name} says what cannot be done")
        self.made.append(f"{name} {len(self.made) + 1}")
        return self.made[-1]

    def write(self, name: str, text: str = GOOD) -> None:
        """Write a file, with a time of its own."""
        file = self.directory / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        os.utime(file, ns=(len(self.made), file.stat().st_mtime_ns + 1))

    def given(self, **state: str) -> str:
        """What was made of the policy that a container gets."""
        loaded = self.shelf.loaded
        return loaded.policies[loaded.choose(ProcessState(**{"id": "c", **state})).policy].made


@pytest.fixture(name="rig")
def _rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_loading(rig: Rig) -> None:
    """Each file of a policy is one, profiles of runtimes too; hidden files and others are not."""
    rig.write("web.toml")
    rig.write("moby.json", '{"defaultAction": "SCMP_ACT_ALLOW"}')
    rig.write(".web.toml.swp")
    rig.write("README")
    rig.write("parts/part.toml", "nonsense")
    rig.shelf.load()
    assert sorted(rig.shelf.loaded.policies) == ["moby", "web"]
    assert rig.given(metadata="web").startswith("web")


def test_only_what_changed_is_made_again(rig: Rig) -> None:
    """A policy whose text is the same stays the same object; one that changed is a new one."""
    rig.write("a.toml")
    rig.write("b.toml")
    rig.shelf.load()
    before = dict(rig.shelf.loaded.policies)
    rig.write("b.toml", GOOD + "# other\n")
    old, new = rig.shelf.load()
    assert old.policies == before
    assert new.policies["a"] is before["a"]
    assert new.policies["b"] is not before["b"]
    assert rig.made == ["a 1", "b 2", "b 3"]


def test_an_include_counts(rig: Rig) -> None:
    """A change of what a policy includes is a change of the policy."""
    rig.write("a.toml", GOOD + 'include = ["parts/p.toml"]\n')
    rig.write("parts/p.toml", "version = 1\n")
    rig.shelf.load()
    rig.write("parts/p.toml", "version = 1\n# other\n")
    assert not rig.shelf.changed()  # the first look
    assert rig.shelf.changed()
    _, new = rig.shelf.load()
    assert new.policies["a"].made == "a 2"


def test_a_mistake_changes_nothing(rig: Rig) -> None:
    """A mistake in one file leaves all as it was, and what was made of others is discarded."""
    rig.write("a.toml")
    rig.write("b.toml")
    rig.shelf.load()
    before = rig.shelf.loaded
    rig.write("a.toml", GOOD + "# other\n")
    rig.write("b.toml", "version = 1\ndefault = 7\n")
    rig.write("c.toml", "nonsense")
    with pytest.raises(InvalidPolicy) as raised:
        rig.shelf.load()
    assert rig.shelf.loaded is before
    assert rig.discarded == ["a 3"]
    assert {Path(str(problem.source)).name for problem in raised.value.problems} == {
        "b.toml",
        "c.toml",
    }


def test_what_cannot_be_done(rig: Rig) -> None:
    """A policy that cannot be made use of is a mistake in its file."""
    rig.write("a.toml")
    rig.bad.add("a")
    with pytest.raises(InvalidPolicy, match="cannot be done") as raised:
        rig.shelf.load()
    assert raised.value.source == str(rig.directory / "a.toml")


def test_a_broken_table(rig: Rig) -> None:
    """A mistake in the table changes nothing either; a broken policy is not a missing one."""
    rig.write("a.toml", "nonsense")
    rig.write("containers.toml", 'version = 1\ndefault = "a"\n')
    with pytest.raises(InvalidPolicy) as raised:
        rig.shelf.load()
    assert [Path(str(p.source)).name for p in raised.value.problems] == ["a.toml"]
    rig.write("a.toml")
    rig.write("containers.toml", 'version = 1\ndefault = "b"\n')
    with pytest.raises(InvalidPolicy, match="no policy is named 'b'"):
        rig.shelf.load()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["refuse.toml"], "cannot be named refuse"),
        (["a.toml", "a.json"], "two policies named a"),
    ],
)
def test_names(rig: Rig, files: list[str], said: str) -> None:
    """A name is that of one policy, and not one that means something else."""
    for file in files:
        rig.write(file)
    with pytest.raises(InvalidPolicy, match=said):
        rig.shelf.load()


def test_no_directory(tmp_path: Path) -> None:
    """A directory that cannot be read is a mistake."""
    shelf = Rig(tmp_path / "missing").shelf
    with pytest.raises(InvalidPolicy, match="cannot read"):
        shelf.load()
    assert not shelf.changed()


def test_not_text(rig: Rig) -> None:
    """What is not text, or too long, is a mistake in its file."""
    (rig.directory / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidPolicy, match="is not UTF-8 text"):
        rig.shelf.load()
    (rig.directory / "a.toml").write_bytes(b"#" * (5 << 20))
    with pytest.raises(InvalidPolicy, match="more than"):
        rig.shelf.load()


def test_looking(rig: Rig) -> None:
    """A change is one when two looks find the same, and only until it is loaded."""
    rig.write("a.toml")
    rig.shelf.load()
    assert not rig.shelf.changed()
    rig.write("b.toml")
    assert not rig.shelf.changed()
    rig.write("b.toml", GOOD + "# being written\n")
    assert not rig.shelf.changed()
    assert rig.shelf.changed()
    rig.shelf.load()
    assert not rig.shelf.changed()
    (rig.directory / "b.toml").unlink()
    assert not rig.shelf.changed()
    assert rig.shelf.changed()


def test_a_mistake_is_told_once(rig: Rig) -> None:
    """What is broken counts as seen, until it changes: also what it lacks."""
    rig.write("a.toml", GOOD + 'include = ["parts/p.toml"]\n')
    with pytest.raises(InvalidPolicy):
        rig.shelf.load()
    assert not rig.shelf.changed()
    assert not rig.shelf.changed()
    rig.write("parts/p.toml", "version = 1\n")
    assert not rig.shelf.changed()
    assert rig.shelf.changed()
    rig.shelf.load()
    assert list(rig.shelf.loaded.policies) == ["a"]
