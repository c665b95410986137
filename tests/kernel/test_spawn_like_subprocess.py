"""A spawned program finds itself in the same surroundings as one that subprocess started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.spawn_support import always, let_all_go, no_children, notify, open_fds, supervised
from unotify.abi.seccomp import Action
from unotify.kernel.popen import Popen
from unotify.kernel.spawn import spawn

# Prints what it can find out about itself. A shell, not Python, which changes
# signal dispositions as it starts; awk and tr keep what differs by nature out of it.
LOOK = r"""
cat /proc/self/status | grep -E '^(Umask|Uid|Gid|Groups|Sig(Blk|Ign|Cgt)|ShdPnd|Cap|NStgid):' |
    grep -v NStgid
tr '\0' '\n' </proc/$$/environ
tr '\0' '\n' </proc/$$/cmdline
pwd -P; umask
cat /proc/$$/oom_score_adj /proc/$$/limits /proc/$$/cgroup
cat /proc/$$/timerslack_ns /proc/$$/personality
ls -l /proc/$$/ns | awk '{print $NF}'
ls /proc/$$/fd
awk '{pgrp = ($5 == $1); session = ($6 == $1); print pgrp, session, $8 == $5, $19}' /proc/$$/stat
stat -c %U /proc/$$/environ
"""

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "env": {"env": {"PATH": os.defpath, "A": "ä ö", "EMPTY": "", "NEWLINE": "a\nb"}},
    "cwd": {"cwd": "/usr"},
    "umask": {"umask": 0o031},
    "session": {"start_new_session": True},
    "group": {"process_group": 0},
    "signals": {"restore_signals": False},
    "executable": {"executable": "/bin/sh"},
}


def both(args: Any, **options: Any) -> tuple[bytes, bytes]:
    """The output under subprocess, and under a filter that notifies of everything."""
    plain = subprocess.run(args, stdout=subprocess.PIPE, check=False, **options)
    program = always(Action.USER_NOTIF)
    with supervised(program, args, stdout=subprocess.PIPE, **options) as (process, _):
        output, _ = process.communicate()

    assert process.returncode == plain.returncode

    return plain.stdout, output


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
def test_same_surroundings(options: dict[str, Any]) -> None:
    """Ids, signals, environment, limits, namespaces, descriptors and session are the same."""
    plain, ours = both(["sh", "-c", LOOK, "name", "an argument", ""], **options)

    assert b"SigIgn" in plain
    assert without_libc_signals(ours) == without_libc_signals(plain)


def without_libc_signals(look: bytes) -> list[bytes]:
    """The lines, but for signals 32 and 33: glibc's own, which its posix_spawn ignores."""
    clear = ~(1 << 31 | 1 << 32)
    return [
        b"SigIgn:\t%016x" % (int(line[7:], 16) & clear) if line.startswith(b"SigIgn") else line
        for line in look.splitlines()
    ]


@contextlib.contextmanager
def ignoring(number: int, handler: Any) -> Iterator[None]:
    """With this disposition of a signal."""
    old = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, old)


@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL, lambda *_: None])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGQUIT])
def test_same_dispositions(number: int, handler: Any, restore: bool) -> None:
    """A signal that the supervisor ignores, catches or leaves alone is the same to the program."""
    look = ["grep", "^Sig", "/proc/self/status"]
    with ignoring(number, handler):
        plain, ours = both(look, restore_signals=restore)

    assert [ln for ln in ours.splitlines() if not ln.startswith(b"SigQ")] == [
        ln for ln in plain.splitlines() if not ln.startswith(b"SigQ")
    ]


def test_same_mask() -> None:
    """Signals that the calling thread blocks are blocked in the program, SIGINT too."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR2})
    try:
        plain, ours = both(["grep", "^SigBlk", "/proc/self/status"])
        now = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)

    assert plain == ours != b"SigBlk:\t0000000000000000\n"
    assert now == old | {signal.SIGINT, signal.SIGUSR2}


def test_passed_descriptors(tmp_path: Path) -> None:
    """`pass_fds` keep their numbers, and nothing else is inherited."""
    with (tmp_path / "file").open("w") as one, (tmp_path / "other").open("w"):
        look = ["sh", "-c", "ls -l /proc/$$/fd | awk '{print $9, $10, $11}' | grep -v pipe"]
        plain, ours = both(look, pass_fds=[one.fileno()])

    assert b"/file" in plain
    assert b"/other" not in plain
    assert ours == plain


def test_standard_streams_closed_in_the_supervisor() -> None:
    """A supervisor without stdin, stdout and stderr can spawn, and its program has none either."""
    code = """if True:
        import os, json, subprocess, sys
        from tests.kernel.spawn_support import let_all_go, notify
        from unotify.kernel.spawn import spawn
        out = os.dup(1)
        for n in (0, 1, 2): os.close(n)
        look = ["sh", "-c", f"ls /proc/$$/fd >&{out}"]
        subprocess.run(look, pass_fds=[out])
        spawned = spawn(notify("getppid"), look, popen_options={"pass_fds": [out]})
        let_all_go(spawned)
        spawned.process.wait()
        os._exit(0)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    lines = done.stdout.splitlines()

    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :] != []


def test_shell() -> None:
    """``shell=True`` runs a string, or a list whose rest are the shell's parameters."""
    assert both("echo $0 $PWD; exit 3", shell=True, cwd="/")[1] == b"/bin/sh /\n"
    assert both(["echo $0 $1", "a", "b"], shell=True)[1] == b"a b\n"


def test_path_is_searched_as_subprocess_does(tmp_path: Path) -> None:
    """PATH comes from `env`; directories without the program, or that are none, are passed over."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    env = {"PATH": f"/nonexistent:/etc/passwd:{tmp_path}:/bin"}

    assert both(["program"], env=env)[1] == b"found\n"


def test_large_arguments() -> None:
    """Arguments and environment may be as large as exec allows."""
    big = "x" * 120_000
    env = {"PATH": os.defpath} | {f"V{n}": big for n in range(8)}

    plain, ours = both(["sh", "-c", "echo ${#V7} $#", *[big] * 4], env=env)

    assert ours == plain == b"120000 3\n"


FAILURES: dict[str, tuple[Any, dict[str, Any]]] = {
    "missing command": (["no-such-command"], {}),
    "missing file": (["/no/such/file"], {}),
    "no directory on the way": (["/etc/passwd/x"], {}),
    "not executable": (["/etc/passwd"], {}),
    "a directory": (["/etc"], {}),
    "missing cwd": (["true"], {"cwd": "/no/such/directory"}),
    "cwd is a file": (["true"], {"cwd": "/etc/passwd"}),
    "name too long": (["x" * 5000], {}),
    "argument list too long": (["true", "x" * 200_000], {}),
    "missing interpreter": (["{tmp}/script"], {}),
    "unknown format": (["{tmp}/garbage"], {}),
    "NUL in an argument": (["true", "a\0b"], {}),
    "NUL in a name": (["tr\0ue"], {}),
    "NUL in cwd": (["true"], {"cwd": "/\0"}),
    "NUL in env": (["true"], {"env": {"A": "\0"}}),
    "bad variable": (["true"], {"env": {"A=B": "C"}}),
    "no such user": (["true"], {"user": "no-such-user"}),
    "no such group": (["true"], {"group": "no-such-group"}),
    "negative user": (["true"], {"user": -1}),
    "user of a bad type": (["true"], {"user": 1.5}),
    "bad process group": (["true"], {"process_group": 2**30}),
    "bad option": (["true"], {"no_such_option": 1}),
    "bad bufsize": (["true"], {"bufsize": "1"}),
    "text without a codec": (["true"], {"stdout": -1, "encoding": "no-such-codec"}),
    "path with shell": (Path("x"), {"shell": True}),
    "number as argument": (["true", 1], {}),
}


@pytest.mark.parametrize("case", FAILURES.values(), ids=FAILURES.keys())
def test_same_errors(case: tuple[Any, dict[str, Any]], tmp_path: Path) -> None:
    """What subprocess refuses is refused with the same exception; nothing is left behind."""
    args, options = case
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "garbage").write_bytes(b"\x7fELF\0garbage")
    for name in ("script", "garbage"):
        (tmp_path / name).chmod(0o755)
    if isinstance(args, list):
        args = [arg.format(tmp=tmp_path) if isinstance(arg, str) else arg for arg in args]
    before = open_fds()

    theirs = error_of(lambda: subprocess.Popen(args, **options))
    ours = error_of(lambda: Popen(args, program=notify("getppid"), **options))

    assert type(ours) is type(theirs)
    if isinstance(ours, OSError):
        assert isinstance(theirs, OSError)
        assert (ours.errno, ours.filename) == (theirs.errno, theirs.filename)
        assert ours.strerror == theirs.strerror
    assert open_fds() == before
    assert no_children()


def error_of(work: Callable[[], Any]) -> BaseException:
    """The exception that *work* raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each case has its own
        work()
    return caught.value


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"preexec_fn": print}, "between the filter and the program"),
        ({"close_fds": False}, "pass_fds"),
        ({"startupinfo": object()}, "Windows"),
    ],
)
def test_refused_options(options: dict[str, Any], reason: str) -> None:
    """What cannot work under a filter is refused with the reason."""
    with pytest.raises(TypeError, match=reason):
        Popen(["true"], program=notify("getppid"), **options)


def test_empty_command() -> None:
    """No program at all is a ValueError."""
    with pytest.raises(ValueError, match="args is empty"):
        spawn(notify("getppid"), [])


def test_timeout_of_communicate() -> None:
    """`communicate` and `wait` time out as in subprocess, and the process goes on."""
    process = Popen(["cat"], program=notify("getppid"), stdin=-1, stdout=-1)
    with process.listener, process:
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            process.wait(timeout=0.01)

        assert caught.value.cmd == ["cat"]
        assert process.communicate(b"x", timeout=20) == (b"x", None)


def test_pipes_in_text_mode() -> None:
    """Encoding, errors and line buffering are those of subprocess."""
    process = Popen(
        ["cat"],
        program=notify("getppid"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        bufsize=1,
    )
    with process.listener, process:
        process.stdin.write("grüße\n")

        assert process.stdout.readline() == "grüße\n"


def test_exit_status_and_signals() -> None:
    """Signals reach the program, and its end is told as in subprocess."""
    process = Popen(["sleep", "60"], program=notify("getppid"))
    with process.listener, process:
        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=20) == -signal.SIGTERM


def test_environment_of_the_supervisor_is_not_polluted(monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHON variables neither disturb the launcher nor are lost on their way to the program."""
    for name, value in (
        ("PYTHONHOME", "/nonexistent"),
        ("PYTHONPATH", "/nonexistent"),
        ("PYTHONSTARTUP", "/nonexistent"),
        ("PYTHONINSPECT", "1"),
        ("PYTHONVERBOSE", "1"),
        ("LC_ALL", "C"),
    ):
        monkeypatch.setenv(name, value)
    plain, ours = both(["env"])

    assert ours == plain
    assert b"PYTHONVERBOSE" in ours


def test_launcher_ignores_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules in the current directory are not imported by the launcher."""
    for name in ("ctypes", "marshal", "mmap", "select", "os"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(tmp_path)
    spawned = spawn(notify("getppid"), ["true"])
    let_all_go(spawned)

    assert spawned.process.wait() == 0


def test_launch_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    """A launch writes nothing of its own to the standard streams."""
    spawned = spawn(notify("getppid"), ["echo", "only this"])
    let_all_go(spawned)
    spawned.process.wait()
    with pytest.raises(FileNotFoundError):
        spawn(notify("getppid"), ["no-such-command"])

    assert capfd.readouterr() == ("only this\n", "")
