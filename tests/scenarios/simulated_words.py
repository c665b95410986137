"""What simulated calls return, as scenarios word it; and the filters that scenarios name."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence

from tests.scenarios.language import Answer, Rules, Seen
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.abi.tables import number
from unotify.bpf import compile_filter
from unotify.bpf.instructions import Instruction, Program
from unotify.testing.facility.state import Task

__all__ = ["code_of", "libc", "name_of", "program_of", "seen", "value_of"]

_RET = 0x06


def name_of(result: int) -> str:
    """The name of a negative errno, or "" for a success."""
    return "" if result >= 0 else errno.errorcode[-result]


def value_of(result: int) -> int | str:
    """The same for what returns numbers."""
    return result if result >= 0 else errno.errorcode[-result]


def libc(result: int) -> Answer:
    """What libc makes of a result."""
    if -4095 <= result < 0:
        return Answer(-1, errno.errorcode.get(-result, str(-result)))
    return Answer(result)


def seen(task: Task) -> Seen:
    """What a thread has received."""
    assert task.received is not None
    id, pid, flags, nr, arch, args, ip = task.received
    return Seen(id, pid, flags, nr, arch, ip, args)


def code_of(rules: Rules) -> Sequence[Instruction] | None:
    """The instructions of a filter."""
    if isinstance(rules, int):
        return (Instruction(_RET, 0, 0, rules),)
    if isinstance(rules, Mapping):
        return program_of(rules).instructions
    return rules


def program_of(rules: Mapping[str, int]) -> Program:
    """A filter: an action for each call on both ABIs, and ALLOW for the others."""
    tables = {
        arch: {
            found: action
            for name, action in rules.items()
            if (found := number(name, arch)) is not None
        }
        for arch in (Arch.X86_64, Arch.I386)
    }
    return compile_filter(tables, default=Action.ALLOW)
