"""Checks for holes in filters: one a file, found by what the program answers.

Each looks at a `View` and says what is wrong, why, and what to do. A new check is
a module with a ``CHECK``, and a line here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from unotify.abi.arch import Arch
from unotify.bpf.audit import (
    architecture,
    at_twins,
    clone3,
    default_allow,
    doors,
    families,
    fast_open,
    hand_over,
    io_uring,
    multiplexers,
    never_retried,
    personality,
    restart,
    unknown_numbers,
    upper_halves,
    wide_twins,
    x32,
)
from unotify.bpf.audit.finding import Check, Finding, Severity, run
from unotify.bpf.audit.view import View
from unotify.bpf.instructions import Program

__all__ = ["CHECKS", "Check", "Finding", "Severity", "View", "audit_program", "run"]

CHECKS: Final[tuple[Check[View], ...]] = (
    architecture.CHECK,
    x32.CHECK,
    upper_halves.CHECK,
    io_uring.CHECK,
    clone3.CHECK,
    families.CHECK,
    at_twins.CHECK,
    wide_twins.CHECK,
    multiplexers.CHECK,
    fast_open.CHECK,
    hand_over.CHECK,
    never_retried.CHECK,
    restart.CHECK,
    default_allow.CHECK,
    unknown_numbers.CHECK,
    doors.CHECK,
    personality.CHECK,
)
"""All checks of programs."""


def audit_program(
    program: Program,
    *,
    native: Sequence[Arch] = (Arch.X86_64,),
    opens: bool | None = None,
    checks: Sequence[Check[View]] = CHECKS,
) -> list[Finding]:
    """Look for holes in *program*.

    Args:
        program: Any program that the kernel takes.
        native: How to read numbers if it does not look at the architecture.
        opens: Whether what it does not mention may go on; ``None`` to find out.
        checks: What to look for.

    Raises:
        NotExpressible: The program computes what cannot be followed.
        InvalidProgram: The kernel would not take it.
        FilterTooLarge: It tells too many cases apart.
    """
    return run(checks, View(program, native=native, opens=opens))
