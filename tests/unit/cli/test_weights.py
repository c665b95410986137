from __future__ import annotations

from pathlib import Path

import pytest

from unotify.abi.arch import Arch
from unotify.cli.failures import CommandError
from unotify.cli.weights import read_weights
from unotify.errors import PolicyError

X86 = Arch.X86_64
READ, OPENAT = 0, 257


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to write."""
    return tmp_path / "weights"


def test_a_log_of_run(file: Path) -> None:
    """Each line of a log counts one call of its architecture; unknown numbers do not count."""
    file.write_text(
        '{"call": "openat", "arch": "x86_64", "args": {}}\n'
        '{"call": "openat", "arch": "x86_64"}\n'
        '{"call": "openat", "arch": "i386"}\n'
        '{"call": null, "nr": 999, "arch": "x86_64"}\n'
    )
    found = read_weights(str(file), [X86, Arch.I386])
    assert found == {X86: {OPENAT: 2}, Arch.I386: {295: 1}}


@pytest.mark.parametrize(
    "text",
    ['{"read": 10, "openat": 2.5}', "# calls\nread 10\nopenat: 2.5  # some\n\n"],
)
def test_counts_by_name(file: Path, text: str) -> None:
    """Counts by name, as JSON or as lines."""
    file.write_text(text)
    assert read_weights(str(file), [X86]) == {X86: {READ: 10, OPENAT: 2.5}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("read 10\nraed 10\n", "no system call is named 'raed'"),
        ("read ten", "'ten' is no count"),
        ('{"read": -1}', "-1 is no count"),
        ('{"read": null}', "None is no count"),
        ("read", "'read' is no count of calls"),
        ("{broken", "is no count of calls"),
        ("[" * 100_000, "is no count of calls"),
    ],
)
def test_mistakes(file: Path, text: str, message: str) -> None:
    """What is no count is told, and where."""
    file.write_text(text)
    with pytest.raises(PolicyError) as caught:
        read_weights(str(file), [X86])
    assert message in str(caught.value)
    assert caught.value.source == str(file)
    assert caught.value.line is not None


def test_unreadable(file: Path) -> None:
    """A file that is not there, or is not text."""
    with pytest.raises(CommandError, match="No such file"):
        read_weights(str(file), [X86])
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="not text"):
        read_weights(str(file), [X86])
