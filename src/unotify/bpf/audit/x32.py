"""x32 shares the audit architecture of x86-64; the number alone tells them apart."""

from __future__ import annotations

from collections.abc import Iterator

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["CHECK"]


def look(view: View) -> Iterator[Finding]:
    """Find calls that are restricted, and open by their x32 number."""
    if Arch.X86_64 not in view.architectures:
        return
    names = [name for name in tables.numbers(Arch.X86_64) if view.has(Arch.X32, name)]
    open_there = tuple(
        name
        for name in names
        if view.answers.is_restricted(Arch.X86_64, name) and view.is_open(Arch.X32, name)
    )
    if open_there:
        yield Finding(
            Severity.HIGH,
            "x32 numbers are open for calls that are restricted",
            "x32 has the audit architecture of x86-64 and the bit 0x40000000 in its numbers (B4); "
            "where the kernel has x32, the same calls go on by these numbers",
            "refuse numbers from 0x40000000 to 0x7fffffff, or decide them as x32's",
            open_there,
            (Arch.X86_64,),
        )


CHECK = Check("x32", "are x32 numbers as restricted as those of x86-64?", look)
