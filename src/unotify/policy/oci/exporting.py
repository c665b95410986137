"""From a policy to an OCI seccomp profile.

A profile is unordered, so what an entry says must be true by itself: from each rule's
condition those of earlier rules with another verdict are taken away. Where that has
no words the call becomes SCMP_ACT_NOTIFY as a whole: the listener decides, with the
policy itself. What is left unsaid is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from unotify.abi import tables as call_tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Always, And, Compare, CompareOp, In, Not, Or, RegisterPredicate, Verdict
from unotify.policy.compiling import action_of, tables
from unotify.policy.conditions import Look, tests
from unotify.policy.deciding import cases
from unotify.policy.model import Policy, Rule
from unotify.policy.oci.cubes import Said, Unsayable, Width, alternatives
from unotify.policy.oci.words import ARCHITECTURES
from unotify.policy.problems import listed

__all__ = ["export_profile"]

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

_Entry = tuple[int, tuple[Said, ...]]


def export_profile(policy: Policy) -> tuple[dict[str, Any], list[str]]:
    """Make an OCI profile of *policy*.

    Returns:
        The runtime specification's object, and what the format cannot say.

    Raises:
        NotExpressible: A condition on registers has no meaning on an architecture.
    """
    return _Exporter(policy).document()


class _Exporter:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._notes: dict[str, None] = {}
        self._default = action_of(policy.default, None)
        self._architectures = [arch for arch in policy.architectures if arch in _NAMES]
        self._tables = tables(policy)

    def document(self) -> tuple[dict[str, Any], list[str]]:
        policy = self._policy
        groups: dict[tuple[_Entry, ...], list[str]] = {}
        for name, archs in sorted(self._calls().items()):
            entries = tuple(self._entries(name, archs))
            if entries:
                groups.setdefault(entries, []).append(name)
        syscalls = [
            {"names": names, **self._action(action)}
            | ({"args": [_written(said) for said in args]} if args else {})
            for entries, names in sorted(groups.items(), key=_unconditional_first)
            for action, args in entries
        ]
        profile: dict[str, Any] = {"defaultAction": _WORDS[self._default & _HIGH]}
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
        self._settings(any(entry["action"] == "SCMP_ACT_NOTIFY" for entry in syscalls))
        return profile, list(self._notes)

    def _note(self, text: str) -> None:
        self._notes[text] = None

    # ------------------------------------------------------------- what has no words

    def _settings(self, notified: bool) -> None:
        policy = self._policy
        lost = [arch.label for arch in policy.architectures if arch not in _NAMES]
        if lost:
            self._note(f"the format does not know the architecture {listed(lost)}")
        if action_of(policy.bad_arch, None) != Action.KILL_THREAD:
            self._note(
                f'calls of other architectures: the policy says "{policy.bad_arch}", runtimes kill '
                "the thread"
            )
        unknown = action_of(policy.unknown, None)
        usual = self._default if self._default & _HIGH in _LETTING_GO else Action.ERRNO | 38
        if unknown != usual:
            self._note(
                f'calls that no table knows: the policy says "{policy.unknown}", runtimes have '
                "their own answer (runc ENOSYS, unless the default lets calls go on)"
            )
        if self._default == _NOTIFY:
            self._note("the default is for the listener to decide: runc refuses that, crun does it")
        if (notified or self._default == _NOTIFY) and policy.listener_path is None:
            self._note("listenerPath is not set, and SCMP_ACT_NOTIFY needs it")
        if notified or self._default == _NOTIFY:
            for rule in policy.rules:
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

    def _calls(self) -> dict[str, list[Arch]]:
        found: dict[str, list[Arch]] = {}
        for arch in self._architectures:
            for name in call_tables.names(arch).values():
                found.setdefault(name, []).append(arch)
        return found

    def _entries(self, name: str, archs: Sequence[Arch]) -> Iterator[_Entry]:
        width = Width(any(a.bits == 64 for a in archs), any(a.bits == 32 for a in archs))
        try:
            yield from self._said(self._verdict(name, archs), width)
        except Unsayable as why:
            self._note(f"{name}: {why}; the listener decides on all of these calls")
            yield _NOTIFY, ()

    def _verdict(self, name: str, archs: Sequence[Arch]) -> Verdict:
        """What the filter says, the same on all architectures."""
        found = []
        for arch in sorted(archs, key=lambda arch: -arch.bits):
            nr = call_tables.number(name, arch)
            assert nr is not None
            found.append(self._tables[arch][nr])
        if any(_comparable(other) != _comparable(found[0]) for other in found[1:]):
            labels = listed(arch.label for arch in archs)
            raise Unsayable(f"it is treated differently on {labels}, and entries are for all")
        return found[0]

    def _said(self, verdict: Verdict, width: Width) -> list[_Entry]:
        pairs = _pairs(verdict)
        entries: list[_Entry] = []
        for at, (predicate, action) in enumerate(pairs):
            if action == self._default:
                continue
            others = [Not(before) for before, other in pairs[:at] if other != action]
            whole = And((predicate, *others)) if others else predicate
            entries += [(action, said) for said in alternatives(whole, width)]
        return list(dict.fromkeys(entries))

    # ------------------------------------------------------------- words

    def _action(self, action: int) -> dict[str, Any]:
        code = self._code(action)
        return {"action": _WORDS[action & _HIGH]} | ({} if code is None else {"errnoRet": code})

    def _code(self, action: int) -> int | None:
        data = action & 0xFFFF
        if action & _HIGH in (Action.ERRNO, Action.TRACE):
            return data
        if data:
            self._note(f"the number {data} that a trap gives its handler")
        return None


def _unconditional_first(item: tuple[tuple[_Entry, ...], list[str]]) -> tuple[bool, int, list[str]]:
    entries, names = item
    return any(args for _, args in entries), -len(names), names


def _written(said: Said) -> dict[str, Any]:
    index, op, value, two = said
    written = {"index": index, "value": value, "op": op}
    return written | ({"valueTwo": two} if op == "SCMP_CMP_MASKED_EQ" else {})


def _pairs(verdict: Verdict) -> list[tuple[RegisterPredicate, int]]:
    if isinstance(verdict, int):
        return [(Always(), verdict)]
    return [(Always(), pair) if isinstance(pair, int) else pair for pair in verdict]


def _comparable(verdict: Verdict) -> object:
    """A verdict without the differences that only the width of registers makes."""
    return [(_neutral(predicate), action) for predicate, action in _pairs(verdict)]


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
