"""Targets that rewrite what their calls point to, while those are decided and performed."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing, need_native
from tests.faults.test_storms import LONG
from unotify import Fail, Reply, Supervisor
from unotify.calls import Connect, OpenAt, OpenAt2

COUNT = 100_000 if LONG else 2_000


@pytest.fixture(name="target", scope="module")
def _target(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program, compiled."""
    compiler = shutil.which("gcc") or shutil.which("cc") or missing("there is no C compiler")
    made = tmp_path_factory.mktemp("rewriting") / "target"
    source = Path(__file__).with_name("rewriting_target.c")
    subprocess.run([compiler, "-O1", "-pthread", "-o", made, source], check=True)
    return str(made)


def storm(supervisor: Supervisor, target: str, *args: object) -> list[int]:
    """How many calls succeeded, were refused, failed otherwise, and did what is forbidden."""
    mode, *rest = args
    found = supervisor.run([target, str(mode), str(COUNT), *map(str, rest)], stdout=subprocess.PIPE)
    assert found.returncode == 0
    assert supervisor.statistics().faults == 0
    return [int(word) for word in found.stdout.split()]


def mixed(found: list[int]) -> bool:
    """All calls are accounted for, some of either kind came, and nothing forbidden."""
    ok, refused, failed, wrong = found
    assert wrong == 0
    assert ok + refused + failed == COUNT
    return ok > 0 and refused > 0


@pytest.mark.parametrize(
    ("question", "backend"), [("path", "native"), ("path", "python"), ("resolved(path)", "python")]
)
def test_a_path_that_is_rewritten(
    target: str, tmp_path: Path, question: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is opened is what the rule allowed, never what is in memory by then."""
    if backend == "native":
        need_native()
    monkeypatch.setenv("UNOTIFY_BACKEND", backend)
    for name in ("good", "evil"):
        (tmp_path / name).write_text(name)
    good, evil = tmp_path.resolve() / "good", tmp_path.resolve() / "evil"
    policy = tmp_path / "policy.toml"
    policy.write_text(f"""
version = 1
default = "allow"
[[rule]]
calls = ["openat"]
where = '{question} == "{good}" or not under(path, "{tmp_path.resolve()}")'
do = "perform"
[[rule]]
calls = ["openat"]
do = {{ fail = "EACCES" }}
""")
    with Supervisor(policy=str(policy)) as supervisor:
        assert mixed(storm(supervisor, target, "path", good, evil))
        assert (supervisor.statistics().native > COUNT / 2) is (backend == "native")


def test_an_open_how_that_is_rewritten(target: str, tmp_path: Path) -> None:
    """A struct that was read as O_RDONLY opens for reading only, and truncates nothing."""
    file = tmp_path / "file"
    file.write_text("good")
    with Supervisor() as supervisor:

        @supervisor.on(OpenAt2)
        def handler(call: OpenAt2) -> Reply:
            if int(call.how.flags) & ~os.O_CLOEXEC:
                return Fail(errno.EACCES)
            done: Reply = call.perform()
            return done

        assert mixed(storm(supervisor, target, "how", file))
    assert file.read_text() == "good"


def test_an_address_that_is_rewritten(target: str) -> None:
    """The peer of a connected socket is what was read and allowed, in all of its bytes."""
    with Supervisor() as supervisor:

        @supervisor.on(Connect)
        def handler(call: Connect) -> Reply:
            address: Any = call.address
            if (getattr(address, "port", 0), str(getattr(address, "ip", ""))) != (9, "127.0.0.1"):
                return Fail(errno.EACCES)
            done: Reply = call.perform()
            return done

        assert mixed(storm(supervisor, target, "address", 9, 40000))


_EXCHANGE = """
# Two names change places as fast as can be, until somebody closes our standard input.
import ctypes, select, sys
libc = ctypes.CDLL(None)
one, other = (name.encode() for name in sys.argv[1:])
while not select.select([0], [], [], 0)[0]:
    for _ in range(100):
        libc.renameat2(-100, one, -100, other, 2)
"""


@contextmanager
def exchanging(one: Path, other: Path) -> Iterator[None]:
    """While this lasts the two names change places all the time."""
    command = [sys.executable, "-I", "-S", "-c", _EXCHANGE, str(one), str(other)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.communicate()


def test_a_directory_and_a_link_that_change_places(target: str, tmp_path: Path) -> None:
    """What a rule found by its resolved path is what is opened, whatever the name means by then."""
    base = tmp_path.resolve()
    for name in ("good", "evil"):
        (base / name).mkdir()
        (base / name / "file").write_text(name)
    (base / "link").symlink_to("evil")
    policy = tmp_path / "policy.toml"
    policy.write_text(f"""
version = 1
default = "allow"
[[rule]]
calls = ["openat"]
where = 'under(resolved(path), "{base}/evil") or under(resolved(path), "{base}/link")'
do = {{ fail = "EACCES" }}
[[rule]]
calls = ["openat"]
do = "perform"
""")
    with Supervisor(policy=str(policy)) as supervisor, exchanging(base / "good", base / "link"):
        path = base / "good/file"
        assert mixed(storm(supervisor, target, "path", path, path))


@pytest.mark.parametrize("swapped", [False, True], ids=["rewritten", "swapped"])
def test_a_unix_socket(target: str, tmp_path: Path, swapped: bool) -> None:
    """Who is connected is the socket that a rule found, whatever memory and names say by then."""
    base = tmp_path.resolve()
    for name in ("good", "evil"):
        (base / name).mkdir()
    (base / "link").symlink_to("evil")
    policy = tmp_path / "policy.toml"
    refused = f'under(resolved(address.path), ("{base}/evil", "{base}/link"))'
    policy.write_text(f"""
version = 1
default = "allow"
[[rule]]
calls = ["connect"]
where = '{refused}'
do = {{ fail = "EACCES" }}
[[rule]]
calls = ["connect"]
do = "perform"
""")
    with ExitStack() as stack:
        for name in ("good", "evil"):
            server = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            server.bind(str(base / name / "socket"))
        supervisor = stack.enter_context(Supervisor(policy=str(policy)))
        good, evil = base / "good/socket", base / "evil/socket"
        if swapped:
            evil = good
            stack.enter_context(exchanging(base / "good", base / "link"))
        assert mixed(storm(supervisor, target, "unix", good, evil))


@pytest.mark.usefixtures("needs_root")
def test_an_absolute_link_in_a_chroot_never_leads_out(tmp_path: Path, target: str) -> None:
    """It is swapped in and out while paths are looked up, and is always below the target's root."""
    base = tmp_path.resolve()
    (base / "outside").mkdir()
    (base / "outside/file").write_text("evil")
    root = base / "root"
    (root / "dir").mkdir(parents=True)
    (root / "dir/file").write_text("good")
    (root / "link").symlink_to(base / "outside")
    with Supervisor() as supervisor, exchanging(root / "dir", root / "link"):
        supervisor.on(OpenAt)(lambda call: call.perform())
        found = storm(supervisor, target, "path", "/dir/file", "/dir/../dir/file", root)
    assert found[3] == 0
    assert found[0] > 0
    assert sum(found) == COUNT
