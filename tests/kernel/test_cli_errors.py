"""What goes wrong on the command line: one sentence, a hint, and an exit code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.cli_support import ENVIRON, SOURCES, cli, handlers
from unotify.cli.failures import Exit


def complaint(*args: str, code: int, **options: object) -> str:
    """Run unotify, which must fail with *code*; returns the sentence, and the hint behind it."""
    done = cli(*args, **options)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("unotify: error: ")
    assert all(line.startswith("unotify: hint: ") for line in lines[1:])
    assert len(lines) <= 2
    return done.stderr.replace("unotify: error: ", "").replace("unotify: hint: ", "")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def (", r"FILE:5: invalid syntax\n"),
        ("x = 1\nx / 0", r"FILE:6: ZeroDivisionError: division by zero\n"),
        ("raise SystemExit(0)", r"FILE:5: SystemExit: 0\n"),
        ("import no_such_module_anywhere", r"FILE:5: ModuleNotFoundError: No module named .*\n"),
        ("x = 1", r"FILE has no handlers\nmark functions with @unotify.on\(...\)\n"),
        (
            "@unotify.on('opnat')\ndef h(call): ...",
            r"FILE: no system call is named 'opnat'\ndid you mean openat\?\n",
        ),
        (
            "@unotify.on('openat', where=3)\ndef h(call): ...",
            r"FILE:5: .*\n(.*\n)?",
        ),
        ("@unotify.on('openat')\nasync def h(call): ...", r"FILE: h is async def\n.*\n"),
    ],
)
def test_wrong_handler_files(source: str, told: str, tmp_path: Path) -> None:
    """A handler file that is wrong is told by name, and line if there is one; exit code 3."""
    file = handlers(tmp_path, source)
    said = complaint("run", "--handlers", file, "echo", "x", code=Exit.POLICY)
    assert re.fullmatch(told, said.replace(file, "FILE"))


def test_handler_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing handler file, or a directory, is an error of usage."""
    for path, why in ((tmp_path / "no.py", "No such file"), (tmp_path, "Is a directory")):
        said = complaint("run", "--handlers", str(path), "true", code=Exit.USAGE)
        assert said.startswith(f"cannot read handlers {path}: {why}")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """``--debug`` adds the traceback to the sentence."""
    file = handlers(tmp_path, "1 / 0")
    done = cli("--debug", "run", "--handlers", file, "true")
    assert done.returncode == Exit.POLICY
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "unotify: error: " in done.stderr


def test_commands_that_cannot_run(tmp_path: Path) -> None:
    """127 for a command that is missing, 126 for one that cannot be run, as in a shell."""
    said = complaint("run", "no-such-command", code=Exit.NOT_FOUND)
    assert said.startswith("no such command: no-such-command\n")
    missing = str(tmp_path / "missing")
    assert complaint("run", missing, code=Exit.NOT_FOUND) == f"no such command: {missing}\n"
    file = tmp_path / "file"
    file.write_text("#!/no/such/interpreter\n")
    said = complaint("run", str(file), code=Exit.NOT_EXECUTABLE)
    assert said == (
        f"cannot run {file}: Permission denied\n"
        "it has no execute permission, or lies where you may not go\n"
    )
    file.chmod(0o755)
    said = complaint("run", str(file), code=Exit.NOT_EXECUTABLE)
    assert said.startswith(f"cannot run {file}: its interpreter is missing\n")
    file.write_text("echo no first line\n")
    said = complaint("run", str(file), code=Exit.NOT_EXECUTABLE)
    assert said.startswith(f"cannot run {file}: Exec format error\na script needs")
    said = complaint("run", str(tmp_path), code=Exit.NOT_EXECUTABLE)
    assert said == f"cannot run {tmp_path}: Permission denied\nit is a directory\n"


def test_log_that_cannot_be_written(tmp_path: Path) -> None:
    """A log in a directory that is not there: told before anything runs."""
    log = str(tmp_path / "no" / "log")
    said = complaint("run", "--log", log, "echo", "x", code=Exit.USAGE)
    assert said == f"cannot write log {log}: No such file or directory\n"


@pytest.mark.parametrize(
    "args",
    [
        ["run", "--no-such-option", "true"],
        ["run"],
        ["--no-such-option"],
        ["no-such-command"],
        ["calls", "--arch", "pdp11"],
        ["calls", "read", "write"],
        ["doctor", "me"],
    ],
)
def test_wrong_usage(args: list[str]) -> None:
    """A wrong command line ends with 2, and says where the right one is described."""
    assert "--help" in complaint(*args, code=Exit.USAGE)


def test_nothing_asked() -> None:
    """Without a command there is the list of commands, and exit code 2."""
    done = cli()
    assert done.returncode == Exit.USAGE
    for name in ("run", "demo", "doctor", "calls"):
        assert f"  {name}" in done.stderr


def test_nested(tmp_path: Path) -> None:
    """F4: unotify under unotify is told who is in the way; exit code 4."""
    script = tmp_path / "unotify"
    script.write_text(f"#!{sys.executable}\nfrom unotify.cli import main\nmain()\n")
    script.chmod(0o755)
    environ = {**ENVIRON, "PYTHONPATH": SOURCES}
    line = [str(script), "run", "--", str(script), "run", "--", "true"]
    done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.KERNEL
    assert re.match(
        r"unotify: error: .*already supervised by another unotify \(process \d+\)\n"
        r"unotify: hint: .*\n$",
        done.stderr,
    )
