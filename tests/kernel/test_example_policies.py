"""`examples/policies`: each does its job on real programs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from errno import EACCES, EINVAL, ENOSYS
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.conftest import missing
from tests.kernel.cli_support import ENVIRON, UNOTIFY, cli
from tests.kernel.profiles import ENGINES, profile
from tests.unit.handlers.images import image
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.cli.failures import Exit
from unotify.kernel import default_kernel

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


@pytest.fixture(name="short")
def _short() -> Iterator[Path]:
    """A directory whose name leaves room for those of sockets, which have 107 bytes."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_untrusted_tests(short: Path) -> None:
    """Tests of other people's code run in the job's directory, and reach nothing beyond it."""
    work = short / "work"
    work.mkdir()
    (short / ".ssh").mkdir()
    (short / ".ssh" / "id_rsa").write_text("secret")
    (short / "kept").write_text("kept")
    (short / "job.toml").write_text(
        f'version = 1\ninclude = ["{POLICIES}/untrusted-tests.toml"]\n[sets]\nwork = ["{work}"]\n'
    )
    (work / "test_it.py").write_text("""
import errno, multiprocessing, os, shutil, socket, tempfile, unittest

def double(number):
    return 2 * number

class It(unittest.TestCase):
    def refused(self, number, function, *args):
        with self.assertRaises(OSError) as caught:
            function(*args)
        self.assertEqual(errno.errorcode[caught.exception.errno], number)

    def test_files(self):
        with tempfile.TemporaryDirectory() as made:
            with open(made + "/a", "w") as file:
                file.write("x")
            shutil.copy2(made + "/a", made + "/b")
            os.rename(made + "/b", made + "/c")
        os.symlink("../kept", "link")
        self.refused("EROFS", open, "link", "w")
        self.refused("EROFS", os.mkdir, "../new")
        self.refused("EROFS", os.rename, "../kept", "mine")
        self.refused("EROFS", os.link, "../kept", "mine")
        self.refused("EROFS", os.utime, "../kept")
        fd = os.open("../kept", os.O_RDONLY)
        self.refused("EROFS", os.fchmod, fd, 0o777)
        os.close(fd)
        self.refused("ENOENT", open, "../.ssh/id_rsa")
        self.refused("ENOENT", open, "/proc/self/environ")

    def test_network(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname()).close()
        self.refused("ENETUNREACH", socket.create_connection, ("127.0.0.1", 22))
        self.refused("EACCES", socket.socket, socket.AF_INET, socket.SOCK_DGRAM)

    def test_processes(self):
        with multiprocessing.get_context("forkserver").Pool(1) as pool:
            self.assertEqual(pool.map(double, [2]), [4])
""")
    found = cli(
        *("run", "--policy", str(short / "job.toml"), "--"),
        *(PYTHON, "-m", "unittest", "-q"),
        cwd=work,
        env={**ENVIRON, "TMPDIR": str(work)},
    )
    assert (found.returncode, found.stdout) == (0, ""), found.stderr
    assert "Ran 3 tests" in found.stderr
    assert (short / "kept").read_text() == "kept"
    assert sorted(os.listdir(short)) == [".ssh", "job.toml", "kept", "work"]


def test_record(tmp_path: Path) -> None:
    """Each program that is executed, and each connection, is a line of the log."""
    log = tmp_path / "log"
    code = "import socket; print(socket.socket().connect_ex(('127.0.0.1', 1)))"
    script = f'"{PYTHON}" -I -S -c "{code}"; true'
    assert run("record", "sh", "-c", script, options=("--log", str(log))).returncode == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["call"] for line in lines] == ["execve", "connect"]
    assert lines[0]["args"]["argv"] == [PYTHON, "-I", "-S", "-c", code]
    assert lines[1]["args"]["address"] == {"ip": "127.0.0.1", "port": 1, "family": 2}
    assert lines[1]["rule"] == "connections"
    assert all(line["reply"] == {"continue": True} for line in lines)


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
    """The one service can be reached, and the supervisor connects; nothing else can be reached."""
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
        code = (
            "import socket\ns = socket.create_connection(('127.0.0.1', {port}))\nprint(s.recv(9))"
        )
        assert python("database-only", code.format(port=5432)) == "b'rows'"
        thread.join()
        assert python("database-only", code.format(port=5433)) == "ECONNREFUSED"
    udp = "import socket\nsocket.socket(type=socket.SOCK_DGRAM)"
    assert python("database-only", udp) == "EACCES"


def test_modules() -> None:
    """A known module is the host's affair; another is refused, and so is who may load none."""
    code = """import ctypes, os, tempfile
libc = ctypes.CDLL(None, use_errno=True)
with tempfile.TemporaryDirectory() as place:
    for image in {images!r}:
        with open(os.path.join(place, "x"), "wb") as file:
            file.write(image)
        fd = os.open(os.path.join(place, "x"), os.O_RDONLY)
        print(libc.syscall(313, fd, b"", 0), errno.errorcode.get(ctypes.get_errno()), end=" ")
        ctypes.set_errno(0)"""
    if os.uname().machine != "x86_64":
        missing("the program knows x86-64's numbers")
    code = code.format(images=[image(b"name=overlay\0"), image(b"name=evil\0")])
    first, second = python("modules", code).rsplit(" -1 ", 1)
    assert second == "EPERM"
    if os.geteuid():
        assert first == "-1 EPERM"
    else:
        # Where it is there already, as a module or built in, it is not loaded again.
        there = os.path.exists("/sys/module/overlay")
        assert first == "-1 EEXIST" if there else first in ("0 None", "-1 ENOENT", "-1 EPERM")


def test_system_container() -> None:
    """What is done is done, and what an ordinary program may not do fails as it should."""
    code = """import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
room = ctypes.create_string_buffer(256)
def tried(number, *args):
    done = libc.syscall(number, *args)
    return errno.errorcode[ctypes.get_errno()] if done < 0 else done
print(tried({sysinfo}, room), tried({join}, 1, None) > 0, tried({quota}, 8, None),
      tried({deny}, 0, ctypes.byref(room)), os.nice(3))"""
    numbers = tables.numbers(default_kernel().arch)
    code = code.format(
        sysinfo=numbers["sysinfo"],
        join=numbers["keyctl"],
        quota=numbers["add_key"],
        deny=numbers["clock_settime"],
    )
    assert python("system-container", code) == "0 True EDQUOT EPERM 3"


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


I386 = """
static int call(int nr, int a, int b, int c, int d, int e) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result)
        : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
    return result;
}
void _start(void) {
    static int inet[3] = {2, 1, 0}, pair[4] = {1, 1, 0}, found[8];
    static long long at;
    static int both[2];
    int file = call(5, (int)"/proc/self/exe", 0, 0, 0, 0);
    pair[3] = (int)both;
    found[0] = call(359, 2, 1, 0, 0, 0);             /* socket */
    found[1] = call(102, 1, (int)inet, 0, 0, 0);     /* socketcall: socket */
    found[2] = call(102, 8, (int)pair, 0, 0, 0);     /* socketcall: socketpair */
    found[3] = call(140, file, 0, 7, (int)&at, 0);   /* _llseek: 7 */
    found[4] = call(140, file, 1, 7, (int)&at, 0);   /* _llseek: 4 GiB and 7 */
    found[5] = call(425, 1, 0, 0, 0, 0);             /* io_uring_setup */
    found[6] = call(9999, 0, 0, 0, 0, 0);
    found[7] = (int)at;
    call(4, 1, (int)found, sizeof found, 0, 0);
    call(1, 0, 0, 0, 0, 0);
}
"""


def test_i386(tmp_path: Path) -> None:
    """A 32-bit program has sockets by neither way and no large seeks; a 64-bit one gets nowhere."""
    if Arch.I386 not in default_kernel().architectures:
        missing("this kernel runs no i386 code")
    gcc = shutil.which("gcc")
    if gcc is None:
        missing("gcc is not installed")
    program = tmp_path / "program"
    options = "-m32 -O1 -static -nostdlib -fno-pie -no-pie -fno-stack-protector -mno-sse -xc -"
    subprocess.run([gcc, "-o", program, *options.split()], input=I386.encode(), check=True)

    def results(*before: str) -> list[int]:
        done = subprocess.run([*before, program], env=ENVIRON, stdout=PIPE, check=True)
        return list(struct.unpack("8i", done.stdout))

    policy = str(POLICIES / "i386.toml")
    refused = [-EACCES, -EACCES, -EACCES, 0, -EINVAL, -ENOSYS, -ENOSYS, 7]
    assert results(*UNOTIFY, "run", "--policy", policy, "--") == refused
    # By itself it can do all that.
    by_itself = results()
    assert min(by_itself[:5]) >= 0
    assert run("i386", "true").returncode == -signal.SIGSYS


@pytest.mark.parametrize("engine", ENGINES)
def test_container_default(engine: str, tmp_path: Path) -> None:
    """An engine's profile, by the commands of its page: shells work, and what it denies fails."""
    if subprocess.run(["setarch", "-R", "true"], check=False).returncode:
        missing("personality(ADDR_NO_RANDOMIZE) is denied here anyway")
    page = (POLICIES / "container-default.md").read_text()
    usual = "/usr/share/containers/seccomp.json"
    done = {}
    script = (
        "set -o pipefail; seq 100 | sort -n | tail -1; (exit 7) & wait $!; echo $?\n"
        "setarch --uname-2.6 uname -r\n"  # personality(UNAME26) is in the profiles
        "setarch -R true || echo denied\n"  # and personality(ADDR_NO_RANDOMIZE) is not
        "setarch -R true 2>/dev/null && echo allowed\n"
        "exit 3\n"
    )
    for line in page.split("```")[1].strip().splitlines():
        argv = line.replace(usual, str(profile(engine))).split()
        assert argv.pop(0) == "unotify"
        done[argv[0]] = cli(*argv, cwd=tmp_path, input=script if argv[0] == "run" else None)
    assert set(done) == {"convert", "run", "audit"}
    assert done["convert"].returncode == 0
    shell = done["run"]
    hundred, status, release, denied = shell.stdout.split("\n")[:4]
    assert (hundred, status, denied, shell.returncode) == ("100", "7", "denied", 3)
    assert release.startswith("2.6.")
    assert "allowed" not in shell.stdout
    assert "failed to set personality" in shell.stderr
    assert done["audit"].returncode in (0, Exit.POLICY)
    assert done["audit"].stderr == ""


@pytest.mark.parametrize("engine", ENGINES)
def test_programs_in_a_container(engine: str, tmp_path: Path) -> None:
    """Threads, processes, sockets and files work under an engine's profile, as it is."""
    code = """import os, socket, subprocess, sys, threading
thread = threading.Thread(target=print, args=("thread",))
thread.start()
thread.join()
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname()) as client:
        client.sendall(b"bytes")
        print(server.accept()[0].recv(9))
print(subprocess.run(["cat"], input="piped", text=True, stdout=-1).stdout)
os.mkfifo(sys.argv[1], 0o600)
print(oct(os.stat(sys.argv[1]).st_mode))
"""
    file = str(profile(engine))
    argv = [PYTHON, "-I", "-S", "-c", code, str(tmp_path / "fifo")]
    done = cli("run", "--policy", file, "--", *argv)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n") == ["thread", "b'bytes'", "piped", "0o10600", ""]


def test_strict_compute(tmp_path: Path) -> None:
    """A worker computes; it can neither write a file nor start a socket."""
    assert run("strict-compute", "sha256sum", str(POLICIES / "modules.toml")).returncode == 0
    found = run("strict-compute", "tee", str(tmp_path / "out"))
    assert found.returncode != 0
    assert os.listdir(tmp_path) == []


def test_ai_agent_makes_no_other_names(tmp_path: Path) -> None:
    """Neither a link nor a rename of a key, or of its directory, shows what is in it."""
    keys = tmp_path / ".ssh"
    keys.mkdir()
    (keys / "id_rsa").write_text("secret")
    (tmp_path / "code").write_text("fine")
    for argv in (
        ["ln", ".ssh/id_rsa", "other"],
        ["mv", ".ssh/id_rsa", "other"],
        ["mv", ".ssh", "other"],
        ["mv", ".ssh/../.ssh", "other"],
    ):
        found = run("ai-agent", "env", "-C", str(tmp_path), "LC_ALL=C", *argv)
        assert found.returncode != 0, argv
        assert "secret" not in found.stdout
    found = run("ai-agent", "env", "-C", str(tmp_path), "sh", "-c", "mv code moved && cat moved")
    assert found.stdout == "fine"
    assert sorted(os.listdir(tmp_path)) == [".ssh", "moved"]


def test_staged_build(tmp_path: Path) -> None:
    """A build finds the stage's resolver, random numbers, cache and services, and no other host."""
    found = run("staged-build", "cat", "/etc/resolv.conf")
    assert found.stdout == "nameserver 127.0.0.1\noptions timeout:1\n"
    assert python("staged-build", "print(open('/dev/urandom', 'rb').read(3))") == r"b'\x00\x00\x00'"
    text = (POLICIES / "staged-build.toml").read_text()
    (tmp_path / "here.toml").write_text(text.replace("/srv/stage/cache", f"{tmp_path}/cache"))
    (tmp_path / "cache").mkdir()
    here = ("run", "--policy", str(tmp_path / "here.toml"), "--")
    code = "echo new > /var/cache/build/file && cat /var/cache/build/file"
    assert cli(*here, "sh", "-c", code).stdout == "new\n"
    assert (tmp_path / "cache/file").read_text() == "new\n"
    assert cli(*here, "rm", "/var/cache/build/file").returncode == 0
    assert os.listdir(tmp_path / "cache") == []
    assert run(
        "staged-build", "sh", "-c", f"echo made > {tmp_path}/x; cat {tmp_path}/x"
    ).stdout == ("made\n")
    code = "import socket\ns = socket.create_connection(('192.0.2.1', {port}), 9)\nprint(s.recv(9))"
    for port, real in ((5432, 15432), (8042, 18042)):
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                server.bind(("127.0.0.1", real))
            except OSError:
                missing(f"something listens on port {real}")
            server.listen()

            def serve(server: socket.socket = server) -> None:
                with server.accept()[0] as peer:
                    peer.sendall(b"stage")

            thread = threading.Thread(target=serve)
            thread.start()
            assert python("staged-build", code.format(port=port)) == "b'stage'"
            thread.join()
    assert python("staged-build", code.format(port=443)) == "ENETUNREACH"
