"""Perform by a supervisor that may do more than its targets: as whom, and where."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import NOBODY
from tests.kernel.acting_support import PYTHON, policy_of, python, supervised
from unotify.kernel.rights import my_status, umask_of

ATTEMPT = """
import errno, os, socket
def attempt(act, *args):
    try:
        return act(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
"""
PERFORM = policy_of('"perform"')
AS_SUPERVISOR = policy_of('{ perform = { as = "supervisor" } }', "open openat mkdir mkdirat")
DROP = f"""{ATTEMPT}
os.setgroups([12345])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
"""
ENTER = f"""{ATTEMPT}
import ctypes, struct
libc = ctypes.CDLL(None)
here, there = os.pipe()
back, forth = os.pipe()
if child := os.fork():
    os.read(back, 1)
    for kind in "ug":
        open(f"/proc/{{child}}/{{kind}}id_map", "w").write("0 {NOBODY} 1")
    os.write(there, b"x")
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
libc.prctl(4, 1)  # PR_SET_DUMPABLE: its files in /proc are its own
assert libc.unshare(0x10000000) == 0
os.write(forth, b"x")
os.read(here, 1)
"""


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    """A directory that anybody may use, with a file for root and one for a group."""
    for directory in [tmp_path, *tmp_path.parents]:
        if directory.stat().st_uid == os.geteuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    tmp_path.chmod(0o777)
    for name, mode in {"root": 0o600, "group": 0o640}.items():
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
    os.chown(tmp_path / "group", 0, 12345)
    return tmp_path


def test_rights_are_the_target_s(place: Path) -> None:
    """Files are made with its ids and umask; its groups count, and root's rights do not."""
    code = f"""{DROP}
os.chdir({str(place)!r})
os.umask(0o027)
print(attempt(open, "root"), open("group").read())
os.mkdir("made", 0o777)
open("file", "w")
print(attempt(os.chown, "file", 0, 0), attempt(os.chmod, "root", 0o644))
print(attempt(os.mknod, "device", 0o20600, 259))
print(os.access("root", os.R_OK), os.access("group", os.R_OK))"""
    with supervised(PERFORM) as (supervisor, notes):
        found = python(supervisor, code).split()
        assert found == ["EACCES", "group", "EPERM", "EPERM", "EPERM", "False", "True"]
        assert notes.faults == []
    for name, mode in {"made": 0o750, "file": 0o640}.items():
        status = (place / name).stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (NOBODY, NOBODY, mode)


def test_as_supervisor(place: Path) -> None:
    """A rule may lend the supervisor's rights; what is made then is the supervisor's."""
    code = f"{DROP}\nos.chdir({str(place)!r})\nprint(open('root').read())\nos.mkdir('made')"
    with supervised(AS_SUPERVISOR) as (supervisor, _):
        assert python(supervisor, code).strip() == "root"
    assert (place / "made").stat().st_uid == 0


def test_as_supervisor_lends_the_umask_too(place: Path) -> None:
    """A socket that is bound gets its mode by the supervisor's umask, as a directory does."""
    code = f"""{DROP}
os.chdir({str(place)!r})
os.umask(0o077)
os.mkdir("made")
socket.socket(socket.AF_UNIX).bind("bound")"""
    with supervised(policy_of('{ perform = { as = "supervisor" } }', "mkdir mkdirat bind")) as (
        supervisor,
        notes,
    ):
        python(supervisor, code)
        assert notes.faults == []
    modes = {name: (place / name).stat().st_mode & 0o777 for name in ("made", "bound")}
    assert modes["bound"] == modes["made"] == 0o777 & ~umask_of(my_status())


def test_the_real_ids_of_access(place: Path) -> None:
    """access(2) asks about the real ids, faccessat(2) with AT_EACCESS about the effective ones."""
    code = f"""{ATTEMPT}
os.chdir({str(place)!r})
os.setresuid({NOBODY}, 0, 0)
print(os.access("root", os.R_OK), os.access("root", os.R_OK, effective_ids=True))"""
    with supervised(policy_of('"perform"', "access faccessat faccessat2")) as (supervisor, _):
        assert python(supervisor, code).split() == ["False", "True"]


def test_who_connects(place: Path) -> None:
    """A peer sees the target's ids; with a message it sees the target's process too."""
    code = f"""{ATTEMPT}
import struct
os.chdir({str(place)!r})
if os.fork():
    os.wait()
else:
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
    server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    server.bind("here")
    server.listen()
    client.connect("here")
    peer = server.accept()[0]
    print(struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    client.send(b"x")
    data, control, _, _ = peer.recvmsg(9, 99)
    pid, uid, _ = struct.unpack("3i", control[0][2])
    print(pid == os.getpid(), uid)"""
    with supervised(PERFORM) as (supervisor, notes):
        assert python(supervisor, code).split() == [str(NOBODY), "True", str(NOBODY)]
        assert notes.faults == []


def test_in_a_chroot(tmp_path: Path) -> None:
    """Absolute paths, absolute links and dots end at the target's root."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/name").write_text("inside")
    (tmp_path / "link").symlink_to("/etc/name")
    code = f"""{ATTEMPT}
os.chroot({str(tmp_path)!r})
os.chdir("/etc")
print(*(open(path).read() for path in ("/etc/name", "/link", "../../../etc/name", "name")))
print(attempt(open, "/etc/passwd"), os.stat("/").st_ino == os.stat("/..").st_ino)"""
    with supervised(PERFORM) as (supervisor, notes):
        assert python(supervisor, code).split() == ["inside"] * 4 + ["ENOENT", "True"]
        assert notes.faults == []


def test_names_that_end_in_a_slash_in_a_chroot(tmp_path: Path) -> None:
    """A link that such a name follows leads nowhere outside of the target's root."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "inside").symlink_to("/etc")
    (tmp_path / "outside").symlink_to("/usr")
    code = f"""{ATTEMPT}
os.chroot({str(tmp_path)!r})
os.chdir("/")
for name in ("inside/", "outside/"):
    print(attempt(os.link, name, "new"), attempt(os.rename, name, "new/"), attempt(os.unlink, name),
          attempt(os.rmdir, name), attempt(os.mkdir, name), attempt(os.symlink, "x", name))"""
    native = subprocess.run([*PYTHON, "-c", code], capture_output=True, text=True, check=True)
    assert native.stdout.split()[0::6] == ["EPERM", "ENOENT"]
    with supervised(PERFORM) as (supervisor, notes):
        assert python(supervisor, code) == native.stdout
        assert notes.faults == []


def unshare(*options: str) -> list[str]:
    """How to start a program in namespaces of its own; skips where that is not allowed."""
    command = ["unshare", *options, "--"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no such namespaces can be made here")
    return command


def test_in_a_mount_namespace(tmp_path: Path) -> None:
    """What the target has mounted is what it finds."""
    command = unshare("--mount")
    code = f"mount -t tmpfs none {tmp_path} && echo inside > {tmp_path}/file && cat {tmp_path}/file"
    with supervised(PERFORM) as (supervisor, notes):
        done = supervisor.run([*command, "sh", "-c", code], capture_output=True, text=True)
        assert (done.stdout, notes.faults) == ("inside\n", [])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_in_a_user_namespace_without_ids(place: Path, uid: int) -> None:
    """A program there has its ids from before, and none of the capabilities that exec took."""
    code = """umask 022; mkdir made; cat group; mknod device b 7 99 2>/dev/null
chown 1 made 2>/dev/null; echo *"""
    command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--groups=12345", *unshare("--user")]
    with supervised(PERFORM) as (supervisor, notes):
        done = supervisor.run(
            [*command, "sh", "-c", code], cwd=place, capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.stderr, notes.faults) == ("groupgroup made root\n", "", [])
    status = (place / "made").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (uid, 0o755)


def test_in_a_user_namespace(place: Path) -> None:
    """A process there acts: ids are those of the namespace, and its root is nobody outside."""
    code = f"""{ENTER}
os.chdir({str(place)!r})
os.umask(0o022)
os.mkdir("made")
print(os.stat("made").st_uid, attempt(os.chown, "made", 4711, 4711), attempt(open, "root"))
print(attempt(os.mknod, "device", 0o20600, 259))
start = os.open(".", os.O_RDONLY)
how = struct.pack("=3Q", 0, 0, 0x10)
print(os.read(libc.syscall(437, start, b"/file", how, 24), 99).decode())
ours, theirs = socket.socketpair()
socket.send_fds(ours, [b"x"], [start])
print(len(socket.recv_fds(theirs, 9, 1)[1]), flush=True)"""
    (place / "file").write_text("here")
    with supervised(PERFORM) as (supervisor, notes):
        found = python(supervisor, code).split()
        assert found == ["0", "EINVAL", "EACCES", "EPERM", "here", "1"]
        assert notes.faults == []
    assert (place / "made").stat().st_uid == NOBODY
