"""A program as the checks look at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from errno import ENOSYS

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import ACTION_MASK, Action
from unotify.bpf.answers import Answers, Kind, kind_of
from unotify.bpf.instructions import Program

__all__ = ["View"]

_NOSYS = Action.ERRNO | ENOSYS


class View:
    """What a program answers, in the words of the checks.

    Attributes:
        program: The program.
        answers: All that it answers.
        architectures: Those to look at: those it tells apart and lets do anything, or else the
            native ones.
    """

    def __init__(
        self,
        program: Program,
        *,
        native: Sequence[Arch] = (Arch.X86_64,),
        opens: bool | None = None,
    ) -> None:
        """Take *program* apart.

        Args:
            program: The program.
            native: How to read numbers if it does not look at the architecture.
            opens: Whether what it does not mention may go on; ``None`` to find out.
        """
        self.program = program
        self.answers = Answers(program)
        told = [arch for arch in self.answers.architectures if self._alive(arch)]
        self.architectures = tuple(told) if self.answers.aware else tuple(native)
        self._opens = opens

    def _alive(self, arch: Arch) -> bool:
        """Whether any call of *arch* may go on."""
        return any(
            self.answers.kinds(arch, name) != {Kind.REFUSES} for name in tables.numbers(arch)
        )

    def opens(self, arch: Arch) -> bool:
        """Whether what the filter does not mention may go on: it is a list of what is denied.

        A program does not say what its author has mentioned. But only lists of what is
        denied let calls go on that no kernel has code for any more.
        """
        if self._opens is not None:
            return self._opens
        relics = [name for name in tables.numbers(arch) if model.spec(name).removed]
        if not relics:
            return any(kind_of(region.action) is Kind.LETS for region in self.answers.unknown(arch))
        return 2 * sum(self.answers.is_open(arch, name) for name in relics) > len(relics)

    def has(self, arch: Arch, call: str) -> bool:
        """Whether *arch* has the call."""
        return tables.number(call, arch) is not None

    def actions(self, arch: Arch, call: str) -> frozenset[int]:
        """All actions, with their data, that *call* may meet."""
        nr = tables.number(call, arch)
        if nr is None:
            return frozenset()
        return frozenset(region.action for region in self.answers.of(arch, nr))

    def is_open(self, arch: Arch, call: str) -> bool:
        """Whether it may go on, whatever its arguments."""
        return self.answers.is_open(arch, call)

    def is_guarded(self, arch: Arch, call: str) -> bool:
        """Whether somebody has meant to restrict it.

        On a list of what is allowed, a call that is not on it is not guarded: nobody
        may have thought of it. A call that fails with ENOSYS is not there at all.
        """
        kinds = self.answers.kinds(arch, call)
        if not kinds or kinds == {Kind.LETS} or self.actions(arch, call) == {_NOSYS}:
            return False
        return len(kinds) > 1 or Kind.ASKS in kinds or self.opens(arch)

    def asks(self, arch: Arch, call: str) -> bool:
        """Whether it may notify the supervisor."""
        return any(action & ACTION_MASK == Action.USER_NOTIF for action in self.actions(arch, call))

    def guarded(self, arch: Arch, calls: Iterable[str]) -> tuple[str, ...]:
        """Those of *calls* that are guarded."""
        return tuple(call for call in calls if self.is_guarded(arch, call))

    def open(self, arch: Arch, calls: Iterable[str]) -> tuple[str, ...]:
        """Those of *calls* that are open."""
        return tuple(call for call in calls if self.is_open(arch, call))
