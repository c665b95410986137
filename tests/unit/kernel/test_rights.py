"""Whose rights an act has, as ``/proc/PID/status`` tells."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from unotify.kernel.rights import Rights, mine

STATUS = b"""Name:\tuid: 0
Umask:\t0027
State:\tS (sleeping)
Tgid:\t77
Uid:\t1\t2\t3\t4
Gid:\t5\t6\t7\t8
FDSize:\t64
Groups:\t10 11\x20
NStgid:\t77\t3
CapInh:\t0000000000000000
CapPrm:\t000001ffffffffff
CapEff:\t0000000000200000
NoNewPrivs:\t1
"""


def test_parse() -> None:
    """Real, effective and file-system ids; groups; capabilities; the umask."""
    found = Rights.parse(STATUS)
    assert found == Rights(
        2,
        6,
        4,
        8,
        (10, 11),
        1 << 21,
        (1 << 41) - 1,
        (1, 5),
        (3, 7),
        0o027,
        no_new_privs=True,
        own_pid=3,
    )


@pytest.mark.parametrize("name", [b"Uid:\\t0", b"x: y", b""])
def test_a_name_deceives_nobody(name: bytes) -> None:
    """A thread chooses its name; the kernel escapes line breaks in it."""
    assert Rights.parse(STATUS.replace(b"uid: 0", name)) == Rights.parse(STATUS)


def test_no_groups_and_an_old_kernel() -> None:
    """None is an empty line; before Linux 4.10 nobody told of no_new_privs."""
    old = STATUS.replace(b"10 11 ", b"").replace(b"NoNewPrivs:\t1\n", b"")
    found = Rights.parse(old)
    assert (found.groups, found.no_new_privs) == ((), False)


def test_who_may_do_the_same() -> None:
    """The umask and the real ids decide about nothing."""
    found = Rights.parse(STATUS)
    assert found.key == replace(found, umask=0, real=(9, 9), permitted=0).key
    for change in ({"uid": 9}, {"fsgid": 9}, {"groups": (10,)}, {"effective": 0}):
        assert found.key != replace(found, **change).key


def test_real_ids() -> None:
    """access(2): the real ids, without capabilities unless that is root."""
    found = Rights.parse(STATUS).of_real_ids()
    assert (found.uid, found.fsuid, found.gid, found.fsgid) == (1, 1, 5, 5)
    assert found.effective == 0
    root = replace(Rights.parse(STATUS), real=(0, 0)).of_real_ids()
    assert root.effective == root.permitted


def test_mine() -> None:
    """This thread's own are what the system says."""
    found = mine()
    assert (found.uid, found.gid, found.real) == (
        os.geteuid(),
        os.getegid(),
        (os.getuid(), os.getgid()),
    )
    assert sorted(found.groups) == sorted(os.getgroups())
