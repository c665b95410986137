"""``unotify run --policy``: real programs under policies."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.conftest import NOBODY, missing
from tests.kernel.cli_support import ENVIRON, UNOTIFY, cli, handlers, log_of
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.kernel import default_kernel

HEAD = 'version = 1\ndefault = "allow"\n'
RACE = 'racy = true\nbecause = "a test"\n'


def rule(calls: str, do: str, where: str = "", name: str = "the rule", more: str = "") -> str:
    """A rule as TOML; *do* is TOML already."""
    listed = json.dumps(calls.split())
    condition = f"where = {json.dumps(where)}\n" if where else ""
    return f'[[rule]]\nname = "{name}"\ncalls = {listed}\n{condition}do = {do}\n{more}\n'


def policy(directory: Path, *rules: str, default: str = '"allow"', name: str = "p.toml") -> str:
    """Write a policy file."""
    file = directory / name
    file.write_text(f"version = 1\ndefault = {default}\n" + "".join(rules))
    return str(file)


def under(file: str, *argv: str, options: tuple[str, ...] = (), **more: Any) -> Any:
    """Run a program under a policy."""
    return cli("run", "--policy", file, *options, "--", *argv, **more)


def python(file: str, code: str, *options: str) -> Any:
    """Run Python under a policy."""
    return under(file, sys.executable, "-c", code, options=options)


def test_registers_are_the_kernel_s(tmp_path: Path) -> None:
    """A rule without looks fails the call in the filter: nothing of it is ever logged."""
    log = tmp_path / "log"
    file = policy(tmp_path, rule("mkdir mkdirat", '{ fail = "EROFS" }'))
    done = under(file, "mkdir", str(tmp_path / "new"), options=("--log", str(log)))
    assert done.returncode == 1
    assert os.strerror(errno.EROFS) in done.stderr
    assert log_of(log) == []
    assert not (tmp_path / "new").exists()


def test_memory_is_the_supervisor_s(tmp_path: Path) -> None:
    """A path as written: that file is not there, and others are."""
    secret, other = tmp_path / "secret", tmp_path / "other"
    secret.write_text("secret\n")
    other.write_text("other\n")
    where = f'path == "{secret}"'
    file = policy(tmp_path, rule("open openat", '{ deny = "hidden" }', where, more=RACE))
    done = under(file, "cat", str(secret), str(other))
    assert (done.returncode, done.stdout) == (1, "other\n")
    assert os.strerror(errno.ENOENT) in done.stderr


def test_resolved_paths_see_through_links(tmp_path: Path) -> None:
    """However it is spelled: by a link, by dots, from a directory, through /proc/self."""
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "dir").mkdir()
    where = f'resolved(path) == "{secret.resolve()}"'
    file = policy(tmp_path, rule("open openat openat2", '{ fail = "EXDEV" }', where, more=RACE))
    code = (
        "import os\n"
        "ways = ['secret', 'link', 'dir/../link', '/proc/self/cwd/link', '/proc/self/root'\n"
        "        + os.getcwd() + '/secret', os.path.abspath('dir/..//secret')]\n"
        "fd = os.open('dir', os.O_RDONLY)\n"
        "for way, options in [*((way, {}) for way in ways), ('../link', {'dir_fd': fd})]:\n"
        "    try:\n        os.open(way, os.O_RDONLY, **options)\n        print('opened', way)\n"
        "    except OSError as error:\n        print(error.errno)\n"
        "os.open('dir/../p.toml', os.O_RDONLY)\n"
    )
    done = under(file, sys.executable, "-c", code, cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout.split() == [str(errno.EXDEV)] * 7


def test_a_shell_and_its_children(tmp_path: Path) -> None:
    """Programs that a shell starts are under the policy too: argv of execve, and by name."""
    file = policy(
        tmp_path,
        rule("execve", '{ fail = "EACCES" }', 'basename(path) == "ls"', more=RACE),
    )
    done = under(file, "sh", "-c", "cat /dev/null && echo cat; ls / || echo no ls")
    assert done.stdout == "cat\nno ls\n"


def test_socket_addresses(tmp_path: Path) -> None:
    """A connect is refused by its address, in a way that programs know."""
    file = policy(
        tmp_path,
        rule("connect", '"deny"', 'address.ip in cidr("10.0.0.0/8")', more=RACE),
    )
    code = (
        "import socket\n"
        "for host in ('10.1.2.3', '127.0.0.1'):\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    print(s.connect_ex((host, 9)))\n"
    )
    assert python(file, code).stdout.split() == [str(errno.ECONNREFUSED), "0"]


def test_killing_after_a_look(tmp_path: Path) -> None:
    """The supervisor kills: nothing of the process runs any more."""
    where = 'path == "/etc/hostname-of-the-test"'
    file = policy(tmp_path, rule("open openat", '"kill-process"', where, more=RACE))
    done = python(
        file,
        "import os\nprint('before', flush=True)\n"
        "try:\n    os.open('/etc/hostname-of-the-test', 0)\nfinally:\n    print('after')",
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "before\n")


def test_killing_by_registers(tmp_path: Path) -> None:
    """The kernel kills, with the signal of seccomp."""
    file = policy(tmp_path, rule("getppid", '"kill-process"'))
    assert python(file, "import os; os.getppid()").returncode == -signal.SIGSYS


def test_who_calls(tmp_path: Path) -> None:
    """Rules may ask for the user, the program, and the thread's name."""
    me, python_ = os.geteuid(), os.path.realpath(sys.executable)
    file = policy(
        tmp_path,
        rule("getpgid", "{ return = 71 }", f"uid == {me} and exe == {json.dumps(python_)}"),
        rule("getsid", "{ return = 72 }", f"uid == {me + 1}"),
        rule("getpriority", "{ return = 13 }", 'comm == "somebody"'),
    )
    code = (
        "import os\nprint(os.getpgid(0), os.getsid(0) != 72, os.getpriority(0, 0) != 7)\n"
        "open('/proc/self/comm', 'w').write('somebody')\nprint(os.getpriority(0, 0))"
    )
    assert python(file, code).stdout.split() == ["71", "True", "True", "7"]


def test_descriptors(tmp_path: Path) -> None:
    """What a descriptor is open on, by kind and by name."""
    first = tmp_path.resolve() / "a"
    file = policy(
        tmp_path,
        rule("ftruncate", '{ fail = "EXDEV" }', f'fd_path(fd) == "{first}"', more=RACE),
        rule("fsync fdatasync", '{ fail = "EIO" }', 'fd_kind(fd) == "directory"', more=RACE),
    )
    code = (
        "import os\n"
        "def tried(work):\n"
        "    try:\n        work()\n        return 0\n"
        "    except OSError as error:\n        return error.errno\n"
        "for name in ('a', 'b'):\n"
        f"    fd = os.open({str(tmp_path)!r} + '/' + name, os.O_RDWR | os.O_CREAT)\n"
        "    print(tried(lambda: os.ftruncate(fd, 5)), tried(lambda: os.fsync(fd)))\n"
        f"fd = os.open({str(tmp_path)!r}, os.O_RDONLY)\n"
        "print(tried(lambda: os.fsync(fd)))\n"
    )
    done = python(file, code)
    assert done.stderr == ""
    assert done.stdout.split() == ["18", "0", "0", "0", "5"]


def test_counting(tmp_path: Path) -> None:
    """The third call of each process, and every second one of a rule."""
    file = policy(
        tmp_path,
        rule("getpgid", "{ return = 70 }", "nth(3)"),
        rule("getsid", "{ return = 80 }", "every(2)"),
    )
    code = (
        "import os\nprint([os.getpgid(0) == 70 for _ in range(4)], "
        "[os.getsid(0) == 80 for _ in range(4)])"
    )
    assert python(file, code).stdout == ("[False, False, True, False] [False, True, False, True]\n")


def test_unknown_calls(tmp_path: Path) -> None:
    """Numbers that no table knows do not exist, so that libcs fall back."""
    code = (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.syscall(3000), ctypes.get_errno())"
    )
    assert python(policy(tmp_path), code).stdout == f"-1 {errno.ENOSYS}\n"


I386 = """
import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex("534889f84889f34889d14c89c2cd805bc3"))
enter = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_ulong] * 5)(
    ctypes.addressof(ctypes.c_char.from_buffer(code)))
low = mmap.mmap(-1, 4096, flags=0x62)  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT
low.write(PATH + bytes(1))
address = ctypes.addressof(ctypes.c_char.from_buffer(low))
print(enter(NR, address | 0xDEAD << 32, 0o700, 0, 0))
"""


@pytest.mark.parametrize(
    ("path", "result"), [("/no/such/one", -errno.ENOENT), ("/mine", -errno.EXDEV)]
)
def test_i386_callers(tmp_path: Path, path: str, result: int) -> None:
    """B2, B3: a 32-bit call has its own number, and pointers of 32 bits, whatever is above."""
    if Arch.I386 not in default_kernel().architectures:
        missing("this kernel runs no i386 code")
    file = policy(tmp_path, rule("mkdir", '{ fail = "EXDEV" }', 'path == "/mine"', more=RACE))
    number = tables.number("mkdir", Arch.I386)
    code = I386.replace("PATH", repr(path.encode())).replace("NR", str(number))
    done = python(file, code)
    assert (done.stdout, done.stderr) == (f"{result}\n", "")


def test_other_abis_are_killed(tmp_path: Path) -> None:
    """A policy for the native ABI alone lets no other in."""
    if Arch.I386 not in default_kernel().architectures:
        missing("this kernel runs no i386 code")
    file = tmp_path / "p.toml"
    file.write_text('version = 1\ndefault = "allow"\narchitectures = ["native"]\n')
    code = I386.replace("PATH", "b''").replace("NR", "64")
    assert python(str(file), code).returncode == -signal.SIGSYS


def test_flags_reach_the_kernel(tmp_path: Path) -> None:
    """The filter is installed with the flags that the policy names."""
    strace = shutil.which("strace")
    if strace is None:
        missing("strace is not installed")
    file, trace = tmp_path / "p.toml", tmp_path / "trace"
    file.write_text(f'{HEAD}flags = ["log", "spec-allow", "tsync", "wait-killable-recv"]\n')
    traced = [strace, "-f", "-o", trace, "-e", "trace=seccomp"]
    done = subprocess.run(
        [*traced, *UNOTIFY, "run", "--policy", file, "--", "echo", "runs"],
        env=ENVIRON,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "runs\n")
    # What looks for features has no program. That of others strace may not read.
    (flags,) = re.findall(r"SET_MODE_FILTER, (\S+), (?:\{len=|0x)", trace.read_text())
    assert {name.removeprefix("SECCOMP_FILTER_FLAG_") for name in flags.split("|")} == {
        *("LOG", "SPEC_ALLOW", "NEW_LISTENER", "WAIT_KILLABLE_RECV")
    }


# -- several, with handlers, dry ---------------------------------------------


def test_several_policies(tmp_path: Path) -> None:
    """A call has to pass them all; what the first allows the second may refuse."""
    first = policy(tmp_path, rule("getpgid", '"allow"'), rule("getsid", '{ fail = "EIO" }'))
    second = policy(
        tmp_path,
        rule("getpgid", '{ fail = "EXDEV" }'),
        rule("mkdir mkdirat", '{ fail = "EROFS" }', 'basename(path) == "x"', more=RACE),
        name="q.toml",
    )
    code = (
        "import os\n"
        "for work in (lambda: os.getpgid(0), lambda: os.getsid(0), lambda: os.mkdir('x')):\n"
        "    try:\n        work()\n"
        "    except OSError as error:\n        print(error.errno)\n"
    )
    done = cli("run", "--policy", first, "--policy", second, sys.executable, "-c", code)
    assert list(map(int, done.stdout.split())) == [errno.EXDEV, errno.EIO, errno.EROFS]


def test_handlers_come_after_rules(tmp_path: Path) -> None:
    """Rules, then handlers, then the default; the log tells who decided."""
    log = tmp_path / "log"
    file = policy(
        tmp_path,
        rule("getpgid", "{ return = 5 }", name="five"),
        rule("getsid", '"notify"', name="ask"),
        default='"allow"',
    )
    source = handlers(
        tmp_path,
        "@unotify.on('getpgid', 'getsid', 'getpriority')\n"
        "def answer(call):\n"
        "    return Return(6) if call.call_name != 'getpriority' else None",
    )
    code = "import os\nprint(os.getpgid(0), os.getsid(0), os.getpriority(0, 0) >= -20)"
    done = python(file, code, "--handlers", source, "--log", str(log))
    assert done.stdout == "5 6 True\n"
    assert [
        (entry["call"], entry["handler"], entry.get("rule"), entry.get("verdict"))
        for entry in log_of(log)
    ] == [
        ("getpgid", "policy", "five", "return 5"),
        ("getsid", "answer", None, None),
        ("getpriority", "policy", None, "allow"),
    ]


def test_verbs_from_a_handler_file(tmp_path: Path) -> None:
    """A handler file may carry a verb out, in the place of what does otherwise."""
    file = policy(tmp_path, rule("mknod mknodat", '"emulate-mknod"', name="made for you"))
    source = handlers(
        tmp_path,
        "from unotify.supervisor import verb\n"
        "@verb('emulate-mknod')\ndef make(call, parameters):\n    return Return(0)",
    )
    target = tmp_path / "new"
    make = ("mknod", str(target), "c", "1", "1")
    done = under(file, *make, options=("--handlers", source))
    assert (done.returncode, done.stderr, target.exists()) == (0, "", False)
    done = under(file, "env", "LC_ALL=C", *make)
    assert (done.returncode, target.exists()) == (1, False)
    assert "Operation not permitted" in done.stderr


def test_dry_run(tmp_path: Path) -> None:
    """Everything goes on; what would be done is told, where, and by which rule."""
    log = tmp_path / "log"
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    file = policy(
        tmp_path,
        rule("mkdir mkdirat", '"kill-process"', name="no dirs"),
        rule("open openat", '{ fail = "ENOENT" }', f'path == "{secret}"', name="hide", more=RACE),
    )
    script = f"mkdir {tmp_path}/new && cat {secret}"
    done = under(file, "sh", "-c", script, options=("--dry-run", "--log", str(log)))
    assert (done.returncode, done.stdout) == (0, "secret\n")
    assert (tmp_path / "new").is_dir()
    told = done.stderr.splitlines()
    assert told[0].startswith("unotify: DRY RUN: nothing is refused and nothing is protected")
    assert any('kill-process by rule "no dirs", in the kernel' in line for line in told)
    assert any('fail ENOENT by rule "hide", in the supervisor' in line for line in told)
    assert told[-3].endswith("2 of the calls would not simply go on:")
    entries = [entry for entry in log_of(log) if entry["rule"]]
    assert [(entry["rule"], entry["decided"], entry["dry_run"]) for entry in entries] == [
        ("no dirs", "kernel", True),
        ("hide", "supervisor", True),
    ]


def test_dry_run_of_what_cannot_be_done(tmp_path: Path) -> None:
    """It is for policies that are not ready; a quiet one still warns."""
    file = policy(tmp_path, rule("mknod mknodat", '"emulate-mknod"'), default='"allow"')
    done = under(file, "mkdir", str(tmp_path / "new"), options=("--dry-run", "--quiet"))
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "DRY RUN" in done.stderr


def test_a_log_weighs(tmp_path: Path) -> None:
    """What one run logs the next one's filter is arranged by."""
    log = tmp_path / "log"
    file = policy(tmp_path, rule("getpgid", "{ return = 5 }", "tid > 0"))
    code = "import os\nprint([os.getpgid(0) for _ in range(3)])"
    assert python(file, code, "--log", str(log)).stdout == "[5, 5, 5]\n"
    assert python(file, code, "--weights", str(log)).stdout == "[5, 5, 5]\n"


# -- what is wrong -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("version = 1\ndefault = 5\n", "p.toml:2:11: ", id="type"),
        pytest.param(HEAD + rule("openn", '"deny"'), "p.toml:5:10: ", id="call"),
        pytest.param("version = ", "p.toml:1:", id="syntax"),
        pytest.param("", "is empty", id="empty"),
        pytest.param(HEAD + rule("openat", '"allow"', 'path == "/x"'), "(C2)", id="race"),
    ],
)
def test_policies_with_mistakes(tmp_path: Path, text: str, said: str) -> None:
    """One sentence with its place, exit code 3, and nothing was started."""
    file = tmp_path / "p.toml"
    file.write_text(text)
    done = under(str(file), "touch", str(tmp_path / "made"))
    assert done.returncode == 3
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("unotify: error: ")
    assert not (tmp_path / "made").exists()


def test_several_mistakes_are_counted(tmp_path: Path) -> None:
    """The first is told, and how to see the others."""
    file = tmp_path / "p.toml"
    file.write_text("version = 1\ndefault = 5\nfoo = 1\n")
    done = under(str(file), "true")
    assert "(and 1 more problem)" in done.stderr
    assert "'unotify check " in done.stderr


def test_options_without_a_policy(tmp_path: Path) -> None:
    """They make no sense alone, and a file that is not there is a usage error."""
    assert cli("run", "--dry-run", "true").returncode == 2
    done = cli("run", "--weights", "x", "true")
    assert (done.returncode, "--weights is about a policy" in done.stderr) == (2, True)
    assert cli("run", "--policy", str(tmp_path / "none"), "true").returncode == 2


def test_a_policy_that_refuses_to_start_programs(tmp_path: Path) -> None:
    """The filter is in force when the program is started; the message says so."""
    file = policy(tmp_path, rule("execve execveat", '{ fail = "EPERM" }'))
    done = under(file, "true")
    assert done.returncode == 126
    assert "does the policy refuse execve itself?" in done.stderr


def test_an_allow_list(tmp_path: Path) -> None:
    """A default that refuses, and a list of what ordinary programs need, run ls."""
    (tmp_path / "here").touch()
    file = policy(
        tmp_path,
        rule("@system-service @default", '"allow"'),
        default='{ fail = "EPERM" }',
    )
    done = under(file, "ls", str(tmp_path))
    assert (done.returncode, done.stdout.split()) == (0, ["here", "p.toml"])


def test_an_oci_profile(tmp_path: Path) -> None:
    """A container engine's JSON is a policy as well."""
    file = tmp_path / "profile.json"
    file.write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}
                ],
            }
        )
    )
    done = under(str(file), "mkdir", str(tmp_path / "new"))
    assert os.strerror(errno.EROFS) in done.stderr


def test_a_target_of_another_user(needs_root: None) -> None:
    """Root supervises what becomes nobody; rules see who it is at each call."""
    with TemporaryDirectory() as name:
        directory = Path(name).resolve()
        directory.chmod(0o755)
        secret = directory / "secret"
        secret.write_text("secret\n")
        secret.chmod(0o644)
        where = f'uid == {NOBODY} and resolved(path) == "{secret}"'
        file = policy(directory, rule("open openat", '{ fail = "EXDEV" }', where, more=RACE))
        code = (
            "import os, sys\nprint(open(sys.argv[1]).read(), flush=True)\n"
            f"os.setresgid({NOBODY}, {NOBODY}, {NOBODY})\n"
            f"os.setresuid({NOBODY}, {NOBODY}, {NOBODY})\nopen(sys.argv[1])"
        )
        done = under(file, sys.executable, "-c", code, str(secret))
    assert done.stdout.split() == ["secret"]
    assert os.strerror(errno.EXDEV) in done.stderr
