"""``unotify run`` without a terminal: what goes in, what comes out, and how it ends."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.cli_support import ENVIRON, UNOTIFY, begin, cli, handlers, killing
from tests.kernel.spawn_support import PATIENCE, until

GETPPID = "@unotify.on('getppid')\ndef parent(call):\n    return Return(77)"
ASK = "import os; print(os.getppid(), flush=True)"

# What a program can see of how it was started.
LOOK = """
import os, resource
mask = os.umask(0)
print(mask, os.getcwd(), sorted(os.environ.items()), os.getpriority(os.PRIO_PROCESS, 0))
for line in open("/proc/self/status"):
    if line.startswith(("SigIgn", "SigBlk", "SigPnd", "ShdPnd", "Groups", "Uid", "CapEff")):
        print(line, end="")
for fd in sorted(map(int, os.listdir("/proc/self/fd"))):
    try:
        print(fd, os.readlink(f"/proc/self/fd/{fd}"))
    except OSError:
        pass
print(os.getsid(0), os.getpgrp(), resource.getrlimit(resource.RLIMIT_CORE))
"""


@pytest.mark.parametrize("status", [0, 3, 255])
def test_exit_status(status: int) -> None:
    """The exit status is that of the command."""
    assert cli("run", "sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGINT, signal.SIGPIPE, 40]
)
def test_killing_signal(number: int, tmp_path: Path) -> None:
    """A command that a signal killed: the same signal kills unotify, without a core file of it."""

    def cores() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    process = subprocess.Popen(
        [*UNOTIFY, "run", "--quiet", "sh", "-c", f"ulimit -c 0; kill -{int(number)} $$"],
        env=ENVIRON,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        preexec_fn=cores,  # noqa: PLW1509
    )
    assert process.stderr is not None
    with process.stderr:
        _, status = os.waitpid(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == -number
        assert not os.WCOREDUMP(status)
        assert process.stderr.read() == b""
    assert list(tmp_path.iterdir()) == []


def test_streams_pass_through() -> None:
    """Standard input, output and error are the command's own, byte by byte."""
    data = bytes(range(256)) * 1000
    done = subprocess.run(
        [*UNOTIFY, "run", "--quiet", "sh", "-c", "tee /dev/stderr"],
        input=data,
        capture_output=True,
        env=ENVIRON,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, data, data)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param('exec "$@"', id="plain"),
        pytest.param("trap '' INT HUP TERM USR1 TSTP QUIT; exec \"$@\"", id="ignored signals"),
        pytest.param(
            'umask 027; cd /; ulimit -c 0; A=1 exec nice -n 3 "$@"', id="umask, cwd, nice"
        ),
        pytest.param('exec "$@" 5</dev/null 9>/dev/null', id="more descriptors"),
        pytest.param('exec "$@" <&-', id="no standard input"),
        pytest.param('exec "$@" <&- 2>&-', id="no standard input and error"),
    ],
)
def test_started_as_without(start: str, tmp_path: Path) -> None:
    """Environment, directory, umask, signals, ids and descriptors are as without unotify."""
    look = tmp_path / "look.py"
    look.write_text(LOOK)
    seen = []
    for prefix in ([], [*UNOTIFY, "run", "--"]):
        argv = ["sh", "-c", start, "sh", *prefix, sys.executable, str(look)]
        done = subprocess.run(argv, env=ENVIRON, stdout=subprocess.PIPE, text=True, check=True)
        # Each run has a pipe of its own.
        seen.append([line for line in done.stdout.splitlines() if "pipe:" not in line])
    assert seen[0] == seen[1]
    assert len(seen[0]) > 8


def test_ignored_sigchld() -> None:
    """The exit status arrives even if whoever started unotify ignores SIGCHLD."""
    code = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    argv = [sys.executable, "-c", code, *UNOTIFY, "run", "sh", "-c", "sleep 0.1; exit 3"]
    assert subprocess.run(argv, env=ENVIRON, check=False).returncode == 3


def test_inherited_pipes() -> None:
    """A shell's ``<(...)`` works: descriptors that unotify was given reach the command."""
    line = f"{' '.join(UNOTIFY)} run --quiet cat <(echo one) <(echo two)"
    done = subprocess.run(
        ["bash", "-c", line], env=ENVIRON, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("one\ntwo\n", "", 0)


@pytest.mark.parametrize("number", ["TERM", "HUP", "USR1", "USR2", "INT", "QUIT"])
def test_signals_to_unotify_alone(number: str) -> None:
    """What is sent to unotify alone is passed on; the target decides what becomes of it."""
    code = (
        "import signal, sys\n"
        f"signal.signal(signal.SIG{number}, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()"
    )
    with begin("run", sys.executable, "-c", code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, f"SIG{number}"))
        assert process.wait(PATIENCE) == 7


def test_passed_signal_kills_both() -> None:
    """SIGTERM for unotify ends a target that does not catch it, and unotify the same way."""
    with begin("run", "sh", "-c", "echo $$; exec sleep 1000") as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM
        assert not Path(f"/proc/{pid}").exists()


def test_signal_during_the_start() -> None:
    """A signal that comes before the target runs is kept for it."""
    code = (
        "import os, signal, subprocess, sys\n"
        "from unotify import Supervisor\n"
        "from unotify.cli.foreground import accompany\n"
        "def start():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return supervisor.popen(['sleep', '1000'])\n"
        "with Supervisor() as supervisor:\n"
        "    print(accompany(supervisor, start, quiet=True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRON,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("-15\n", "")


@pytest.mark.parametrize("number", ["STOP", "TSTP", "TTIN"])
def test_target_that_stops_itself(number: str) -> None:
    """A target that stops makes unotify stop by the same signal; SIGCONT goes on with both."""
    # A process group below this session, as a shell makes it: no orphan.
    process = begin(
        "run",
        "sh",
        "-c",
        f"kill -{number} $$; exit 5",
        start_new_session=False,
        process_group=0,
    )
    with process:
        found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert found is not None
        assert (found.si_code, found.si_status) == (
            os.CLD_STOPPED,
            getattr(signal, f"SIG{number}"),
        )
        process.send_signal(signal.SIGCONT)
        assert process.wait(PATIENCE) == 5


def test_stopped_from_outside() -> None:
    """A group that is stopped and continued as a whole goes on, and so does one member's stop."""
    code = "import sys; print('ready', flush=True); sys.exit(len(sys.stdin.read()))"
    process = begin(
        "run",
        sys.executable,
        "-c",
        code,
        start_new_session=False,
        process_group=0,
        stdin=subprocess.PIPE,
    )
    with process, killing(process):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(3):
            os.killpg(process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            os.killpg(process.pid, signal.SIGCONT)
        # Only unotify is continued: it continues the target.
        os.killpg(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        process.send_signal(signal.SIGCONT)
        process.stdin.write("four")
        process.stdin.close()
        assert process.wait(PATIENCE) == 4


def test_background_processes_stay_supervised(tmp_path: Path) -> None:
    """R1: handlers still answer when the command has ended; unotify ends with the last process."""
    file = handlers(tmp_path, GETPPID)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    line = f"(read x < {fifo}; {sys.executable} -c '{ASK}') & echo $$; exit 3"
    with begin("run", "--handlers", file, "sh", "-c", line) as process:
        assert process.stdout is not None
        pid = process.stdout.readline().strip()
        until(lambda: not Path(f"/proc/{pid}").exists())
        assert process.poll() is None
        fifo.write_text("go\n")
        assert process.stdout.read() == "77\n"
        assert process.wait(PATIENCE) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_background_processes_are_let_go(number: int) -> None:
    """Ctrl-C or SIGTERM ends the wait for background processes, and not these; status stays."""
    line = "sleep 1000 >/dev/null 2>&1 & echo $$ $!; exit 3"
    with begin("run", "sh", "-c", line) as process:
        assert process.stdout is not None
        pid, left = process.stdout.readline().split()
        try:
            until(lambda: not Path(f"/proc/{pid}").exists())
            # Again, should the first one be for a command that has just ended.
            until(lambda: (process.send_signal(number), process.poll())[1] is not None)
            assert process.wait() == 3
            assert Path(f"/proc/{left}").exists()
        finally:
            os.kill(int(left), signal.SIGKILL)


def test_options_of_the_command(tmp_path: Path) -> None:
    """What follows the command is its own, even if it is spelled as an option of unotify."""
    echo = ["--quiet", "--log", "x", "--help", "--debug", "--", "-l"]
    for separator in ([], ["--"]):
        done = cli("run", "--quiet", *separator, "echo", *echo)
        assert (done.stdout, done.stderr) == (" ".join(echo) + "\n", "")


def test_handlers_twice(tmp_path: Path) -> None:
    """Handler files are asked in the order of the command line; the first reply decides."""
    first = handlers(
        tmp_path,
        "@unotify.on('getppid')\ndef one(call):\n    return Return(1)",
        "first.py",
    )
    second = handlers(
        tmp_path,
        "@unotify.on('getppid', 'getpgid')\ndef two(call):\n    return Return(2)",
        "second.py",
    )
    code = "import os; print(os.getppid(), os.getpgid(0))"
    run = ["--", sys.executable, "-c", code]
    assert cli("run", "--handlers", first, "--handlers", second, *run).stdout == "1 2\n"
    assert cli("run", "--handlers", second, "--handlers", first, *run).stdout == "2 2\n"


def test_handlers_from_a_pipe_with_neighbours(tmp_path: Path) -> None:
    """A handler file may be a pipe, may import what lies beside it, and may use dataclasses."""
    (tmp_path / "neighbour_of_handlers.py").write_text("ANSWER = 5\n")
    source = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "import unotify, neighbour_of_handlers\n"
        "@dataclass\n"
        "class Answer:\n"
        "    value: int = neighbour_of_handlers.ANSWER\n"
        "    kind: ClassVar[int] = 0\n"
        "@unotify.on('getppid')\n"
        "def parent(call): return unotify.Return(Answer().value)\n"
    )
    file = tmp_path / "handlers.py"
    file.write_text(source)
    assert cli("run", "--handlers", str(file), sys.executable, "-c", ASK).stdout == "5\n"
    read, write = os.pipe()
    os.write(write, source.replace("neighbour_of_handlers.ANSWER", "6").encode())
    os.close(write)
    environ = {**ENVIRON, "PYTHONPATH": f"{ENVIRON['PYTHONPATH']}:{tmp_path}"}
    argv = ["run", "--handlers", f"/dev/fd/{read}", sys.executable, "-c", ASK]
    assert cli(*argv, pass_fds=[read], env=environ).stdout == "6\n"
    os.close(read)


def test_quiet(tmp_path: Path) -> None:
    """A fault in a handler is told on standard error, unless --quiet; the target gets EPERM."""
    file = handlers(tmp_path, "@unotify.on('mkdir', 'mkdirat')\ndef bad(call):\n    1 / 0")
    code = f"import os; os.mkdir({str(tmp_path / 'x')!r})"
    run = ["--handlers", file, sys.executable, "-c", code]
    loud, quiet = cli("run", *run), cli("run", "--quiet", *run)
    for done in (loud, quiet):
        assert done.returncode == 1
        assert "Operation not permitted" in done.stderr
    assert "unotify: handler bad failed on mkdir" in loud.stderr
    assert "unotify" not in quiet.stderr.replace(str(tmp_path), "")


def test_nothing_to_supervise(tmp_path: Path) -> None:
    """Without a policy and handlers one line says that no call is supervised, unless --quiet."""
    said = "unotify: no call is supervised: give --policy FILE, --handlers FILE.py or --fake-root\n"
    done = cli("run", "--", "sh", "-c", "echo runs; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "runs\n", said)
    assert cli("run", "--quiet", "--", "true").stderr == ""
    file = handlers(tmp_path, "@unotify.on('mkdir')\ndef handler(call):\n    pass")
    assert cli("run", "--handlers", file, "--", "true").stderr == ""
    assert cli("run", "--fake-root", "--", "true").stderr == ""
