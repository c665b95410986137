from __future__ import annotations

from errno import EACCES, EPERM

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Compare, CompareOp, Program, Verdict, compile_filter, simulate
from unotify.bpf.difference import Difference, differences, same_effect
from unotify.bpf.instructions import jset, ld_abs, ret

ALLOW = int(Action.ALLOW)
REFUSED = Action.ERRNO | EPERM


def program(
    calls: dict[str, Verdict], *, archs: tuple[Arch, ...] = (Arch.X86_64,), default: int = ALLOW
) -> Program:
    """A program with verdicts for some calls; the others are allowed."""
    return compile_filter(
        {
            arch: {nr: calls.get(name, ALLOW) for nr, name in tables.names(arch).items()}
            for arch in archs
        },
        default=default,
    )


def shown(found: list[Difference]) -> list[str]:
    """Each difference in short."""
    return [f"{entry.spot} {entry.left:#x} {entry.right:#x} {entry.whole}" for entry in found]


def test_a_program_is_like_itself() -> None:
    """Nothing differs from itself, however it is written."""
    one = program({"socket": [(Compare(0, CompareOp.EQ, 1, bits=32), ALLOW), REFUSED]})
    other = program({"socket": [(Compare(0, CompareOp.NE, 1, bits=32), REFUSED), ALLOW]})
    assert differences(one, one) == differences(one, other) == []


def test_one_call() -> None:
    """A call that one allows and the other refuses is named, and shown."""
    (found,) = differences(program({}), program({"mkdir": REFUSED}))
    assert shown([found]) == ["x86_64 mkdir 0x7fff0000 0x50001 True"]
    assert found.witness().nr == tables.number("mkdir", Arch.X86_64)


def test_some_arguments() -> None:
    """Programs that differ for some arguments only: the example has such arguments."""
    left = program({"socket": [(Compare(0, CompareOp.LT, 40, bits=32), ALLOW), REFUSED]})
    right = program({"socket": [(Compare(0, CompareOp.LE, 40, bits=32), ALLOW), REFUSED]})
    (found,) = differences(left, right)
    assert shown([found]) == ["x86_64 socket 0x50001 0x7fff0000 False"]
    data = found.witness()
    assert data.args[0] & 0xFFFFFFFF == 40
    assert (simulate(left, data), simulate(right, data)) == (REFUSED, ALLOW)


def test_masks_are_exact() -> None:
    """Two masks that differ in one bit differ for exactly the calls with that bit."""
    left, right = ([ld_abs(16), jset(mask, 0, 1), ret(ALLOW), ret(REFUSED)] for mask in (6, 2))
    found = differences(left, right)
    assert found
    for entry in found:
        assert entry.witness().args[0] & 6 == 4


def test_unknown_numbers_and_other_architectures() -> None:
    """What no table knows is one spot for each architecture, and one for all that are foreign."""
    left = program({}, default=REFUSED)
    right = compile_filter(
        {Arch.X86_64: dict.fromkeys(tables.names(Arch.X86_64), ALLOW)},
        default=ALLOW,
        bad_arch=Action.ERRNO | EACCES,
        x32=Action.KILL_PROCESS,
    )
    assert shown(differences(left, right)) == [
        "x86_64 unknown numbers 0x50001 0x7fff0000 True",
        "other architectures 0x80000000 0x5000d True",
    ]


def test_an_architecture_that_one_has() -> None:
    """Calls of an architecture that only one program takes are named by their names there."""
    found = differences(program({}), program({}, archs=(Arch.X86_64, Arch.I386)))
    assert {entry.spot.arch for entry in found} == {Arch.I386}
    assert len(found) == len(tables.names(Arch.I386)) + 1


def test_same_effect() -> None:
    """Values that the kernel takes for the same are the same."""
    assert same_effect(Action.ALLOW, Action.ALLOW | 7)
    assert same_effect(Action.ERRNO | 4095, Action.ERRNO | 5000)
    assert same_effect(0x12340000, Action.KILL_PROCESS)
    assert not same_effect(Action.TRAP | 1, Action.TRAP | 2)
    assert not same_effect(Action.KILL_PROCESS, Action.KILL_THREAD)
    assert not same_effect(Action.ERRNO | 1, Action.ERRNO | 2)
