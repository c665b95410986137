"""``unotify doctor``, ``unotify --version``, and what a handful of imports cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.kernel.cli_support import ENVIRON, UNOTIFY, cli
from unotify import __version__
from unotify.abi.features import Feature
from unotify.cli.failures import Exit
from unotify.kernel.probe import probe


def test_doctor_for_scripts() -> None:
    """``--json`` is one valid object that agrees with what the library finds."""
    done = cli("doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    found = probe()
    assert report["usable"] is True
    assert report["install_error"] is None
    assert report["features"] == {feature.label: feature in found.features for feature in Feature}
    assert report["architectures"] == [arch.label for arch in found.architectures]
    assert report["release"] == os.uname().release
    assert report["uid"] == os.geteuid()
    assert isinstance(report["capabilities"], list)


def test_doctor_for_people() -> None:
    """Each feature has a line with a mark, and the last line is the verdict."""
    done = cli("doctor")
    assert done.returncode == 0
    lines = done.stdout.rstrip().splitlines()
    for feature in Feature:
        assert any(feature.label in line and line[0] in "✓✗" for line in lines), feature
    assert lines[-1] == "Programs can be supervised here."
    assert os.uname().release in done.stdout


def test_doctor_under_supervision() -> None:
    """F4: the doctor finds that nothing can be supervised below a supervisor: exit code 4."""
    done = cli("run", "--", *UNOTIFY, "doctor")
    assert done.returncode == Exit.KERNEL
    assert "EBUSY" in done.stdout
    assert "Nothing can be supervised here." in done.stdout
    report = json.loads(cli("run", "--", *UNOTIFY, "doctor", "--json").stdout)
    assert (report["usable"], report["install_error"]) == (False, "EBUSY")


def test_version_is_cheap() -> None:
    """``--version`` imports nothing of unotify but its command line, and neither rich nor ctypes.

    Nor does it load one of the commands.
    """
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *UNOTIFY[1:], "--version"],
        env=ENVIRON,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"unotify {__version__}\n"
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in modules
    ours = {name for name in modules if name.split(".")[0] == "unotify"}
    assert ours <= {"unotify", "unotify.errors", "unotify.cli", "unotify.cli.failures"}
    assert not modules & {"rich", "ctypes", "asyncio", "subprocess", "socket", "logging"}


def test_help_of_each_command() -> None:
    """Each command has a help text, on standard output."""
    for name in ("run", "demo", "doctor", "calls"):
        done = cli(name, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Usage: unotify {name}")
