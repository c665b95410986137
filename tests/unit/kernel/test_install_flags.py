"""Which sets of flags are tried, and what is said about the one that was taken."""

from __future__ import annotations

import errno

import pytest

from unotify.abi.features import Feature
from unotify.abi.seccomp import FilterFlag
from unotify.kernel.install import FLAG_FEATURES, attempts, enforcement, install_error

NEW = FilterFlag.NEW_LISTENER
WAIT = FilterFlag.WAIT_KILLABLE_RECV
NONE = FilterFlag(0)


def test_preferred_flags_are_given_up_newest_first() -> None:
    """A kernel that lacks a flag lacks all newer ones; so the older are kept longest."""
    tried = attempts(NONE, FilterFlag.LOG | WAIT | FilterFlag.SPEC_ALLOW, listener=True)

    assert tried == (
        NEW | FilterFlag.LOG | FilterFlag.SPEC_ALLOW | WAIT,
        NEW | FilterFlag.LOG | FilterFlag.SPEC_ALLOW,
        NEW | FilterFlag.LOG,
        NEW,
    )


def test_required_flags_are_never_given_up() -> None:
    """What is required is in every attempt, also if it is preferred too."""
    assert attempts(WAIT, WAIT, listener=True) == (NEW | WAIT,)


@pytest.mark.parametrize(
    ("flags", "listener", "expected"),
    [
        (FilterFlag.TSYNC, True, FilterFlag.TSYNC | FilterFlag.TSYNC_ESRCH | NEW),
        (FilterFlag.TSYNC, False, FilterFlag.TSYNC),
        (NONE, False, NONE),
        (NONE, True, NEW),
    ],
)
def test_tsync(flags: FilterFlag, listener: bool, expected: FilterFlag) -> None:
    """S1: TSYNC with a listener needs TSYNC_ESRCH; alone it can tell the thread's id."""
    assert attempts(flags, NONE, listener=listener) == (expected,)


def test_listener_flags_without_a_listener() -> None:
    """A preferred WAIT_KILLABLE_RECV is left out without a listener, a required one refused."""
    assert attempts(NONE, WAIT, listener=False) == (NONE,)
    with pytest.raises(ValueError, match="listener"):
        attempts(WAIT, NONE, listener=False)


def test_unnamed_bits_are_kept() -> None:
    """A flag that is newer than this package is tried like the others."""
    future = FilterFlag(1 << 20)

    assert attempts(NONE, future, listener=True) == (NEW | future, NEW)


def test_enforcement() -> None:
    """What was wanted and not taken is missing."""
    found = enforcement(NEW, NEW | WAIT, no_new_privs=True, program=bytes(24))

    assert found.missing == {Feature.WAIT_KILLABLE_RECV}
    assert (found.flags, found.instructions, found.no_new_privs) == (NEW, 3, True)


def test_every_flag_has_its_feature() -> None:
    """No named flag can be missing without a name."""
    assert set(FLAG_FEATURES) == set(FilterFlag)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "CAP_SYS_ADMIN"),
        (errno.ENOMEM, "too long"),
        (errno.EMFILE, "descriptor"),
        (errno.ENFILE, "system"),
        (errno.ENOSYS, "no seccomp"),
        (errno.EPERM, "sandbox"),
        (errno.ESRCH, "another thread"),
        (errno.EFAULT, "Bad address"),
    ],
)
def test_errors_in_words(number: int, words: str) -> None:
    """Each errno of an install says what it means."""
    error = install_error(number, flags=NEW, program=bytes(8))

    assert error.errno == number
    assert words in f"{error} {error.hint}"
