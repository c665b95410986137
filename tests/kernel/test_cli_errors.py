"""What goes wrong on the command line: one sentence, a hint, and an exit code."""

from __future__ import annotations

import errno
import os
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
    assert complaint("run", "--quiet", "", code=Exit.NOT_FOUND).startswith("no such command: ''\n")
    said = complaint("run", "--quiet", "no-such-command", code=Exit.NOT_FOUND)
    assert said.startswith("no such command: no-such-command\n")
    missing = str(tmp_path / "missing")
    assert (
        complaint("run", "--quiet", missing, code=Exit.NOT_FOUND) == f"no such command: {missing}\n"
    )
    file = tmp_path / "file"
    file.write_text("#!/no/such/interpreter\n")
    said = complaint("run", "--quiet", str(file), code=Exit.NOT_EXECUTABLE)
    assert said == (
        f"cannot run {file}: Permission denied\n"
        "it has no execute permission, or lies where you may not go\n"
    )
    file.chmod(0o755)
    said = complaint("run", "--quiet", str(file), code=Exit.NOT_EXECUTABLE)
    assert said.startswith(f"cannot run {file}: its interpreter is missing\n")
    file.write_text("echo no first line\n")
    said = complaint("run", "--quiet", str(file), code=Exit.NOT_EXECUTABLE)
    assert said.startswith(f"cannot run {file}: Exec format error\na script needs")
    said = complaint("run", "--quiet", str(tmp_path), code=Exit.NOT_EXECUTABLE)
    assert said == f"cannot run {tmp_path}: Permission denied\nit is a directory\n"


def test_log_that_cannot_be_written(tmp_path: Path) -> None:
    """A log in a directory that is not there: told before anything runs."""
    log = str(tmp_path / "no" / "log")
    file = handlers(tmp_path, "@unotify.on('getppid')\ndef a(call): ...")
    said = complaint("run", "--handlers", file, "--log", log, "echo", "x", code=Exit.USAGE)
    assert said == f"cannot write log {log}: No such file or directory\n"


def test_log_of_nothing(tmp_path: Path) -> None:
    """A log where nobody decides anything would be empty, and look like an answer."""
    log = tmp_path / "log"
    said = complaint("run", "--log", str(log), "echo", "x", code=Exit.USAGE)
    assert said.startswith("--log is about calls that a policy or handlers decide, and there are ")
    assert not log.exists()


@pytest.mark.parametrize("args", [["calls"], ["calls", "read"], ["schema"], ["--help"], ["doctor"]])
def test_output_that_cannot_be_written(args: list[str]) -> None:
    """A full disk under standard output is told as such, and is no bug; exit code 2."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "unotify.cli", *args],
            env={**ENVIRON, "PYTHONPATH": SOURCES},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == Exit.USAGE
    reason = os.strerror(errno.ENOSPC)
    assert done.stderr == f"unotify: error: cannot write the output: {reason}\n"


@pytest.mark.parametrize(("number", "code"), [(0, Exit.POLICY), (1, 0), (2, Exit.POLICY)])
def test_closed_standard_streams(number: int, code: int, tmp_path: Path) -> None:
    """A standard stream that is closed is like /dev/null: nothing fails for it, or is mixed up."""
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\ndefault = "allow"\n')
    file = {0: "-", 1: str(policy), 2: "-"}[number]
    line = f'exec "$0" -m unotify.cli compile --format raw "$1" {number}>&-'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable, file],
        env={**ENVIRON, "PYTHONPATH": SOURCES},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = "unotify: error: standard input is empty" if number == 0 else ""
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.partition("\n")[0] == said


def test_command_finds_closed_what_was_closed() -> None:
    """What unotify puts in the place of a closed stream is not for the command that it runs."""
    line = 'exec "$0" -m unotify.cli run -- "$0" -c "import os; os.fstat(0)" <&-'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable],
        env={**ENVIRON, "PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert os.strerror(errno.EBADF) in done.stderr


def test_commands_that_are_nearly_there() -> None:
    """A command that is misspelled is guessed."""
    said = complaint("rnu", code=Exit.USAGE)
    assert said == "there is no command 'rnu'; did you mean run?\nsee unotify --help\n"


def test_sandbox_that_forbids_seccomp(tmp_path: Path) -> None:
    """Where a sandbox forbids seccomp(2) the hint is about that, not about the kernel's version."""
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["seccomp"]\ndo = { fail = "EPERM" }\n'
    )
    environ = {**ENVIRON, "PYTHONPATH": SOURCES}
    ours = [sys.executable, "-m", "unotify.cli", "run"]
    line = [*ours, "--policy", str(policy), "--", *ours, "--", "true"]
    done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.KERNEL
    assert done.stderr.splitlines()[-1] == (
        "unotify: hint: a sandbox around us forbids it: allow seccomp(2) in its profile"
    )


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
    run = [str(script), "run", "--quiet", "--"]
    line = [*run, *run, "true"]
    done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.KERNEL
    assert re.match(
        r"unotify: error: .*already supervised by another unotify \(process \d+\)\n"
        r"unotify: hint: .*\n$",
        done.stderr,
    )
