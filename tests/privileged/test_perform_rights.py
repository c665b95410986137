"""What a privileged supervisor performs for an ordinary user is what that user may do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import NOBODY
from tests.privileged.hostile_support import OPENS, attempt, performing

_READ = "say([tried(os.open, path, os.O_RDONLY) for path in sys.argv[1:]])"


@pytest.fixture(name="secret")
def _secret(tmp_path: Path) -> Path:
    """A file that all may read, in a directory that root alone may search."""
    os.chmod(tmp_path, 0o755)
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "file").write_text("secret")
    (hidden / "file").chmod(0o644)
    return hidden / "file"


@pytest.fixture(name="reachable")
def _reachable(tmp_path: Path) -> Path:
    # pytest's directories are root's alone.
    for directory in [tmp_path, *tmp_path.parents][:3]:
        os.chmod(directory, 0o755)
    return tmp_path


@pytest.mark.parametrize("resolved", [False, True])
def test_what_was_looked_up_by_a_rule_is_reached_with_the_targets_rights(
    resolved: bool, reachable: Path, secret: Path
) -> None:
    """A directory that the target may not search stays closed, if a rule looked there or not."""
    with performing(reachable, *OPENS, resolved=resolved) as supervisor:
        paths = [secret, secret.with_name("missing")]
        assert attempt(supervisor, _READ, *paths) == ["EACCES"] * 2
        assert supervisor.statistics().faults == 0


def test_an_ordinary_user_gets_nothing_of_root(reachable: Path) -> None:
    """No read of a 0600 file, no file of root's, no chown, no mode, no device, no low port."""
    secret = reachable / "root-only"
    secret.write_text("secret")
    secret.chmod(0o600)
    (reachable / "theirs").mkdir()
    os.chown(reachable / "theirs", NOBODY, NOBODY)
    calls = (*OPENS, "chown", "fchownat", "chmod", "fchmodat", "mknodat", "bind", "unlink")
    with performing(reachable, *calls) as supervisor:
        found = attempt(
            supervisor,
            """
secret, theirs = sys.argv[1:]
made = f"{theirs}/made"
say([
    tried(os.open, secret, os.O_RDONLY),
    tried(os.open, f"{secret}.new", os.O_CREAT | os.O_WRONLY),
    tried(os.open, made, os.O_CREAT | os.O_WRONLY) > 2,
    os.stat(made).st_uid,
    tried(os.chown, made, 0, 0),
    tried(os.chmod, secret, 0o666),
    tried(os.mknod, f"{theirs}/disk", 0o60666, os.makedev(8, 0)),
    tried(os.unlink, secret),
    tried(socket.socket().bind, ("127.0.0.1", 1)),
])
""",
            secret,
            reachable / "theirs",
        )
    expected = ["EACCES", "EACCES", True, NOBODY, "EPERM", "EPERM", "EPERM", "EACCES", "EACCES"]
    assert found == expected


def test_the_supervisors_own_entries_in_proc_stay_closed(reachable: Path) -> None:
    """The thread that acts is of its own process, which the kernel lets look at itself."""
    names = ["maps", "environ", "mem", "fd", "fd/0", "cwd", "root/etc", "exe", "io"]
    with performing(reachable, *OPENS, "readlink", resolved=True) as supervisor:
        found = attempt(
            supervisor,
            """
base, names = sys.argv[1], sys.argv[2:]
say([[name, tried(os.open, f"{base}/{name}", os.O_RDONLY)] for name in names]
    + [tried(os.readlink, f"{base}/exe"), tried(os.readlink, f"{base}/fd/0")])
""",
            f"/proc/{os.getpid()}",
            *names,
        )
        assert found == [[name, "EACCES"] for name in names] + ["EACCES", "EACCES"]
        public = attempt(
            supervisor,
            "say([tried(os.open, path, 0) > 2 for path in sys.argv[1:]])",
            *(f"/proc/{os.getpid()}/{name}" for name in ("stat", "status", "cmdline", "")),
        )
    assert public == [True] * 4


def test_root_with_fewer_capabilities_cannot_open_the_supervisors_memory(reachable: Path) -> None:
    """What ptrace(2) refuses natively is not got by asking the supervisor to open it."""
    with performing(reachable, *OPENS) as supervisor:
        found = attempt(
            supervisor,
            """
header = struct.pack("=Ii", 0x20080522, 0)
assert libc.capset(header, struct.pack("=6I", 0, 0, 0, 0, 0, 0)) == 0
say([tried(os.open, f"/proc/{pid}/mem", os.O_RDWR) for pid in sys.argv[1:]])
""",
            os.getpid(),
            1,
            user=0,
            group=0,
        )
    assert found == ["EACCES", "EACCES"]
