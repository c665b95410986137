"""A policy, checked: what the loader, the importers and the compiler hand each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from errno import ENOSYS, errorcode
from types import MappingProxyType
from typing import Any, Final

from unotify.abi.arch import Arch
from unotify.abi.refusals import refusal
from unotify.abi.seccomp import Action
from unotify.policy.conditions import Condition, Constant

__all__ = ["TRUE", "Place", "Policy", "Rule", "Verb", "Verdict"]

TRUE: Final = Constant(True)


class Verb(Enum):
    """What to do with a call; the value is its name in a policy file."""

    ALLOW = "allow"
    DENY = "deny"
    FAIL = "fail"
    RETURN = "return"
    KILL_PROCESS = "kill-process"
    KILL_THREAD = "kill-thread"
    TRAP = "trap"
    TRACE = "trace"
    LOG = "log"
    CONTINUE = "continue"
    NOTIFY = "notify"
    """Python handlers, or whoever holds the listener, decide."""
    ACT = "act"
    """A handler's own verb (``perform``, ``inject`` ...); see `Verdict.handler`."""

    def __repr__(self) -> str:
        return f"Verb.{self.name}"


LETTING_GO: Final = frozenset({Verb.ALLOW, Verb.LOG, Verb.CONTINUE})
"""After these the kernel reads the caller's memory itself."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verb with its parameters.

    Attributes:
        verb: What to do.
        errno: For FAIL, positive.
        value: For RETURN, the return value; for TRAP and TRACE the 16 bits of data.
        why: For DENY ``hidden`` (ENOENT) or ``read-only`` (EROFS), else ``None``: as the call
            is used to.
        handler: For ACT, the verb's name.
        parameters: For ACT, what the file gives it.
    """

    verb: Verb
    errno: int | None = None
    value: int = 0
    why: str | None = None
    handler: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def fails_with(self, call: str | None) -> int | None:
        """The errno that *call* fails with, or ``None`` if it does not fail."""
        if self.verb is Verb.FAIL:
            return self.errno
        if self.verb is Verb.DENY:
            return refusal(call, self.why)
        return None

    def action(self, call: str | None) -> int | None:
        """The filter's return value that says the same, or ``None``: the supervisor must."""
        errno = self.fails_with(call)
        if errno is not None:
            return Action.ERRNO | errno
        match self.verb:
            case Verb.ALLOW | Verb.CONTINUE:
                return int(Action.ALLOW)
            case Verb.LOG:
                return int(Action.LOG)
            case Verb.KILL_PROCESS:
                return int(Action.KILL_PROCESS)
            case Verb.KILL_THREAD:
                return int(Action.KILL_THREAD)
            case Verb.TRAP:
                return Action.TRAP | self.value
            case Verb.TRACE:
                return Action.TRACE | self.value
            case Verb.RETURN if self.value == 0:
                return int(Action.ERRNO)  # an errno of 0 is success
        return None

    def __str__(self) -> str:
        match self.verb:
            case Verb.FAIL:
                return f"fail {errorcode.get(self.errno or 0, self.errno)}"
            case Verb.RETURN:
                return f"return {self.value}"
            case Verb.DENY if self.why:
                return f"deny ({self.why})"
            case Verb.TRAP | Verb.TRACE if self.value:
                return f"{self.verb.value} {self.value}"
            case Verb.ACT:
                return str(self.handler)
        return str(self.verb.value)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file or the like, 1-based line and column."""

    source: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        parts = [str(part) for part in (self.source, self.line, self.column) if part is not None]
        return ":".join(parts) or "policy"


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule.

    Attributes:
        calls: The names it is about, each with the architectures where; ``None`` for all.
        verdict: What to do.
        conditions: By call, when; a call that is not here always matches.
        name: As the file names it, or ``None``.
        where: The condition as written, or ``None``.
        log: Whether the supervisor shall see and log each match.
        racy: The author accepts that a call may go on after its memory was read.
        because: Why; needed with *racy*.
        place: Where it stands.
    """

    calls: Mapping[str, frozenset[Arch] | None]
    verdict: Verdict
    conditions: Mapping[str, Condition] = field(default_factory=lambda: MappingProxyType({}))
    name: str | None = None
    where: str | None = None
    log: bool = False
    racy: bool = False
    because: str | None = None
    place: Place = Place()

    def covers(self, call: str, arch: Arch) -> bool:
        """Whether it is about *call* as made on *arch*."""
        archs = self.calls.get(call, frozenset())
        return archs is None or arch in archs

    def condition(self, call: str) -> Condition:
        """When it matches *call*."""
        return self.conditions.get(call, TRUE)

    def __str__(self) -> str:
        return f'"{self.name}"' if self.name else f"the rule at {self.place}"


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """An ordered list of rules: the first that matches decides.

    Attributes:
        rules: In order.
        default: For known calls that no rule matches.
        architectures: Those whose calls are looked at; the first is tested first.
        bad_arch: For calls of any other architecture.
        unknown: For numbers that no table knows.
        flags: Names of filter flags to install with, such as ``SECCOMP_FILTER_FLAG_LOG``.
        listener_path: The socket that a container runtime gives the listener to, or ``None``.
        listener_metadata: What it is told there, or ``None``.
        source: What the policy is called in messages.
    """

    rules: tuple[Rule, ...]
    default: Verdict
    architectures: tuple[Arch, ...]
    bad_arch: Verdict = Verdict(Verb.KILL_PROCESS)
    unknown: Verdict = Verdict(Verb.FAIL, errno=ENOSYS)
    flags: tuple[str, ...] = ()
    listener_path: str | None = None
    listener_metadata: str | None = None
    source: str = "policy"
