"""``unotify run`` on a terminal: Ctrl-C, Ctrl-Z, jobs."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.kernel.cli_support import PROMPT, UNOTIFY, Shell, Terminal
from tests.kernel.spawn_support import until

# Says what it is told, and how often it was interrupted.
STUBBORN = (
    "import os, signal, sys\n"
    "def interrupted(*_): os.write(1, b'interrupted\\n')\n"
    "signal.signal(signal.SIGINT, interrupted)\n"
    "print('ready', flush=True)\n"
    "for line in sys.stdin:\n"
    "    print('got', line, flush=True)\n"
    "    if line == 'end\\n': sys.exit(6)\n"
)

# Says when it runs in the foreground again: before that, a Ctrl-C is the shell's. It
# forks nothing: Ctrl-Z between a vfork and its exec would stop one of the two alone.
LASTING = (
    "import os, signal\n"
    "def again(*_): os.write(1, b'again\\n')\n"
    "signal.signal(signal.SIGCONT, again)\n"
    "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    "print('running', flush=True)\n"
    "while True: signal.pause()\n"
)


@pytest.fixture(name="lasting")
def _lasting(tmp_path: Path) -> str:
    """The shell's command for `LASTING`."""
    file = tmp_path / "lasting.py"
    file.write_text(LASTING)
    return f"{sys.executable} {file}"


def test_ctrl_c_ends_the_target() -> None:
    """Ctrl-C kills the target, and unotify ends by SIGINT as well, without a word."""
    with Terminal(*UNOTIFY, "run", "sh", "-c", "echo ready; exec sleep 1000") as terminal:
        terminal.expect("ready\r\n")
        terminal.send("\x03")
        assert terminal.status() == -signal.SIGINT
        assert terminal.seen in ("", "^C")


def test_ctrl_backslash_ends_the_target() -> None:
    """Ctrl-backslash does the same with SIGQUIT."""
    with Terminal(
        *UNOTIFY, "run", "sh", "-c", "ulimit -c 0; echo ready; exec sleep 1000"
    ) as terminal:
        terminal.expect("ready\r\n")
        terminal.send("\x1c")
        assert terminal.status() == -signal.SIGQUIT


def test_target_that_handles_ctrl_c() -> None:
    """A target that catches SIGINT hears it once and goes on, and unotify with it."""
    with Terminal(*UNOTIFY, "run", sys.executable, "-c", STUBBORN) as terminal:
        terminal.expect("ready\r\n")
        for _ in range(3):
            terminal.send("\x03")
            terminal.expect("interrupted\r\n")
        terminal.send("end\n")
        assert "interrupted" not in terminal.expect("got end")
        assert terminal.status() == 6


def test_ctrl_z_and_fg() -> None:
    """Ctrl-Z gives the prompt back, with a stopped job; ``fg`` goes on where it was."""
    with Shell() as shell:
        shell.send("$U run cat; echo status=$?\n")
        shell.send("one\n")
        shell.expect("one")
        shell.accompanied()
        shell.send("\x1a")
        # 128 + SIGTSTP, as without unotify.
        assert f"status={128 + signal.SIGTSTP}" in shell.expect(PROMPT)
        assert "Stopped" in shell.run("jobs")
        for text in ("two", "three"):
            shell.send("fg\n")
            shell.expect("$U run cat")
            shell.send(f"{text}\n")
            shell.expect(text)
            shell.accompanied()
            shell.send("\x1a")
            shell.expect(PROMPT)
        shell.send("fg\n")
        shell.expect("$U run cat")
        shell.send("\x04")
        shell.expect(PROMPT)
        assert "status=0" in shell.run("echo status=$?")
        assert shell.run("jobs").strip() == ""


def test_ctrl_c_after_fg(lasting: str) -> None:
    """Ctrl-C works on a job that was stopped and continued."""
    with Shell() as shell:
        shell.send(f"$U run {lasting}\n")
        shell.expect("running")
        shell.accompanied()
        shell.send("\x1a")
        shell.expect(PROMPT)
        shell.send("fg\n")
        shell.expect("again")
        shell.send("\x03")
        shell.expect(PROMPT)
        assert f"status={128 + signal.SIGINT}" in shell.run("echo status=$?")


def test_background_job_that_reads() -> None:
    """A background job that wants the terminal is stopped; ``fg`` gives it what it wants."""
    with Shell() as shell:
        shell.run("$U run sh -c 'read x; echo got $x; exit 4' &")
        until(lambda: "Stopped" in shell.run("jobs"))
        shell.send("fg\n")
        shell.expect("exit 4'")
        shell.send("this\n")
        assert "got this" in shell.expect(PROMPT)
        assert "status=4" in shell.run("echo status=$?")


def test_shell_with_jobs_as_the_target(lasting: str) -> None:
    """An interactive shell as the target has the terminal, and jobs of its own."""
    with Shell() as shell:
        shell.send("$U run bash --norc --noprofile --noediting -i\n")
        shell.send("PS1='<in''side>'\n")
        shell.expect("<inside>")
        shell.send(f"{lasting}\n")
        shell.expect("running")
        shell.send("\x1a")
        assert "Stopped" in shell.expect("<inside>")
        shell.send("fg\n")
        shell.expect("again")
        shell.send("\x03")
        shell.expect("<inside>")
        shell.send("exit 9\n")
        shell.expect(PROMPT)
        assert "status=9" in shell.run("echo status=$?")


def test_ctrl_c_lets_background_processes_go() -> None:
    """When the command has ended, this is said, and Ctrl-C gives the prompt back."""
    with Shell() as shell:
        shell.send("$U run sh -c 'trap \"\" INT; sleep 1000 & echo left=$!=; exit 3'\n")
        shell.expect("left=")
        left = shell.expect("=")
        shell.expect("unotify: the command has ended, its background processes have not")
        assert Path(f"/proc/{left}").exists()
        shell.send("\x03")
        shell.expect(PROMPT)
        assert "status=3" in shell.run("echo status=$?")
        assert Path(f"/proc/{left}").exists()
        shell.run(f"kill -9 {left}")


def test_terminal_of_the_target() -> None:
    """The target has the terminal as its own: isatty, size, and the foreground."""
    code = (
        "import os; print(os.isatty(0), os.isatty(1), os.isatty(2), "
        "os.tcgetpgrp(0) == os.getpgrp(), os.getsid(0) == os.getppid())"
    )
    with Terminal(*UNOTIFY, "run", sys.executable, "-c", code) as terminal:
        terminal.expect("True True True True True")
        assert terminal.status() == 0
