"""Perform: each family of calls, made natively and by the supervisor, with the same results."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.acting_support import PYTHON, Notes, family, policy_of, python, supervised
from tests.kernel.targets import Target, until
from unotify.abi.arch import Arch
from unotify.calls import Call, Mkdir, MkdirAt, Statfs, TargetPath
from unotify.calls.lookups import AT_FDCWD, spot_of
from unotify.kernel import default_kernel
from unotify.protocol import Reply
from unotify.supervisor import Instrument, Supervisor

MADE = {
    "files": "open openat creat openat2",
    "names": "mkdir mkdirat rmdir link linkat symlink symlinkat rename renameat renameat2 unlink "
    "unlinkat mknod mknodat",
    "attributes": "chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat truncate ftruncate "
    "fallocate utime utimes futimesat utimensat",
    "attached": "setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr "
    "flistxattr setxattrat getxattrat listxattrat removexattrat removexattr lremovexattr "
    "fremovexattr",
    "answers": "access faccessat faccessat2 stat lstat fstat statx statfs fstatfs readlink "
    "readlinkat",
    "sockets": "connect bind sendto sendmsg sendmmsg",
}
MORE = {
    "attributes": "chown32 lchown32 fchown32 truncate64 ftruncate64 utimensat_time64",
    "answers": "stat64 lstat64 fstat64 fstatat64 statfs64 fstatfs64",
}


@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.I386], ids=lambda arch: arch.label)
@pytest.mark.parametrize("name", MADE)
def test_a_family(name: str, arch: Arch, tmp_path: Path) -> None:
    """Results, errors, answers in memory and the files that are left are those of the kernel."""
    if arch not in default_kernel().architectures:
        missing(f"this kernel runs no {arch.label} programs")
    native = family(subprocess.run, name, arch, tmp_path / "native")
    with supervised(policy_of('"perform"')) as (supervisor, notes):
        performed = family(supervisor.run, name, arch, tmp_path / "performed")
    assert performed[0].splitlines() == native[0].splitlines()
    assert performed[1] == native[1]
    assert notes.faults == []
    calls = MADE[name] + " " + (MORE.get(name, "") if arch is Arch.I386 else "")
    assert {f"{call}@{arch.label}" for call in calls.split()} - notes.calls.keys() == set()


def elf() -> bytes:
    """A whole i386 program: makes a file, writes to it, and exits with the size that stat tells."""
    code = bytes.fromhex(
        "b805000000bb{made}b941000000ba80010000cd80"  # open("made", O_CREAT|O_WRONLY, 0600)
        "89c3b804000000b9{hello}ba05000000cd80"  # write(fd, "hello", 5)
        "b8c3000000bb{made}b9{room}cd80"  # stat64("made", room)
        "8b1d{size}"  # mov ebx, [room + 44]: st_size
        "b801000000cd80".format(  # exit
            made=struct.pack("<I", BASE + 0x1000).hex(),
            hello=struct.pack("<I", BASE + 0x1008).hex(),
            room=struct.pack("<I", BASE + 0x1010).hex(),
            size=struct.pack("<I", BASE + 0x1010 + 44).hex(),
        )
    )
    head = b"\x7fELF\1\1\1".ljust(16, b"\0")
    head += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, BASE + 0x54, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    head += struct.pack("<8I", 1, 0, BASE, BASE, 0x1100, 0x1100, 7, 0x1000)
    return (head + code).ljust(0x1000, b"\0") + b"made\0\0\0\0hello".ljust(0x100, b"\0")


BASE = 0x08048000


def test_a_32_bit_program(tmp_path: Path) -> None:
    """A real i386 program opens, and gets a struct stat64 in its own layout."""
    if Arch.I386 not in default_kernel().architectures:
        missing("this kernel runs no 32-bit programs")
    program = tmp_path / "program"
    program.write_bytes(elf())
    program.chmod(0o755)
    with supervised(policy_of('"perform"')) as (supervisor, notes):
        assert supervisor.run([program], cwd=tmp_path).returncode == 5
    assert notes.calls["open@i386"] == notes.calls["stat64@i386"] == 1
    assert (tmp_path / "made").read_text() == "hello"


def test_o_path_has_an_answer(tmp_path: Path) -> None:
    """A5: such a descriptor cannot be given to anybody, so the open fails with EOPNOTSUPP."""
    code = "import os\ntry: os.open('.', os.O_PATH)\nexcept OSError as error: print(error.errno)"
    with supervised(policy_of('"perform"', "open openat")) as (supervisor, notes):
        assert python(supervisor, code).strip() == str(errno.EOPNOTSUPP)
        assert notes.faults == []


@pytest.mark.parametrize("killable", [True, False])
def test_answers_in_memory_need_a_quiet_target(killable: bool) -> None:
    """M8: without WAIT_KILLABLE_RECV what would be written is refused, and the rest performed."""
    with Target("statfs", "mkdirat", killable=killable) as target, Supervisor() as supervisor:
        notes = Notes()
        supervisor.add_instrument(notes)
        supervisor.on(Statfs, MkdirAt)(lambda call: call.perform())
        path, room = target.text(b"/\0"), target.text(bytes(200))
        supervisor.attach(target.listener, wait_killable=killable)
        target.call("statfs", path, room)
        answer = target.answer()
        assert (answer["ret"], answer["errno"]) == ((0, 0) if killable else (-1, errno.EPERM))
        assert len(notes.faults) == (not killable)
        target.call("mkdirat", AT_FDCWD, path, 0o700)
        assert target.answer()["errno"] == errno.EEXIST


def test_what_was_decided_about_is_what_is_opened(tmp_path: Path) -> None:
    """A name that is put on another file between the look and the act changes nothing."""
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    allowed.write_text("allowed")
    secret.write_text("secret")
    swapped: list[str] = []

    class Swap(Instrument):
        def judged(self, call: Call, judgement: object) -> None:
            if getattr(call, "path", None) == TargetPath(allowed):
                allowed.rename(tmp_path / "away")
                allowed.symlink_to(secret)
                swapped.append(call.call_name)

    policy = policy_of('"perform"', "open openat", f'resolved == "{allowed}"')
    with supervised(policy) as (supervisor, _):
        supervisor.add_instrument(Swap())
        found = python(supervisor, f"print(open({str(allowed)!r}).read())")
    assert (found.strip(), len(swapped)) == ("allowed", 1)


def test_a_directory_that_is_replaced(tmp_path: Path) -> None:
    """A file is made in the directory that was decided about, wherever that has been moved to."""
    (tmp_path / "d").mkdir()
    (tmp_path / "other").mkdir()
    with Supervisor() as supervisor:

        @supervisor.on(Mkdir, MkdirAt)
        def made(call: Mkdir | MkdirAt) -> Reply:
            assert call.caller.pin("path", spot_of(call, "path")) == f"{tmp_path}/d/new"
            (tmp_path / "d").rename(tmp_path / "moved")
            (tmp_path / "d").symlink_to("other")
            return call.perform()

        python(supervisor, f"import os\nos.mkdir('{tmp_path}/d/new')")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("new")) == [
        "moved/new"
    ]


def test_a_fifo_waits_without_keeping_others_waiting(tmp_path: Path) -> None:
    """The open that waits ends when the other end comes; meanwhile other calls are performed."""
    os.mkfifo(tmp_path / "fifo")
    code = f"""
import os, threading
os.chdir({str(tmp_path)!r})
reader = threading.Thread(target=lambda: print(open("fifo").read()))
reader.start()
os.mkdir("meanwhile")
with open("fifo", "w") as writer:
    writer.write("through")
reader.join()
try: os.open("fifo", os.O_WRONLY | os.O_NONBLOCK)
except OSError as error: print(error.errno)"""
    with supervised(policy_of('"perform"')) as (supervisor, notes):
        assert python(supervisor, code).split() == ["through", str(errno.ENXIO)]
        assert notes.faults == []


def test_what_nobody_waits_for_ends(tmp_path: Path) -> None:
    """An open that waits is given up when the target has been killed."""
    os.mkfifo(tmp_path / "fifo")
    with supervised(policy_of('"perform"')) as (supervisor, notes):
        target = supervisor.popen([*PYTHON, "-c", f"open('{tmp_path}/fifo')"])
        until(lambda: "fifo" in [Path(p).name for p in notes.paths])
        target.kill()
        target.wait()
        until(lambda: supervisor.statistics().gone >= 1)
