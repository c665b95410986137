"""One call, and the code of several policies: it goes on only if all of them let it go.

Theory of operation. Code that is asked in the name of a policy is a `Party`: Python handlers,
or the handler of a verb and Python handlers after it. The parties are asked one after the
other. A reply answers the call and ends it all, but for `Continue`: that speaks for its own
party, and the next one is asked. If none of its code takes the call, what the policy says of
that case stands for it. Handlers are asked once, and speak for all parties that would ask
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from unotify.calls import Call
from unotify.protocol import Continue, Reply
from unotify.supervisor.holds import Held
from unotify.supervisor.router import Step

__all__ = ["Agreement", "Party"]


@dataclass(frozen=True, slots=True, eq=False)
class Party:
    """Who is asked for a policy, or for several that would ask the same.

    Attributes:
        otherwise: Answers if none of its code does; ``None`` lets the call go.
        verb: Is asked before Python handlers.
    """

    otherwise: Callable[[Call], Reply | None]
    verb: Step | None = None


class Agreement:
    """What the parties have said of one call so far.

    Args:
        name: What the log calls that which is no code of anybody's.
        handlers: The Python handlers that want the call.

    Attributes:
        reasons: Why it may go on although its memory was read.
        handlers_let_go: Whether Python handlers have.
    """

    def __init__(self, name: str, handlers: Sequence[Step]) -> None:
        self.reasons: dict[str, None] = {}
        self.handlers_let_go = False
        self._name = name
        self._handlers = handlers
        self._asked: Party | None = None
        self._let_go: set[Party] = set()

    def steps(self, parties: Sequence[Party]) -> list[Step]:
        """Whom to ask, in order; if nobody answers, all have let the call go."""
        found = []
        for party in parties:
            last = party is parties[-1]
            if party.verb is not None:
                found.append(self._step(party.verb, party, last, handler=False))
            found += [self._step(step, party, last, handler=True) for step in self._handlers]
            found.append(Step(partial(self._close, party), self._name, None, None))
        return found

    def _step(self, step: Step, party: Party, last: bool, *, handler: bool) -> Step:
        def ask(call: Call) -> Any:
            if handler:
                if self._asked is None:
                    self._asked = party
                if party in self._let_go or self._asked is not party:
                    return None
            answer = step.handler(call)
            counts = partial(self._counts, call, party, last, handler)
            if isinstance(answer, Held):
                answer.gate = counts
            elif isinstance(answer, Continue) and not counts(answer):
                return None
            return answer

        return Step(ask, step.name, None, step.deadline)

    def _counts(self, call: Call, party: Party, last: bool, handler: bool, reply: Continue) -> bool:
        """Whether *reply* answers the call, and does not only speak for *party*."""
        if last and not self.reasons:
            return True
        if reply.because is None and call.exchange.memory_read:
            return True  # nobody may say that (C2): it is refused where it is answered
        if reply.because is not None:
            self.reasons[reply.because] = None
        self._let_go.add(party)
        self.handlers_let_go |= handler
        return False

    def _close(self, party: Party, call: Call) -> Reply | None:
        if party in self._let_go or self.handlers_let_go:
            return None
        return party.otherwise(call)
