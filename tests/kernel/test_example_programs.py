"""`examples/*.py`: each does what its first lines say, on real programs."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.kernel.cli_support import ENVIRON
from unotify import Supervisor

EXAMPLES = Path(__file__).parents[2] / "examples"

PROGRAM = """
import errno, os, socket, sys
found = []
for name in ("a.db", "b.db", "notes", "c.db", "d.db", "e.db", "f.db"):
    try:
        os.close(os.open(name, os.O_RDWR | os.O_CREAT))
        found.append("ok")
    except OSError as error:
        found.append(errno.errorcode[error.errno])
os.close(os.open("a.db", os.O_PATH))
for port in map(int, sys.argv[1:]):
    with socket.socket() as sock:
        found.append(errno.errorcode.get(sock.connect_ex(("127.0.0.1", port)), "connected"))
print(*found)
"""


def fault_injector() -> Any:
    """The example as a module, as a test rig would import it."""
    spec = importlib.util.spec_from_file_location("fault_injector", EXAMPLES / "fault_injector.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_third_open_of_a_database_fails(tmp_path: Path) -> None:
    """Every third `*.db` is EIO, other files and O_PATH are not counted, and one port refuses."""
    with (
        socket.create_server(("127.0.0.1", 0)) as refused,
        socket.create_server(("127.0.0.1", 0)) as open_port,
    ):
        ports = [refused.getsockname()[1], open_port.getsockname()[1]]
        with Supervisor() as sup:
            faults = fault_injector().Faults(files="*.db", every=3, refused={ports[0]})
            faults.attach(sup)
            argv = [sys.executable, "-c", PROGRAM, *map(str, ports)]
            done = sup.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == [
        *("ok", "ok", "ok", "EIO", "ok", "ok", "EIO"),
        *("ECONNREFUSED", "connected"),
    ]
    assert [line.split(": ", 1)[1] for line in faults.told] == [
        "c.db fails with EIO",
        "f.db fails with EIO",
        f"port {ports[0]} refuses",
    ]
    assert sorted(os.listdir(tmp_path)) == ["a.db", "b.db", "d.db", "e.db", "notes"]


def test_fault_injector_runs_a_command(tmp_path: Path) -> None:
    """As a program it tells the faults on standard error and ends as its command did."""
    script = str(EXAMPLES / "fault_injector.py")
    argv = [sys.executable, script, "--every", "1", "--", "sh", "-c", "touch x.db || exit 7"]
    found = subprocess.run(
        argv, cwd=tmp_path, env=ENVIRON, check=False, capture_output=True, text=True
    )
    assert found.returncode == 7
    assert found.stderr.splitlines()[-1] == "touch: x.db fails with EIO"
    found = subprocess.run(
        [*argv[:2], "no-such-command"], check=False, capture_output=True, text=True
    )
    assert found.returncode == 2
    assert os.strerror(errno.ENOENT) in found.stderr.splitlines()[-1]
    assert "Traceback" not in found.stderr
