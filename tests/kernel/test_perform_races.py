"""What was decided about is what is acted on, whatever is renamed or replaced in between."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.perform_support import attempt
from unotify import Fail, Reply, Supervisor
from unotify.calls import Chmod, Fchmod, OpenAt, Sendto, Truncate, Unlink
from unotify.calls.lookups import spot_of


def disturbed(supervisor: Supervisor, kind: Any, disturb: Callable[[], None]) -> list[str]:
    """Perform calls of *kind* on paths in "tree"; *disturb* after the look at them."""
    looked: list[str] = []

    def handler(call: Any) -> Reply | None:
        if b"tree" in call.path.raw:
            looked.append(call.caller.pin("path", spot_of(call, "path")))
            disturb()
        return call.perform()  # type: ignore[no-any-return]

    supervisor.on(kind)(handler)
    return looked


@pytest.fixture(name="tree")
def _tree(tmp_path: Path) -> Path:
    tree = tmp_path.resolve() / "tree"
    (tree / "good").mkdir(parents=True)
    (tree / "bad").mkdir()
    (tree / "good/file").write_text("good")
    (tree / "bad/file").write_text("bad")
    return tree


_READ = "say(os.read(os.open(sys.argv[1], os.O_RDONLY), 9).decode())"


def test_a_file_that_a_link_replaces_is_opened_all_the_same(tree: Path) -> None:
    """The link was not there when the path was looked at, so it leads nowhere."""
    file = tree / "good/file"

    def disturb() -> None:
        file.rename(tree / "good/away")
        file.symlink_to(tree / "bad/file")

    with Supervisor() as supervisor:
        looked = disturbed(supervisor, OpenAt, disturb)
        assert attempt(supervisor, _READ, file) == "good"
    assert looked == [str(file)]


def test_a_directory_that_is_renamed_and_replaced_is_not_looked_up_again(tree: Path) -> None:
    """Two directories change places after the look, and the first one is acted in."""

    def disturb() -> None:
        (tree / "good").rename(tree / "kept")
        (tree / "good").symlink_to("bad")

    with Supervisor() as supervisor:
        disturbed(supervisor, Unlink, disturb)
        assert attempt(supervisor, "say(tried(os.unlink, sys.argv[1]))", tree / "good/file") == 0
    assert not (tree / "kept/file").exists()
    assert (tree / "bad/file").exists()


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Truncate, "say(tried(os.truncate, sys.argv[1], 0))"),
        (Chmod, "say(tried(os.chmod, sys.argv[1], 0))"),
        (OpenAt, "say(tried(os.open, sys.argv[1], os.O_RDWR))"),
        (OpenAt, "say(tried(os.open, sys.argv[1], os.O_RDWR | os.O_CREAT))"),
    ],
)
def test_a_link_that_takes_a_missing_name_is_not_followed(tree: Path, kind: Any, code: str) -> None:
    """Our own call would follow it from our own root, and not from the target's."""
    missing, victim = tree / "good/missing", tree / "bad/file"
    with Supervisor() as supervisor:
        looked = disturbed(supervisor, kind, lambda: missing.symlink_to(victim))
        assert attempt(supervisor, code, missing) in ("ENOENT", "ELOOP")
    assert looked == [str(missing)]
    assert victim.read_text() == "bad"
    assert victim.stat().st_mode & 0o777


@pytest.mark.parametrize("look", ["fd_path", "fd_kind"])
def test_a_descriptor_that_was_replaced_after_the_look_is_refused(tree: Path, look: str) -> None:
    """dup2 over the number in the call: neither the old file nor the new one is changed."""
    code = """
good, bad = (os.open(name, os.O_RDWR) for name in sys.argv[1:3])
signal, answer = map(int, sys.argv[3:])
def replace():
    os.read(signal, 1)
    os.dup2(bad, good)
    os.write(answer, b"x")
thread = threading.Thread(target=replace)
thread.start()
say(tried(os.fchmod, good, 0o640))
thread.join()
"""
    wake, woken = os.pipe()
    answered, answer = os.pipe()
    files = tree / "good/file", tree / "bad/file"
    for file in files:
        file.chmod(0o600)
    with Supervisor() as supervisor:

        @supervisor.on(Fchmod)
        def handler(call: Fchmod) -> Any:
            found = getattr(call.caller, look)(call.fd)
            os.write(woken, b"x")
            assert os.read(answered, 1) == b"x"
            return call.perform() if "bad" not in found else Fail(errno.EACCES)

        fds = (wake, answer)
        assert attempt(supervisor, code, *files, *fds, pass_fds=fds) == "EBADF"
    for fd in (wake, woken, answered, answer):
        os.close(fd)
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 2


def test_what_a_rule_saw_of_a_message_is_what_is_sent() -> None:
    """The bytes are read once: a handler that has looked at them sends what it saw."""
    code = """
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
signal, answer = map(int, sys.argv[1:])
text = mmap.mmap(-1, 4096)
text[:4] = b"good"
def rewrite():
    os.read(signal, 1)
    text[:4] = b"evil"
    os.write(answer, b"x")
thread = threading.Thread(target=rewrite)
thread.start()
address = ctypes.addressof(ctypes.c_char.from_buffer(text))
called(44, ours.fileno(), address, 4, 0, 0, 0)
thread.join()
say(theirs.recv(9).decode())
"""
    if os.uname().machine != "x86_64":
        pytest.skip("the number of sendto is that of x86-64")
    wake, woken = os.pipe()
    answered, answer = os.pipe()
    with Supervisor() as supervisor:

        @supervisor.on(Sendto)
        def handler(call: Sendto) -> Any:
            if call.buf != b"good":
                return None
            os.write(woken, b"x")
            assert os.read(answered, 1) == b"x"
            return call.perform()

        fds = (wake, answer)
        assert attempt(supervisor, code, *fds, pass_fds=fds) == "good"
    for fd in (wake, woken, answered, answer):
        os.close(fd)
