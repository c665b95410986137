"""seccomp(2) and prctl(2): filters, chains and listeners come into being here."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from unotify.abi.seccomp import (
    BPF_MAXINSNS,
    MAX_CHAIN_INSTRUCTIONS,
    Action,
    FilterFlag,
    Mode,
    Operation,
)
from unotify.bpf import Program
from unotify.bpf.checker import check_program
from unotify.bpf.instructions import Instruction
from unotify.errors import InvalidProgram
from unotify.testing.facility.descriptors import install, lowest, new_file
from unotify.testing.facility.rules import check, effect, first
from unotify.testing.facility.state import Filter, Task, World
from unotify.testing.facility.traits import Trait

__all__ = ["add_filter", "available", "operation", "prctl_filter", "set_strict", "sizes"]

_PENALTY: Final = 4
_F = FilterFlag


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an install asks for; *program* is ``None`` for a bad pointer."""

    flags: int
    program: Sequence[Instruction] | None


# -- flags ------------------------------------------------------------------------


@check("F9")
def flags_are_known(world: World, task: Task, asked: _Asked) -> int:
    """A flag that this kernel does not know is EINVAL, before all else."""
    known = _F.TSYNC | _F.LOG | _F.SPEC_ALLOW | _F.NEW_LISTENER
    if world.has(Trait.TSYNC_ESRCH):
        known |= _F.TSYNC_ESRCH
    if world.has(Trait.WAIT_KILLABLE):
        known |= _F.WAIT_KILLABLE_RECV
    return errno.EINVAL if asked.flags & ~int(known) else 0


@check("S1")
def tsync_says_what_it_returns(world: World, task: Task, asked: _Asked) -> int:
    """TSYNC with NEW_LISTENER needs TSYNC_ESRCH: one number cannot be an id and a descriptor."""
    both = _F.TSYNC | _F.NEW_LISTENER
    return (
        errno.EINVAL
        if asked.flags & int(both) == int(both) and not asked.flags & _F.TSYNC_ESRCH
        else 0
    )


@check("I5")
def killable_has_listener(world: World, task: Task, asked: _Asked) -> int:
    """WAIT_KILLABLE_RECV without NEW_LISTENER is EINVAL."""
    wanted = asked.flags & _F.WAIT_KILLABLE_RECV and not asked.flags & _F.NEW_LISTENER
    return errno.EINVAL if wanted else 0


# -- program ----------------------------------------------------------------------


@check("F9")
def program_is_readable(world: World, task: Task, asked: _Asked) -> int:
    """A bad pointer is EFAULT: with this the known flags are found out."""
    return errno.EFAULT if asked.program is None else 0


@check("F9")
def length_is_right(world: World, task: Task, asked: _Asked) -> int:
    """A filter has 1 to 4096 instructions, else EINVAL."""
    assert asked.program is not None
    return 0 if 0 < len(asked.program) <= BPF_MAXINSNS else errno.EINVAL


@check("S5")
def may_install(world: World, task: Task, asked: _Asked) -> int:
    """Without no_new_privs and without CAP_SYS_ADMIN in the own user namespace: EACCES."""
    return 0 if task.no_new_privs or task.privileged else errno.EACCES


@check("F9")
def program_is_sound(world: World, task: Task, asked: _Asked) -> int:
    """What the kernel's own check refuses is EINVAL."""
    assert asked.program is not None
    try:
        check_program(asked.program)
    except InvalidProgram:
        return errno.EINVAL
    return 0


# -- listener, chain, threads -----------------------------------------------------


@check("F8")
def descriptor_is_free(world: World, task: Task, asked: _Asked) -> int:
    """A listener wants a descriptor: EMFILE, and no filter is left."""
    if asked.flags & _F.NEW_LISTENER and lowest(world, task) < 0:
        return errno.EMFILE
    return 0


@check("F9")
def mode_may_change(world: World, task: Task, asked: _Asked) -> int:
    """Whoever is in strict mode stays there."""
    return errno.EINVAL if task.mode == Mode.STRICT else 0


@check("F4", "R8")
def chain_has_no_listener(world: World, task: Task, asked: _Asked) -> int:
    """A chain has one open listener at most: EBUSY; a closed one does not count."""
    if asked.flags & _F.NEW_LISTENER and any(one.listener for one in world.chain(task)):
        return errno.EBUSY
    return 0


@check("F9")
def chain_is_short(world: World, task: Task, asked: _Asked) -> int:
    """A chain has 32768 instructions at most, 4 more counted for each older filter: ENOMEM."""
    assert asked.program is not None
    total = len(asked.program) + sum(one.size + _PENALTY for one in world.chain(task))
    return errno.ENOMEM if total > MAX_CHAIN_INSTRUCTIONS else 0


@effect("S2", otherwise=True)
def counts_though_dead(world: World, other: Task) -> bool:
    """Who has exited and is not reaped has filters still, before 6.11."""
    return not other.dead or not world.has(Trait.RELEASE_AT_EXIT)


def diverged(world: World, task: Task) -> Task | None:
    """A thread whose filters are not all among the caller's."""
    mine = {one.key for one in world.chain(task)}
    for other in world.tasks.values():
        if other.process != task.process or not counts_though_dead(world, other):
            continue
        if other.tid != task.tid and other.chain and other.chain not in mine:
            return other
    return None


@effect("S2", otherwise=0)
def threads_can_follow(world: World, task: Task, asked: _Asked) -> int:
    """A diverged thread stops TSYNC: its id is returned, or -ESRCH if that was asked for."""
    other = diverged(world, task) if asked.flags & _F.TSYNC else None
    if other is None:
        return 0
    if asked.flags & _F.TSYNC_ESRCH:
        return -errno.ESRCH
    return dict(other.numbers)[world.process_of(task).active]


_FLAGS: Final = (flags_are_known, tsync_says_what_it_returns, killable_has_listener)
_PROGRAM: Final = (program_is_readable, length_is_right, may_install, program_is_sound)
_CHAIN: Final = (descriptor_is_free, mode_may_change, chain_has_no_listener, chain_is_short)


def add_filter(
    world: World, task: Task, program: Sequence[Instruction] | Program | None, flags: int = 0
) -> int:
    """seccomp(SECCOMP_SET_MODE_FILTER): 0, a listener, a thread id, or a negative errno (F9)."""
    code = program.instructions if isinstance(program, Program) else program
    asked = _Asked(flags, code)
    if error := first((*_FLAGS, *_PROGRAM, *_CHAIN), world, task, asked):
        return error
    if error := threads_can_follow(world, task, asked):
        return error
    assert code is not None
    one = Filter(world.key(), len(world.programs), task.chain, len(code))
    world.programs.append(Program(tuple(code)))
    world.filters[one.key] = one
    one.log = bool(flags & _F.LOG)
    one.killable = bool(flags & _F.WAIT_KILLABLE_RECV)
    task.chain, task.mode = one.key, int(Mode.FILTER)
    if flags & _F.TSYNC:
        synchronise(world, task)
    return open_listener(world, task, one) if flags & _F.NEW_LISTENER else 0


@effect("N13", "N4", otherwise=-errno.EMFILE)
def open_listener(world: World, task: Task, filter: Filter) -> int:
    """NEW_LISTENER returns a descriptor that is close-on-exec; its ids start anywhere."""
    filter.listener, filter.next_id = True, world.first_id
    file = new_file(world, "listener", filter=filter.key)
    return install(world, task, file.key, cloexec=True)


@effect("S1", "S3")
def synchronise(world: World, task: Task) -> None:
    """TSYNC: all threads have the caller's chain from now on."""
    for other in world.threads(task.process):
        other.chain, other.mode = task.chain, task.mode
        share_no_new_privs(task, other)


@effect("S4")
def share_no_new_privs(task: Task, other: Task) -> None:
    """TSYNC sets no_new_privs where the caller has it."""
    other.no_new_privs |= task.no_new_privs


def prctl_filter(world: World, task: Task, program: Sequence[Instruction] | Program | None) -> int:
    """prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER): it takes no flags, so it makes no listener."""
    return add_filter(world, task, program, 0)


@effect("R9", otherwise=0)
def set_strict(world: World, task: Task, flags: int = 0) -> int:
    """Strict mode, or EINVAL where a filter is: no filter is ever removed."""
    if flags or task.mode == Mode.FILTER:
        return -errno.EINVAL
    task.mode = int(Mode.STRICT)
    return 0


@effect("F9", otherwise=0)
def operation(world: World, task: Task, number: int, flags: int, bare: bool) -> int:
    """seccomp(2) by its number: unknown ones, and strict mode with flags or arguments, are EINVAL.

    The filter of SET_MODE_FILTER is no pointer here (*bare* or not), so that it is EFAULT at best.
    """
    if number == Operation.SET_MODE_STRICT and bare:
        return set_strict(world, task, flags)
    if number == Operation.SET_MODE_FILTER:
        return add_filter(world, task, None, flags)
    return -errno.EINVAL


@effect("F9", otherwise=0)
def available(world: World, action: int) -> int:
    """GET_ACTION_AVAIL: 0, or -EOPNOTSUPP for what is no action."""
    return 0 if action in set(map(int, Action)) else -errno.EOPNOTSUPP


@effect("N5", otherwise=(0, 0, 0))
def sizes(world: World) -> tuple[int, int, int]:
    """GET_NOTIF_SIZES: what RECV, SEND and a filter work on."""
    return (80, 24, 64)
