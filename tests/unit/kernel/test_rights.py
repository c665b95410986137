"""Whose rights an act has, as ``/proc/PID/status`` tells."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from tempfile import TemporaryFile
from threading import get_native_id

import pytest

from unotify.kernel.rights import (
    Rights,
    are_mine,
    mine,
    my_status,
    read_status,
    same_rights,
    umask_of,
)

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
    """None is an empty line; older kernels tell neither of no_new_privs nor of namespaces."""
    old = STATUS.replace(b"10 11 ", b"").replace(b"NoNewPrivs:\t1\n", b"")
    found = Rights.parse(old)
    assert (found.groups, found.no_new_privs) == ((), False)
    assert Rights.parse(STATUS.replace(b"NStgid:\t77\t3\n", b"")).own_pid == 77


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


def test_what_stands_between_is_nobody_s_rights() -> None:
    """The kernel tells sizes and counts between two parts that tell of rights."""
    middle = b"VmPeak:\t    %d kB\nThreads:\t1\nCapInh:"
    found = [Rights.parse(STATUS.replace(b"CapInh:", middle % size)) for size in (1, 999)]
    assert found == [Rights.parse(STATUS)] * 2
    before, after = b"0000000000200000", b"0000000000200001"
    changed = STATUS.replace(b"CapInh:", middle % 1).replace(before, after)
    assert Rights.parse(changed).effective == 0x200001


def test_rights_that_are_still_mine() -> None:
    """Ids, groups and capabilities of this thread are compared with what was known."""
    found = mine()
    assert are_mine(found)
    for change in (
        *({"uid": found.uid + 1}, {"gid": found.gid + 1}, {"groups": (*found.groups, 77)}),
        *({"fsuid": found.fsuid + 1}, {"fsgid": found.fsgid + 1}),
        *({"real": (found.real[0] + 1, found.real[1])}, {"real": (found.real[0], 77777)}),
        *({"saved": (found.saved[0] + 1, found.saved[1])}, {"saved": (found.saved[0], 77777)}),
        *({"effective": found.effective ^ 1 << 40}, {"permitted": found.permitted ^ 1}),
    ):
        assert not are_mine(replace(found, **change)), change
    assert are_mine(replace(found, umask=found.umask ^ 0o7, own_pid=0))


def test_the_same_rights() -> None:
    """Ids, groups and capabilities decide; a name, a umask, a process or what is inherited not."""
    for old, new in (
        (b"uid: 0", b"Uid:"),
        (b"0027", b"0022"),
        (b"Tgid:\t77", b"Tgid:\t78"),
        (b"FDSize:\t64", b"FDSize:\t256"),
        (b"NStgid:\t77\t3", b"NStgid:\t78"),
        (b"CapInh:\t0000000000000000", b"CapInh:\t0000000000000001"),
        (b"NoNewPrivs:\t1", b"NoNewPrivs:\t0"),
    ):
        assert STATUS.count(old) == 1
        assert same_rights(STATUS, STATUS.replace(old, new))
    for old, new in (
        *((b"Uid:\t1\t2\t3\t4", b"Uid:\t" + ids) for ids in (b"9\t2\t3\t4", b"1\t2\t3\t9")),
        (b"Gid:\t5\t6\t7\t8", b"Gid:\t5\t6\t9\t8"),
        (b"10 11 ", b"10 "),
        (b"CapPrm:\t000001", b"CapPrm:\t000000"),
        (b"CapEff:\t0000000000200000", b"CapEff:\t0000000000200001"),
    ):
        assert STATUS.count(old) == 1
        assert not same_rights(STATUS, STATUS.replace(old, new))


def test_the_same_rights_as_mine() -> None:
    """What the system tells of this thread has all that is compared."""
    assert same_rights(my_status(), my_status())
    assert not same_rights(my_status(), STATUS)


def test_the_umask() -> None:
    """It is told in octal."""
    assert umask_of(STATUS) == Rights.parse(STATUS).umask == 0o027
    before = os.umask(0o013)
    try:
        assert umask_of(my_status()) == 0o013
    finally:
        os.umask(before)


def test_a_status_is_of_this_thread() -> None:
    """Credentials belong to a thread."""
    with ThreadPoolExecutor(1) as pool:
        status, number = pool.submit(lambda: (my_status(), get_native_id())).result()
    assert b"\nPid:\t%d\n" % number in status


@pytest.mark.parametrize("length", [0, 100, 8191, 8192, 8193, 700_000])
def test_a_status_of_any_length(length: int) -> None:
    """Who is in very many groups has a long one, of which nothing is left out."""
    with TemporaryFile() as file:
        file.write(b"x" * length)
        file.flush()
        assert read_status(file.fileno()) == b"x" * length
