"""What a `where` means once its names are bound to one call.

A condition is a tree over two kinds of test. A :class:`RegisterTest` looks at
argument registers: the filter in the kernel can decide it, and nobody can race
it. A :class:`Look` needs the supervisor: the target's memory or descriptors, who
the caller is, or what happened before. :func:`judge` decides what can be decided
without looking; the filter half and the proof both rest on that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, TypeAlias

from unotify.abi.arch import Arch
from unotify.bpf import RegisterPredicate, evaluate

if TYPE_CHECKING:
    from unotify.calls import Call

__all__ = [
    "All",
    "Any",
    "Condition",
    "Constant",
    "Facts",
    "Look",
    "Need",
    "Negation",
    "PathTest",
    "RegisterTest",
    "holds",
    "judge",
    "needs",
    "tests",
]


class Need(IntEnum):
    """What a test looks at, the cheapest first; tests are made in this order."""

    REGISTERS = 0
    CALLER = 1
    """Who calls: only the calling thread itself, or its administrator, can change the answer."""
    MEMORY = 2
    """Memory or descriptors: another thread of the target can change it after the look (C2)."""
    STATE = 3
    """Counters and chance: last, so that they count only calls for which all else holds."""


class Facts(Protocol):
    """What the supervisor knows of a waiting call; each look may raise `TargetError`.

    Attributes:
        call: The typed call; reading a pointed-to argument marks it.
    """

    @property
    def call(self) -> Call:
        """The typed call."""

    @property
    def uid(self) -> int:
        """The caller's effective user id, as the supervisor's user namespace numbers it."""

    @property
    def gid(self) -> int:
        """The caller's effective group id."""

    @property
    def pid(self) -> int:
        """The process (thread group)."""

    @property
    def tid(self) -> int:
        """The thread."""

    @property
    def comm(self) -> str:
        """The thread's name."""

    @property
    def exe(self) -> str:
        """The path of the program it runs."""

    @property
    def cgroup(self) -> str:
        """Its path in the unified hierarchy."""

    def resolved(self, argument: str) -> str:
        """What the path argument names, symlinks and ``..`` followed, seen from its root.

        Of the address of a unix socket, its path is meant.
        """

    def fd_kind(self, fd: int) -> str:
        """``file``, ``directory``, ``socket``, ``pipe``, ``char``, ``block``, ``anon`` ..."""

    def fd_path(self, fd: int) -> str:
        """What ``/proc/PID/fd/N`` links to."""

    def count(self, key: str, scope: str) -> int:
        """Count one more call for *key* in ``process``, ``program`` or ``rule``; the new count."""

    def random(self) -> float:
        """A number from 0 up to, not including, 1."""

    def take(self, key: str, scope: str, rate: float, burst: float) -> bool:
        """Whether a token is left in the bucket of *key* that fills *rate* times a second."""


@dataclass(frozen=True, slots=True)
class Constant:
    """True or false for every call."""

    value: bool


@dataclass(frozen=True, slots=True, eq=False)
class RegisterTest:
    """A test on registers.

    Attributes:
        text: As its author wrote it.
        lower: Its predicate on an architecture.
    """

    text: str
    lower: Callable[[Arch], RegisterPredicate]


@dataclass(frozen=True, slots=True)
class PathTest:
    """What a test of a path as given comes down to.

    Attributes:
        argument: The path's name.
        below: Whether it has to lie below one of *texts*, or be one of them.
        texts: What it is compared with.
    """

    argument: str
    below: bool
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A test that only the supervisor can make.

    Attributes:
        text: As its author wrote it.
        need: The dearest thing that it looks at.
        check: Makes it.
        path: The same in plain words, where it has some.
        compared: The texts, networks and numbers of sets that it compares with: a set's are
            not in *text*.
    """

    text: str
    need: Need
    check: Callable[[Facts], bool]
    path: PathTest | None = None
    compared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class All:
    """Each of *terms*; true without any."""

    terms: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one of *terms*; false without any."""

    terms: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """The opposite of *term*."""

    term: Condition


Condition: TypeAlias = Constant | RegisterTest | Look | All | Any | Negation
"""Closed: a ``match`` over these six is complete."""


def tests(condition: Condition) -> list[RegisterTest | Look]:
    """All tests of *condition*, from left to right."""
    match condition:
        case RegisterTest() | Look():
            return [condition]
        case All(terms) | Any(terms):
            return [test for term in terms for test in tests(term)]
        case Negation(term):
            return tests(term)
        case Constant():
            return []


def needs(condition: Condition) -> frozenset[Need]:
    """All that *condition* may look at."""
    return frozenset(
        Need.REGISTERS if isinstance(test, RegisterTest) else test.need for test in tests(condition)
    )


def judge(condition: Condition, ask: Callable[[RegisterTest], bool | None]) -> bool | None:
    """Decide *condition* by registers alone; ``None`` if that takes a look.

    Args:
        condition: What to decide.
        ask: Answers a test on registers, or ``None`` if that is not known either.
    """
    match condition:
        case Constant(value):
            return value
        case RegisterTest():
            return ask(condition)
        case Look():
            return None
        case Negation(term):
            answer = judge(term, ask)
            return None if answer is None else not answer
        case All(terms) | Any(terms):
            decisive = isinstance(condition, Any)
            unknown = False
            for term in terms:
                answer = judge(term, ask)
                if answer is decisive:
                    return decisive
                unknown = unknown or answer is None
            return None if unknown else not decisive


def holds(condition: Condition, arch: Arch, args: Sequence[int], facts: Facts) -> bool:
    """Decide *condition* for a call that waits, looking at no more than it takes.

    Raises:
        TargetError: The target is gone, or gave an address that it cannot read itself.
    """

    def registers(test: RegisterTest) -> bool:
        return evaluate(_lowered(test, arch), args, bits=arch.bits)

    return _holds(condition, registers, facts)


@lru_cache(maxsize=4096)
def _lowered(test: RegisterTest, arch: Arch) -> RegisterPredicate:
    # Asked for each call that waits, and always the same.
    return test.lower(arch)


def _holds(condition: Condition, registers: Callable[[RegisterTest], bool], facts: Facts) -> bool:
    decided = judge(condition, registers)
    if decided is not None:
        return decided
    match condition:
        case Look(check=check):
            return check(facts)
        case Negation(term):
            return not _holds(term, registers, facts)
        case All(terms) | Any(terms):
            decisive = isinstance(condition, Any)
            for term in sorted(terms, key=_cost):
                if _holds(term, registers, facts) is decisive:
                    return decisive
            return not decisive
        case _:
            raise AssertionError(condition)  # the judge has decided it


def _cost(condition: Condition) -> Need:
    return max(needs(condition), default=Need.REGISTERS)
