"""Small programs in odd places: what went wrong there once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transparency.both import need, require_same
from tests.transparency.identities import ALL, DROPPED, SELF, Identity

SELF_READ = (
    "readlink /proc/self > /dev/null && cat /proc/self/comm && readlink /proc/thread-self/exe"
)
LINKED = """
"$0" -I -S -c 'if True:
    import ctypes, os
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"linked")
    assert not ctypes.CDLL(None).linkat(fd, b"", -100, b"empty", 0x1000)
    os.link(f"/proc/self/fd/{fd}", "followed", src_dir_fd=fd, follow_symlinks=True)
    print(open("empty").read(), open("followed").read())
'
"""


def _same(script: str, identity: Identity, place: Path) -> None:
    need("python3")
    identity.require()
    done = require_same(["sh", "-euc", script, "/usr/bin/python3"], place, identity)
    assert done.status == 0, done.stderr


@pytest.mark.parametrize("identity", ALL, ids=[identity.name for identity in ALL])
def test_self(identity: Identity, tmp_path: Path) -> None:
    """The `self` of a procfs is the target, whatever pid namespace the procfs shows.

    So it is in a user namespace that had no ids yet when the target's first calls were performed.
    """
    _same(SELF_READ, identity, tmp_path)


@pytest.mark.parametrize("identity", [SELF, DROPPED], ids=["self", "dropped"])
def test_file_without_a_name(identity: Identity, tmp_path: Path) -> None:
    """A file of O_TMPFILE gets a name by its descriptor, without a capability too."""
    _same(LINKED, identity, tmp_path)


CLAIMED = """
"$0" -I -S -c 'if True:
    import os, socket, struct
    one, two = socket.socketpair(socket.AF_UNIX)
    def claim(*ids):
        control = socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", *ids)
        try: return one.sendmsg([b"x"], [control])
        except OSError as error: return error.errno
    own = os.getpid(), os.getuid(), os.getgid()
    print(claim(*own), claim(own[0], 1234, own[2]), claim(*own[:2], 1234), claim(own[0], 0, 0))
'
"""


@pytest.mark.parametrize("identity", ALL, ids=[identity.name for identity in ALL])
def test_claimed_credentials(identity: Identity, tmp_path: Path) -> None:
    """Nobody passes for somebody else by SCM_CREDENTIALS, though the supervisor could."""
    _same(CLAIMED, identity, tmp_path)
