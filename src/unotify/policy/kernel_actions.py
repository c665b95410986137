"""What the filter returns for a verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import RegisterPredicate
from unotify.policy.model import Verb, Verdict

__all__ = ["NOTIFY", "Handlers", "action_of"]

Handlers: TypeAlias = Callable[[Arch, str], RegisterPredicate | None]
"""For a call on an architecture: where Python handlers want to be asked, or ``None``."""

NOTIFY: Final = int(Action.USER_NOTIF)
"""The action that asks the supervisor."""

_ENDING = frozenset({Verb.KILL_PROCESS, Verb.KILL_THREAD, Verb.TRAP, Verb.TRACE, Verb.LOG})
"""The kernel alone can do these, and logs them itself."""


def action_of(verdict: Verdict, call: str | None, *, log: bool = False) -> int:
    """The filter's return value for *verdict*; USER_NOTIF where the supervisor must act or log."""
    if log and verdict.verb not in _ENDING:
        return NOTIFY
    action = verdict.action(call)
    return NOTIFY if action is None else action
