"""Profiles for containers whose calls an agent answers: a policy above an engine's own profile.

What a rule of the policy decides, it decides; all else is as the engine's profile has it. A
profile is unordered, so the two must not say different things of the same call: from each entry
of the engine's the calls are taken that the policy always decides, and of those that it decides
under a condition the rest is left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Always, And, Compare, Not, Or, RegisterPredicate
from unotify.errors import NotExpressible
from unotify.policy.deciding import cases
from unotify.policy.installing import FLAGS
from unotify.policy.kernel_actions import action_of
from unotify.policy.model import Policy, Verb, Verdict
from unotify.policy.oci.cubes import Said as Test
from unotify.policy.oci.cubes import Unsayable, alternatives
from unotify.policy.oci.exporting import Entry as Said
from unotify.policy.oci.exporting import Exporter, pairs_of, width_of, worded, written
from unotify.policy.oci.importing import architectures, counts
from unotify.policy.oci.profile import Argument, Entry, Filter
from unotify.policy.oci.reading import read
from unotify.policy.oci.words import ARCHITECTURES, MASKED, OPERATORS
from unotify.policy.problems import listed

__all__ = ["USUAL_CAPABILITIES", "Base", "runtime_profile"]

_NOTIFY: Final = int(Action.USER_NOTIF)
_KILLABLE: Final = FLAGS["wait-killable-recv"].full

_USUAL: Final = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
    "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
)

USUAL_CAPABILITIES: Final = frozenset(f"CAP_{name}" for name in _USUAL.split())
"""What Docker and containerd give a container that asks for nothing."""


@dataclass(frozen=True, slots=True)
class Base:
    """An engine's own profile, and for what it is read.

    Attributes:
        text: The JSON.
        source: What messages call it.
        capabilities: What the container may have: ``includes`` and ``excludes`` are settled with
            it. ``None`` leaves them in the profile for an engine that knows.
        kernel: For ``minKernel``, or ``None``: the newest.
        keep_kernel: Whether the engine itself knows ``minKernel``.
    """

    text: str
    source: str
    capabilities: frozenset[str] | None = USUAL_CAPABILITIES
    kernel: tuple[int, int] | None = None
    keep_kernel: bool = False


def runtime_profile(
    policy: Policy,
    *,
    listener: str,
    metadata: str | None = None,
    base: Base | None = None,
    wait_killable: bool = False,
    native: Arch = Arch.X86_64,
) -> tuple[dict[str, Any], list[str]]:
    """Make the profile for containers whose calls an agent answers by *policy*.

    Args:
        policy: The agent's.
        listener: The agent's socket, an absolute path.
        metadata: What the agent is told beside.
        base: What decides where no rule of *policy* does; without one its default.
        wait_killable: Set SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: a signal that does not kill
            cannot interrupt a call that the agent has received (kernel-facts I2). crun has
            taken it since 2022, runc does since 1.5 with libseccomp 2.6.
        native: The architecture of the host.

    Returns:
        The profile, and what it says otherwise than the policy, or leaves out.

    Raises:
        InvalidPolicy: *base* has mistakes: all of them, in order.
        NotExpressible: A runtime would refuse the profile, or the two cannot be said together.
    """
    given = replace(policy, listener_path=listener, listener_metadata=metadata)
    if wait_killable:
        given = replace(given, flags=tuple(dict.fromkeys((*policy.flags, _KILLABLE))))
    if base is None:
        exporter = Exporter(given)
        document = exporter.document()
        notes = list(exporter.notes)
    else:
        composer = _Composer(given, base, native)
        document = composer.document()
        notes = list(composer.notes)
    _refused_by_runtimes(document, policy)
    if not any(entry["action"] == worded(_NOTIFY) for entry in document["syscalls"]):
        notes.append("the filter decides all of it: nothing comes to the listener")
    return document, notes


def _refused_by_runtimes(document: Mapping[str, Any], policy: Policy) -> None:
    notify = worded(_NOTIFY)
    if document["defaultAction"] == notify:
        raise NotExpressible(
            "the default is for the listener to decide, which runc refuses",
            source=policy.source,
            hint='a default that a filter can carry out, such as "allow", and rules for the rest',
        )
    if any(
        entry["action"] == notify and "write" in entry["names"] for entry in document["syscalls"]
    ):
        raise NotExpressible(
            "write is for the listener to decide, which runc refuses: it writes itself before "
            "the agent has the listener",
            source=policy.source,
            hint='leave write out ("-write" at the end of calls), or decide it by registers alone',
        )


class _Composer:
    def __init__(self, policy: Policy, base: Base, native: Arch) -> None:
        self.notes: dict[str, None] = {}
        self._base = base
        self._profile = read(base.text, base.source, native)
        self._entries = [entry for entry in self._profile.entries if self._counts(entry, native)]
        theirs = architectures(self._profile, native)
        self._architectures = tuple(arch for arch in theirs if arch in policy.architectures)
        self._policy = replace(policy, default=_mark(policy), architectures=self._architectures)
        self._default = action_of(self._profile.default, None)
        self._mark = action_of(self._policy.default, None)
        self._exporter = Exporter(self._policy)
        self._notes_about(policy, theirs)

    def _counts(self, entry: Entry, native: Arch) -> bool:
        """Whether *entry* may count: what the engine settles itself is left open."""
        caps, kernel = self._base.capabilities, self._base.kernel
        here, there = entry.includes, entry.excludes
        if caps is None:
            here, there = (replace(found, caps=()) for found in (here, there))
        if self._base.keep_kernel:
            here, there = (replace(found, kernel=None) for found in (here, there))
        settled = replace(entry, includes=here, excludes=there)
        return counts(settled, caps or frozenset(), kernel, native)

    def document(self) -> dict[str, Any]:
        """The profile."""
        ours: dict[str, tuple[Said, ...]] = {}
        rests: dict[str, list[tuple[Entry, tuple[Said, ...]]]] = {}
        later: list[str] = []
        for name, archs in sorted(self._touched().items()):
            found = [entry for entry in self._entries if name in entry.names]
            try:
                ours[name], rest = self._policys(name, archs)
            except Unsayable as why:
                self._note(f"{name}: {why}; the listener decides on all of these calls")
                ours[name], rest = ((_NOTIFY, ()),), None
                later.append(name)
            if rest is not None:
                rests[name] = self._rest(name, archs, rest, found)
            if self._falls_through(name, archs):
                later.append(name)
        self._note_of_defaults(later)
        syscalls = self._exporter.grouped(
            {
                name: tuple(said for said in entries if said[0] != self._default)
                for name, entries in ours.items()
            }
        )
        syscalls += self._bases(frozenset(ours), rests)
        policy, profile = self._policy, self._profile
        document: dict[str, Any] = {"defaultAction": worded(self._default)}
        if _code(self._default) is not None:
            document["defaultErrnoRet"] = _code(self._default)
        document["architectures"] = [_NAMES[arch] for arch in self._architectures]
        if flags := list(dict.fromkeys((*profile.flags, *policy.flags))):
            document["flags"] = flags
        document["listenerPath"] = policy.listener_path
        if policy.listener_metadata is not None:
            document["listenerMetadata"] = policy.listener_metadata
        document["syscalls"] = syscalls
        return document

    # ------------------------------------------------------------- what the policy says

    def _touched(self) -> dict[str, list[Arch]]:
        """The calls that a rule is about."""
        return {
            name: archs
            for name, archs in self._exporter.calls().items()
            if any(cases(self._policy, arch, name) for arch in archs)
        }

    def _policys(
        self, name: str, archs: Sequence[Arch]
    ) -> tuple[tuple[Said, ...], RegisterPredicate | None]:
        """What the policy says of *name*, and where it says nothing: ``None`` if nowhere."""
        pairs = pairs_of(self._exporter.verdict(name, archs))
        said = tuple(self._exporter.said(pairs, width_of(archs)))
        *before, (_, last) = pairs
        if last != self._mark:
            return said, None
        return said, And(tuple(Not(predicate) for predicate, _ in before)) if before else Always()

    def _falls_through(self, name: str, archs: Sequence[Arch]) -> bool:
        """Whether the listener may see calls that no rule matches."""
        found = [(arch, case) for arch in archs for case in cases(self._policy, arch, name)]
        return any(case.looks for _, case in found)

    # ------------------------------------------------------------- what the engine says

    def _rest(
        self, name: str, archs: Sequence[Arch], rest: RegisterPredicate, found: list[Entry]
    ) -> list[tuple[Entry, tuple[Said, ...]]]:
        """What is left of the engine's entries about *name* where the policy says nothing."""
        self._agree(name, archs, found)
        left = []
        for entry in found:
            try:
                said = self._left(name, archs, rest, entry)
            except Unsayable as why:
                raise NotExpressible(
                    f"{name}: what the policy leaves to {entry.place} cannot be said: {why}",
                    source=self._policy.source,
                    hint=f"a rule about {name} without where, or with a simpler one",
                ) from None
            action = action_of(entry.verdict, name)
            left.append((entry, tuple((action, args) for args in said)))
        return left

    def _left(
        self, name: str, archs: Sequence[Arch], rest: RegisterPredicate, entry: Entry
    ) -> list[tuple[Test, ...]]:
        try:
            return alternatives(And((rest, _condition(entry.args))), width_of(archs))
        except Unsayable:
            as_read = [_as_read(name, arg) for arg in entry.args]
            said = alternatives(And((rest, _condition(entry.args, as_read))), width_of(archs))
            self._note(
                f"{name}: of the numbers at {entry.place} only the bits that the kernel reads count"
            )
            return said

    def _agree(self, name: str, archs: Sequence[Arch], found: list[Entry]) -> None:
        for at, one in enumerate(found):
            for other in found[at + 1 :]:
                if one.verdict == other.verdict or _never_both(one, other):
                    continue
                both = And((_condition(one.args), _condition(other.args)))
                if alternatives(both, width_of(archs)):
                    raise NotExpressible(
                        f"{name}: {one.place} and {other.place} contradict each other, and the "
                        "policy leaves a part of it to them",
                        source=self._policy.source,
                        hint=f"a rule of the policy about {name} without where",
                    )

    def _bases(
        self,
        decided: frozenset[str],
        rests: Mapping[str, list[tuple[Entry, tuple[Said, ...]]]],
    ) -> Iterator[dict[str, Any]]:
        for entry in self._entries:
            beside = self._beside(entry)
            action = action_of(entry.verdict, None)
            names = [name for name in entry.names if name not in decided]
            if names:
                given = [(arg.index, arg.op, arg.value, arg.value_two) for arg in entry.args]
                yield written(names, action, given, _code(action)) | beside
            groups: dict[tuple[Said, ...], list[str]] = {}
            for name in entry.names:
                for other, said in rests.get(name, ()):
                    if other is entry:
                        groups.setdefault(said, []).append(name)
            for said, names in groups.items():
                for found, args in said:
                    yield written(names, found, args, _code(found)) | beside

    def _beside(self, entry: Entry) -> dict[str, Any]:
        """Of ``includes`` and ``excludes`` what only the engine can tell."""
        return {
            key: table
            for key, found in (("includes", entry.includes), ("excludes", entry.excludes))
            if (table := self._open(found))
        }

    def _open(self, found: Filter) -> dict[str, Any]:
        table: dict[str, Any] = {}
        if found.caps and self._base.capabilities is None:
            table["caps"] = list(found.caps)
        if found.kernel and self._base.keep_kernel:
            table["minKernel"] = "{}.{}".format(*found.kernel)
        return table

    # ------------------------------------------------------------- what may surprise

    def _note(self, text: str) -> None:
        self.notes[text] = None

    def _notes_about(self, policy: Policy, theirs: Collection[Arch]) -> None:
        for note in self._profile.notes:
            self._note(f"{self._base.source}: {note}")
        lost = [arch.label for arch in theirs if arch not in policy.architectures]
        if lost:
            self._note(f"{listed(lost)}: the policy does not list it, so its calls are fatal")
        if policy.default.verb not in (Verb.ALLOW, Verb.NOTIFY):
            self._note(
                f'the default of the policy is "{policy.default}"; calls without a rule are '
                f"decided by {self._base.source} instead"
            )
        self._given_default = policy.default

    def _note_of_defaults(self, later: Iterable[str]) -> None:
        stricter = [
            name
            for name in sorted(set(later))
            if not any(
                not entry.args
                and entry.verdict.verb is Verb.ALLOW
                and not self._beside(entry)
                and name in entry.names
                for entry in self._entries
            )
        ]
        if stricter:
            self._note(
                f"{listed(stricter)}: where the listener sees that no rule matches, the policy's "
                f'default counts ("{self._given_default}"), not {self._base.source}'
            )


_NAMES: Final = {arch: name for name, arch in ARCHITECTURES.items()}


def _mark(policy: Policy) -> Verdict:
    """A verdict that no rule of *policy* has: there the engine's profile decides."""
    used = {rule.verdict.value for rule in policy.rules if rule.verdict.verb is Verb.TRACE}
    return Verdict(Verb.TRACE, value=next(n for n in range(0xFFFF, -1, -1) if n not in used))


def _code(action: int) -> int | None:
    return action & 0xFFFF if action & 0xFFFF0000 in (Action.ERRNO, Action.TRACE) else None


def _condition(args: Sequence[Argument], bits: Sequence[int] = ()) -> RegisterPredicate:
    """When *args* hold, each on so many *bits* of its register; 0 for all of them."""
    tests = tuple(_test(arg, wide) for arg, wide in zip(args, bits or [0] * len(args), strict=True))
    if not tests:
        return Always()
    if len({arg.index for arg in args}) < len(args):
        # As runc does it: two tests of one argument are alternatives.
        return Or(tests)
    return And(tests) if len(tests) > 1 else tests[0]


def _test(arg: Argument, bits: int) -> RegisterPredicate:
    if arg.op == MASKED:
        if not arg.value:
            return Always()
        op = OPERATORS[arg.op]
        return Compare(arg.index, op, arg.value & arg.value_two, bits, mask=arg.value)
    return Compare(arg.index, OPERATORS[arg.op], arg.value, bits)


def _as_read(name: str, arg: Argument) -> int:
    """32 if the kernel reads no more of an argument, else 0."""
    read = next((spec.bits for spec in model.spec(name).args if spec.index == arg.index), None)
    return 32 if read == 32 and max(arg.value, arg.value_two) < 1 << 32 else 0


def _never_both(one: Entry, other: Entry) -> bool:
    """Whether capabilities or the kernel let only one of two entries count."""
    for a, b in ((one, other), (other, one)):
        if set(a.includes.caps) & set(b.excludes.caps):
            return True
        least, most = a.includes.kernel, b.excludes.kernel
        if least is not None and most is not None and least >= most:
            return True
    return False
