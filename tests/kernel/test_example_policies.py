"""`examples/policies`: each does its job on real programs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.cli_support import cli

POLICIES = Path(__file__).parents[2] / "examples" / "policies"
PYTHON = getattr(sys, "_base_executable", None) or sys.executable


def run(policy: str, *argv: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a program under one of the policies."""
    return cli("run", "--policy", str(POLICIES / f"{policy}.toml"), *options, "--", *argv)


def python(policy: str, code: str, *options: str) -> str:
    """What a Python program prints under a policy; an errno's name if it fails with one."""
    wrapped = f"""
import errno
try:
{chr(10).join("    " + line for line in code.splitlines())}
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    found = run(policy, PYTHON, "-I", "-S", "-c", wrapped, options=options)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.toml")), ids=lambda path: path.stem)
def test_each_is_checked(path: Path) -> None:
    """Each policy is good, and without a warning."""
    found = cli("check", str(path))
    assert (found.returncode, found.stderr) == (0, "")
    assert "warning" not in found.stdout


def test_offline() -> None:
    """No IP socket can be made; local ones can."""
    assert python("offline", "import socket\nsocket.socket()") == "EACCES"
    code = "import socket\na, b = socket.socketpair()\na.send(b'x')\nprint(b.recv(1))"
    assert python("offline", code) == "b'x'"


def test_read_only(tmp_path: Path) -> None:
    """Files can be read; writing, and touching names and attributes, says the disk is read-only."""
    (tmp_path / "old").write_text("here")
    assert run("read-only", "cat", str(tmp_path / "old")).stdout == "here"
    for argv in (["touch", "new"], ["rm", "old"], ["mkdir", "d"], ["chmod", "600", "old"]):
        found = run("read-only", "env", "-C", str(tmp_path), "LC_ALL=C", *argv)
        assert found.returncode != 0
        assert "Read-only file system" in found.stderr
    assert os.listdir(tmp_path) == ["old"]


def test_build_sandbox(tmp_path: Path) -> None:
    """A real build works; what a build does not need is refused."""
    make = shutil.which("make")
    if make is None:
        missing("make is not installed")
    (tmp_path / "Makefile").write_text("all:\n\t@cp Makefile copy && wc -l < copy\n")
    assert run("build-sandbox", make, "-s", "-C", str(tmp_path)).stdout.strip() == "2"
    file = tmp_path / "program"
    file.touch()
    assert python("build-sandbox", f"import os\nos.chmod({str(file)!r}, 0o4755)") == "EPERM"
    assert python("build-sandbox", f"import os\nos.chmod({str(file)!r}, 0o755)\nprint(1)") == "1"
    assert python("build-sandbox", "import socket\nsocket.socket()") == "EACCES"
    assert file.stat().st_mode & 0o7777 == 0o755


def test_fault_injection(tmp_path: Path) -> None:
    """The third fsync fails, and every second mkdir finds a full disk."""
    code = f"""import os
os.chdir({str(tmp_path)!r})
found = []
def attempt(call, *args):
    try:
        call(*args)
        found.append("ok")
    except OSError as error:
        found.append(errno.errorcode[error.errno])
fd = os.open("f", os.O_CREAT | os.O_RDWR)
for _ in range(4):
    attempt(os.fsync, fd)
for name in "abcd":
    attempt(os.mkdir, name)
print(*found)"""
    assert python("fault-injection", code) == "ok ok EIO ok ok ENOSPC ok ENOSPC"
    assert sorted(os.listdir(tmp_path)) == ["a", "c", "f"]


def test_database_only() -> None:
    """The one service can be reached, and it is the handler that connects; nothing else can be."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", 5432))
        except OSError:
            missing("something listens on port 5432")
        server.listen()

        def serve() -> None:
            with server.accept()[0] as peer:
                peer.sendall(b"rows")

        thread = threading.Thread(target=serve)
        thread.start()
        handlers = ("--handlers", str(POLICIES / "database_only.py"))
        code = (
            "import socket\ns = socket.create_connection(('127.0.0.1', {port}))\nprint(s.recv(9))"
        )
        assert python("database-only", code.format(port=5432), *handlers) == "b'rows'"
        thread.join()
        assert python("database-only", code.format(port=5433), *handlers) == "ECONNREFUSED"
    udp = "import socket\nsocket.socket(type=socket.SOCK_DGRAM)"
    assert python("database-only", udp, *handlers) == "EACCES"


def test_modules() -> None:
    """A known module is loaded by the host; another is not, nor are bytes of the program's own."""
    code = """import ctypes, os, tempfile
libc = ctypes.CDLL(None, use_errno=True)
with tempfile.TemporaryDirectory() as place:
    for name in ("overlay.ko", "evil.ko"):
        fd = os.open(os.path.join(place, name), os.O_CREAT | os.O_RDWR)
        print(libc.syscall(313, fd, b"", 0), errno.errorcode.get(ctypes.get_errno()), end=" ")
        ctypes.set_errno(0)"""
    if os.uname().machine != "x86_64":
        missing("the program knows x86-64's numbers")
    handlers = ("--handlers", str(POLICIES / "modules.py"))
    assert python("modules", code, *handlers) == "0 None -1 EPERM"


def test_ai_agent(tmp_path: Path) -> None:
    """Keys are not found, not even by another name; the rest of the project is."""
    keys = tmp_path / ".ssh"
    keys.mkdir()
    (keys / "id_rsa").write_text("secret")
    (tmp_path / "alias").symlink_to(keys / "id_rsa")
    (tmp_path / "code").write_text("fine")
    assert run("ai-agent", "cat", str(tmp_path / "code")).stdout == "fine"
    for name in (".ssh/id_rsa", "alias", "x/../.ssh/id_rsa"):
        (tmp_path / "x").mkdir(exist_ok=True)
        found = run("ai-agent", "env", "LC_ALL=C", "cat", str(tmp_path / name))
        assert (found.returncode, found.stdout) == (1, "")
        assert "No such file" in found.stderr
    assert python("ai-agent", "import socket\nsocket.socket()") == "EACCES"


def test_strict_compute(tmp_path: Path) -> None:
    """A worker computes; it can neither write a file nor start a socket."""
    assert run("strict-compute", "sha256sum", str(POLICIES / "modules.toml")).returncode == 0
    found = run("strict-compute", "tee", str(tmp_path / "out"))
    assert found.returncode != 0
    assert os.listdir(tmp_path) == []
