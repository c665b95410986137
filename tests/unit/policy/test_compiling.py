"""The filter half of a policy, and what its proof costs."""

from __future__ import annotations

import pytest

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.abi.tables import number
from unotify.bpf import simulate
from unotify.bpf.lockstep import Reference
from unotify.bpf.prover import ProofFailed
from unotify.bpf.simulator import SeccompData
from unotify.errors import FilterTooLarge
from unotify.policy.compiling import bound, compile_policy
from unotify.policy.conditions import Condition
from unotify.policy.loader import load
from unotify.policy.model import Policy
from unotify.policy.proving import rest_of


def policy(where: str) -> Policy:
    """One rule on openat; on x86-64 alone."""
    return load(
        f'version = 1\ndefault = "allow"\narchitectures = ["x86_64"]\n'
        f'[[rule]]\ncalls = ["openat"]\nwhere = \'{where}\'\ndo = {{ fail = "EPERM" }}\n'
        'racy = true\nbecause = "a test"\n'
    )


def openat(flags: int, mode: int = 0) -> SeccompData:
    """A call of it."""
    nr = number("openat", Arch.X86_64)
    assert nr is not None
    return SeccompData(nr, Arch.X86_64.audit, (0, 0, flags, mode, 0, 0), 0)


def test_alternatives_that_look_are_not_multiplied() -> None:
    """Twenty alternatives, each a path and a bit: the proof goes through them one by one."""
    where = " or ".join(f'path == "/{bit}" and flags & {1 << bit}' for bit in range(20))
    program = compile_policy(policy(where))
    for bit in range(21):
        expected = Action.USER_NOTIF if bit < 20 else Action.ALLOW
        assert simulate(program, openat(1 << bit)) == expected
    assert simulate(program, openat(0)) == Action.ALLOW


@pytest.mark.parametrize(
    ("where", "flags", "mode", "expected"),
    [
        ('not (path == "/" and flags & 1)', 0, 0, "EPERM"),
        ('not (path == "/" and flags & 1)', 1, 0, "notify"),
        ('(path == "/" or flags & 1) and mode & 2', 1, 2, "EPERM"),
        ('(path == "/" or flags & 1) and mode & 2', 0, 2, "notify"),
        ('(path == "/" or flags & 1) and mode & 2', 1, 0, "allow"),
        ('path == "/" and flags & 1 or mode & 2', 1, 2, "EPERM"),
        ('path == "/" and flags & 1 or mode & 2', 1, 0, "notify"),
    ],
)
def test_what_registers_decide(where: str, flags: int, mode: int, expected: str) -> None:
    """Whatever a look can still change goes to the supervisor, and nothing else."""
    actions = {"EPERM": Action.ERRNO | 1, "notify": Action.USER_NOTIF, "allow": Action.ALLOW}
    assert simulate(compile_policy(policy(where)), openat(flags, mode)) == actions[expected]


def test_a_bound_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof asks the rules: a filter of which a look was forgotten is refused."""

    def forgetful(condition: Condition, arch: Arch, *, looks: bool) -> object:
        return bound(condition, arch, looks=False)

    monkeypatch.setattr("unotify.policy.compiling.bound", forgetful)
    with pytest.raises(ProofFailed):
        compile_policy(policy('path == "/" and flags & 1 or mode & 2'))


COMBINED = " or ".join(
    f"({look}flags & {1 << i} and mode & {1 << i % 12} and dirfd & {1 << i * 7 % 31})"
    for i, look in enumerate(["", 'path == "/" and ', ""] * 4)
)


def test_bits_of_several_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alternatives that can be combined in millions of ways are proved side by side."""
    monkeypatch.setattr("unotify.bpf.compiler._FEW", 100)
    program = compile_policy(policy(COMBINED))
    nr = openat(0).nr
    for i in range(12):
        words = (1 << i * 7 % 31, 0, 1 << i, 1 << i % 12, 0, 0)
        expected = Action.USER_NOTIF if i % 3 == 1 else Action.ERRNO | 1
        assert simulate(program, SeccompData(nr, Arch.X86_64.audit, words, 0)) == expected
        for at in (0, 2, 3):
            less = tuple(0 if index == at else word for index, word in enumerate(words))
            data = SeccompData(nr, Arch.X86_64.audit, less, 0)
            assert simulate(program, data) == Action.ALLOW


def test_a_wrong_filter_is_not_proved_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is wrong is found there too."""

    def forgetful(condition: Condition, arch: Arch, *, looks: bool) -> object:
        return bound(condition, arch, looks=False)

    monkeypatch.setattr("unotify.policy.compiling.bound", forgetful)
    monkeypatch.setattr("unotify.bpf.compiler._FEW", 100)
    monkeypatch.setattr("unotify.bpf.prover._MOST", 200)
    with pytest.raises(FilterTooLarge):
        compile_policy(policy(COMBINED))


@pytest.mark.parametrize("depth", [2, 16])
def test_nested_conditions_are_asked_once(depth: int) -> None:
    """The graph of a condition that is nested does not double with each level."""
    where = 'path == "/"'
    for level in range(depth):
        where = f"({where} {'and' if level % 2 else 'or'} flags & {1 << level})"
    found = policy(where)
    reference = Reference()
    rest_of(found, None)(reference, Arch.X86_64.audit, openat(0).nr)
    assert len(reference) < 20 * depth


def test_too_many_cases_to_prove(monkeypatch: pytest.MonkeyPatch) -> None:
    """What neither way can prove: the call is named, and what to do."""
    monkeypatch.setattr("unotify.bpf.lockstep._MOST", 10)
    monkeypatch.setattr("unotify.bpf.compiler._FEW", 100)
    monkeypatch.setattr("unotify.bpf.prover._MOST", 200)
    with pytest.raises(FilterTooLarge, match=r"openat on x86_64 \(\d+\)") as caught:
        compile_policy(policy(COMBINED))
    assert caught.value.hint is not None
    assert "by == or in" in caught.value.hint
