"""Ids and capabilities of a process that plays root, by the kernel's rules."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from unotify.errors import Refused
from unotify.handlers.ownership import identities
from unotify.handlers.ownership.identities import ALL, ROOT, Identity, Ids


def denied(function: object, *args: object, **more: object) -> int:
    """The errno of what is refused."""
    with pytest.raises(Refused) as caught:
        function(*args, **more)  # type: ignore[operator]
    return caught.value.errno


def test_root_becomes_anybody_for_good() -> None:
    """setuid(2) of root sets all ids and takes all capabilities; there is no way back."""
    user = ROOT.with_uids(ROOT.uids.set(7, privileged=True))
    assert user.uids == (7, 7, 7, 7)
    assert (user.permitted, user.effective) == (0, 0)
    assert denied(user.uids.set, 0, privileged=user.has(identities.SETUID)) == errno.EPERM


def test_effective_id_alone_is_a_way_back() -> None:
    """With a saved id of 0, capabilities rest as permitted and come back."""
    away = ROOT.with_uids(ROOT.uids.set_three(None, 5, None, privileged=True))
    assert (away.uids, away.permitted, away.effective) == (Ids(0, 5, 0, 5), ALL, 0)
    back = away.with_uids(away.uids.set(0, privileged=False))
    assert (back.uids, back.effective) == (Ids(0, 0, 0, 0), ALL)


@pytest.mark.parametrize(
    ("before", "arguments", "after"),
    [
        ((1, 2, 3), (2, 1), (2, 1, 1)),
        ((1, 2, 3), (None, 3), (1, 3, 3)),
        ((1, 2, 3), (None, 1), (1, 1, 3)),
        ((1, 2, 3), (2, None), (2, 2, 2)),
        ((1, 2, 3), (3, None), None),
        ((1, 2, 3), (None, 4), None),
    ],
)
def test_setreuid(
    before: tuple[int, int, int],
    arguments: tuple[int | None, int | None],
    after: tuple[int, int, int] | None,
) -> None:
    """The real id may become the effective one, never the saved one; the saved one follows."""
    ids = Ids(*before, before[1])
    if after is None:
        assert denied(ids.set_two, *arguments, privileged=False) == errno.EPERM
    else:
        assert ids.set_two(*arguments, privileged=False) == (*after, after[1])


def test_setresuid_asks_for_each() -> None:
    """Without the right to it an id may become one of the three that there are."""
    ids = Ids(1, 2, 3, 2)
    assert ids.set_three(3, 1, 2, privileged=False) == (3, 1, 2, 1)
    assert denied(ids.set_three, None, None, 4, privileged=False) == errno.EPERM
    assert ids.set_three(4, 5, 6, privileged=True) == (4, 5, 6, 5)


def test_setfsuid_says_nothing() -> None:
    """It changes the one id or does not, and takes the capabilities that are about files."""
    assert Ids(1, 2, 3, 2).set_fs(9, privileged=False) == (1, 2, 3, 2)
    user = ROOT.with_fsuid(ROOT.uids.set_fs(9, privileged=True))
    assert user.uids == (0, 0, 0, 9)
    assert not user.has(identities.CHOWN)
    assert user.has(identities.SETUID)
    assert user.with_fsuid(user.uids.set_fs(0, privileged=True)) == ROOT


def test_capset() -> None:
    """Permitted ones are only ever lost, and effective ones are among them."""
    few = ROOT.with_capabilities(1, 3, 2)
    assert (few.effective, few.permitted, few.inheritable) == (1, 3, 2)
    assert denied(few.with_capabilities, 4, 3, 0) == errno.EPERM
    assert denied(few.with_capabilities, 1, 7, 0) == errno.EPERM
    assert denied(few.with_capabilities, 1, 3, 8) == errno.EPERM
    assert ROOT.with_capabilities(ALL | 1 << 60, ALL, 0).effective == ALL


def test_exec_gives_root_its_capabilities_back() -> None:
    """What capset took comes back by exec, up to the bounding set; for others it is all lost."""
    assert ROOT.with_capabilities(0, 0, 0).after_exec() == ROOT
    bound = ROOT.without_bound(identities.MKNOD)
    assert bound.after_exec().permitted == ALL & ~identities.MKNOD
    half = ROOT.with_uids(ROOT.uids.set_three(None, 5, None, privileged=True)).after_exec()
    assert (half.uids, half.permitted, half.effective) == (Ids(0, 5, 5, 5), ALL, 0)
    nobody = replace(ROOT.with_uids(Ids(5, 5, 5, 5)), permitted=3, effective=3).after_exec()
    assert (nobody.permitted, nobody.effective) == (0, 0)


def test_keeping_over_a_change_and_over_exec() -> None:
    """PR_SET_KEEPCAPS keeps permitted ones over setuid, ambient ones live through exec."""
    kept = ROOT.keeping(True).with_uids(Ids(5, 5, 5, 5))
    assert (kept.permitted, kept.effective, kept.keeps) == (ALL, 0, True)
    assert denied(kept.with_ambient, 1, raised=True) == errno.EPERM
    ambient = kept.with_capabilities(1, 1, 1).with_ambient(1, raised=True).after_exec()
    assert (ambient.permitted, ambient.effective, ambient.keeps) == (1, 1, False)
    assert ambient.with_ambient(1, raised=False).ambient == 0


def test_securebits() -> None:
    """They change what a change of ids does; a locked one stays."""
    fixed = ROOT.with_securebits(1 << 2)
    assert fixed.with_uids(Ids(5, 5, 5, 5)).effective == ALL
    locked = ROOT.with_securebits(0b11)
    assert denied(locked.with_securebits, 0b10) == errno.EPERM
    assert denied(ROOT.with_securebits, 1 << 20) == errno.EPERM
    assert locked.after_exec().permitted == 0


def test_groups() -> None:
    """They are sorted, count for files, and take CAP_SETGID."""
    who = ROOT.with_groups((9, 3))
    assert who.groups == (3, 9)
    assert who.in_group(9)
    assert who.in_group(0)
    assert not who.in_group(4)
    assert denied(Identity(effective=0).with_groups, ()) == errno.EPERM
