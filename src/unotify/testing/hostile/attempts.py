"""Calls by which a target tries to get one thing: every spelling, every ABI, every name of it."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.abi.model import ArgSpec, Role
from unotify.policy.deciding import cases
from unotify.policy.model import LETTING_GO, Policy, Rule, Verb
from unotify.policy.offline import Memory
from unotify.testing.hostile.bans import Identity
from unotify.testing.hostile.effects import Effect
from unotify.testing.hostile.spelling import Arguments, Put, registers, spelled
from unotify.testing.hostile.witnesses import HARMLESS, Words, decision_of

__all__ = [
    "ABIS",
    "LINK",
    "OTHER",
    "OTHER_DIRECTORY",
    "Attempt",
    "Pretext",
    "attempts",
    "by_new_mount",
    "from_outside",
    "named",
    "pretexts",
    "spelled_otherwise",
    "with_number",
]

ABIS: Final = (Arch.X86_64, Arch.I386, Arch.X32)
"""What the simulated kernel takes calls by, whatever this machine does."""

LINK, OTHER, OTHER_DIRECTORY = "/tmp/link", "/tmp/other", "/tmp/moved"
"""Names that the target makes: a symbolic link, a new name, a new name of a directory."""

_RING: Final = frozenset(
    [
        "openat",
        "renameat2",
        "unlinkat",
        "mkdirat",
        "symlinkat",
        "linkat",
        "newfstatat",
        "setxattr",
        "getxattr",
        "connect",
        "bind",
        "listen",
        "socket",
        "truncate",
        "sendmsg",
    ]
)
"""What an io_uring carries out."""
_BY_DESCRIPTOR: Final = frozenset(
    [
        "fchmod",
        "fchown",
        "fchown32",
        "ftruncate",
        "ftruncate64",
        "fsetxattr",
        "fremovexattr",
        "fstat",
        "fstat64",
        "fgetxattr",
        "flistxattr",
        "fstatfs",
        "fstatfs64",
    ]
)
_SOCKETCALL: Final = {
    "socket": 1,
    "bind": 2,
    "connect": 3,
    "listen": 4,
    "sendto": 11,
    "sendmsg": 16,
}


@dataclass(frozen=True)
class Attempt:
    """One call that would get what is forbidden.

    Attributes:
        call: The kernel's name.
        arch: The ABI.
        given: Its arguments.
        tags: What is peculiar about it; see `unotify.testing.hostile.lessons`.
        needs: The preparation without which it makes no sense, or empty.
        ring: Whether a ring carries it out.
        grants: What it gets where that is not in its arguments.
    """

    call: str
    arch: Arch
    given: Arguments
    tags: frozenset[str] = frozenset()
    needs: str = ""
    ring: bool = False
    grants: Effect | None = None

    def text(self, native: Arch) -> str:
        """It in words."""
        by = f" by the {self.arch.label} ABI" if self.arch is not native else ""
        verb = "has its ring do" if self.ring else "calls"
        return f"{verb} {shown(self.call, self.given)}{by}"


@dataclass(frozen=True)
class Pretext:
    """A call whose memory is rewritten while it waits.

    Attributes:
        seemly: The arguments that it is made with.
        attempt: What it becomes.
    """

    seemly: Arguments
    attempt: Attempt

    def text(self) -> str:
        """It in words."""
        made = shown(self.attempt.call, self.seemly)
        return f"calls {made}, with a second thread that waits for the answer, too"


def shown(call: str, given: Arguments) -> str:
    """A call as people write it, without what says nothing."""
    words = []
    for name, value in given.items():
        if isinstance(value, str):
            words.append(f'{name}="{value}"' if value != "NULL" else f"{name}=NULL")
        elif isinstance(value, int):
            if value not in (0, -100):
                plain = f"0o{value:o}" if name == "mode" else f"{value:#x}" if value > 9 else value
                words.append(f"{name}={plain}")
        elif callable(value):
            words.append(f"{name}=...")
        elif fields := ", ".join(f"{key}={number:#x}" for key, number in value.items() if number):
            words.append(f"{name}={{{fields}}}")
    return f"{call}({', '.join(words)})"


def attempts(effect: Effect, rule: Rule | None, policy: Policy) -> Iterator[Attempt]:
    """All calls, by all ABIs, that have *effect* by themselves."""
    native = policy.architectures[0]
    for arch in (native, *(one for one in ABIS if one is not native)):
        for call, given in spelled(effect, arch).items():
            tags = set()
            if arch not in policy.architectures:
                tags.add("abi")
            elif rule is not None and not rule.covers(call, arch):
                tags.add("twin")
            if call in _BY_DESCRIPTOR:
                tags.add("descriptor")
                yield Attempt(call, arch, given, frozenset(tags), "descriptor")
                continue
            yield Attempt(call, arch, given, frozenset(tags))
            if arch is Arch.I386 and call in _SOCKETCALL:
                many: Arguments = {"call": _SOCKETCALL[call], "args": _in_memory(call, given)}
                multiplexed = frozenset({*tags, "multiplexed"} - {"abi"})
                yield Attempt("socketcall", arch, many, multiplexed)
    ways = spelled(effect, native)
    if effect.kind in _RING and ways:
        call = effect.kind if effect.kind in ways else next(iter(ways))
        yield Attempt(call, native, ways[call], frozenset({"ring"}), "ring", ring=True)


class _Piece(Memory):
    def __init__(self, into: Callable[[bytes], int], pointer: int) -> None:
        super().__init__(pointer)
        self._into = into

    def put(self, data: bytes) -> int:
        return self._into(data)


def _in_memory(call: str, given: Arguments) -> Put:
    """The arguments of a multiplexed call, which are in memory (B6)."""

    def put(into: Callable[[bytes], int], arch: Arch) -> int:
        words = registers(call, arch, given, _Piece(into, arch.pointer))
        return into(b"".join((word & 0xFFFFFFFF).to_bytes(4, "little") for word in words))

    return put


def spelled_otherwise(effect: Effect, rule: Rule | None, policy: Policy) -> Iterator[Attempt]:
    """The same by other names of what it is done to: written otherwise, linked, or moved."""
    if not effect.paths:
        return
    native = policy.architectures[0]
    ways = spelled(effect, native)
    covered = [call for call in ways if rule is None or rule.covers(call, native)]
    covered = [call for call in covered if call not in _BY_DESCRIPTOR] or list(ways)[:1]
    argument, path = effect.paths[0]
    directory, name = posixpath.split(path)
    under = f"{directory.rstrip('/')}/./{name}"
    for call in covered:
        spec = model.spec(call, native)
        given = ways[call]
        if argument not in given:
            continue

        def by(text: str, tag: str, needs: str = "", **more: int) -> Attempt:
            return Attempt(call, native, {**given, argument: text, **more}, frozenset({tag}), needs)  # noqa: B023

        yield by(under, "spelling")
        yield by(f"/proc/self/root{path}", "spelling")
        yield by(LINK, "link", "link")
        yield by(OTHER, "moved", "moved")
        yield by(f"{OTHER_DIRECTORY}/{name}", "moved", "moved directory")
        dirfd = spec.arg(argument).at
        if dirfd is not None:
            yield by(name, "spelling", "directory", **{dirfd: -1})
        if effect.kind == "openat":
            yield by("/proc/self/fd/-1", "spelling", "bare")


def pretexts(
    effect: Effect, rule: Rule | None, policy: Policy, words: Words, who: Identity
) -> Iterator[Pretext]:
    """Calls that the supervisor looks at, and that are something else a moment later."""
    native = policy.architectures[0]

    def verb(call: str, given: Arguments) -> Verb | None:
        said = decision_of(policy, call, native, given, who)
        if said is None or (said.verdict.handler or "perform") != "perform":
            return None
        return said.verdict.verb if said.verdict.verb in (*LETTING_GO, Verb.ACT) else None

    for call, given in spelled(effect, native).items():
        if not any(case.looks for case in cases(policy, native, call)):
            continue
        attempt = Attempt(call, native, given, frozenset({"rewrite"}))
        for arg in model.spec(call, native).args:
            found: set[Verb] = set()
            for value in _seemly(arg, given, words):
                seemly = {**given, arg.name: value}
                said = verb(call, seemly)
                if said is not None and said not in found:
                    found.add(said)
                    yield Pretext(seemly, attempt)
        for argument, _ in effect.paths[:1]:
            linked = {**given, argument: LINK}
            if argument in given and verb(call, linked) is not None:
                swapped = replace(attempt, given=linked, tags=frozenset({"swap"}))
                yield Pretext(linked, swapped)


def _seemly(arg: ArgSpec, given: Arguments, words: Words) -> Iterator[str | dict[str, int]]:
    """What the target may say at first for an argument in memory."""
    if arg.name not in given or callable(given[arg.name]):
        return
    match arg.role:
        case Role.PATH:
            yield from (HARMLESS, *words.paths)
        case Role.STRING:
            yield from ("x", *words.texts)
        case Role.SOCKADDR:
            yield from words.addresses
        case Role.IN_STRUCT if arg.struct == "open_how":
            yield {"flags": 0, "mode": 0}


def named(used: str) -> str:
    """The name of a preparation that has been made, without what it gave."""
    return used.partition("=")[0]


def with_number(attempt: Attempt, used: tuple[str, ...]) -> Attempt:
    """The attempt with the descriptor that its preparation gave."""
    number = next(
        (one.partition("=")[2] for one in used if named(one) == attempt.needs and "=" in one), ""
    )
    if not number:
        return attempt
    given: Arguments = {
        name: int(number)
        if value == -1 or (name == "fd" and attempt.needs == "descriptor")
        else value.replace("/-1", f"/{number}")
        if isinstance(value, str)
        else value
        for name, value in attempt.given.items()
    }
    return Attempt(
        attempt.call, attempt.arch, given, attempt.tags, attempt.needs, attempt.ring, attempt.grants
    )


def from_outside(effect: Effect, native: Arch, suppose: frozenset[str]) -> Iterator[Attempt]:
    """What somebody outside has, and passes as a descriptor."""
    if "accomplice" not in suppose or effect.kind not in ("openat", "socket"):
        return
    tags = frozenset({"accomplice"})
    yield Attempt("recvmsg", native, {"fd": 3}, tags, grants=effect)
    yield Attempt("recvmmsg", native, {"fd": 3, "vlen": 1}, tags, grants=effect)
    yield Attempt("pidfd_getfd", native, {"pidfd": 3, "targetfd": 4}, tags, grants=effect)


def by_new_mount(effect: Effect, native: Arch) -> Iterator[Attempt]:
    """A mount in the steps of the newer interface."""
    if effect.kind == "mount":
        target = dict(effect.paths)["target"]
        given: Arguments = {
            "from_dirfd": -1,
            "from_path": "",
            "to_dirfd": -100,
            "to_path": target,
            "flags": 4,
        }
        yield Attempt("move_mount", native, given, frozenset({"twin"}), "new mount")
