"""A stack of filters, and what the kernel makes of their answers.

All filters run, the newest first, and the most severe answer wins; among equals it
is the newest filter's (F1). Severity is the action as a *signed* number, so a value
that is no action has a place in the order too; if it wins, it kills. Of USER_NOTIF
only the winner's own listener is asked (F5, F6), and a chain has at most one that is
open (F4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from errno import ENOSYS
from typing import Final

from unotify.abi.seccomp import (
    ACTION_MASK,
    DATA_MASK,
    MAX_CHAIN_INSTRUCTIONS,
    MAX_ERRNO,
    Action,
)
from unotify.bpf.instructions import Instruction, Program
from unotify.bpf.simulator import SeccompData, Step, steps
from unotify.errors import FilterTooLarge

__all__ = ["Answer", "Outcome", "check_chain", "resolve", "run_chain", "severity"]

_SIGN: Final = 1 << 31
_COUNTED_FOR_EACH: Final = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What one filter of a chain did.

    Attributes:
        steps: The instructions that ran.
        value: What it returned.
    """

    steps: tuple[Step, ...]
    value: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a call.

    Attributes:
        action: Which action is taken; KILL_PROCESS for a value that is none.
        value: What the winner returned; ALLOW if there is none.
        winner: Its index, 0 the newest, or ``None`` if all filters allow the call, and so
            none has a say.
        listener: The filter whose listener is asked, or ``None``.
        errno: What the call fails with in any case: ERRNO's data as the kernel caps it,
            or ENOSYS where USER_NOTIF finds no listener. 0 is a success with result 0.
        answers: Of each filter, the newest first.
    """

    action: Action
    value: int
    winner: int | None
    listener: int | None
    errno: int | None
    answers: tuple[Answer, ...] = ()

    @property
    def data(self) -> int:
        """The 16 bits beside the action: ``si_errno`` of TRAP, the message of TRACE."""
        return self.value & DATA_MASK

    @property
    def runs(self) -> bool:
        """Whether the call is run without asking anybody."""
        return self.action in (Action.ALLOW, Action.LOG)


def severity(value: int) -> int:
    """The place of a filter's answer in the kernel's order: the least wins."""
    action = value & ACTION_MASK
    return action - (action & _SIGN) * 2


def resolve(values: Sequence[int], *, listener: int | None = None) -> Outcome:
    """Tell which of the filters' answers counts, and what it does.

    Args:
        values: What the filters returned, the newest first.
        listener: The index of the filter with an open listener.
    """
    winner = None
    value = int(Action.ALLOW)
    for index, answer in enumerate(values):
        if severity(answer) < severity(value):
            winner, value = index, answer
    try:
        action = Action(value & ACTION_MASK)
    except ValueError:
        action = Action.KILL_PROCESS
    errno = None
    if action is Action.ERRNO:
        errno = min(value & DATA_MASK, MAX_ERRNO)
    asked = None
    if action is Action.USER_NOTIF:
        asked, errno = (winner, None) if winner == listener else (None, ENOSYS)
    return Outcome(action, value, winner, asked, errno)


def run_chain(
    programs: Sequence[Program | Sequence[Instruction]],
    data: SeccompData,
    *,
    listener: int | None = None,
) -> Outcome:
    """Run a chain of filters on a call.

    Args:
        programs: The filters, the newest first.
        data: The call.
        listener: The index of the filter with an open listener.

    Raises:
        InvalidProgram: One came to an instruction that no accepted program has.
    """
    answers = []
    for program in programs:
        ran = tuple(steps(program, data))
        answers.append(Answer(ran, ran[-1].a))
    found = resolve([answer.value for answer in answers], listener=listener)
    return Outcome(
        found.action, found.value, found.winner, found.listener, found.errno, tuple(answers)
    )


def check_chain(programs: Sequence[Program | Sequence[Instruction]]) -> None:
    """Check that the kernel may take all of *programs* in one chain.

    It counts instructions as it has translated them, of which there are at least as many.

    Args:
        programs: The filters, the newest first.

    Raises:
        FilterTooLarge: Even untranslated they are too many: ENOMEM.
    """
    total = sum(map(len, programs)) + _COUNTED_FOR_EACH * (len(programs) - 1)
    if total > MAX_CHAIN_INSTRUCTIONS:
        raise FilterTooLarge(
            f"{len(programs)} filters with {total} instructions, {_COUNTED_FOR_EACH} counted "
            f"for each older one: a chain has at most {MAX_CHAIN_INSTRUCTIONS}",
            hint="merge the rules into fewer filters",
        )
