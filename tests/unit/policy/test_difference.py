from __future__ import annotations

from tests.unit.policy.policies import (
    DENY,
    FILES,
    NOSYS,
    NOTIFY,
    WRITES,
    path_is,
    policy,
    register,
    rule,
    uid_is,
)
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.bpf import CompareOp
from unotify.policy.conditions import All, Any, Negation
from unotify.policy.difference import compare

PATH, USER = path_is("/x"), uid_is(0)


def test_a_policy_is_like_itself() -> None:
    """Nothing differs from itself."""
    assert compare(FILES, FILES).same


def test_other_words_for_the_same() -> None:
    """Rules that say the same in other words are the same, looks included."""
    left = policy(rule("openat", DENY, All((PATH, USER))), rule("openat", NOSYS))
    right = policy(
        rule("openat", NOSYS, Any((Negation(USER), Negation(PATH)))), rule("openat", DENY)
    )
    found = compare(left, right)
    assert (found.filters, found.supervisors, found.left_out) == ((), (), ())


def test_filters_differ() -> None:
    """A rule that registers decide shows in the filters."""
    found = compare(policy(rule("mkdir", DENY)), policy(rule("mkdir", NOSYS)))
    assert [str(entry.spot) for entry in found.filters] == ["x86_64 mkdir"]
    assert found.supervisors == ()
    assert not found.same


def test_supervisors_differ() -> None:
    """Where both ask the supervisor, a difference names the answers of the looks for it."""
    left = policy(rule("openat", DENY, All((PATH, USER))), rule("openat", NOTIFY))
    right = policy(rule("openat", DENY, PATH), rule("openat", NOTIFY))
    (entry,) = compare(left, right).supervisors
    assert (entry.call, entry.left, entry.right) == ("openat", NOTIFY, DENY)
    assert entry.looks == {'path == "/x"': True, "uid == 0": False}
    assert entry.data.nr == tables.number("openat", Arch.X86_64)


def test_supervisors_differ_by_registers() -> None:
    """The example of such a difference has the registers that it takes."""
    create = register("flags & O_CREAT", 2, CompareOp.NE, 0, 64)
    left = policy(
        rule("openat", DENY, All((WRITES, PATH))), rule("openat", NOTIFY, USER), default=NOTIFY
    )
    right = policy(rule("openat", DENY, All((create, WRITES, PATH))), default=NOTIFY)
    (entry,) = compare(left, right).supervisors
    assert entry.looks == {'path == "/x"': True}
    assert entry.data.args[2] & 3
    assert not entry.data.args[2] & 64


def test_too_many_looks() -> None:
    """What is too much to compare is said, and is not called the same."""
    many = Any(tuple(path_is(f"/{number}") for number in range(7)))
    found = compare(policy(rule("openat", DENY, many)), policy(rule("openat", NOSYS, many)))
    assert found.left_out == ("openat: 7 looks are too many to compare",)
    assert not found.same
