"""``unotify agent`` as a process: sockets, signals and exit codes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kernel.agent_support import bring, policy, ppid
from tests.kernel.cli_support import ENVIRON, UNOTIFY, begin, cli, killing
from tests.kernel.targets import PATIENCE, Target
from unotify.oci.sockets import listen


class Command:
    """A running command."""

    def __init__(self, process: subprocess.Popen[str], path: Path) -> None:
        self.process = process
        self.path = path

    def expect(self, text: str) -> None:
        """Read what it says until *text*."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if text in line:
                return
        raise AssertionError(f"it ended without {text!r}")

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for its end."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def started(directory: Path, *options: str) -> Iterator[Command]:
    """The command, once it listens."""
    path = directory / "s"
    process = begin(
        "agent",
        *("--socket", str(path), "--policies", str(directory / "policies")),
        *options,
        stderr=subprocess.PIPE,
    )
    with process, killing(process):
        command = Command(process, path)
        command.expect(f"listening at {path}")
        yield command
        if process.poll() is None:
            process.kill()


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "default.toml").write_text(policy(11))
    return tmp_path


def test_no_policies(directory: Path) -> None:
    """An agent with nothing to answer by says so: policies may come later."""
    (directory / "policies" / "default.toml").unlink()
    path = directory / "s"
    options = ["--socket", str(path), "--policies", str(directory / "policies"), "--quiet"]
    process = begin("agent", *options, stderr=subprocess.PIPE)
    with process, killing(process):
        Command(process, path).expect(f"there is no policy in {directory}/policies")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_a_life(directory: Path) -> None:
    """It serves, reloads on SIGHUP, tells a mistake, and SIGTERM ends it without a trace."""
    file = directory / "policies" / "default.toml"
    with started(directory) as command, Target("getppid") as old, Target("getppid") as new:
        bring(command.path, old)
        command.expect("container c1, process 1: policy default by default")
        file.write_text(policy(22))
        command.process.send_signal(signal.SIGHUP)
        command.expect("policies are loaded: default is changed")
        bring(command.path, new)
        assert (ppid(old), ppid(new)) == (11, 22)
        file.write_text("nonsense")
        command.process.send_signal(signal.SIGHUP)
        command.expect(f"{file}:1:")
        assert command.end(signal.SIGTERM) == 0
        assert not command.path.exists()


def test_handlers(directory: Path) -> None:
    """Handlers of a file are there for all policies, also for those that are loaded later."""
    (directory / "policies" / "default.toml").write_text(
        'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["getppid"]\ndo = "notify"\n'
    )
    handlers = directory / "h.py"
    handlers.write_text(
        "import unotify\n@unotify.on('getppid')\ndef f(call):\n    return unotify.Return(77)\n"
    )
    with started(directory, "--handlers", str(handlers)) as command, Target("getppid") as target:
        bring(command.path, target)
        assert ppid(target) == 77
        assert command.end(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 2, "no policies"),
        (["--policies", "policies"], 2, "no socket to serve"),
        (["--policies", "missing", "--socket", "s"], 3, "cannot read"),
        (["--policies", "policies", "--socket", "missing/s"], 4, "cannot listen"),
        (["--policies", "policies", "--socket", "s", "--deadline", "0"], 2, "--deadline"),
        (["--policies", "broken", "--socket", "s"], 3, "broken/a.toml:1:"),
        (["--policies", "policies", "--socket", "s", "--fault", "EPERMS"], 2, "is no error"),
    ],
)
def test_mistakes(directory: Path, options: list[str], code: int, said: str) -> None:
    """What is wrong is one sentence and an exit code."""
    (directory / "broken").mkdir()
    (directory / "broken" / "a.toml").write_text("nonsense")
    done = cli("agent", *options, cwd=directory)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_socket_activation(directory: Path) -> None:
    """It serves the socket that systemd passes, and leaves its file alone."""
    path = directory / "passed"
    with listen(str(path), socket.SOCK_STREAM) as listening:
        shell = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 </dev/null'
        process = subprocess.Popen(
            ["sh", "-c", shell, "sh", *UNOTIFY, "agent", "--policies", str(directory / "policies")],
            env=ENVIRON,
            stdin=listening.fileno(),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    with process, killing(process), Target("getppid") as target:
        bring(path, target)
        assert ppid(target) == 11
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert path.exists()
