"""Programs that play root."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kernel.perform_support import PYTHON
from unotify import Instrument, Supervisor
from unotify.handlers.ownership import FakeRoot

__all__ = ["JOB", "PYTHON", "played", "playing", "root_target"]

ROOT_TARGET = Path(__file__).with_name("root_target.py")

JOB = """
set -e
cd "$1"
umask 022
mkdir -p src/dir; cd src
echo hi > a; echo bin > b; ln a hard; ln -s a sym; touch suid
chown 10:20 a; chown -h 7:8 sym; chmod 4755 suid; chmod 640 b
mknod null c 1 3; mknod -m 600 sda b 8 0; mkfifo fifo
install -o 33 -g 44 -m 2750 -d dir/inst; install -o 1 -m 640 b dir/bb
find . -exec touch -h -d @1000000000 {} +
cp -a . ../copy
cd ..
tar="tar --sort=name --mtime=@1000000000 --numeric-owner"
$tar -cf src.tar src
$tar -cf copy.tar copy
mkdir x; tar -C x -xpf src.tar; $tar -C x -cf again.tar src
(cd src; find . | LC_ALL=C sort | cpio -o -H newc --reproducible > ../src.cpio 2> ../errors)
mkdir y; (cd y; cpio -idm < ../src.cpio 2> ../errors)
ls -lnR --time-style=+ src copy x y > listing
tar tvf src.tar > contents
"""
"""A directory with owners and devices, copied, archived and taken out again."""


class _Complaints(Instrument):
    def __init__(self) -> None:
        self.faults: list[str] = []

    def fault(self, fault: Any) -> None:
        """What no handler may do."""
        self.faults.append("".join(traceback.format_exception(fault.__cause__ or fault)))


@contextmanager
def playing(store: Path | None = None) -> Iterator[Supervisor]:
    """A supervisor whose programs play root; no handler may fail."""
    complaints = _Complaints()
    with FakeRoot(store) as root, Supervisor() as supervisor:
        root.attach(supervisor)
        supervisor.add_instrument(complaints)
        yield supervisor
    assert not complaints.faults, complaints.faults[0]


def played(*args: str, store: Path | None = None, **options: Any) -> str:
    """What a program says that plays root; it has to succeed."""
    with playing(store) as supervisor:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | options
        done = supervisor.run(list(args), **options)
    assert done.returncode == 0, done.stdout
    return str(done.stdout)


def python(code: str, *args: object) -> list[str]:
    """A Python program without anything around it."""
    return [PYTHON, "-I", "-S", "-c", code, *map(str, args)]


def root_target(directory: Path, *cases: str) -> list[str]:
    """The program that tries what root may do."""
    interpreter = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    return [interpreter, "-I", "-S", str(ROOT_TARGET), str(directory), *cases]
