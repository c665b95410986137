"""Which handlers are asked for which call, and the filter that follows from it.

A registration says: this call, under this condition on its registers, goes to
this handler. Both halves come from it: the filter notifies exactly the calls
that some registration wants, and for a notification that arrived the router
asks the registrations in order. The condition is evaluated again then: two
registrations of one call may differ in it, and the filter only knows "some".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeAlias

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Always, Or, Program, RegisterPredicate, compile_filter, evaluate
from unotify.calls import Call, Condition, UnknownCall, Where, as_where, call_class, class_for
from unotify.errors import Conflict, UnknownName

__all__ = [
    "Handler",
    "Onward",
    "Registration",
    "Route",
    "Router",
    "Step",
    "register",
    "require_seconds",
]

Handler: TypeAlias = Callable[[Any], Any]
"""Takes a call, returns a reply, a hold, or None for "not mine"."""


@dataclass(frozen=True)
class Registration:
    """One handler for one call.

    Attributes:
        call: The kernel's name of the call.
        handler: The user's function.
        where: Ask it only under this condition.
        deadline: Seconds it may take, or ``None``.
        name: What logs and faults call the handler.
    """

    call: str
    handler: Handler
    where: Where | None
    deadline: float | None
    name: str


def register(
    calls: Iterable[type[Call] | str],
    handler: Handler,
    *,
    where: Condition | None = None,
    deadline: float | None = None,
    named: object = None,
) -> list[Registration]:
    """Check what the user gave and make the registrations.

    Raises:
        UnknownName: No such call.
        NotExpressible: *where* is no condition on registers.
        Conflict: *handler* cannot be called with a call.
    """
    condition = None if where is None else as_where(where)
    if not callable(handler):
        raise Conflict(f"a handler is a function that takes a call, not {handler!r}")
    require_seconds(deadline)
    named = handler if named is None else named
    name = getattr(named, "__qualname__", type(named).__qualname__)
    names = [_name_of(call) for call in calls]
    if not names:
        raise Conflict("on() wants at least one call, such as on(Mount)")
    strangers = set() if condition is None else condition.calls.symmetric_difference(names)
    if condition is not None and condition.calls and strangers:
        # The same register means something else there.
        raise Conflict(
            f"where= asks about {', '.join(sorted(condition.calls))}, and the handler is for "
            f"{', '.join(names)}",
            hint="register the handler once for each call, each with its own condition",
        )
    return [Registration(call, handler, condition, deadline, name) for call in names]


def require_seconds(deadline: float | None) -> None:
    """Refuse a deadline that is not a time span; raises `Conflict`."""
    if deadline is not None and not 0 < deadline < inf:
        raise Conflict(f"deadline={deadline!r}: a deadline is a number of seconds above 0")


def _name_of(call: type[Call] | str) -> str:
    if isinstance(call, str):
        return call_class(call).call_name
    if inspect.isclass(call) and issubclass(call, Call) and call not in (Call, UnknownCall):
        return call.call_name
    raise UnknownName(
        f"on() wants calls, not {call!r}",
        hint="import the class from unotify.calls, or give the kernel's name of the call",
    )


@dataclass(frozen=True, slots=True)
class Step:
    """One handler to ask, and the condition under which."""

    handler: Handler
    name: str
    predicate: RegisterPredicate | None
    deadline: float | None


@dataclass(frozen=True, slots=True)
class Onward:
    """Returned by a step instead of a reply: these are asked, in order, in place of the rest."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """What is done with one (architecture, number).

    Attributes:
        only: The one step, if there is one and it is asked in any case.
    """

    call: type[Call]
    arch: Arch
    steps: tuple[Step, ...]
    only: Step | None = field(init=False)

    def __post_init__(self) -> None:
        plain = len(self.steps) == 1 and self.steps[0].predicate is None
        object.__setattr__(self, "only", self.steps[0] if plain else None)

    def asked(self, args: tuple[int, ...]) -> tuple[Step, ...]:
        """The steps whose condition holds for these registers, in order."""
        return tuple(
            step
            for step in self.steps
            if step.predicate is None or evaluate(step.predicate, args, bits=self.arch.bits)
        )


class Router:
    """All registrations of a supervisor, in order."""

    def __init__(self, architectures: tuple[Arch, ...]) -> None:
        self.architectures = architectures
        self.registrations: list[Registration] = []
        self.routes: dict[tuple[int, int], Route] = {}
        """What :meth:`route` has found so far."""
        self.before: Callable[[tuple[Step, ...]], Step] | None = None
        """Makes what stands before the handlers of each call, and of those that have none."""

    def add(self, registrations: Iterable[Registration]) -> None:
        """Append *registrations*; conditions that some architecture cannot express are refused."""
        added = list(registrations)
        for registration in added:
            for arch in self.architectures:
                if (
                    registration.where is not None
                    and tables.number(registration.call, arch) is not None
                ):
                    registration.where.lower(arch)
        self.registrations.extend(added)
        self.routes = {}

    def route(self, audit: int, nr: int) -> Route:
        """What to do with a notification; never fails, whatever came (B1, B2)."""
        route = self.routes.get((audit, nr))
        if route is None:
            route = self.routes[audit, nr] = self._find(audit, nr)
        return route

    def program(self) -> Program:
        """The filter: notify what somebody wants to hear of, allow the rest.

        A call by an architecture that is not in `architectures` kills the
        process: its numbers mean something else, and nobody looks at them.
        """
        return compile_filter(
            {arch: self._verdicts(arch) for arch in self.architectures},
            default=Action.ALLOW,
            bad_arch=Action.KILL_PROCESS,
        )

    def wanted(self, arch: Arch, call: str) -> RegisterPredicate | None:
        """Where some handler wants to be asked about *call* on *arch*; ``None``: nowhere."""
        predicates = []
        for registration in self.registrations:
            if registration.call == call:
                if registration.where is None:
                    return Always()
                predicates.append(registration.where.lower(arch))
        if not predicates:
            return None
        return predicates[0] if len(predicates) == 1 else Or(tuple(predicates))

    def _verdicts(self, arch: Arch) -> dict[int, Any]:
        wanted: dict[int, list[RegisterPredicate] | None] = {}
        for registration in self.registrations:
            nr = tables.number(registration.call, arch)
            if nr is None:
                continue
            if registration.where is None:
                wanted[nr] = None
            elif (known := wanted.setdefault(nr, [])) is not None:
                known.append(registration.where.lower(arch))
        notify = int(Action.USER_NOTIF)
        return {
            nr: notify
            if predicates is None
            else (
                (predicates[0] if len(predicates) == 1 else Or(tuple(predicates)), notify),
                int(Action.ALLOW),
            )
            for nr, predicates in wanted.items()
        }

    def _find(self, audit: int, nr: int) -> Route:
        identity = tables.identify(audit, nr)
        if identity.arch is None or identity.name is None:
            return Route(UnknownCall, identity.arch or self.architectures[0], self._all(()))
        arch, name = identity.arch, identity.name
        steps = tuple(
            Step(
                registration.handler,
                registration.name,
                registration.where.lower(arch) if registration.where is not None else None,
                registration.deadline,
            )
            for registration in self.registrations
            if registration.call == name
        )
        return Route(class_for(name, arch), arch, self._all(steps))

    def _all(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        return steps if self.before is None else (self.before(steps),)
