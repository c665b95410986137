"""``unotify run --log``: one JSON object for each call."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.kernel.cli_support import cli, handlers, log_of

KEYS = {
    *("time", "pid", "tid", "comm", "call", "arch", "args", "handler", "reply", "microseconds"),
}


def logged(tmp_path: Path, source: str, code: str) -> tuple[Any, list[dict[str, Any]]]:
    """Run Python *code* under the handlers in *source*; what it did, and the log."""
    log = tmp_path / "log.jsonl"
    file = handlers(tmp_path, source)
    done = cli("run", "--handlers", file, "--log", str(log), "--", sys.executable, "-c", code)
    return done, log_of(log)


def test_one_object_per_call(tmp_path: Path) -> None:
    """Each line has time, ids, name, decoded arguments, the handler, the reply and its time."""
    before = time.time()
    done, log = logged(
        tmp_path,
        "@unotify.on('mkdir', 'mkdirat')\ndef deny(call):\n    return Fail(errno.EROFS)",
        "import ctypes, os\nlibc = ctypes.CDLL(None)\n"
        "open('/proc/self/comm', 'w').write('a \"name\"')\n"
        "print(os.getpid(), libc.mkdirat(-100, b'/no/\\xff', 0o750), flush=True)",
    )
    pid, result = map(int, done.stdout.split())
    assert result == -1
    (entry,) = log
    assert set(entry) == KEYS
    assert before <= entry["time"] <= time.time()
    assert (entry["pid"], entry["tid"], entry["comm"]) == (pid, pid, 'a "name"')
    assert entry["call"] == "mkdirat"
    assert entry["args"] == {"dirfd": -100, "path": "/no/\\xff", "mode": 0o750}
    assert (entry["handler"], entry["reply"]) == ("deny", {"fail": "EROFS"})
    assert 0 < entry["microseconds"] < 60e6


def test_every_kind_of_reply(tmp_path: Path) -> None:
    """Return, Fail, Continue, Continue.racy and InstallFd have a form each."""
    _, log = logged(
        tmp_path,
        "@unotify.on('getppid')\ndef a(call):\n    return Return(7)\n"
        "@unotify.on('getpgid')\ndef b(call):\n    return Continue()\n"
        "@unotify.on('getsid')\ndef c(call):\n    return None\n"
        "@unotify.on('getpriority')\ndef d(call):\n    1 / 0\n"
        "@unotify.on('chdir')\ndef e(call):\n"
        "    call.path\n    return Continue.racy(because='a test')\n"
        "@unotify.on('memfd_create')\ndef f(call):\n"
        "    return InstallFd(os.open('/dev/null', os.O_RDONLY), owned=True, cloexec=True)\n"
        "@unotify.on('eventfd2')\ndef g(call):\n"
        "    return InstallFd(os.open('/dev/null', os.O_RDONLY), owned=True, at=55, cloexec=False)",
        "import os\n"
        "def tried(work):\n"
        "    try: work()\n"
        "    except OSError: pass\n"
        "os.getppid(); os.getpgid(0); tried(lambda: os.getsid(0)); os.chdir('/')\n"
        "tried(lambda: os.getpriority(os.PRIO_PROCESS, 0))\n"
        "os.memfd_create('x'); os.eventfd(0)",
    )
    assert [(entry["call"], entry["handler"], entry["reply"]) for entry in log] == [
        ("getppid", "a", {"return": 7}),
        ("getpgid", "b", {"continue": True}),
        ("getsid", "(unhandled)", {"fail": "EPERM"}),
        ("chdir", "e", {"continue": True, "racy": "a test"}),
        ("getpriority", "d", {"fail": "EPERM"}),
        ("memfd_create", "f", {"install_fd": {"at": None, "cloexec": True}}),
        ("eventfd2", "g", {"install_fd": {"at": 55, "cloexec": False}}),
    ]


def test_unreadable_pointer(tmp_path: Path) -> None:
    """An argument that cannot be read is told as that, with the errno; flags by their names."""
    _, log = logged(
        tmp_path,
        "@unotify.on('mount')\ndef deny(call):\n    return Fail(errno.EPERM)",
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "libc.mount(ctypes.c_void_p(8), b'/x', b'ext4', ctypes.c_ulong(4096 | 1), None)\n"
        "libc.mount(b'', b'', None, ctypes.c_ulong(0), None)",
    )
    first, second = (entry["args"] for entry in log)
    assert first == {
        "source": {"unreadable": "EFAULT"},
        "target": "/x",
        "fstype": "ext4",
        "flags": "MS_RDONLY|MS_BIND",
        "data": None,
    }
    assert (second["source"], second["fstype"], second["flags"]) == ("", None, 0)


def test_call_that_vanished(tmp_path: Path) -> None:
    """N8: a call whose target was killed meanwhile is logged, with nobody to take the reply."""
    done, log = logged(
        tmp_path,
        "import signal, time\n"
        "@unotify.on('getppid')\ndef kill(call):\n"
        "    os.kill(call.caller.pid, signal.SIGKILL)\n"
        "    while call.caller.is_waiting():\n        time.sleep(0.001)\n"
        "    return Return(1)",
        "import os; os.getppid()",
    )
    assert done.returncode == -signal.SIGKILL
    (entry,) = log
    assert set(entry) == KEYS
    assert (entry["call"], entry["handler"]) == ("getppid", "kill")
    assert (entry["reply"], entry["microseconds"]) == ({"gone": True}, None)
    assert entry["tid"] > 0


def test_log_on_standard_error(tmp_path: Path) -> None:
    """``--log -`` writes to standard error; nothing is logged that no handler wants."""
    file = handlers(tmp_path, "@unotify.on('getppid')\ndef a(call):\n    return Return(7)")
    code = "import os; os.getpgid(0); os.getppid()"
    done = cli("run", "--handlers", file, "--log", "-", sys.executable, "-c", code)
    (line,) = done.stderr.splitlines()
    assert '"call": "getppid"' in line
    assert cli("run", "--handlers", file, "--log", "-", "true").stderr == ""


def test_log_is_for_its_owner(tmp_path: Path) -> None:
    """A new log is readable by its owner only: it has the environments of what was executed."""
    file = handlers(tmp_path, "@unotify.on('getppid')\ndef a(call):\n    return Return(7)")
    log = tmp_path / "log"
    assert cli("run", "--handlers", file, "--log", str(log), "true").returncode == 0
    assert log.stat().st_mode & 0o777 == 0o600


def test_full_disk(tmp_path: Path) -> None:
    """A log that cannot be written any more is told once; the target goes on."""
    file = handlers(tmp_path, "@unotify.on('getppid')\ndef a(call):\n    return Return(7)")
    code = "import os; print(os.getppid() + os.getppid())"
    done = cli("run", "--handlers", file, "--log", "/dev/full", sys.executable, "-c", code)
    assert (done.returncode, done.stdout) == (0, "14\n")
    assert done.stderr == (
        f"unotify: error: cannot write log /dev/full: {os.strerror(errno.ENOSPC)}; "
        "the log ends here\n"
    )
