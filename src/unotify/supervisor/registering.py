"""Who is asked: policies, then handlers; and the filter that follows from both."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from unotify.abi.arch import Arch
from unotify.abi.seccomp import FilterFlag
from unotify.bpf import Program
from unotify.calls import Call, Condition
from unotify.errors import Conflict
from unotify.kernel.interface import Kernel
from unotify.supervisor.addons import registrations_of, verbs_of
from unotify.supervisor.answering import FixedReply
from unotify.supervisor.performing import VERBS
from unotify.supervisor.policies import Policies, policies_of
from unotify.supervisor.router import Router, register

if TYPE_CHECKING:
    from unotify.supervisor.judging import Judge, Judgement

__all__ = ["Registering"]

H = TypeVar("H", bound=Callable[..., Any])


class Registering(ABC):
    """What a :class:`unotify.Supervisor` asks, and in which order.

    Args:
        kernel: Has the architectures.
        policy: Comes before all handlers.
        architectures: Those of the filter, if there is no policy.
        unhandled: What a call gets that a rule gave to handlers and none took.
        weights: How often each call is made, by number.
        dry_run: Tell what the policy would do, and let every call go on.
    """

    def __init__(
        self,
        kernel: Kernel,
        policy: Policies,
        architectures: Iterable[Arch] | None,
        *,
        unhandled: FixedReply,
        weights: Mapping[Arch, Mapping[int, float]] | None,
        dry_run: bool,
    ) -> None:
        self.kernel = kernel
        policies = policies_of(policy, kernel.arch)
        if dry_run and not policies:
            raise Conflict("dry_run= is about a policy, and there is none")
        if policies and architectures is not None:
            raise Conflict("architectures= are those of the policy")
        self._judge: Judge | None = None
        self._spare_verbs = set(VERBS)
        if policies:
            # Only now: those who have handlers alone do not wait for it to be imported.
            from unotify.supervisor.judging import Judge

            self._judge = Judge(policies, self._judged, unhandled=unhandled, dry_run=dry_run)
            self._judge.verbs.update(VERBS)
            architectures = self._judge.architectures
        self._router = Router(tuple(architectures or kernel.architectures))
        if self._judge is not None:
            self._router.before = self._judge.step
        self._weights = weights
        self._program: Program | None = None
        self._checked = False

    @abstractmethod
    def _judged(self, call: Call, judgement: Judgement) -> None:
        """Those who watch are told what policies said."""

    @abstractmethod
    def _changed(self) -> None:
        """Somebody else is asked from now on."""

    def on(
        self,
        *calls: type[Call] | str,
        where: Condition | None = None,
        deadline: float | None = None,
    ) -> Callable[[H], H]:
        """Register the decorated function as a handler of *calls*.

        Handlers are asked in the order of their registration. One that is
        registered when a program already runs is asked only for calls that the
        program's filter notifies: a filter cannot be changed (R9).

        Args:
            *calls: Classes of :mod:`unotify.calls`, or the kernel's names.
            where: A condition on argument registers, decided in the filter:
                other calls are not even notified.
            deadline: Seconds the handler may take, then the target gets the
                fault reply; what the handler returns later is dropped.

        Raises:
            PolicyError: An unknown call, or a condition that is none.
        """

        def decorate(handler: H) -> H:
            self._add(handler, calls, where, deadline)
            return handler

        return decorate

    def add(self, *addons: object, spare: bool = False) -> None:
        """Register all handlers of modules or objects: what :func:`unotify.on` has marked.

        And what :func:`unotify.verb` has.

        Args:
            *addons: Modules or objects, such as those of `unotify.handlers.ADDONS`.
            spare: Verbs of others may take the place of these.
        """
        for addon in addons:
            for handler, mark in registrations_of(addon):
                self._add(handler, mark.calls, mark.where, mark.deadline)
            for name, function in verbs_of(addon):
                self.add_verb(name, function, spare=spare)

    def add_verb(
        self,
        name: str,
        function: Callable[[Any, Mapping[str, Any]], Any],
        *,
        spare: bool = False,
    ) -> None:
        """Say what a policy's verb *name* does, such as ``perform``.

        Args:
            name: As it stands after ``do``.
            function: Takes the call and the verb's parameters, and returns as a handler
                does: ``None`` is "not mine".
            spare: Only if the verb has no other function; another may take its place later.

        Raises:
            Conflict: There is no policy, or the verb has a function already.
        """
        if self._judge is None:
            raise Conflict(f"the verb {name} is a policy's, and this supervisor has none")
        if not callable(function):
            raise Conflict(f"a verb is a function of a call and parameters, not {function!r}")
        if name in self._judge.verbs and name not in self._spare_verbs:
            if spare:
                return
            raise Conflict(f"there are two handlers for the verb {name}")
        (self._spare_verbs.add if spare else self._spare_verbs.discard)(name)
        self._judge.verbs[name] = self._adapt_verb(function)
        self._checked = False
        self._changed()

    def program(self) -> Program:
        """The filter as compiled from the policies, and from the handlers so far."""
        if self._judge is None:
            return self._router.program()
        if self._program is None:
            self._program = self._judge.compile(self._router.wanted, self._weights)
        return self._program

    def check(self) -> None:
        """See to it that all that the policy says can be done, and prove its filter.

        Raises:
            PolicyError: It says what cannot be done, such as a verb without a handler.
        """
        if not self._checked:
            if self._judge is not None:
                self.program()
            self._check_policies()
            self._checked = True

    def _check_policies(self) -> FilterFlag:
        return FilterFlag(0) if self._judge is None else self._judge.check()

    def _add(
        self,
        handler: Callable[..., Any],
        calls: Sequence[type[Call] | str],
        where: Condition | None,
        deadline: float | None,
    ) -> None:
        self._program = None
        self._checked = False
        self._router.add(
            register(calls, self._adapt(handler), where=where, deadline=deadline, named=handler)
        )
        self._changed()

    def _adapt(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        # unotify.aio overrides this.
        if inspect.iscoroutinefunction(handler):
            raise Conflict(
                f"{handler.__qualname__} is async def",
                hint="use unotify.aio.Supervisor, which runs handlers in the event loop",
            )
        return handler

    def _adapt_verb(self, function: Callable[..., Any]) -> Callable[..., Any]:
        # As of handlers: what unotify.aio needs to know is whether it is a coroutine.
        if not inspect.iscoroutinefunction(function):
            return function

        def act(call: Call, parameters: Mapping[str, Any]) -> Any:
            async def handler(call: Call) -> Any:
                return await function(call, parameters)

            return self._adapt(handler)(call)

        self._adapt(function)
        return act
