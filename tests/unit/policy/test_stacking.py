"""Several policies in one filter."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Sequence

import pytest

from tests.unit.supervisor.policies_by_hand import ALLOW, fail, look, policy, register, rule
from unotify.abi import tables
from unotify.abi.arch import X32_BIT, Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Program, SeccompData, simulate
from unotify.policy.compiling import compile_policy
from unotify.policy.model import Verb, Verdict
from unotify.policy.stacking import compile_stack, severity, strictest

KILL = Verdict(Verb.KILL_PROCESS)
PIECES = (
    policy(default=ALLOW),
    policy(rule("getpid", fail(errno.EIO), register(0, 1)), default=ALLOW),
    policy(rule("getpid getuid", ALLOW), default=fail(errno.EPERM)),
    policy(rule("getpid", Verdict(Verb.TRAP), register(0, 2)), rule("getuid", KILL)),
    policy(rule("getpid", fail(errno.ENOENT), look(lambda facts: True))),
    policy(rule("getpid", Verdict(Verb.LOG)), architectures=[Arch.X86_64]),
    policy(rule("getuid", ALLOW, log=True), unknown=ALLOW, bad_arch=ALLOW),
    policy(rule("getpid", Verdict(Verb.TRACE)), architectures=[Arch.I386, Arch.X32]),
)


def points() -> list[SeccompData]:
    """Calls that tell the pieces apart."""
    found = []
    for arch in (Arch.X86_64, Arch.I386, Arch.X32, Arch.AARCH64):
        for nr in (tables.number("getpid", arch), tables.number("getuid", arch), 900, -1):
            assert nr is not None
            bit = X32_BIT if arch is Arch.X32 and 0 < nr < X32_BIT else 0
            found += [SeccompData(nr | bit, arch.audit, (value,) + (0,) * 5) for value in (0, 1, 2)]
    return found


def actions(program: Program) -> list[int]:
    """What it says of each point."""
    return [simulate(program, point) for point in points()]


@pytest.mark.parametrize("numbers", list(itertools.permutations(range(len(PIECES)), 2)))
def test_a_stack_is_what_the_kernel_would_make_of_its_parts(numbers: Sequence[int]) -> None:
    """F1, F2: the most severe action of all; among equals the first one's."""
    stack = [PIECES[number] for number in numbers]
    parts = [actions(compile_policy(part)) for part in stack]
    together = [strictest(each) for each in zip(*parts, strict=True)]
    assert actions(compile_stack(stack)) == together


def test_three_of_them() -> None:
    """It does not end at two."""
    stack = (PIECES[1], PIECES[3], PIECES[2])
    parts = [actions(compile_policy(part)) for part in stack]
    assert actions(compile_stack(stack)) == [strictest(each) for each in zip(*parts, strict=True)]


@pytest.mark.parametrize("numbers", [*zip(range(len(PIECES))), (0, 1, 2)])
def test_a_dry_run_refuses_nothing(numbers: Sequence[int]) -> None:
    """What is allowed is allowed; all else is notified, also foreign architectures."""
    stack = [PIECES[number] for number in numbers]
    real = actions(compile_stack(stack))
    expected = [Action.ALLOW if action == Action.ALLOW else Action.USER_NOTIF for action in real]
    assert actions(compile_stack(stack, dry_run=True)) == expected


def test_the_order_of_actions_is_the_kernel_s() -> None:
    """From kernel-facts: each beats all that come after it, whatever their data."""
    order = [
        Action.KILL_PROCESS,
        Action.KILL_THREAD,
        Action.TRAP | 5,
        Action.ERRNO | 4095,
        Action.USER_NOTIF,
        Action.TRACE,
        Action.LOG,
        Action.ALLOW,
    ]
    for stricter, other in itertools.combinations(map(int, order), 2):
        assert strictest([stricter, other]) == strictest([other, stricter]) == stricter
    assert strictest([Action.ERRNO | 2, Action.ERRNO | 1]) == Action.ERRNO | 2


def test_severity_orders_all_verbs() -> None:
    """Those the kernel has as the kernel does; what only the supervisor can between."""
    verdicts = sorted(map(Verdict, Verb), key=severity)
    assert {verdict.verb for verdict in verdicts[-3:]} == {Verb.ALLOW, Verb.CONTINUE, Verb.LOG}
    assert [verdict.verb for verdict in verdicts[:3]] == [
        Verb.KILL_PROCESS,
        Verb.KILL_THREAD,
        Verb.TRAP,
    ]
    assert severity(Verdict(Verb.NOTIFY)) == severity(Verdict(Verb.ACT)) == 4
