from __future__ import annotations

import errno
import itertools

import pytest

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import SeccompData
from unotify.bpf.chain import check_chain, resolve, run_chain, severity
from unotify.bpf.instructions import jeq, ld_abs, ret
from unotify.errors import FilterTooLarge

ORDER = list(Action)
CALL = SeccompData(39, Arch.X86_64.audit)


@pytest.mark.parametrize(("one", "other"), list(itertools.product(ORDER, ORDER)))
def test_the_more_severe_wins(one: Action, other: Action) -> None:
    """F1, F2: the stronger action wins from either place; among equals the newest."""
    found = resolve([one, other])
    strongest = min(one, other, key=ORDER.index)
    assert found.action is strongest
    if strongest is Action.ALLOW:
        assert found.winner is None
    else:
        assert found.winner == (0 if one is strongest else 1)


def test_order_is_the_documented_one() -> None:
    """Severity sorts the actions as the kernel's documentation does."""
    assert sorted(ORDER, key=severity) == ORDER


def test_newest_of_equals_gives_the_data() -> None:
    """F1: data do not count in the comparison; they are the newest one's."""
    found = resolve([Action.ERRNO | 4, Action.ERRNO | 3, Action.ERRNO | 5])
    assert (found.winner, found.errno, found.data) == (0, 4, 4)
    found = resolve([Action.ALLOW, Action.TRAP | 7, Action.TRAP | 9])
    assert (found.winner, found.errno, found.data) == (1, None, 7)


@pytest.mark.parametrize(
    ("value", "beats", "loses"),
    [
        (0x10000000, Action.USER_NOTIF, Action.ERRNO),
        (0x90000000, Action.KILL_THREAD, Action.KILL_PROCESS),
        (0x00010000, Action.TRAP, Action.KILL_THREAD),
        (0x7FFE0000, Action.ALLOW, Action.LOG),
    ],
)
def test_values_that_are_no_action(value: int, beats: Action, loses: Action) -> None:
    """Any value has its place by number; where it wins it kills the process."""
    won = resolve([beats, value])
    assert (won.winner, won.action, won.value) == (1, Action.KILL_PROCESS, value)
    lost = resolve([value, loses])
    assert (lost.winner, lost.action) == (1, loses)


def test_errno_is_capped() -> None:
    """ERRNO gives at most 4095, and 0 is a success."""
    assert resolve([Action.ERRNO | 0xFFFF]).errno == 4095
    assert resolve([int(Action.ERRNO)]).errno == 0


@pytest.mark.parametrize(
    ("values", "listener", "asked"),
    [
        ([Action.USER_NOTIF], 0, 0),
        ([Action.USER_NOTIF], None, None),  # F6
        ([Action.ALLOW, Action.USER_NOTIF], 1, 1),
        ([Action.USER_NOTIF, Action.USER_NOTIF], 0, 0),
        ([Action.USER_NOTIF, Action.USER_NOTIF], 1, None),  # F5
        ([Action.TRACE, Action.LOG, Action.USER_NOTIF], 2, 2),
    ],
)
def test_whose_listener_is_asked(
    values: list[Action], listener: int | None, asked: int | None
) -> None:
    """F5, F6: the newest filter that notifies is asked, or else the call is ENOSYS."""
    found = resolve(values, listener=listener)
    assert found.action is Action.USER_NOTIF
    assert found.listener == asked
    assert found.errno == (None if asked is not None else errno.ENOSYS)


def test_listener_does_not_count_without_a_notification() -> None:
    """F2: a refusal in any filter means that no listener is asked."""
    found = resolve([Action.USER_NOTIF, Action.ERRNO | 1], listener=0)
    assert (found.action, found.listener, found.errno) == (Action.ERRNO, None, 1)


def test_no_filters() -> None:
    """Without a filter a call runs."""
    found = run_chain([], CALL)
    assert (found.action, found.winner, found.runs) == (Action.ALLOW, None, True)


def test_all_filters_run() -> None:
    """Each filter's steps and answer are told, the newest first."""
    newest = [ld_abs(0), jeq(39, 0, 1), ret(Action.ERRNO | 7), ret(Action.ALLOW)]
    oldest = [ret(Action.LOG)]
    found = run_chain([newest, oldest], CALL)
    assert [answer.value for answer in found.answers] == [Action.ERRNO | 7, Action.LOG]
    assert [step.at for step in found.answers[0].steps] == [0, 1, 2]
    assert (found.winner, found.errno, found.runs) == (0, 7, False)
    other = run_chain([newest, oldest], CALL._replace(nr=40))
    assert (other.winner, other.action, other.runs) == (1, Action.LOG, True)


def test_length_of_a_chain() -> None:
    """A chain has at most 32768 instructions, 4 added for each older filter."""
    most = [ret(Action.ALLOW)] * 4096
    fits = [ret(Action.ALLOW)] * (32768 - 7 * 4096 - 7 * 4)
    check_chain([*[most] * 7, fits])
    with pytest.raises(FilterTooLarge, match="8 filters with 32769 instructions"):
        check_chain([*[most] * 7, [*fits, ret(Action.ALLOW)]])
