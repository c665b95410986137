from __future__ import annotations

from errno import EPERM

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Compare, CompareOp, compile_filter
from unotify.bpf.answers import Answers, Kind, common, kind_of, spots
from unotify.bpf.instructions import jeq, ld_abs, ret
from unotify.bpf.symbolic import Box

ALLOW, REFUSED = int(Action.ALLOW), Action.ERRNO | EPERM
SOCKET = 41


def answers() -> Answers:
    """A program about x86-64's socket."""
    table = {SOCKET: [(Compare(0, CompareOp.EQ, 1, bits=32), ALLOW), REFUSED], 0: ALLOW}
    return Answers(compile_filter({Arch.X86_64: table}, default=Action.USER_NOTIF))


def test_kinds() -> None:
    """Each call comes to what it may meet."""
    found = answers()
    assert found.architectures == (Arch.X86_64, Arch.X32)
    assert found.kinds(Arch.X86_64, "socket") == {Kind.LETS, Kind.REFUSES}
    assert found.kinds(Arch.X86_64, "connect") == {Kind.ASKS}
    assert found.kinds(Arch.X86_64, "socketcall") == frozenset()
    assert found.is_open(Arch.X86_64, "read")
    assert found.is_restricted(Arch.X86_64, "socket")
    assert not found.is_restricted(Arch.X86_64, "socketcall")
    assert {region.action for region in found.unknown(Arch.X86_64)} == {Action.USER_NOTIF}
    assert {region.action for region in found.foreign()} == {Action.KILL_PROCESS}


def test_a_program_that_does_not_look() -> None:
    """Without a look at the architecture none is told apart."""
    found = Answers([ld_abs(0), jeq(SOCKET, 0, 1), ret(REFUSED), ret(ALLOW)])
    assert not found.aware
    assert found.kinds(Arch.X86_64, "socket") == {Kind.REFUSES}
    # The number is another call there.
    assert found.kinds(Arch.I386, tables.names(Arch.I386)[SOCKET]) == {Kind.REFUSES}


def test_regions_of_one_call_are_disjoint() -> None:
    """The regions of a number do not overlap, and are of that number."""
    first, second = answers().of(Arch.X86_64, SOCKET)
    assert common(first.box, second.box) is None
    assert first.box.nr.ranges == ((SOCKET, SOCKET),)


def test_spots_cover_all_calls() -> None:
    """Everything is cut into the calls of an architecture, its other numbers, and the rest."""
    found = [str(spot) for spot, _ in spots(Box(), [Arch.X86_64])]
    assert len(found) == len(tables.names(Arch.X86_64)) + 2
    assert found[-2:] == ["x86_64 unknown numbers", "other architectures"]


def test_unknown_actions_refuse() -> None:
    """An action that the kernel does not know ends the process."""
    assert kind_of(0x12340000) is Kind.REFUSES
    assert kind_of(Action.LOG) is Kind.LETS
    assert kind_of(Action.TRACE | 3) is Kind.ASKS
