"""Tests of policies and handlers run where there is no Linux."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HOOK = str(Path(__file__).with_name("without_linux.py"))


def run(tmp_path: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program where there is no Linux."""
    file = tmp_path / "program.py"
    file.write_text(program)
    return subprocess.run(
        [sys.executable, "-W", "error", HOOK, str(file), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_room_of_system_calls_is_not_there(tmp_path: Path) -> None:
    """What the other tests here show would be nothing if Linux were there all the same."""
    done = run(tmp_path, "import unotify.kernel.linux")
    assert "halted; None in sys.modules" in done.stderr
    assert done.returncode == 1
    for gone in ("os.pidfd_open", "select.epoll", "open('/proc/self/status')"):
        assert run(tmp_path, f"import os, select\n{gone}").returncode == 1


def test_all_of_testing_can_be_imported(tmp_path: Path) -> None:
    """Each public name, and the fixtures of pytest."""
    done = run(
        tmp_path,
        "import unotify.testing as testing, unotify.testing.plugin\n"
        "for name in testing.__all__: print(name, getattr(testing, name))\n",
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 15


def test_the_examples_of_the_page(tmp_path: Path) -> None:
    """Whatever ``docs/testing.md`` shows: handlers, targets, threads, versions, exploring."""
    done = run(
        tmp_path,
        "import doctest, sys\n"
        "found = doctest.testfile('docs/testing.md', module_relative=False)\n"
        "print(found.attempted)\n"
        "sys.exit(found.failed)\n",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 20


@pytest.mark.parametrize("threads", [False, True])
def test_a_supervisor(tmp_path: Path, threads: bool) -> None:
    """With threads and without; descriptors are given, and memory is read."""
    done = run(
        tmp_path,
        f"""
from unotify import InstallFd, Supervisor
from unotify.testing import SimulatedKernel

def program(me):
    opened = yield me.begin("openat", path="/etc/motd")
    print(me.content(opened.value))
    return 3

with Supervisor(kernel=SimulatedKernel(), embedded={not threads}) as supervisor:
    @supervisor.on("openat")
    def motd(call):
        return InstallFd.of_bytes(bytes(call.path))
    process = supervisor.popen(program)
    if not {threads}:
        supervisor.process_pending()
    print(process.wait(20))
""",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["b'/etc/motd'", "3"]


def test_the_command(tmp_path: Path) -> None:
    """``unotify test`` runs the tests of all policies of the examples."""
    program = "import sys\nfrom unotify.cli import main\nsys.exit(main())\n"
    report = tmp_path / "report.xml"
    tests = "examples/policies/tests"
    done = run(tmp_path, program, "test", "--quiet", "--junit", str(report), tests)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed, 0 failed" in done.stdout
    assert report.exists()
