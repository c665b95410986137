from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kernel.cli_support import ENVIRON, UNOTIFY, Terminal, begin, cli
from tests.kernel.spawn_support import nr, until
from unotify.bpf import decode
from unotify.cli.failures import Exit

TARGET = str(Path(__file__).with_name("installing_target.py"))
GOLDEN = """\
; {comm} (process {pid}): filter 2, 2 instructions, logged
        return ALLOW
        return ALLOW

; {comm} (process {pid}): filter 1, 1 instructions
        return ALLOW

"""


def target(*words: str) -> list[str]:
    """The command line of a program that installs filters."""
    return [sys.executable, "-I", "-S", TARGET, str(nr("seccomp")), *words]


@contextmanager
def running(*words: str) -> Iterator[int]:
    """The number of such a process, which is ready."""
    with subprocess.Popen(
        target(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()


def comm_of(pid: int) -> str:
    """The name of a process."""
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


def lengths(*args: str) -> list[int]:
    """How many instructions each filter has that is dumped."""
    done = cli("dump", "--json", *args)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [found["length"] for found in json.loads(done.stdout)["filters"]]


def test_a_process(needs_root: None, tmp_path: Path) -> None:
    """Golden: the filters of a process as text, the newest first, also into a file."""
    out = tmp_path / "out"
    with running("1", "seccomp:2", "wait") as pid:
        done = cli("dump", str(pid))
        into = cli("dump", str(pid), "-o", str(out))
        expected = GOLDEN.format(comm=comm_of(pid), pid=pid)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    assert (into.returncode, into.stdout, into.stderr) == (0, "", "")
    assert out.read_text() == expected


def test_a_process_as_json(needs_root: None) -> None:
    """JSON has whose filter it is, its position, whether it logs, and its instructions."""
    with running("1", "seccomp:2", "wait") as pid:
        comm = comm_of(pid)
        done = cli("dump", str(pid), "--json")
    newest, oldest = json.loads(done.stdout)["filters"]
    assert done.returncode == 0
    assert (newest["position"], newest["log"], newest["length"]) == (2, True, 2)
    assert (oldest["position"], oldest["log"], oldest["length"]) == (1, False, 1)
    assert (oldest["tid"], oldest["comm"]) == (pid, comm)
    assert oldest["instructions"][0]["text"] == "return ALLOW"


def test_raw_filters(needs_root: None, tmp_path: Path) -> None:
    """The oldest filter has the first name; simulate takes them in that order."""
    with running("1", "2", "3", "wait") as pid:
        assert cli("dump", str(pid), "--raw", str(tmp_path / "a" / "b")).returncode == 0
    assert cli("dump", "--raw", str(tmp_path / "c"), "--", *target("1", "2", "3")).returncode == 0
    for files in ((tmp_path / "a" / "b").iterdir(), (tmp_path / "c").iterdir()):
        ordered = sorted(files)
        assert [file.name for file in ordered] == [
            "filter-001.bpf",
            "filter-002.bpf",
            "filter-003.bpf",
        ]
        assert [len(decode(file.read_bytes())) for file in ordered] == [1, 2, 3]
    done = cli("simulate", *map(str, ordered), "--", "getpid")
    assert done.returncode == 0, done.stderr


def test_text_goes_back(needs_root: None, tmp_path: Path) -> None:
    """What is printed of one filter, asm takes."""
    text, raw = tmp_path / "filter.txt", tmp_path / "filter.bpf"
    with running("3", "wait") as pid:
        cli("dump", str(pid), "-o", str(text))
    done = cli("asm", str(text), "-o", str(raw))
    assert done.returncode == 0, done.stderr
    assert len(decode(raw.read_bytes())) == 3


def test_a_process_without_filters(needs_root: None) -> None:
    """No filter is said, and exits with 1; JSON is an empty list."""
    with running("wait") as pid:
        done = cli("dump", str(pid))
        as_json = cli("dump", str(pid), "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"unotify: error: process {pid} has no filter\n"
    assert (as_json.returncode, json.loads(as_json.stdout)) == (1, {"filters": []})


def test_threads_that_differ(needs_root: None) -> None:
    """Other threads with other filters are named: a process's number is that of its first."""
    with running("thread", "1", "wait") as pid:
        done = cli("dump", str(pid))
        (other,) = {*os.listdir(f"/proc/{pid}/task")} - {str(pid)}
        of_thread = lengths(other)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"unotify: other threads of this process have other filters: {other}",
        f"unotify: error: process {pid} has no filter",
    ]
    assert of_thread == [1]


def test_a_process_that_is_gone(needs_root: None) -> None:
    """A number that nobody has is an error of usage."""
    process = subprocess.Popen(["true"])
    process.wait()
    done = cli("dump", str(process.pid))
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    assert done.stderr == f"unotify: error: there is no process {process.pid}\n"


def test_a_command(needs_root: None) -> None:
    """Each filter is printed once, in the order of installing, with flags and name."""
    done = cli("dump", "--", *target("1", "seccomp:2"))
    first, second, rest = done.stdout.split("\n\n")
    assert (done.returncode, done.stderr, rest) == (0, "", "")
    assert first.splitlines()[0].endswith("): filter 1, 1 instructions")
    assert second.splitlines()[0].endswith(
        "), installed with LOG: filter 2, 2 instructions, logged"
    )


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
def test_a_limit(limit: int, needs_root: None) -> None:
    """So many filters, and no hang before or after the last one."""
    assert lengths("--limit", str(limit), "--", *target("1", "2", "3")) == [1, 2, 3][:limit]


@pytest.mark.parametrize("how", ["fork", "thread"])
def test_children_and_threads(how: str, needs_root: None) -> None:
    """The filters of a command's children and threads are its own."""
    assert lengths("--", *target(how, "1", "2")) == [1, 2]


def test_a_command_without_filters(needs_root: None) -> None:
    """A command that installs none is said, and exits with 1, however it ended itself."""
    for command in (["true"], ["sh", "-c", "exit 7"], ["sh", "-c", "kill -9 $$"]):
        done = cli("dump", "--", *command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "unotify: error: the command installed no filter\n"


def test_a_command_that_is_killed(needs_root: None) -> None:
    """What a command installed before it was killed is there."""
    assert lengths("--", *target("1", "2", "kill")) == [1, 2]


def test_a_command_keeps_its_streams(needs_root: None) -> None:
    """The command reads our standard input and writes to our standard output."""
    done = cli("dump", "--", "cat", input="as it is\n")
    assert (done.returncode, done.stdout) == (1, "as it is\n")


def test_commands_that_cannot_be_run(needs_root: None) -> None:
    """As in a shell: 127 for one that is not there, 126 for what is no program."""
    done = cli("dump", "--", "no-such-command-anywhere")
    assert (done.returncode, done.stderr) == (
        Exit.NOT_FOUND,
        "unotify: error: no such command: no-such-command-anywhere\n",
    )
    done = cli("dump", "--", "/etc/passwd")
    assert (done.returncode, done.stderr) == (
        Exit.NOT_EXECUTABLE,
        "unotify: error: cannot run /etc/passwd: Permission denied\n",
    )


def test_an_interrupt(needs_root: None, tmp_path: Path) -> None:
    """A Ctrl-C ends command and dump; what was found before is written all the same."""
    out = tmp_path / "out.json"
    line = [*UNOTIFY, "dump", "--json", "-o", str(out), "--", *target("1", "say", "pause")]
    with Terminal(*line) as terminal:
        terminal.expect("ready")
        terminal.send("\x03")
        assert terminal.status() == -signal.SIGINT
    assert [found["length"] for found in json.loads(out.read_text())["filters"]] == [1]


def test_an_interrupt_lets_go(needs_root: None) -> None:
    """An interrupt for unotify alone lets the command go, which goes on."""
    process = begin("dump", "--", *target("1", "say", "pause"))
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(4)]
    pid = int("".join(seen).partition("(process ")[2].partition(")")[0])
    process.send_signal(signal.SIGINT)
    process.wait()
    assert process.returncode == -signal.SIGINT
    until(lambda: "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text())
    os.kill(pid, signal.SIGKILL)
    process.stdout.close()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([], "give the number of a process, or -- and a command"),
        (["--"], "give the number of a process, or -- and a command"),
        (["1", "--", "true"], "give the number of a process, or -- and a command"),
        (["bash"], "'bash' is no number of a process"),
        (["0"], "'0' is no number of a process"),
        (["99999999999"], "'99999999999' is no number of a process"),
        (["--limit", "2", "1"], "--limit is for a command"),
        (["--limit", "0", "--", "true"], "Invalid value for '--limit'"),
    ],
)
def test_usage(args: list[str], told: str) -> None:
    """What is wrong with the command line is one sentence, and exits with 2."""
    done = cli("dump", *args)
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    assert done.stderr.startswith(f"unotify: error: {told}")


def test_places_that_cannot_be_written(needs_root: None, tmp_path: Path) -> None:
    """It is told before the command runs, not after it ran for nothing."""
    mark, file = tmp_path / "mark", tmp_path / "file"
    file.touch()
    command = ["--", "touch", str(mark)]
    done = cli("dump", "-o", str(tmp_path / "none" / "out"), *command)
    assert done.returncode == Exit.USAGE
    assert done.stderr == (
        f"unotify: error: cannot write {tmp_path}/none/out: No such file or directory\n"
    )
    done = cli("dump", "--raw", str(file), *command)
    assert done.returncode == Exit.USAGE
    assert done.stderr == f"unotify: error: cannot make {file}: File exists\n"
    assert not mark.exists()


def test_who_may_not() -> None:
    """Who has not the privilege is told what it takes, and a command is not run."""
    without = ["setpriv", "--bounding-set", "-sys_admin"] if os.geteuid() == 0 else []
    if without and shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv(1)")
    for args in (["1"], ["--", "echo", "ran"]):
        done = subprocess.run(
            [*without, *UNOTIFY, "dump", *args],
            env=ENVIRON,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (Exit.KERNEL, "")
        assert done.stderr == (
            "unotify: error: ptrace(2): reading filters needs CAP_SYS_ADMIN\n"
            "unotify: hint: run it as root\n"
        )


def test_under_a_filter(needs_root: None) -> None:
    """Who is under a filter is told so: the kernel lets nobody else read filters."""
    done = subprocess.run(
        [*target("1", "exec"), *UNOTIFY, "dump", "1"],
        env=ENVIRON,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == Exit.KERNEL
    assert done.stderr == (
        "unotify: error: ptrace(2): who is under a filter may not read filters\n"
        "unotify: hint: run it outside of this sandbox or container\n"
    )


def test_names_that_are_orders(needs_root: None) -> None:
    """A program's name cannot give orders to the terminal."""
    with running("name:\x1b[2J\x07", "1", "wait") as pid:
        done = cli("dump", str(pid))
        found = json.loads(cli("dump", str(pid), "--json").stdout)["filters"]
    assert done.stdout.startswith(f"; ?[2J? (process {pid})")
    assert found[0]["comm"] == "\x1b[2J\x07"


def test_help() -> None:
    """The help has examples."""
    done = cli("dump", "--help")
    assert done.returncode == 0
    assert "Examples:\n    unotify dump $(pidof " in done.stdout
