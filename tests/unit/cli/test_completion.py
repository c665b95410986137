"""What a shell offers after what has been typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from unotify.cli import COMMANDS, cli

FILES = [("", "file")]


def offered(typed: str) -> list[tuple[str, str]]:
    """Words and their kinds; the last word of *typed* is not yet complete."""
    *words, begun = typed.split(" ")
    found = ShellComplete(cli, {}, "unotify", "_UNOTIFY_COMPLETE").get_completions(words, begun)
    return [(item.value, item.type) for item in found]


def words(typed: str) -> list[str]:
    """The words alone, none of which may be a file."""
    assert all(kind == "plain" for _, kind in offered(typed))
    return [word for word, _ in offered(typed)]


def test_commands_and_options() -> None:
    """Commands, options and choices are those that there are."""
    assert words("") == list(COMMANDS)
    assert "--policy" in words("run --")
    assert words("check --arch aa") == ["aarch64"]


@pytest.mark.parametrize(
    "typed",
    [
        "run --policy ",
        "run --handlers ",
        "run --log ",
        "run --fake-root ",
        "run --weights ",
        "run -- ",
        "run -- cat ",
        "agent --policies ",
        "agent --audit ",
        "agent --socket ",
        "agent --control ",
        "check ",
        "test ",
        "test --junit ",
        "explain ",
        "audit ",
        "diff ",
        "diff x ",
        "convert ",
        "convert x -o ",
        "profile ",
        "profile x --base ",
        "compile ",
        "compile x -o ",
        "disasm ",
        "asm ",
        "simulate ",
        "dump --raw ",
    ],
)
def test_files(typed: str) -> None:
    """Where a file is wanted the shell completes names of files itself."""
    assert offered(typed) == FILES


def test_names_of_calls() -> None:
    """Where a call is wanted those that begin like it are offered."""
    for typed in ("calls openat", "explain policy.toml openat", "simulate x -- openat"):
        assert words(typed) == ["openat", "openat2"]


def test_groups_errnos_and_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups begin with @, errors are those of the system, programs are those of PATH."""
    assert words("check --groups @mount-a") == ["@mount-api"]
    assert words("agent --fault ENOME") == ["ENOMEDIUM", "ENOMEM"]
    (tmp_path / "my-program").touch()
    monkeypatch.setenv("PATH", f"/no/such/directory:{tmp_path}")
    assert words("run --policy x my-pro") == ["my-program"]
    assert offered("run ./my-pro") == [("./my-pro", "file")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str) -> None:
    """What the documentation evaluates is a script for the shell."""
    code = "from unotify.cli import main; import sys; sys.argv[0] = 'unotify'; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"_UNOTIFY_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_unotify_completion" in done.stdout
