"""What a target's arguments name, looked at; and whose child it is."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.perform_support import attempt
from unotify import Fail, Return, Supervisor
from unotify.calls import Call
from unotify.calls.stats import Stat
from unotify.errors import Refused
from unotify.kernel.lives import _searched, children_of


def _looked(code: str, *calls: str) -> list[tuple[str, Stat | int]]:
    """What was seen of each call of a program, or the errno."""
    seen: list[tuple[str, Stat | int]] = []
    with Supervisor() as supervisor:

        @supervisor.on(*calls)
        def handler(call: Call) -> Fail | Return:
            argument = "fd" if call.call_name == "fchmod" else "path"
            try:
                found: Stat | int = Stat.of_statx(call.caller.look(call, argument))
            except Refused as refused:
                found = -refused.errno
            seen.append((call.call_name, found))
            return Return(0)

        attempt(supervisor, code + "\nsay(0)")
    return seen


def test_paths_and_descriptors(tmp_path: Path) -> None:
    """A path is seen as the call looks it up, a descriptor as the target has it."""
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to("a")
    code = f"""
os.chdir({str(tmp_path)!r})
fd = os.open("a", os.O_PATH)
for number, args in ((90, (b"a", 0)), (90, (b"link", 0)), (94, (b"link", 0, 0)), (90, (b"no", 0)),
                     (91, (fd, 0)), (91, (99, 0)), (268, (-100, b"", 0))):
    called(number, *args)
"""
    seen = [found for _, found in _looked(code, "chmod", "lchown", "fchmod", "fchmodat")]
    real, link = (tmp_path / "a").stat(), (tmp_path / "link").lstat()
    numbers = [found if isinstance(found, int) else found.ino for found in seen]
    assert numbers == [
        *(real.st_ino, real.st_ino, link.st_ino, -errno.ENOENT, real.st_ino),
        *(-errno.EBADF, -errno.ENOENT),
    ]
    first = seen[0]
    assert isinstance(first, Stat)
    assert (first.mode, first.uid, first.gid, first.dev, first.nlink, first.size) == (
        *(real.st_mode, real.st_uid, real.st_gid, real.st_dev, real.st_nlink, real.st_size),
    )
    assert first.times[6] * 10**9 + first.times[7] == real.st_mtime_ns


def test_native_struct(tmp_path: Path) -> None:
    """The struct that is made of it is byte for byte the one of this kernel."""
    path = tmp_path / "a"
    path.write_bytes(b"content")
    code = f"""
buffer = ctypes.create_string_buffer(144)
found = []
for path in ({str(path)!r}, "/dev/null", "/proc/self", "/"):
    done = libc.syscall(4, path.encode(), buffer)
    found.append(buffer.raw.hex())
say(found)
"""
    if os.uname().machine != "x86_64":
        pytest.skip("stat(2) has this number on x86-64")

    def run(supervisor: Supervisor) -> Any:
        return attempt(supervisor, code)

    with Supervisor() as natural:
        real = run(natural)
    with Supervisor() as supervisor:

        @supervisor.on("stat")
        def handler(call: Call) -> Return:
            found = Stat.of_statx(call.caller.look(call, "path"))
            call.caller.write(call.register("statbuf"), found.encode("stat", call.arch))
            return Return(0)

        made = run(supervisor)
    same = [0, 1, 3]  # /proc/self is another one
    assert [made[at] for at in same] == [real[at] for at in same]


def test_what_is_pinned_is_looked_at(tmp_path: Path) -> None:
    """After a pin another file of that name does not matter; a name is held with its directory."""
    path = tmp_path / "a"
    path.touch()
    number = path.stat().st_ino
    seen: list[object] = []
    with Supervisor() as supervisor:

        @supervisor.on("chmod")
        def chmod(call: Call) -> Return:
            target = call.caller
            seen.append(target.pin_argument(call, "path"))
            path.rename(tmp_path / "b")
            path.mkdir()
            seen.append(Stat.of_statx(target.look(call, "path")).ino)
            seen.append(target.handle_of("path") == target.handle_of("path") != b"")
            return Return(0)

        @supervisor.on("rmdir")
        def rmdir(call: Call) -> Return:
            target = call.caller
            seen.append(target.pin_argument(call, "path"))
            seen.append(target.pin_named("path", "victim"))
            seen.append(Stat.of_statx(target.look_at("victim")).is_directory)
            path.rmdir()
            seen.append(target.pin_named("path", "victim"))
            seen.append(Stat.of_statx(target.look_at("victim")).nlink)
            with pytest.raises(Refused):
                target.look_at("path")
            return Return(0)

        attempt(supervisor, f"p = {str(path)!r}\nos.chmod(p, 0)\nos.rmdir(p)\nsay(0)")
    assert seen == [True, number, True, False, True, True, False, 0]


def test_children_without_the_kernels_help() -> None:
    """Where the kernel lists no children (CONFIG_PROC_CHILDREN), all processes are asked."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert child.pid in _searched(os.getpid())
        assert child.pid in children_of(os.getpid())
        child.communicate(b"")
    assert child.pid not in _searched(os.getpid())


def test_lives() -> None:
    """A child has its parent's image until it runs another program; a number is not a life."""
    seen: list[Any] = []
    with Supervisor() as supervisor:

        @supervisor.on("getpgid")
        def handler(call: Call) -> Return:
            target = call.caller
            life = target.life()
            parent = target.life_of(life.parent)
            seen.append((life, parent, life.pid in target.children_of(life.parent)))
            assert target.life_of(2**22 + 1) is None
            return Return(0)

        attempt(
            supervisor,
            """
called(121, 0)
if os.fork() == 0:
    called(121, 0)
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c",
             "import ctypes; ctypes.CDLL(None).syscall(121, 0)"])
os.wait()
say(0)
""",
        )
    (first, above, _), (child, parent, is_child), (program, _, _) = seen
    assert above.pid == os.getpid()
    assert (child.parent, parent, is_child) == (first.pid, first, True)
    assert child.image == first.image != program.image
    assert (program.pid, program.started) == (child.pid, child.started)
    assert (child.group, child.session) == (first.group, first.session)
