"""The verbs of handlers: what they take, and which calls they are about."""

from __future__ import annotations

import pytest

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import SeccompData, simulate
from unotify.errors import InvalidPolicy
from unotify.policy.compiling import compile_policy
from unotify.policy.loader import load

HEAD = 'version = 1\ndefault = "allow"\n[[rule]]\n'


def notified(calls: str, do: str, call: str, *args: int, arch: Arch = Arch.X86_64) -> bool:
    """Whether the filter of a rule passes a call on."""
    policy = load(f"{HEAD}calls = {calls}\ndo = {do}\n", native=Arch.X86_64)
    registers = (*args, *[0] * 6)[:6]
    number = tables.number(call, arch)
    assert number is not None
    action = simulate(compile_policy(policy), SeccompData(number, arch.audit, registers))
    return action == Action.USER_NOTIF


@pytest.mark.parametrize(
    ("mode", "device", "asked"),
    [
        (0o020644, 0x103, True),
        (0o060644, 0x700, True),
        (0o060644, 0, True),
        (0o020644, 0, False),
        (0o010644, 0x103, False),
        (0o100644, 0x103, False),
        (0o644, 0x103, False),
        (0o140644, 0, False),
    ],
)
@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.I386])
def test_nodes(mode: int, device: int, asked: bool, arch: Arch) -> None:
    """Only devices are passed on, and no whiteouts."""
    calls, do = '["mknod", "mknodat"]', '"emulate-mknod"'
    assert notified(calls, do, "mknod", 0, mode, device, arch=arch) is asked
    assert notified(calls, do, "mknodat", -100 & 0xFFFFFFFF, 0, mode, device, arch=arch) is asked


NEW = '{ emulate-mount = { file-systems = ["ext4"] } }'
BINDS = '{ emulate-mount = { file-systems = ["ext4"], binds = true } }'


@pytest.mark.parametrize(
    ("flags", "new", "binds"),
    [
        (0, True, True),
        (0x1 | 0x400 | 0x8000, True, True),
        (0xC0ED0000, True, True),
        (0xC0ED0001, True, True),
        (0xC0ED0020, False, False),
        (0xC0ED1000, False, True),
        (0x20, False, False),
        (0x1020, False, True),
        (0x1000, False, True),
        (0x5000, False, True),
        (0x2000, False, False),
        (0x44000, False, False),
        (0x100000, False, False),
    ],
)
def test_mounts(flags: int, new: bool, binds: bool) -> None:
    """New file systems are passed on, also with the magic number of old; binds if that is said."""
    assert notified('["mount"]', NEW, "mount", 0, 0, 0, flags) is new
    assert notified('["mount"]', BINDS, "mount", 0, 0, 0, flags) is binds


def test_copies_of_mounts() -> None:
    """An open_tree that copies is passed on if binds are asked for; one that only opens, never."""
    for call in ("open_tree", "open_tree_attr"):
        for flags, asked in ((0, False), (0x1000, False), (1, True), (0x80001, True)):
            assert notified(f'["{call}"]', BINDS, call, 0, 0, flags) is asked
            assert notified(f'["{call}"]', NEW, call, 0, 0, flags) is False


@pytest.mark.parametrize(
    "given",
    [
        "{ file-systems = [] }",
        "{ file-systems = {} }",
        '{ file-systems = "ext4" }',
        '{ file-systems = { ext4 = "ro" } }',
        '{ file-systems = ["ext4"], devices = ["c:1:3"] }',
        '{ file-systems = ["ext4"], devices = ["b:9-3:1"] }',
        '{ file-systems = ["tmpfs"], size = "50%" }',
        '{ file-systems = ["tmpfs"], force = ["suid"] }',
        '{ file-systems = ["tmpfs"], ids = "host" }',
        '{ file-systems = ["tmpfs"], others = "allow" }',
        '{ file-systems = ["tmpfs"], capable = 1 }',
        '{ devices = ["b:7:1"] }',
        '{ fuse = ["squashfuse"] }',
        "{ fuse = { squashfs = [] } }",
        '{ fuse = { squashfs = "squashfuse" } }',
        "{ fuse = {} }",
        "{ binds = true, read-only = true }",
    ],
)
def test_parameters_of_mounts(given: str) -> None:
    """What is wrong with one is said where it stands."""
    with pytest.raises(InvalidPolicy) as caught:
        load(f'{HEAD}calls = ["mount"]\ndo = {{ emulate-mount = {given} }}\n')
    assert caught.value.line == 5
    assert len(caught.value.problems) == 1
