"""Policies over handlers: what rules say of a call that was notified.

Theory of operation. Each call that a policy's filter half leaves open comes here first: one
step, before all handlers. It evaluates the rules of each policy, in full, with the same
model that the filter was proved against. A policy *says* what its first matching rule
says, or else its default; but where Python handlers want the call and no rule matches,
they come before that default, and the policy is *open*.

Of what several policies say the strictest counts (`unotify.policy.stacking.severity`), the
first among equals. If that is for code to decide, the step names whom to ask next, in an
`Onward`:

1. if a policy is open, or says ``notify``: Python handlers; if they do not take the call, the
   defaults of the open ones, or the ``unhandled`` reply for a ``notify``;
2. for each policy that names a verb, in order: its handler, and if that does not take the
   call Python handlers; then the ``unhandled`` reply.

The first reply counts, but a `Continue` only speaks for the policies that it was asked for,
and the next are asked (`unotify.supervisor.agreeing`). So nothing acts for the target that
one of the policies refuses, and a call goes on only if each of them lets it go.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action, FilterFlag
from unotify.bpf import Decider, Program, SeccompData, evaluate, simulate
from unotify.calls import Call
from unotify.errors import Error, NotExpressible, RacyContinue, TargetError
from unotify.policy.deciding import Decision, decide
from unotify.policy.kernel_actions import Handlers, action_of
from unotify.policy.model import LETTING_GO, Policy, Rule, Verb, Verdict
from unotify.policy.stacking import architectures, compile_stack, severity
from unotify.protocol import Continue, Fail, Reply, Return
from unotify.supervisor.agreeing import Agreement, Party
from unotify.supervisor.checking import check, filter_flags
from unotify.supervisor.counters import Counters
from unotify.supervisor.facts import CallFacts
from unotify.supervisor.foregone import foregone
from unotify.supervisor.router import Onward, Step

__all__ = ["Judge", "Judgement", "VerbHandler"]

VerbHandler: TypeAlias = Callable[[Any, Mapping[str, Any]], Any]
"""Takes a call and the verb's parameters; returns as a handler does."""

_Answers: TypeAlias = list[tuple[Decider, Callable[[Call], Reply | Onward]]]
"""What is done with calls, by their registers; the first whose test is true counts."""

_NAME: Final = "policy"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What policies said of one call, for those who watch.

    Attributes:
        policy: The one that decided.
        rule: Its rule, or ``None``: its default, or what it says of unknown calls.
        verdict: What is to be done.
        by_kernel: Whether the filter decides it; the supervisor then sees it in a dry run only.
        dry_run: Nothing of it is done: the call goes on.
    """

    policy: Policy
    rule: Rule | None
    verdict: Verdict
    by_kernel: bool = False
    dry_run: bool = False

    def __str__(self) -> str:
        if self.rule is None:
            return f"{self.verdict} by no rule"
        return f"{self.verdict} by {'rule ' if self.rule.name else ''}{self.rule}"


@dataclass(frozen=True, slots=True)
class _Saying:
    """What one policy says of one call.

    Attributes:
        read: Memory was read for it.
        open: No rule matches, and handlers come before the default.
    """

    policy: Policy
    decision: Decision
    read: bool
    open: bool

    @property
    def verdict(self) -> Verdict:
        return self.decision.verdict


class Judge:
    """Evaluates policies for the calls of one supervisor.

    Args:
        policies: In order.
        tell: Is told of each judgement.
        unhandled: What a call gets that a rule gave to handlers and none took.
        dry_run: Judge, tell, and let the call go on.
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        tell: Callable[[Call, Judgement], None],
        *,
        unhandled: Fail | Return,
        dry_run: bool = False,
    ) -> None:
        self.policies = tuple(policies)
        self.dry_run = dry_run
        self.verbs: dict[str, VerbHandler] = {}
        self.program: Program | None = None
        """What the kernel would run, for a dry run to tell what it would decide."""
        self.chance: Callable[[], float] = random.random
        """What rules with ``probability`` draw: from 0 up to, not including, 1."""
        self._tell = tell
        self._unhandled = unhandled
        self._counters = Counters()

    @property
    def architectures(self) -> tuple[Arch, ...]:
        """All that one of the policies looks at."""
        return architectures(self.policies)

    def check(self) -> FilterFlag:
        """See to it that all can be done; returns the flags that the filter is to have."""
        if not self.dry_run:
            check(self.policies, self.verbs)
        return filter_flags(self.policies)

    def compile(
        self, handlers: Handlers, weights: Mapping[Arch, Mapping[int, float]] | None
    ) -> Program:
        """The filter, proved; in a dry run one that notifies all that it would not allow."""
        program = compile_stack(self.policies, handlers=handlers, weights=weights)
        if not self.dry_run:
            return program
        self.program = program
        return compile_stack(self.policies, handlers=handlers, weights=weights, dry_run=True)

    def step(self, steps: tuple[Step, ...]) -> Step:
        """What stands before the handlers *steps* of one call."""
        decide = self._try if self.dry_run else self._judge

        def judge(call: Call) -> Any:
            return decide(call, steps)

        if steps or self.dry_run or len(self.policies) != 1:
            return Step(judge, _NAME, None, None)
        found: _Answers | None = None

        def short(call: Call) -> Any:
            # Nobody else is asked, and of most calls no rule asks about more than registers.
            nonlocal found
            if found is None:
                found = self._answers(call)
            args = call.exchange.args
            for test, answer in found:
                if test(args):
                    return answer(call)
            return judge(call)

        return Step(short, _NAME, None, None)

    # -- for real ------------------------------------------------------------

    def _judge(self, call: Call, steps: tuple[Step, ...]) -> Reply | Onward:
        asked = tuple(
            step
            for step in steps
            if step.predicate is None
            or evaluate(step.predicate, call.exchange.args, bits=call.arch.bits)
        )
        sayings = self._sayings(call, bool(asked))
        said = min(
            (saying for saying in sayings if not saying.open),
            key=lambda saying: severity(saying.verdict),
            default=None,
        )
        if said is not None and severity(said.verdict) < severity(_NOTIFY):
            return self._refuse(call, said)
        undecided = [saying for saying in sayings if saying.open]
        given = [s for s in sayings if not s.open and severity(s.verdict) == severity(_NOTIFY)]
        if not undecided and not given:
            return self._let_go(call, sayings)
        return self._onward(sayings, undecided, given, asked)

    def _answers(self, call: Call) -> _Answers:
        """What is done with calls such as *call*, where registers alone decide."""
        policy, exchange = self.policies[0], call.exchange
        decided = foregone(policy, tables.identify(exchange.audit, exchange.nr))
        return [(test, self._answer(_Saying(policy, said, False, False))) for test, said in decided]

    def _answer(self, saying: _Saying) -> Callable[[Call], Reply | Onward]:
        strictness = severity(saying.verdict)
        if strictness < severity(_NOTIFY):
            return lambda call: self._refuse(call, saying)
        if strictness > severity(_NOTIFY):
            return lambda call: self._let_go(call, (saying,))
        unhandled = Step(lambda call: self._unhandled, _NAME, None, None)
        acting = (self._verb_step(saying),) if saying.verdict.verb is Verb.ACT else ()
        onward = Onward((*acting, unhandled))
        return lambda call: onward

    def _sayings(self, call: Call, asked: bool) -> list[_Saying]:
        facts = CallFacts(call, self._counters, chance=self.chance)
        exchange = call.exchange
        sayings = []
        for number, policy in enumerate(self.policies):
            # Each answers for what it has read itself; the mark stays on the call.
            before, exchange.memory_read = exchange.memory_read, False
            facts.policy = number
            try:
                decision = _decide(policy, call, facts)
                read = exchange.memory_read
            finally:
                exchange.memory_read = before or exchange.memory_read
            known = decision.rule is None and bool(call.call_name)
            sayings.append(_Saying(policy, decision, read, asked and known))
        return sayings

    def _onward(
        self,
        sayings: list[_Saying],
        undecided: list[_Saying],
        given: list[_Saying],
        asked: tuple[Step, ...],
    ) -> Onward:
        agreement = Agreement(_NAME, asked)
        acting = [saying for saying in given if saying.verdict.verb is Verb.ACT]
        notified = len(acting) < len(given)

        def by_default(call: Call) -> Reply | None:
            said = min(undecided, key=lambda saying: severity(saying.verdict), default=None)
            if said is not None and severity(said.verdict) < severity(_NOTIFY):
                return self._refuse(call, said)
            asks = notified or any(s.verdict.verb is Verb.NOTIFY for s in undecided)
            return self._unhandled if asks else None

        def at_last(call: Call) -> Reply:
            by_code = agreement.handlers_let_go
            silent = [
                saying
                for saying in sayings
                if saying.verdict.verb in LETTING_GO and not (saying.open and by_code)
            ]
            return self._let_go(call, silent, agreement.reasons)

        parties = [Party(by_default)] if undecided or notified else []
        parties += [Party(lambda call: self._unhandled, self._verb_step(s)) for s in acting]
        return Onward((*agreement.steps(parties), Step(at_last, _NAME, None, None)))

    def _verb_step(self, saying: _Saying) -> Step:
        verdict = saying.verdict
        name, verbs = verdict.handler or "", self.verbs

        def perform(call: Call) -> Any:
            self._say(call, saying)
            return verbs[name](call, verdict.parameters)

        return Step(perform, name, None, None)

    def _refuse(self, call: Call, saying: _Saying) -> Reply:
        self._say(call, saying)
        verdict = saying.verdict
        match verdict.verb:
            case Verb.RETURN:
                return Return(verdict.value)
            case Verb.KILL_PROCESS | Verb.KILL_THREAD:
                # Of a thread alone nobody can be rid from outside.
                call.caller.kill()
                return Fail(errno.EPERM)
        number = verdict.fails_with(call.call_name or None)
        if number is None:
            raise NotExpressible(
                f"{saying.decision.rule or 'the default'}: only the kernel can "
                f"{verdict.verb.value} a call, and it did not"
            )
        return Fail(number)

    def _let_go(
        self, call: Call, sayings: Sequence[_Saying], accepted: Iterable[str] = ()
    ) -> Continue:
        reasons = list(accepted)
        for saying in sayings:
            if saying.read:
                because = saying.decision.because
                if because is None:
                    raise RacyContinue(
                        f"{saying.decision.rule or 'the default'} would let {call.call_name} go on "
                        "after its memory was read (C2)",
                        hint='accept it: racy = true and because = "..."',
                    )
                reasons.append(because)
        # What is told is what made a difference: a rule rather than a default.
        if sayings:
            self._say(call, next((s for s in sayings if s.decision.rule is not None), sayings[0]))
        return Continue.racy(because="; ".join(dict.fromkeys(reasons))) if reasons else Continue()

    def _say(self, call: Call, saying: _Saying) -> None:
        self._tell(call, Judgement(saying.policy, saying.decision.rule, saying.verdict))

    # -- as if ---------------------------------------------------------------

    def _try(self, call: Call, steps: tuple[Step, ...]) -> Reply:
        exchange = call.exchange
        try:
            sayings = self._sayings(call, False)
        except (Error, OSError) as error:
            number = error.errno if isinstance(error, TargetError) else errno.EPERM
            failed = Verdict(Verb.FAIL, errno=number)
            judgement = Judgement(self.policies[0], None, failed, False, True)
        else:
            judgement = self._would(call, sayings)
        self._tell(call, judgement)
        return Continue.racy(because="dry run") if exchange.memory_read else Continue()

    def _would(self, call: Call, sayings: list[_Saying]) -> Judgement:
        exchange = call.exchange
        action = None
        if self.program is not None:
            data = SeccompData(exchange.nr, exchange.audit, exchange.args)
            action = simulate(self.program, data)
        by_kernel = action is not None and action != Action.USER_NOTIF
        said = min(sayings, key=lambda saying: severity(saying.verdict))
        if by_kernel:
            # Of a stack it may be another than the strictest, which a look would have found.
            name = call.call_name or None
            said = next((s for s in sayings if action_of(s.verdict, name) == action), said)
        return Judgement(said.policy, said.decision.rule, said.verdict, by_kernel, True)


_NOTIFY: Final = Verdict(Verb.NOTIFY)


def _decide(policy: Policy, call: Call, facts: CallFacts) -> Decision:
    # The typed call of an unknown architecture pretends to be of a known one.
    identity = tables.identify(call.exchange.audit, call.exchange.nr)
    if identity.arch not in policy.architectures:
        return Decision(None, policy.bad_arch)
    return decide(policy, call, facts)
