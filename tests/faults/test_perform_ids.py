"""Calls of very many processes leave nothing behind in the supervisor."""

from __future__ import annotations

import gc
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import missing, need_native
from tests.faults.test_storms import LONG
from tests.kernel.perform_support import descriptors
from tests.kernel.targets import until
from unotify import Supervisor

# Numbers of processes are used again after 32,768 of them, or after four million.
PROCESSES = {"native": 1_000_000, "python": 100_000} if LONG else {"native": 5_000, "python": 500}
CALLS = 100_000 if LONG else 2_000

_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	long processes = atol(argv[1]), calls = atol(argv[2]), bad = 0;
	for (long turn = 0; turn < processes; turn++) {
		/* The quickest way to a process; the next turn waits for it. */
		pid_t child = vfork();
		if (!child) {
			int fd = syscall(SYS_openat, AT_FDCWD, argv[3], O_RDONLY, 0);
			struct stat found;
			_exit(fd < 0 || fstat(fd, &found) || !S_ISREG(found.st_mode));
		}
		int status;
		bad += child < 0 || waitpid(child, &status, 0) != child || status;
	}
	for (long turn = 0; turn < calls; turn++) {
		int fd = syscall(SYS_openat, AT_FDCWD, turn & 1 ? argv[3] : argv[4], O_RDONLY, 0);
		bad += (fd < 0) == (turn & 1);
		if (fd >= 0)
			close(fd);
	}
	return bad != 0;
}
"""


@pytest.fixture(name="target")
def _target(tmp_path: Path) -> str:
    compiler = shutil.which("gcc") or shutil.which("cc") or missing("there is no C compiler")
    made = tmp_path / "target"
    command = [compiler, "-O1", "-x", "c", "-o", str(made), "-"]
    subprocess.run(command, input=_SOURCE.encode(), check=True)
    return str(made)


def _resident() -> int:
    """Bytes of memory that are ours alone."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


@pytest.mark.parametrize(
    ("backend", "question"), [("native", "path"), ("python", "resolved(path)")]
)
def test_very_many_processes_and_ids_leave_nothing_behind(
    target: str, tmp_path: Path, backend: str, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process calls once and ends, then one calls on: neither memory nor descriptors grow."""
    if backend == "native":
        need_native()
    monkeypatch.setenv("UNOTIFY_BACKEND", backend)
    many = PROCESSES[backend]
    file = tmp_path.resolve() / "file"
    file.touch()
    policy = tmp_path / "policy.toml"
    policy.write_text(f"""
version = 1
default = "allow"
[[rule]]
calls = ["openat"]
where = '{question} == "{file}" or not under(path, "{tmp_path.resolve()}")'
do = "perform"
[[rule]]
calls = ["openat"]
do = {{ fail = "ENOENT" }}
""")
    with Supervisor(policy=str(policy)) as supervisor:

        def run(processes: int, calls: int) -> None:
            command = [target, str(processes), str(calls), str(file), str(file) + "missing"]
            assert supervisor.run(command).returncode == 0

        run(many // 5, CALLS // 5)  # what is made once has been made
        memory, before = _resident(), descriptors()
        run(many, CALLS)
        assert supervisor.statistics().received > many + CALLS
        assert (supervisor.statistics().native > many) is (backend == "native")
        assert supervisor.statistics().faults == 0
        # A thread that is about to end, or a listener, may be there for a moment.
        until(lambda: len(descriptors()) <= len(before), f"{before} instead of {descriptors()}")
        # An arena or two of the allocator: a few bytes for each call, at full size.
        assert _resident() - memory < (1 << 20)
