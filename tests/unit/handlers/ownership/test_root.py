"""Which calls fake root is about, as handlers and as a verb of policies."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from unotify import Supervisor
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Program, SeccompData, simulate
from unotify.errors import InvalidPolicy
from unotify.handlers.ownership import FakeRoot
from unotify.handlers.ownership.root import CALLS, GUARDING
from unotify.policy.actions import ACTIONS, registered
from unotify.policy.compiling import compile_policy
from unotify.policy.handled_ownership import OWNERS, STORES
from unotify.policy.loader import load


def test_policies_and_handlers_know_the_same_calls() -> None:
    """What a policy may give to the verb is what is answered, and nothing else."""
    assert set(OWNERS) == set(CALLS)
    assert set(STORES) == set(GUARDING)
    assert "fake-ownership" in registered()
    assert ACTIONS["fake-ownership"].main == "store"


def _policy(calls: str, do: str) -> Program:
    text = f'version = 1\ndefault = "allow"\n[[rule]]\ncalls = {calls}\ndo = {do}\n'
    return compile_policy(load(text, native=Arch.X86_64))


WRITE, RDWR, CREAT, EXCL, TRUNC = os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_EXCL, os.O_TRUNC


@pytest.mark.parametrize(
    ("call", "args", "asked"),
    [
        ("openat", (0, 0, os.O_RDONLY), False),
        ("openat", (0, 0, WRITE), True),
        ("openat", (0, 0, RDWR | os.O_CLOEXEC), True),
        ("openat", (0, 0, os.O_RDONLY | TRUNC), True),
        ("openat", (0, 0, WRITE | CREAT | TRUNC), True),
        ("openat", (0, 0, WRITE | EXCL), True),
        ("openat", (0, 0, WRITE | CREAT | EXCL), False),
        ("openat", (0, 0, RDWR | os.O_PATH), False),
        ("open", (0, WRITE), True),
        ("open", (0, os.O_RDONLY | CREAT), False),
        ("openat2", (0, 0, 0, 24), True),
        ("mknod", (0, stat.S_IFCHR | 0o600, 5), True),
        ("mknodat", (0, 0, stat.S_IFBLK, 0), True),
        ("mknod", (0, stat.S_IFIFO | 0o600, 0), False),
        ("mknodat", (0, 0, 0o600, 0), False),
        ("mkdir", (0, 0o555), True),
        ("mkdirat", (0, 0, 0), True),
        ("mkdir", (0, 0o755), False),
        ("mkdirat", (0, 0, 0o1700), False),
        ("prctl", (24, 5), True),
        ("prctl", (15, 5), False),
        ("prctl", (4, 0), True),
        ("prctl", (4, 1), False),
        ("getuid", (), True),
        ("getpid", (), False),
    ],
)
def test_what_the_filter_lets_go(
    call: str, args: tuple[int, ...], asked: bool, tmp_path: Path
) -> None:
    """Only what may write to the store, device nodes and capabilities are asked about: as handlers
    and as a policy.
    """
    every = [*CALLS, *GUARDING]
    policy = _policy(json.dumps(every), '{ fake-ownership = "a.store" }')
    with FakeRoot(tmp_path / "store") as root, Supervisor(architectures=[Arch.X86_64]) as sup:
        root.attach(sup)
        own = sup.program()
    number = tables.number(call, Arch.X86_64)
    data = SeccompData(number, Arch.X86_64.audit, (*args, *[0] * (6 - len(args))))
    expected = Action.USER_NOTIF if asked else Action.ALLOW
    assert (simulate(policy, data), simulate(own, data)) == (expected, expected)


def test_stores_are_guarded_only_if_there_is_one() -> None:
    """A rule that would perform opens for nothing is a mistake."""
    with pytest.raises(InvalidPolicy, match="none is named"):
        _policy('["openat"]', '"fake-ownership"')
    with pytest.raises(InvalidPolicy, match="only"):
        _policy('["getpid"]', '"fake-ownership"')
