"""From an OCI seccomp profile to a policy.

A profile is unordered and is what libseccomp makes of it, so the order of these
rules says the same (checked against the library itself, in the tests):

- An entry without conditions that match here decides its calls alone, wherever it
  stands; of several the first.
- Entries with conditions are alternatives. Where two of one call can match the same
  arguments and differ, libseccomp asks in an order of its own, and so do these rules:
  the later argument first; equality and masks, then less, then greater.
- Conditions of one entry must all hold. But if two of them are on one argument, each
  condition of the entry is an entry of its own, as runc and its predecessors do it.
- An entry that does what the default does is not there, nor are calls without a number.
- Numbers are unsigned and as wide as registers, whatever the parameter's type.
- Of another architecture's call libseccomp kills the thread. A number that no table
  knows gets ENOSYS, as runc does it, unless the default lets calls go on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from errno import ENOSYS
from functools import cmp_to_key
from itertools import chain
from types import MappingProxyType
from typing import Final, TypeAlias

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.bpf import CompareOp
from unotify.policy.conditions import All, Any, Condition
from unotify.policy.model import Place, Policy, Rule, Verb, Verdict
from unotify.policy.oci.profile import Argument, Entry, Filter, Profile
from unotify.policy.oci.reading import read
from unotify.policy.oci.words import HOSTS, MASKED, OPERATORS
from unotify.policy.problems import listed
from unotify.policy.raw import RawTest, raw_test

__all__ = ["Imported", "architectures", "counts", "import_profile", "read_profile"]

_FULL: Final = (1 << 64) - 1
_LOW: Final = (1 << 32) - 1

_LETTING_GO: Final = frozenset({Verb.ALLOW, Verb.LOG, Verb.TRACE})


@dataclass(frozen=True, slots=True)
class Imported:
    """A profile as a policy.

    Attributes:
        policy: The policy.
        notes: What was ignored, and what may surprise.
    """

    policy: Policy
    notes: tuple[str, ...]


def import_profile(
    document: str | Mapping[str, object],
    *,
    source: str = "profile",
    capabilities: Collection[str] = frozenset(),
    kernel: tuple[int, int] | None = None,
    native: Arch = Arch.X86_64,
) -> Policy:
    """Make a policy of an OCI seccomp profile, moby's or containers-common's dialect included.

    Args:
        document: JSON, or what it means. A whole ``config.json`` will do; its process's
            capabilities count beside *capabilities*.
        source: What messages call it.
        capabilities: What the container may have, for ``includes`` and ``excludes``.
        kernel: The kernel for ``minKernel``, or ``None``: the newest.
        native: The architecture of the host, for ``archMap`` and ``arches``.

    Raises:
        InvalidPolicy: It has mistakes: all of them, in order.
    """
    return read_profile(
        document, source=source, capabilities=capabilities, kernel=kernel, native=native
    ).policy


def read_profile(
    document: str | Mapping[str, object],
    *,
    source: str = "profile",
    capabilities: Collection[str] = frozenset(),
    kernel: tuple[int, int] | None = None,
    native: Arch = Arch.X86_64,
) -> Imported:
    """As `import_profile`, with notes.

    Raises:
        InvalidPolicy: It has mistakes: all of them, in order.
    """
    profile = read(document, source, native)
    caps = frozenset(capabilities) | (profile.capabilities or frozenset())
    entries = [entry for entry in profile.entries if counts(entry, caps, kernel, native)]
    archs = architectures(profile, native)
    rules = _Rules(profile, entries, archs)
    policy = Policy(
        rules=tuple(rules.made()),
        default=profile.default,
        architectures=archs,
        bad_arch=Verdict(Verb.KILL_THREAD),
        unknown=profile.default
        if profile.default.verb in _LETTING_GO
        else Verdict(Verb.FAIL, errno=ENOSYS),
        flags=tuple(dict.fromkeys(profile.flags)),
        listener_path=profile.listener_path,
        listener_metadata=profile.listener_metadata,
        source=source,
    )
    return Imported(policy, tuple(dict.fromkeys(profile.notes)))


def architectures(profile: Profile, native: Arch) -> tuple[Arch, ...]:
    """The host's own is always there, and what the profile has beside it."""
    beside = profile.architectures or profile.arch_map.get(native, [])
    if profile.arch_map and native not in profile.arch_map:
        profile.notes.append(f"archMap has nothing for {native.label}: no other architecture")
    return tuple(dict.fromkeys([native, *beside]))


def counts(
    entry: Entry, caps: frozenset[str], kernel: tuple[int, int] | None, native: Arch
) -> bool:
    """Whether *entry* is for such a container on such a host.

    Args:
        entry: The entry.
        caps: What the container may have.
        kernel: The host's, or ``None``: the newest.
        native: The architecture of the host.
    """
    host = HOSTS.get(native, frozenset())
    here, there = entry.includes, entry.excludes
    return not (
        (here.arches and not host & set(here.arches))
        or not caps.issuperset(here.caps)
        or not _new_enough(here, kernel)
        or host & set(there.arches)
        or caps & set(there.caps)
        or (there.kernel is not None and _new_enough(there, kernel))
    )


def _new_enough(wanted: Filter, kernel: tuple[int, int] | None) -> bool:
    return kernel is None or wanted.kernel is None or kernel >= wanted.kernel


# ------------------------------------------------------------- conditions


@dataclass(frozen=True, slots=True)
class _Alternative:
    """Conditions that must all hold for an entry to match."""

    args: tuple[Argument, ...]
    entry: Entry

    @property
    def verdict(self) -> Verdict:
        """What its entry does."""
        return self.entry.verdict

    @property
    def place(self) -> Place:
        """Where its entry stands."""
        return self.entry.place

    def before(self, other: _Alternative) -> int:
        """Whether libseccomp asks for this first: above 0 if so, 0 if the file's order counts."""
        for mine, theirs in zip(self._nodes(), other._nodes(), strict=False):
            if mine != theirs:
                (one, _), (another, _) = mine, theirs
                return (one > another) - (one < another)
        return len(self.args) - len(other.args)

    def _nodes(self) -> Iterator[tuple[tuple[int, int, int], int]]:
        """What is compared, half by half: a rank (the greatest first) and the mask."""
        for arg in sorted(self.args, key=lambda arg: arg.index):
            rank = _RANKS.get(OPERATORS[arg.op], _EQUALITY)
            mask, value = _FULL, arg.value
            if arg.op == MASKED:
                mask, value = arg.value, arg.value & arg.value_two
            for shift in (32, 0) if rank == _EQUALITY else (0,):
                half = value >> shift & (_LOW if rank == _EQUALITY else _FULL)
                yield (arg.index, rank, -half if rank == _LESS else half), mask >> shift & _LOW


_EQUALITY, _LESS, _GREATER = 3, 2, 1

_RANKS: Final = {
    CompareOp.LT: _LESS,
    CompareOp.LE: _LESS,
    CompareOp.GE: _GREATER,
    CompareOp.GT: _GREATER,
}


def _alternatives(entry: Entry) -> Iterator[_Alternative]:
    # A mask without bits is always equal: libseccomp does not look at the value.
    args = [arg for arg in entry.args if arg.op != MASKED or arg.value]
    indices = [arg.index for arg in entry.args]
    if len(set(indices)) < len(indices):
        if len(args) < len(entry.args):
            args = []
        for arg in args:
            yield _Alternative((arg,), entry)
        if args:
            return
    yield _Alternative(tuple(args), entry)


def _meet(one: _Alternative, other: _Alternative) -> bool:
    """Whether both may match the same arguments; no is sure."""
    return not any(a.index == b.index and _apart(a, b) for a in one.args for b in other.args)


def _apart(one: Argument, other: Argument) -> bool:
    if OPERATORS[other.op] is CompareOp.EQ and other.op != MASKED:
        one, other = other, one
    if OPERATORS[one.op] is CompareOp.EQ and one.op != MASKED:
        return not _matches(other, one.value)
    if one.op == other.op == MASKED:
        return bool((one.value_two ^ other.value_two) & one.value & other.value)
    (low, high), (least, most) = _range(one), _range(other)
    return high < least or most < low


def _range(arg: Argument) -> tuple[int, int]:
    match OPERATORS[arg.op]:
        case CompareOp.LT:
            return 0, arg.value - 1
        case CompareOp.LE:
            return 0, arg.value
        case CompareOp.GT:
            return arg.value + 1, _FULL
        case CompareOp.GE:
            return arg.value, _FULL
        case CompareOp.EQ if arg.op != MASKED:
            return arg.value, arg.value
        case _:
            return 0, _FULL


def _matches(arg: Argument, value: int) -> bool:
    if arg.op == MASKED:
        return value & arg.value == arg.value_two & arg.value
    low, high = _range(arg)
    return low <= value <= high and not (arg.op.endswith("_NE") and value == arg.value)


def _test(arg: Argument) -> RawTest:
    if arg.op == MASKED:
        # As in libseccomp, bits of the value that are not in the mask do not count.
        return raw_test(arg.index, CompareOp.EQ, arg.value & arg.value_two, arg.value)
    return raw_test(arg.index, OPERATORS[arg.op], arg.value)


def _condition(alternatives: list[_Alternative]) -> tuple[Condition, str]:
    terms: list[Condition] = []
    texts = []
    for alternative in alternatives:
        found = [_test(arg) for arg in alternative.args]
        terms.append(found[0] if len(found) == 1 else All(tuple(found)))
        texts.append(" and ".join(test.text for test in found))
    if len(terms) == 1:
        return terms[0], texts[0]
    return Any(tuple(terms)), " or ".join(texts)


# ------------------------------------------------------------- rules


_Groups: TypeAlias = dict[int, tuple[list[_Alternative], list[str]]]
# By the identity of an entry: what it says, and for which calls.


class _Rules:
    def __init__(
        self, profile: Profile, entries: list[Entry], architectures: tuple[Arch, ...]
    ) -> None:
        self._notes = profile.notes
        self._architectures = architectures
        known = frozenset(model.names())
        lost = sorted({name for entry in entries for name in entry.names} - known)
        if lost:
            self._notes.append(f"no call is named {listed(lost)}: ignored")
        # For each call what is said of it: by one entry, in groups of alternatives.
        self._wanted: dict[str, list[list[_Alternative]]] = {}
        self._sure: dict[str, _Alternative] = {}
        for entry in entries:
            if entry.verdict == profile.default:
                continue
            alternatives = list(_alternatives(entry))
            for name in sorted(known.intersection(entry.names)):
                self._wanted.setdefault(name, []).append(alternatives)
        for name, wanted in self._wanted.items():
            always = [found[0] for found in wanted if not found[0].args]
            if always:
                self._sure[name] = always[0]
                self._absorbed(name, always, wanted)

    def made(self) -> Iterator[Rule]:
        """Those that always match, multiplexers first; then those with conditions."""
        first: _Groups = {}
        groups: _Groups = {}
        for name, alternative in self._sure.items():
            where = first if name in tables.MULTIPLEXERS else groups
            where.setdefault(id(alternative.entry), ([alternative], []))[1].append(name)
        asked: _Groups = {}
        last: list[tuple[list[_Alternative], list[str]]] = []
        for name, wanted in self._wanted.items():
            if name in self._sure:
                continue
            flat = [found for group in wanted for found in group]
            if self._contradict(name, flat):
                flat.sort(key=cmp_to_key(_Alternative.before), reverse=True)
                last += [([found], [name]) for found in flat]
            else:
                for group in wanted:
                    asked.setdefault(id(group[0].entry), (group, []))[1].append(name)
            self._unsure_multiplexed(name)
        for alternatives, names in chain(first.values(), groups.values(), asked.values(), last):
            yield self._rule(alternatives, names)

    def _rule(self, alternatives: list[_Alternative], names: list[str]) -> Rule:
        conditions: dict[str, Condition] = {}
        text = None
        if alternatives[0].args:
            condition, text = _condition(alternatives)
            conditions = dict.fromkeys(names, condition)
        return Rule(
            calls=MappingProxyType(dict.fromkeys(names)),
            verdict=alternatives[0].verdict,
            conditions=MappingProxyType(conditions),
            where=text,
            place=alternatives[0].place,
        )

    def _absorbed(
        self, name: str, always: list[_Alternative], wanted: list[list[_Alternative]]
    ) -> None:
        first = always[0]
        others = {str(found[0].verdict) for found in wanted} - {str(first.verdict)}
        if others:
            self._notes.append(
                f'{name}: the entry at {first.place} always says "{first.verdict}", so what others '
                f"say ({listed(sorted(others))}) does not count"
            )

    def _contradict(self, name: str, found: list[_Alternative]) -> bool:
        for at, one in enumerate(found):
            for other in found[at + 1 :]:
                if one.verdict != other.verdict and _meet(one, other):
                    self._notes.append(
                        f"{name}: the entries at {one.place} and {other.place} can match the same "
                        "call and differ; the order is libseccomp's: later arguments first, "
                        "equality before order"
                    )
                    return True
        return False

    def _unsure_multiplexed(self, name: str) -> None:
        for multiplexer, parts in tables.MULTIPLEXERS.items():
            if name not in parts.values() or multiplexer in self._sure:
                continue
            there = [a.label for a in self._architectures if tables.number(multiplexer, a)]
            if there:
                self._notes.append(
                    f"{name}: on {listed(there)} it can come through {multiplexer} with its "
                    "arguments in memory, where a filter cannot look: that form fails with ENOSYS"
                )
