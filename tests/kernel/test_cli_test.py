"""``unotify test`` as a process: exit codes, and running again when a file changes."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.kernel.cli_support import begin, cli
from unotify.cli.failures import Exit

POLICY = 'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["fork"]\ndo = {{ fail = "{}" }}\n'
TEST = 'policy = "p.toml"\n[[test]]\ncall = "fork"\nexpect = { fail = "EPERM" }\n'


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Path:
    (tmp_path / "p.toml").write_text(POLICY.format("EPERM"))
    (tmp_path / "t.toml").write_text(TEST)
    return tmp_path


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """What it prints up to a line with *word*."""
    assert process.stdout is not None
    found = ""
    for line in process.stdout:
        found += line
        if word in line:
            return found
    raise AssertionError(f"it has ended: {found}")


def test_exit_codes(home: Path) -> None:
    """0 if all is well, 1 if a test fails, 3 if a policy is wrong, 2 for what is not there."""
    assert cli("test", str(home)).returncode == 0
    (home / "p.toml").write_text(POLICY.format("EACCES"))
    assert cli("test", str(home)).returncode == 1
    (home / "p.toml").write_text("version = 2")
    assert cli("test", str(home)).returncode == Exit.POLICY
    assert cli("test", str(home / "none")).returncode == Exit.USAGE


def test_watch(home: Path) -> None:
    """It runs again when the policy changes, also after a mistake, until Ctrl-C."""
    process = begin("test", "--watch", str(home), stdout=subprocess.PIPE)
    with process:
        try:
            assert "ok " in read_until(process, "waiting for changes")
            change(home, "t.toml", "[[test")
            assert "it is no TOML" in read_until(process, "waiting for changes")
            change(home, "t.toml", TEST)
            assert "ok " in read_until(process, "waiting for changes")
            change(home, "p.toml", POLICY.format("EACCES"))
            assert "FAIL" in read_until(process, "waiting for changes")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == -signal.SIGINT
        finally:
            process.kill()


def change(home: Path, name: str, text: str) -> None:
    """Rewrite a file at once, so that no half of it is read."""
    (home / "new").write_text(text)
    os.replace(home / "new", home / name)
