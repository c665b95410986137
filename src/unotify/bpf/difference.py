"""Where two programs differ: exactly, with a call for each difference that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from unotify.abi.arch import Arch
from unotify.abi.seccomp import ACTION_MASK, DATA_MASK, MAX_ERRNO, Action
from unotify.bpf.answers import Answers, Spot, common, spots
from unotify.bpf.instructions import Instruction, Program
from unotify.bpf.simulator import SeccompData
from unotify.bpf.symbolic import Box

__all__ = ["Difference", "differences", "same_effect"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Calls that two programs answer differently.

    Attributes:
        spot: Which call of which architecture.
        box: With which arguments.
        left: What the first program returns.
        right: What the second returns.
    """

    spot: Spot
    box: Box
    left: int
    right: int

    def witness(self) -> SeccompData:
        """One of the calls."""
        return self.box.witness()

    @property
    def whole(self) -> bool:
        """Whether the arguments do not matter."""
        return not self.box.tested


def differences(
    left: Program | Sequence[Instruction],
    right: Program | Sequence[Instruction],
    *,
    native: Iterable[Arch] = (Arch.X86_64,),
) -> list[Difference]:
    """Find all calls for which two programs return what the kernel takes differently.

    Exact: an empty list proves that no call on any architecture, with any
    arguments, is answered differently.

    Args:
        left: The first program.
        right: The second program.
        native: How to name calls if neither program looks at the architecture.

    Raises:
        NotExpressible: A program computes what cannot be followed.
        InvalidProgram: The kernel would not take it.
        FilterTooLarge: It tells too many cases apart.
    """
    one, other = Answers(left), Answers(right)
    told = [arch for arch in Arch if arch in {*one.architectures, *other.architectures}]
    found = []
    for mine in one.regions:
        for theirs in other.regions:
            if same_effect(mine.action, theirs.action):
                continue
            shared = common(mine.box, theirs.box)
            if shared is not None:
                found += [
                    Difference(spot, box, mine.action, theirs.action)
                    for spot, box in spots(shared, told or native)
                ]
    order = {arch: at for at, arch in enumerate(Arch)}
    found.sort(key=lambda entry: _key(entry, order))
    return found


def same_effect(left: int, right: int) -> bool:
    """Whether the kernel does the same for two return values.

    The data of an action matters for ERRNO, TRAP and TRACE alone; an errno beyond
    4095 is cut to that, and an unknown action kills the process.
    """
    return _effect(left) == _effect(right)


def _effect(value: int) -> tuple[int, int]:
    action, data = value & ACTION_MASK, value & DATA_MASK
    match action:
        case Action.ERRNO:
            return action, min(data, MAX_ERRNO)
        case Action.TRAP | Action.TRACE:
            return action, data
    if action not in set(Action):
        action = Action.KILL_PROCESS
    return action, 0


def _key(entry: Difference, order: dict[Arch, int]) -> tuple[int, int, int, int]:
    spot = entry.spot
    arch = order[spot.arch] if spot.arch is not None else len(order)
    return arch, spot.nr if spot.nr is not None else 1 << 32, entry.left, entry.right
