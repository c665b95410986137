"""From a policy to an OCI seccomp profile.

A profile is unordered, so what an entry says must be true by itself: from each rule's
condition those of earlier rules with another verdict are taken away. Where that has
no words the call becomes SCMP_ACT_NOTIFY as a whole: the listener decides, with the
policy itself. What is left unsaid is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from unotify.abi import tables as call_tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Always, And, Compare, CompareOp, In, Not, Or, RegisterPredicate, Verdict
from unotify.policy.compiling import tables
from unotify.policy.conditions import Look, tests
from unotify.policy.deciding import cases
from unotify.policy.kernel_actions import action_of
from unotify.policy.model import Policy, Rule
from unotify.policy.oci.cubes import Said, Unsayable, Width, alternatives
from unotify.policy.oci.words import ARCHITECTURES, MASKED
from unotify.policy.problems import listed

__all__ = [
    "Entry",
    "Exporter",
    "Pair",
    "export_profile",
    "pairs_of",
    "width_of",
    "worded",
    "written",
]

_NOTIFY: Final = int(Action.USER_NOTIF)
_HIGH: Final = 0xFFFF0000
_NEGATIVE: Final = (1 << 64) - (1 << 31)

_NAMES: Final = {arch: name for name, arch in ARCHITECTURES.items()}

_WORDS: Final = {
    int(Action.KILL_PROCESS): "SCMP_ACT_KILL_PROCESS",
    int(Action.KILL_THREAD): "SCMP_ACT_KILL_THREAD",
    int(Action.TRAP): "SCMP_ACT_TRAP",
    int(Action.ERRNO): "SCMP_ACT_ERRNO",
    int(Action.USER_NOTIF): "SCMP_ACT_NOTIFY",
    int(Action.TRACE): "SCMP_ACT_TRACE",
    int(Action.LOG): "SCMP_ACT_LOG",
    int(Action.ALLOW): "SCMP_ACT_ALLOW",
}

_LETTING_GO: Final = frozenset({int(Action.ALLOW), int(Action.LOG), int(Action.TRACE)})

Entry: TypeAlias = tuple[int, tuple[Said, ...]]
"""An action, and when."""

Pair: TypeAlias = tuple[RegisterPredicate, int]
"""A condition and an action: of several the first that holds counts."""


def export_profile(policy: Policy) -> tuple[dict[str, Any], list[str]]:
    """Make an OCI profile of *policy*.

    Returns:
        The runtime specification's object, and what the format cannot say.

    Raises:
        NotExpressible: A condition on registers has no meaning on an architecture.
    """
    exporter = Exporter(policy)
    document = exporter.document()
    if exporter.notified:
        exporter.tell_what_takes_the_listener()
    return document, list(exporter.notes)


class Exporter:
    """What a policy is in the words of a profile.

    Attributes:
        notes: What the format cannot say; the keys, in order.
        notified: Whether the document sends calls to the listener.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.notified = False
        self.notes: dict[str, None] = {}
        self._default = action_of(policy.default, None)
        self._architectures = [arch for arch in policy.architectures if arch in _NAMES]
        self._tables = tables(policy)

    def document(self) -> dict[str, Any]:
        """The whole profile."""
        policy = self._policy
        syscalls = self.grouped(
            {name: tuple(self._entries(name, archs)) for name, archs in self.calls().items()}
        )
        profile: dict[str, Any] = {"defaultAction": worded(self._default)}
        code = self._code(self._default)
        if code is not None:
            profile["defaultErrnoRet"] = code
        profile["architectures"] = [_NAMES[arch] for arch in self._architectures]
        if policy.flags:
            profile["flags"] = list(policy.flags)
        if policy.listener_path is not None:
            profile["listenerPath"] = policy.listener_path
            if policy.listener_metadata is not None:
                profile["listenerMetadata"] = policy.listener_metadata
        profile["syscalls"] = syscalls
        self.notified = self._default == _NOTIFY or any(
            entry["action"] == _WORDS[_NOTIFY] for entry in syscalls
        )
        self._settings()
        return profile

    def grouped(self, said: Mapping[str, tuple[Entry, ...]]) -> list[dict[str, Any]]:
        """The entries of each call as a profile has them: calls with the same ones together."""
        groups: dict[tuple[Entry, ...], list[str]] = {}
        for name, entries in sorted(said.items()):
            if entries:
                groups.setdefault(entries, []).append(name)
        return [
            written(names, action, args, self._code(action))
            for entries, names in sorted(groups.items(), key=_unconditional_first)
            for action, args in entries
        ]

    def _note(self, text: str) -> None:
        self.notes[text] = None

    # ------------------------------------------------------------- what has no words

    def _settings(self) -> None:
        policy = self._policy
        self.tell_of_architectures()
        unknown = action_of(policy.unknown, None)
        usual = self._default if self._default & _HIGH in _LETTING_GO else Action.ERRNO | 38
        if unknown != usual:
            self._note(
                f'calls that no table knows: the policy says "{policy.unknown}", runtimes have '
                "their own answer (runc ENOSYS, unless the default lets calls go on)"
            )
        if self._default == _NOTIFY:
            self._note("the default is for the listener to decide: runc refuses that, crun does it")
        if self.notified and policy.listener_path is None:
            self._note("listenerPath is not set, and SCMP_ACT_NOTIFY needs it")

    def tell_of_architectures(self) -> None:
        """Note what runtimes do otherwise with calls of other architectures."""
        policy = self._policy
        lost = [arch.label for arch in policy.architectures if arch not in _NAMES]
        if lost:
            self._note(f"the format does not know the architecture {listed(lost)}")
        if action_of(policy.bad_arch, None) != Action.KILL_THREAD:
            self._note(
                f'calls of other architectures: the policy says "{policy.bad_arch}", runtimes kill '
                "the thread"
            )

    def tell_what_takes_the_listener(self) -> None:
        """Note each rule that a filter alone cannot carry out."""
        for rule in self._policy.rules:
            self._decided_later(rule)

    def _decided_later(self, rule: Rule) -> None:
        """Say what of a rule the listener must know."""
        found = [
            (case, name)
            for arch in self._architectures
            for name in rule.calls
            for case in cases(self._policy, arch, name)
            if case.rule is rule
        ]
        if any(action_of(case.verdict, name, log=rule.log) == _NOTIFY for case, name in found):
            what = f'"{rule.verdict}"' + (" with log" if rule.log else "")
            self._note(f"{rule}: {what} takes the listener")
        looks = dict.fromkeys(
            test.text
            for case, _ in found
            for test in tests(case.condition)
            if isinstance(test, Look)
        )
        if looks:
            self._note(f"{rule}: only the listener can tell: {'; '.join(looks)}")

    # ------------------------------------------------------------- calls

    def calls(self) -> dict[str, list[Arch]]:
        """All calls of the policy's architectures, and which of these have them."""
        found: dict[str, list[Arch]] = {}
        for arch in self._architectures:
            for name in call_tables.names(arch).values():
                found.setdefault(name, []).append(arch)
        return found

    def _entries(self, name: str, archs: Sequence[Arch]) -> Iterator[Entry]:
        try:
            yield from self.said(pairs_of(self.verdict(name, archs)), width_of(archs))
        except Unsayable as why:
            self._note(f"{name}: {why}; the listener decides on all of these calls")
            yield _NOTIFY, ()

    def verdict(self, name: str, archs: Sequence[Arch]) -> Verdict:
        """What the filter says, the same on all architectures.

        Raises:
            Unsayable: It is not the same.
        """
        found = []
        for arch in sorted(archs, key=lambda arch: -arch.bits):
            nr = call_tables.number(name, arch)
            assert nr is not None
            found.append(self._tables[arch][nr])
        if any(_comparable(other) != _comparable(found[0]) for other in found[1:]):
            labels = listed(arch.label for arch in archs)
            raise Unsayable(f"it is treated differently on {labels}, and entries are for all")
        return found[0]

    def said(self, pairs: Sequence[Pair], width: Width) -> list[Entry]:
        """The entries that say *pairs*, but what the policy's default does.

        Raises:
            Unsayable: There are no words for it.
        """
        entries: list[Entry] = []
        for at, (predicate, action) in enumerate(pairs):
            if action == self._default:
                continue
            others = [Not(before) for before, other in pairs[:at] if other != action]
            whole = And((predicate, *others)) if others else predicate
            entries += [(action, said) for said in alternatives(whole, width)]
        return list(dict.fromkeys(entries))

    def _code(self, action: int) -> int | None:
        data = action & 0xFFFF
        if action & _HIGH in (Action.ERRNO, Action.TRACE):
            return data
        if data:
            self._note(f"the number {data} that a trap gives its handler")
        return None


def _unconditional_first(item: tuple[tuple[Entry, ...], list[str]]) -> tuple[bool, int, list[str]]:
    entries, names = item
    return any(args for _, args in entries), -len(names), names


def written(
    names: Sequence[str], action: int, args: Sequence[Said], code: int | None
) -> dict[str, Any]:
    """One entry of a profile.

    Args:
        names: The calls.
        action: What happens.
        args: When; always, if there are none.
        code: Its ``errnoRet``, or ``None``.
    """
    entry: dict[str, Any] = {"names": list(names), "action": worded(action)}
    if code is not None:
        entry["errnoRet"] = code
    if args:
        entry["args"] = [
            {"index": index, "value": value, "op": op} | ({"valueTwo": two} if op == MASKED else {})
            for index, op, value, two in args
        ]
    return entry


def worded(action: int) -> str:
    """What a profile calls *action*."""
    return _WORDS[action & _HIGH]


def width_of(archs: Sequence[Arch]) -> Width:
    """How wide the registers are on *archs*."""
    return Width(any(a.bits == 64 for a in archs), any(a.bits == 32 for a in archs))


def pairs_of(verdict: Verdict) -> list[Pair]:
    """A filter's verdict on one call as conditions and actions."""
    if isinstance(verdict, int):
        return [(Always(), verdict)]
    return [(Always(), pair) if isinstance(pair, int) else pair for pair in verdict]


def _comparable(verdict: Verdict) -> object:
    """A verdict without the differences that only the width of registers makes."""
    return [(_neutral(predicate), action) for predicate, action in pairs_of(verdict)]


def _neutral(predicate: RegisterPredicate) -> RegisterPredicate:
    match predicate:
        case Compare(bits=bits, op=op, value=value):
            if bits == 32:
                return predicate
            if op in (CompareOp.EQ, CompareOp.NE) and value >= _NEGATIVE:
                value &= 0xFFFFFFFF
            return Compare(predicate.arg, op, value, 0, predicate.signed, predicate.mask)
        case In(arg, values, bits, mask):
            return In(arg, values, 32 if bits == 32 else 0, mask)
        case And(terms):
            return And(tuple(_neutral(term) for term in terms))
        case Or(terms):
            return Or(tuple(_neutral(term) for term in terms))
        case Not(term):
            return Not(_neutral(term))
        case _:
            return predicate
