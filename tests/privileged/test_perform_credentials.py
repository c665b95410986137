"""Who a message is from: what the target may say of itself, and nothing more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import NOBODY
from tests.privileged.hostile_support import attempt, performing

_SAY = """
pid, uid, gid = (int(word) if word != "me" else os.getpid() for word in sys.argv[1:])
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
theirs.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
said = struct.pack("=iII", pid, uid, gid)
def send():
    ours.sendmsg([b"x"], [(socket.SOL_SOCKET, 2, said)])
    return list(struct.unpack("=iII", theirs.recvmsg(1, 100)[1][0][2]))
found = tried(send)
say(found if isinstance(found, str) else [found[0] == os.getpid(), *found[1:]])
"""


def test_a_target_says_who_it_is(tmp_path: Path) -> None:
    """SCM_CREDENTIALS with its own ids arrive as if it had sent them itself."""
    with performing(tmp_path, "sendmsg") as supervisor:
        assert attempt(supervisor, _SAY, "me", NOBODY, NOBODY) == [True, NOBODY, NOBODY]


@pytest.mark.parametrize(
    "claim", [("me", 0, 0), ("me", NOBODY, 0), (1, NOBODY, NOBODY), (os.getpid(), 0, 0)]
)
def test_a_target_cannot_say_that_it_is_somebody_else(tmp_path: Path, claim: tuple[int]) -> None:
    """The capabilities that let us say who sends are not the target's to lie with."""
    with performing(tmp_path, "sendmsg") as supervisor:
        assert attempt(supervisor, _SAY, *claim) == "EPERM"
