"""Decision tables in, one seccomp program out.

The program asks for the architecture first, then finds the call in a tree over
all 32-bit numbers, so unknown, negative and x32 numbers cost nothing extra.
Arguments are loaded only on the way to a verdict that depends on them. All
other verdicts follow from the number and the architecture alone, by instructions
that the kernel can follow when the filter is installed: a plain ALLOW is then
answered from a bitmap, without running the program (since 5.11).
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Final, TypeAlias

from unotify.abi.arch import X32_BIT, Arch
from unotify.abi.seccomp import BPF_MAXINSNS, Action
from unotify.abi.tables import name
from unotify.bpf.codegen import Graph, Node
from unotify.bpf.expressions import RegisterPredicate
from unotify.bpf.instructions import ARCH_OFFSET, NR_OFFSET, Program
from unotify.bpf.lockstep import Place, Reference, Rest, follows
from unotify.bpf.lowering import lower_cases
from unotify.bpf.prover import Ask, Decide, answer, prove
from unotify.bpf.pruning import prune
from unotify.bpf.switching import Partition, merge, switch
from unotify.errors import Conflict, FilterTooLarge, NotExpressible

__all__ = ["Verdict", "compile_filter"]

Verdict: TypeAlias = int | Sequence[tuple[RegisterPredicate, int] | int]
"""What to do with a call: an action, or ``[(predicate, action), ..., action]``.

The pairs are tried in order; the final action is for arguments that none
matches. An action is the unsigned 32-bit number that the filter returns, such as
``Action.ERRNO | errno.EPERM``.
"""

_Cases: TypeAlias = tuple[tuple[tuple[RegisterPredicate, int], ...], int]
"""A verdict in one form: the pairs, and the final action."""

_FULL: Final = 0xFFFFFFFF
_FEW: Final = 1_000
"""Cases that are proved one by one before another way is tried."""
_X32_END: Final = X32_BIT << 1
"""Numbers from here on are negative. They have the bit too (-1), but are no x32 calls."""


def compile_filter(
    tables: Mapping[Arch, Mapping[int, Verdict]],
    *,
    default: int | Mapping[Arch, int],
    bad_arch: int = Action.KILL_PROCESS,
    x32: int | None = None,
    weights: Mapping[Arch, Mapping[int, float]] | None = None,
    model: tuple[Decide, Mapping[int, Sequence[int]]] | None = None,
    rest: Rest | None = None,
) -> Program:
    """Compile one program for several architectures, and prove it.

    Args:
        tables: The verdicts of each ABI by number. x32 numbers have `X32_BIT`.
            The first architecture is tested first.
        default: The action for numbers that are not in the table, also negative
            ones such as -1 (B1); for all ABIs or for each.
        bad_arch: The action for architectures that are not in *tables*.
        x32: The action for x32 numbers where *tables* has x86-64 and not x32: the two
            share an audit architecture (B4). ``None``: *bad_arch*.
        weights: How often each call is made, by number, in any unit; calls that are made
            often are found sooner. ``None``: all calls are found about equally soon.
        model: What to prove the program against, ``(decide, cuts)`` as for
            `unotify.bpf.prover.prove`; ``None``: *tables*.
        rest: The same once more as `unotify.bpf.lockstep.follows` takes it, for what would be
            too many cases else; ``None``: *tables*, or nothing if there is a *model*.

    Raises:
        Conflict: A verdict or number is malformed, or a default is missing.
        NotExpressible: A predicate has no meaning on the ABI it is used for.
        FilterTooLarge: More than 4096 instructions, or too many cases to prove; names the
            biggest calls.
        ProofFailed: The program is not what it was compiled from: a fault of this package.
    """
    normal = {
        arch: {_number(nr, arch): _cases(verdict, arch, nr) for nr, verdict in table.items()}
        for arch, table in tables.items()
    }
    defaults = {arch: _default(default, arch) for arch in tables}
    other = _action(bad_arch, "bad_arch")
    foreign = other if x32 is None else _action(x32, "x32")

    known = weights or {}
    graph = Graph()
    start = graph.ret(other)
    for audit in reversed(dict.fromkeys(arch.audit for arch in tables)):
        family = [arch for arch in tables if arch.audit == audit]
        if audit == Arch.X86_64.audit:
            low = defaults.get(Arch.X86_64, ((), other))
            high = defaults.get(Arch.X32, ((), foreign))
            background = [(0, low), (X32_BIT, high), (_X32_END, low)]
        else:
            background = [(0, defaults[family[0]])]
        numbers = {nr: cases for arch in family for nr, cases in normal[arch].items()}
        # ABIs of one audit architecture agree in width and byte order, so any will do.
        counts = {nr: count for arch in family for nr, count in known.get(arch, {}).items()}
        found = _dispatch(graph, family[0], numbers, background, counts)
        start = graph.equal(ARCH_OFFSET, _FULL, audit, found, start)
    graph, start = prune(graph, start)
    instructions = graph.emit(start)
    if len(instructions) > BPF_MAXINSNS:
        raise FilterTooLarge(
            f"the filter has {len(instructions)} instructions and the kernel takes {BPF_MAXINSNS}; "
            f"{_biggest(normal)}",
            hint="fewer or simpler conditions on registers, or let the supervisor decide them",
        )
    program = Program(instructions)
    if model is None:
        model, rest = _model(normal, defaults, other, foreign)
    _prove(program, *model, rest, lambda: _biggest(normal))
    return program


def _prove(
    program: Program,
    decide: Decide,
    cuts: Mapping[int, Sequence[int]],
    rest: Rest | None,
    biggest: Callable[[], str],
) -> None:
    """By cases if they are few, else side by side, and else by all cases."""
    if rest is not None:
        with suppress(FilterTooLarge):
            prove(program, decide, cuts, most=_FEW)
            return
        if follows(program, rest, cuts):
            return
    try:
        prove(program, decide, cuts)
    except FilterTooLarge as error:
        raise FilterTooLarge(
            f"{error}; {biggest()}",
            hint="fewer alternatives that each ask bits (&) of several arguments; or ask one of "
            "the arguments by == or in, or leave the question to a handler",
        ) from None


def _model(
    tables: Mapping[Arch, Mapping[int, _Cases]],
    defaults: Mapping[Arch, _Cases],
    other: int,
    foreign: int,
) -> tuple[tuple[Decide, Mapping[int, Sequence[int]]], Rest]:
    """What the tables say, as plain as can be, for the proof."""
    audits = {arch.audit for arch in tables}

    def cases(audit: int, nr: int) -> tuple[_Cases, int]:
        """What a number gets, and the register width."""
        if audit not in audits:
            return ((), other), 64
        x32 = audit == Arch.X86_64.audit and X32_BIT <= nr < _X32_END
        for arch, table in tables.items():
            if arch.audit == audit and (arch is Arch.X32) == x32:
                return table.get(nr, defaults[arch]), arch.bits
        return ((), foreign if x32 else other), 64

    def decide(audit: int, nr: int, ask: Ask) -> int:
        (pairs, final), bits = cases(audit, nr)
        return next((action for one, action in pairs if answer(one, ask, bits)), final)

    def rest(reference: Reference, audit: int, nr: int) -> Place:
        (pairs, final), bits = cases(audit, nr)
        place = reference.end(final)
        for predicate, action in reversed(pairs):
            place = reference.ask(predicate, bits, reference.end(action), place)
        return place

    cuts = {audit: {0, X32_BIT, _X32_END} for audit in audits}
    for arch, table in tables.items():
        for nr in table:
            cuts[arch.audit].update((nr, nr + 1))
    return (decide, {audit: sorted(cut - {_FULL + 1}) for audit, cut in cuts.items()}), rest


def _dispatch(
    graph: Graph,
    arch: Arch,
    numbers: Mapping[int, _Cases],
    background: Partition[_Cases],
    weights: Mapping[int, float],
) -> Node:
    """The node that finds the verdict of a number; *background* is for those not listed."""
    starts = [start for start, _ in background]
    ends = [(nr + 1, background[bisect(starts, nr + 1) - 1][1]) for nr in numbers]
    # Of equal starts the last one counts: a listed number behind a listed number.
    ranges = sorted((*background, *ends, *numbers.items()), key=itemgetter(0))
    nodes: dict[_Cases, Node] = {}

    def verdict(cases: _Cases) -> Node:
        if cases not in nodes:
            try:
                nodes[cases] = lower_cases(graph, *cases, arch)
            except NotExpressible as error:
                call = _call(arch, next(nr for nr in numbers if numbers[nr] == cases))
                raise NotExpressible(f"{call}: {error}", hint=error.hint) from None
        return nodes[cases]

    return switch(graph, NR_OFFSET, _FULL, merge(ranges), verdict, shallow=True, weights=weights)


def _biggest(tables: Mapping[Arch, Mapping[int, _Cases]]) -> str:
    """The calls that cost most, in words."""
    weights = []
    for arch, table in tables.items():
        for nr, cases in table.items():
            if cases[0]:
                graph = Graph()
                weights.append((graph.weight(lower_cases(graph, *cases, arch)), _call(arch, nr)))
    weights.sort(key=lambda entry: (-entry[0], entry[1]))
    if not weights:
        return "no call has conditions: the numbers alone are too many separate ranges"
    named = ", ".join(f"{call} ({weight})" for weight, call in weights[:5])
    return f"the biggest are {named}"


def _call(arch: Arch, nr: int) -> str:
    """A call as people know it."""
    return f"{name(nr, arch) or f'call {nr}'} on {arch.label}"


def _number(nr: int, arch: Arch) -> int:
    if not 0 <= nr <= _FULL:
        raise Conflict(f"{nr} is not an unsigned 32-bit call number")
    if arch in (Arch.X86_64, Arch.X32) and (X32_BIT <= nr < _X32_END) != (arch is Arch.X32):
        raise Conflict(
            f"call number {nr:#x} does not belong to {arch.label}",
            hint=f"x32 numbers, and only they, lie between {X32_BIT:#x} and {_X32_END - 1:#x}",
        )
    return nr


def _action(action: int, what: str) -> int:
    if not isinstance(action, int) or not 0 <= action <= _FULL:
        raise Conflict(f"{what}: {action!r} is not an unsigned 32-bit action")
    return int(action)


def _default(default: int | Mapping[Arch, int], arch: Arch) -> _Cases:
    if isinstance(default, Mapping):
        if arch not in default:
            raise Conflict(f"no default action for {arch.label}")
        default = default[arch]
    return (), _action(default, f"default of {arch.label}")


def _cases(verdict: Verdict, arch: Arch, nr: int) -> _Cases:
    what = _call(arch, nr)
    if isinstance(verdict, int):
        return (), _action(verdict, what)
    pairs = []
    *cases, final = verdict if verdict else (None,)
    for case in cases:
        if (
            not isinstance(case, tuple)
            or len(case) != 2
            or not isinstance(case[0], RegisterPredicate)
        ):
            raise Conflict(f"{what}: {case!r} is not a pair of predicate and action")
        pairs.append((case[0], _action(case[1], what)))
    if not isinstance(final, int):
        raise Conflict(f"{what}: the verdict does not end in an action")
    end = _action(final, what)
    while pairs and pairs[-1][1] == end:
        pairs.pop()  # so that a condition that decides nothing costs nothing
    return tuple(pairs), end
