"""Named groups of calls."""

from __future__ import annotations

import pytest

from unotify.abi import model
from unotify.abi.model import Role
from unotify.policy._group_lists import LISTS, PATTERNS, TOGETHER
from unotify.policy.groups import GROUPS, UNGROUPED

SYSTEMD = (
    "@aio @basic-io @chown @clock @cpu-emulation @debug @default @file-system @io-event @ipc "
    "@keyring @memlock @module @mount @network-io @obsolete @pkey @privileged @process @raw-io "
    "@reboot @resources @sandbox @setuid @signal @swap @sync @system-service @timer @known"
)


@pytest.mark.parametrize("name", GROUPS)
def test_each_call_of_a_group_exists(name: str) -> None:
    """A group has calls, the call model knows each, and a word says what they share."""
    group = GROUPS[name]
    assert group.calls
    assert group.calls <= set(model.names())
    assert group.description
    assert "\n" not in group.description


def test_each_call_is_in_some_group() -> None:
    """A new call in the tables must be sorted in, or be left out on purpose."""
    grouped = frozenset().union(*(g.calls for name, g in GROUPS.items() if name != "@known"))
    assert set(model.names()) - grouped == UNGROUPED


def test_groups_are_made_of_what_exists() -> None:
    """A group of groups names groups and calls; what it takes away was in it."""
    for description, parts in TOGETHER.values():
        assert description
        for part in parts.split():
            name = part.removeprefix("-")
            assert name in GROUPS or name in model.names(), part
    assert not set(LISTS) & set(PATTERNS) | set(LISTS) & set(TOGETHER)


def test_names_that_people_know() -> None:
    """The names that systemd uses are here too."""
    assert set(SYSTEMD.split()) <= set(GROUPS)
    assert "@nothing" not in GROUPS
    assert len(GROUPS) == len(list(GROUPS))


def test_groups_from_the_model() -> None:
    """Every call with a path is in @path, every one that makes a descriptor in @fd-making."""
    specs = [model.spec(name) for name in model.names()]
    assert GROUPS["@path"].calls == {
        spec.name for spec in specs if any(arg.role is Role.PATH for arg in spec.args)
    }
    assert {"openat", "openat2", "statx", "mount", "execve"} <= GROUPS["@path"].calls
    assert {"openat", "socket", "pipe2", "memfd_create", "pidfd_open"} <= GROUPS["@fd-making"].calls
    assert GROUPS["@known"].calls == set(model.names())
    assert GROUPS["@obsolete"].calls >= {spec.name for spec in specs if spec.removed}


@pytest.mark.parametrize(
    ("name", "within", "without"),
    [
        ("@file-system", "openat unlinkat statx getxattrat fchmodat2", "mount execve swapon"),
        ("@mount", "mount umount2 fsmount open_tree_attr pivot_root", "statmount"),
        ("@mount-api", "fsopen fsconfig move_mount mount_setattr", "mount"),
        ("@credentials", "setuid setresgid32 setgroups capset", "getuid prctl"),
        ("@xattr", "setxattr fremovexattr listxattrat", "openat"),
        ("@chown", "chown fchownat lchown32", "chmod"),
        ("@privileged", "mount setuid chown bpf reboot init_module", "openat read"),
        ("@system-service", "read openat connect clone3 futex", "mount reboot ptrace kexec_load"),
        ("@default", "execve exit_group mmap futex rt_sigreturn", "openat socket fork"),
        ("@pidfd", "pidfd_open process_madvise", "process_vm_readv"),
        ("@removed", "nfsservctl vserver", "open"),
    ],
)
def test_what_is_in_a_group(name: str, within: str, without: str) -> None:
    """Each group has what it is for and not what it is against."""
    assert set(within.split()) <= GROUPS[name].calls
    assert not set(without.split()) & GROUPS[name].calls
