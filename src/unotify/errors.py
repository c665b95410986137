"""Every public exception, in five families.

The families answer one question each: who has to act? `PolicyError`: the
author of a policy. `ProtocolError`: the author of this package, or the
kernel's. `TargetError`: nobody; the target gets an errno. `KernelError`: the
administrator. `HandlerFault`: the author of a handler.
"""

from __future__ import annotations

import errno as _errno
import os as _os
from collections.abc import Sequence
from typing import Self

__all__ = [
    "AlreadySupervised",
    "BadAddress",
    "Conflict",
    "Error",
    "FilterTooLarge",
    "HandlerFault",
    "InvalidPolicy",
    "InvalidProgram",
    "KernelError",
    "KernelProtocolError",
    "LocalProtocolError",
    "NotExpressible",
    "PathTooLong",
    "PolicyError",
    "ProtocolError",
    "RacyContinue",
    "Refused",
    "TargetError",
    "TargetGone",
    "UnknownName",
    "Unsupported",
]


class Error(Exception):
    """The root of all errors that unotify raises on purpose.

    Attributes:
        hint: One sentence on what to do about it, or ``None``.
    """

    hint: str | None = None

    def __init__(self, *args: object, hint: str | None = None) -> None:
        super().__init__(*args)
        if hint is not None:
            self.hint = hint


class PolicyError(Error, ValueError):
    """A policy, a filter rule or an expression is wrong.

    Attributes:
        source: The file or object it came from, or ``None``.
        line: 1-based line in *source*, or ``None``.
        column: 1-based column in *line*, or ``None``.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.line = line
        self.column = column


class InvalidPolicy(PolicyError):
    """A policy file with mistakes; its own place, and hint, are those of the first.

    Attributes:
        problems: All of them, in the order of the file.
    """

    def __init__(self, problems: Sequence[PolicyError]) -> None:
        first = problems[0]
        more = len(problems) - 1
        others = f" (and {more} more {'problem' if more == 1 else 'problems'})" if more else ""
        super().__init__(
            f"{first}{others}",
            source=first.source,
            line=first.line,
            column=first.column,
            hint=first.hint,
        )
        self.problems = tuple(problems)


class UnknownName(PolicyError):
    """A call, argument, constant or feature that nothing here is called."""


class NotExpressible(PolicyError):
    """The rule is meaningful but a seccomp filter cannot decide it."""


class FilterTooLarge(PolicyError):
    """The compiled program exceeds ``BPF_MAXINSNS`` (4096 instructions)."""


class InvalidProgram(PolicyError):
    """A BPF program that the kernel would refuse with ``EINVAL``.

    Attributes:
        index: The 0-based index of the offending instruction, or ``None`` when it
            is the program as a whole.
    """

    def __init__(self, message: str, *, index: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.index = index


class Conflict(PolicyError):
    """Two rules, flags or handlers contradict each other."""


class RacyContinue(PolicyError):
    """A rule would let a call go on after looking at memory that can change."""


class ProtocolError(Error):
    """The rules of a notification's life were broken; never raised itself."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Refuse to make the abstract class itself."""
        if cls is ProtocolError:
            raise TypeError("ProtocolError is abstract: raise one of its two subclasses")
        return super().__new__(cls, *args)


class LocalProtocolError(ProtocolError):
    """We, or a handler, made a move that is illegal in this state."""


class KernelProtocolError(ProtocolError):
    """The kernel sent something that this package cannot understand."""


class TargetError(Error):
    """Something about the target; it gets `errno` if this propagates.

    Attributes:
        errno: The positive errno that the target's call fails with.
    """

    errno: int = _errno.EPERM

    def __init__(self, message: str = "", *, errno: int | None = None) -> None:
        if errno is not None:
            self.errno = errno
        super().__init__(message or _os.strerror(self.errno))


class TargetGone(TargetError):
    """The notification ended: target killed, interrupted, or answered elsewhere.

    This is life, not a fault: nobody waits for a reply any more. Undo what was
    done for the call, and expect the same call again (kernel-facts I10).
    """

    errno = _errno.ESRCH


class BadAddress(TargetError):
    """An address that the target itself could not read: ``EFAULT``."""

    errno = _errno.EFAULT


class PathTooLong(TargetError):
    """No NUL within the limit: ``ENAMETOOLONG``."""

    errno = _errno.ENAMETOOLONG


class Refused(TargetError):
    """A handler says no: raise ``Refused(errno=...)`` from anywhere below it."""


class KernelError(Error, OSError):
    """One of unotify's own system calls failed.

    Attributes:
        call: The call that failed, as the manual spells it (``"seccomp(2)"``).
        errno: The positive errno.
    """

    call: str

    def __init__(
        self, errno: int, call: str, message: str = "", *, hint: str | None = None
    ) -> None:
        OSError.__init__(self, errno, message or _os.strerror(errno))
        self.call = call
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return f"{self.call}: {self.strerror}"


class Unsupported(KernelError):
    """This kernel, or this sandbox around us, lacks a feature.

    Attributes:
        feature: Its name in :class:`unotify.abi.Feature`.
    """

    def __init__(
        self, feature: str, call: str, message: str = "", *, hint: str | None = None
    ) -> None:
        super().__init__(
            _errno.EOPNOTSUPP, call, message or f"{feature} is not available", hint=hint
        )
        self.feature = feature


class AlreadySupervised(KernelError):
    """``EBUSY``: an ancestor's filter in this chain still has an open listener.

    Two supervisors in one chain are impossible up to Linux 7.2 (kernel-facts
    F4, F7).

    Attributes:
        ancestor: Who that supervisor probably is, in words.
    """

    def __init__(self, ancestor: str, *, hint: str | None = None) -> None:
        super().__init__(
            _errno.EBUSY,
            "seccomp(2)",
            f"already supervised by {ancestor}",
            hint=hint
            or "run unotify outside of it, or turn its seccomp notification off: the kernel allows "
            "one listener in a chain of filters",
        )
        self.ancestor = ancestor


class HandlerFault(Error):
    """User code raised, timed out or returned nonsense; the target got `reply`.

    Attributes:
        call: The call it was asked about.
        handler: The handler's qualified name.
        reply: What the target was answered instead.
    """

    def __init__(self, message: str, *, call: object, handler: str, reply: object) -> None:
        super().__init__(message)
        self.call = call
        self.handler = handler
        self.reply = reply
