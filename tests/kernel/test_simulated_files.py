"""The same calls performed on the running kernel, performed on the simulated one, and made there.

Each script is written once. All three ways give the same results and the same attributes.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.perform_support import attempt
from unotify import Supervisor
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.abi.tables import number
from unotify.bpf import compile_filter
from unotify.kernel._libc import NATIVE
from unotify.testing import FakeTarget, SimulatedKernel, Supervised
from unotify.testing.facility.credentials import set_ids
from unotify.testing.facility.tree import put_file

pytestmark = pytest.mark.skipif(NATIVE is not Arch.X86_64, reason="the layout of one struct stat")

CWD, CREAT, EXCL, TRUNC, O_WRONLY, RDWR = -100, 0o100, 0o200, 0o1000, 1, 2
DIRECTORY, NOFOLLOW = 0o200000, 0o400000
FD, SOCKET, LOOK = "FD", "SOCKET", "newfstatat"
MOUNTED = ("/own", "/foreign", "/closed", "/shared", "/group")

NAMES: list[tuple[Any, ...]] = [
    ("mkdirat", CWD, "/own/d", 0o7777),
    (LOOK, "/own/d"),
    ("mkdir", "/own/d", 0o755),
    ("mkdir", "/own/d/", 0o755),
    ("mkdir", "/own/no/where", 0o755),
    ("mkdir", "/own/e/", 0o700),
    ("openat", CWD, "/own/d/f", CREAT | RDWR, 0o6666),
    (LOOK, "/own/d/f"),
    ("open", "/own/d/f", CREAT | EXCL | O_WRONLY, 0o600),
    ("open", "/own/d/f/", 0, 0),
    ("open", "/own/d/f/x", 0, 0),
    ("open", "/own/d", O_WRONLY, 0),
    ("open", "/own/d", CREAT, 0o600),
    ("open", "/own/d/new/", CREAT | O_WRONLY, 0o600),
    ("open", "/own/d/f", DIRECTORY, 0),
    ("creat", "/own/c", 0o640),
    (LOOK, "/own/c"),
    ("rmdir", "/own/d"),
    ("unlink", "/own/d"),
    ("rmdir", "/own/d/f"),
    ("unlink", "/own/nothing"),
    ("link", "/own/d/f", "/own/second"),
    (LOOK, "/own/second"),
    ("link", "/own/d/f", "/own/second"),
    ("link", "/own/d", "/own/third"),
    ("link", "/own/nothing", "/own/third"),
    ("rename", "/own/second", "/own/d/f"),
    (LOOK, "/own/second"),
    ("rename", "/own/second", "/own/renamed"),
    ("rename", "/own/renamed", "/own/e"),
    ("rename", "/own/e", "/own/renamed"),
    ("rename", "/own/e", "/own/d"),
    ("rename", "/own/d", "/own/d/below"),
    ("rename", "/own/nothing", "/own/x"),
    ("rename", "/own/renamed", "/own/x/"),
    ("renameat2", CWD, "/own/renamed", CWD, "/own/e", 1),
    ("renameat2", CWD, "/own/renamed", CWD, "/own/e", 2),
    ("renameat2", CWD, "/own/renamed", CWD, "/own/nothing", 2),
    ("renameat2", CWD, "/own/renamed", CWD, "/own/e", 3),
    (LOOK, "/own/e"),
    (LOOK, "/own/renamed"),
    ("rename", "/own/e", "/own/e2"),
    ("unlink", "/own/e2"),
    ("rmdir", "/own/renamed"),
    (LOOK, "/own"),
    ("mknod", "/own/fifo", 0o10644, 0),
    (LOOK, "/own/fifo"),
    ("mknod", "/own/plain", 0o644, 0),
    (LOOK, "/own/plain"),
    ("mknod", "/own/dir", 0o40755, 0),
    ("mknod", "/own/link", 0o120777, 0),
    ("mkdir", "/own/" + "n" * 256, 0o755),
    ("mkdir", "", 0o755),
]

LINKS: list[tuple[Any, ...]] = [
    ("symlink", "f", "/own/l"),
    ("symlink", "f", "/own/l"),
    ("symlink", "", "/own/m"),
    ("readlink", "/own/l", 64),
    ("readlink", "/own/l", 1),
    ("readlink", "/own/l", 0),
    (LOOK, "/own/l"),
    ("open", "/own/l", 0, 0),
    ("open", "/own/l", CREAT | O_WRONLY, 0o600),
    (LOOK, "/own/f"),
    ("open", "/own/l", NOFOLLOW, 0),
    ("open", "/own/l", CREAT | EXCL | O_WRONLY, 0o600),
    ("readlink", "/own/f", 64),
    ("readlink", "/own/nothing", 64),
    ("mkdir", "/own/l", 0o755),
    ("symlink", ".", "/own/here"),
    ("mkdir", "/own/here/here/sub", 0o755),
    (LOOK, "/own/sub"),
    ("rmdir", "/own/here/"),
    ("symlink", "loop", "/own/loop"),
    ("open", "/own/loop", 0, 0),
    ("open", "/own/loop/x", 0, 0),
    ("readlink", "/own/loop", 64),
    ("chmod", "/own/l", 0o604),
    (LOOK, "/own/f"),
    ("link", "/own/l", "/own/l2"),
    (LOOK, "/own/l2"),
    ("unlink", "/own/l2"),
    ("access", "/own/l", 4),
    ("access", "/own/loop", 0),
    ("symlink", "nothing/there", "/own/dangling"),
    ("mkdir", "/own/dangling", 0o755),
    ("access", "/own/dangling", 0),
    ("rename", "/own/dangling", "/own/dangling2"),
    ("readlink", "/own/dangling2", 64),
    ("mkdir", "/own/sub/../beside", 0o755),
    (LOOK, "/own/beside"),
]

ATTRIBUTES: list[tuple[Any, ...]] = [
    ("creat", "/own/f", 0o644),
    ("chmod", "/own/f", 0o4751),
    (LOOK, "/own/f"),
    ("chown", "/own/f", -1, -1),
    (LOOK, "/own/f"),
    ("chown", "/own/f", 1234, -1),
    ("chown", "/own/f", -1, 1234),
    (LOOK, "/own/f"),
    ("chmod", "/own/nothing", 0o600),
    ("truncate", "/own/f", 100),
    (LOOK, "/own/f"),
    ("truncate", "/own/f", 7),
    (LOOK, "/own/f"),
    ("truncate", "/own/f", -1),
    ("truncate", "/own", 1),
    ("truncate", "/own/nothing", 1),
    ("openat", CWD, "/own/f", RDWR, 0),
    ("fchmod", FD, 0o600),
    ("ftruncate", FD, 3),
    ("fchown", FD, -1, -1),
    (LOOK, "/own/f"),
    ("fchmod", 99, 0o600),
    ("ftruncate", 99, 0),
    ("open", "/own/f", TRUNC | O_WRONLY, 0),
    (LOOK, "/own/f"),
    ("access", "/own/f", 4),
    ("access", "/own/f", 1),
    ("access", "/own/f", 0),
]

RIGHTS: list[tuple[Any, ...]] = [
    ("open", "/foreign/theirs", 0, 0),
    ("open", "/foreign/theirs", O_WRONLY, 0),
    ("open", "/foreign/theirs", TRUNC, 0),
    ("open", "/foreign/new", CREAT | O_WRONLY, 0o600),
    ("open", "/foreign/secret", 0, 0),
    ("access", "/foreign/secret", 4),
    ("access", "/foreign/theirs", 2),
    ("mkdir", "/foreign/d", 0o755),
    ("unlink", "/foreign/theirs2"),
    ("symlink", "x", "/foreign/l"),
    ("link", "/foreign/theirs", "/own/mine"),
    ("chmod", "/foreign/theirs", 0o666),
    ("chown", "/foreign/theirs", 65534, -1),
    ("truncate", "/foreign/theirs", 0),
    ("open", "/closed/file", 0, 0),
    ("access", "/closed/file", 0),
    ("mkdir", "/closed/d", 0o755),
    ("readlink", "/closed/file", 64),
    (LOOK, "/closed/file"),
    ("unlink", "/shared/theirs"),
    ("rename", "/shared/theirs", "/shared/ours"),
    ("rename", "/shared/ours", "/own/ours"),
    ("creat", "/shared/mine", 0o600),
    ("unlink", "/shared/mine"),
    ("mkdir", "/group/d", 0o755),
    (LOOK, "/group/d"),
    ("creat", "/group/f", 0o644),
    (LOOK, "/group/f"),
    ("mknod", "/own/null", 0o20666, 0x103),
    (LOOK, "/own/null"),
]

SOCKETS: list[tuple[Any, ...]] = [
    ("socket", 1, 1, 0),
    ("bind", SOCKET, "/own/s"),
    (LOOK, "/own/s"),
    ("open", "/own/s", 0, 0),
    ("socket", 1, 1, 0),
    ("bind", SOCKET, "/own/s"),
    ("bind", SOCKET, "/own/no/s"),
    ("connect", SOCKET, "/own/nothing"),
    ("creat", "/own/file", 0o644),
    ("connect", SOCKET, "/own/file"),
    ("connect", 99, "/own/s"),
    ("openat", CWD, "/own/file", RDWR, 0),
    ("connect", FD, "/own/s"),
]

SCRIPTS = {
    "names": NAMES,
    "links": LINKS,
    "attributes": ATTRIBUTES,
    "rights": RIGHTS,
    "sockets": SOCKETS,
}
PERFORMED = sorted({step[0] for steps in SCRIPTS.values() for step in steps} - {"socket"})

_PROGRAM = """
root, uid, steps = sys.argv[1], int(sys.argv[2]), json.loads(sys.stdin.read())
os.umask(0o022)
if os.getuid() != uid:
    os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
last = {"FD": -1, "SOCKET": -1}
found = []
for name, nr, *args in steps:
    words, buffer = [], None
    for word in args:
        if isinstance(word, str) and word.startswith("/"):
            word = root + word
        words.append(last.get(word, word))
    if name in ("bind", "connect"):
        address = b"\\1\\0" + words[1].encode() + b"\\0"
        words[1:] = [address, len(address)]
    if name == "newfstatat":
        buffer = ctypes.create_string_buffer(144)
        words = [-100, words[0], ctypes.addressof(buffer), 0x100]
    if name == "readlink":
        buffer = ctypes.create_string_buffer(64)
        words = [words[0], ctypes.addressof(buffer), words[1]]
    done = called(nr, *(w.encode() if isinstance(w, str) else w for w in words))
    if isinstance(done, int) and name in ("open", "openat", "creat", "socket"):
        last["SOCKET" if name == "socket" else "FD"] = done
        done = "fd"
    found.append([done, buffer.raw.hex() if buffer and isinstance(done, int) else ""])
say(found)
"""


def shown(step: tuple[Any, ...], done: int | str, data: str) -> tuple[Any, ...]:
    """What is compared of one step."""
    raw = bytes.fromhex(data)
    if step[0] == "readlink" and raw:
        return step, done, raw[: int(done)]
    if step[0] != LOOK or not raw:
        return step, done
    _, _, nlink, mode, uid, gid, _, rdev, size = struct.unpack_from("=QQQIIIIQq", raw)
    size = size if mode & 0o170000 == 0o100000 else 0
    return step, done, oct(mode), nlink, uid, gid, rdev, size


def on_linux(root: Path, steps: list[tuple[Any, ...]], uid: int) -> list[tuple[Any, ...]]:
    """Performed on the running kernel."""
    numbered = [(step[0], number(step[0], NATIVE), *step[1:]) for step in steps]
    with tempfile.TemporaryFile("w+") as file:
        json.dump(numbered, file)
        file.seek(0)
        with Supervisor() as supervisor:
            supervisor.on(*PERFORMED)(lambda call: call.perform())
            found = attempt(supervisor, _PROGRAM, str(root), uid, stdin=file)
    return [shown(step, *one) for step, one in zip(steps, found, strict=True)]


def prepare(kernel: SimulatedKernel, root: Path, uid: int) -> None:
    """The same directories as on the running one."""
    for path, mode, owner in _layout(uid):
        data = None if path.endswith("/") else b"theirs"
        inode = put_file(kernel.world, f"{root}{path.rstrip('/')}", data)
        inode.mode = inode.mode & 0o170000 | mode
        inode.uid = inode.gid = owner


def _layout(uid: int) -> Iterator[tuple[str, int, int]]:
    yield "/own/", 0o755, uid
    if os.geteuid():
        return
    yield "/foreign/", 0o755, 0
    yield "/foreign/theirs", 0o644, 0
    yield "/foreign/theirs2", 0o644, 0
    yield "/foreign/secret", 0o600, 0
    yield "/closed/", 0o700, 0
    yield "/closed/file", 0o644, 0
    yield "/shared/", 0o1777, 0
    yield "/shared/theirs", 0o644, 0
    yield "/group/", 0o2777, 0


def on_the_model(
    target: FakeTarget,
    call: Callable[..., Any],
    root: Path,
    steps: list[tuple[Any, ...]],
) -> list[tuple[Any, ...]]:
    """The same with a simulated target."""
    found = []
    last = {FD: -1, SOCKET: -1}
    for step in steps:
        name, *args = step
        words: list[Any] = [
            str(root) + word if isinstance(word, str) and word.startswith("/") else word
            for word in args
        ]
        words = [last.get(word, word) if isinstance(word, str) else word for word in words]
        buffer = target.put(bytes(144))
        if name in ("bind", "connect"):
            address = b"\1\0" + str(words[1]).encode() + b"\0"
            words[1:] = [target.put(address), len(address)]
        if name == LOOK:
            words = [CWD, words[0], buffer, 0x100]
        if name == "readlink":
            words = [words[0], buffer, words[1]]
        words = [
            word & (1 << 64) - 1 if isinstance(word, int) and word < 0 else word for word in words
        ]
        answer = call(name, *words)
        done: int | str = errno.errorcode[answer.errno] if answer.errno else answer.value
        if isinstance(done, int) and name in ("open", "openat", "creat", "socket"):
            last[SOCKET if name == "socket" else FD] = done
            done = "fd"
        data = target.peek(buffer, 144).hex() if isinstance(done, int) else ""
        found.append(shown(step, done, data if name in (LOOK, "readlink") else ""))
    return found


def become(kernel: SimulatedKernel, target: FakeTarget, uid: int) -> None:
    """Let a target be that user."""
    if uid:
        set_ids(kernel.world, target.task, uid, uid)


@pytest.mark.parametrize("who", ["root", "user"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_same_on_both(tmp_path: Path, name: str, who: str) -> None:
    """Performed on Linux, performed on the model and made on the model: one history."""
    if os.geteuid() and (who == "root" or name == "rights"):
        pytest.skip("this needs root")
    uid = 0 if who == "root" else os.geteuid() or 65534
    # The model has fs.protected_hardlinks, as nearly all distributions have.
    free = Path("/proc/sys/fs/protected_hardlinks").read_text().strip() == "0"
    steps = [step for step in SCRIPTS[name] if not free or step[0] != "link"]
    root = tmp_path / "r"
    root.mkdir()
    if not os.geteuid():
        for above in (root, *root.parents):
            if above.stat().st_mode & 0o001 == 0 and above.stat().st_uid == os.geteuid():
                above.chmod(0o711)
            if above == Path(tempfile.gettempdir()):
                break
    for path, mode, owner in _layout(uid):
        place = Path(f"{root}{path}")
        if path.endswith("/"):
            place.mkdir()
        else:
            place.write_bytes(b"theirs")
        place.chmod(mode)
        if not os.geteuid():
            os.chown(place, owner, owner)
            place.chmod(mode)
    theirs = on_linux(root, steps, uid)

    with Supervised() as supervised:
        supervised.on(*PERFORMED)(lambda call: call.perform())
        prepare(supervised.kernel, root, uid)
        become(supervised.kernel, supervised.target, uid)
        ours = on_the_model(supervised.target, supervised.call, root, steps)
    assert ours == theirs

    kernel = SimulatedKernel()
    prepare(kernel, root, uid)
    allowing = compile_filter({Arch.X86_64: {}}, default=Action.ALLOW)
    target, _ = kernel.target(allowing)
    become(kernel, target, uid)
    assert on_the_model(target, target.call, root, steps) == theirs
