"""Playing one test of a policy: the calls of one target, and what became of each.

Theory of operation. A test runs on a `SimulatedKernel`: the policy's own filter decides first, and
what it notifies goes to a real supervisor with the policy. Only verbs of handlers are not carried
out: that such a verb was asked for, and with which parameters, is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from errno import errorcode
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from unotify.abi.arch import Arch
from unotify.abi.seccomp import ACTION_MASK, DATA_MASK, MAX_ERRNO, Action
from unotify.bpf import Program
from unotify.calls import Call
from unotify.policy.actions import ACTIONS
from unotify.policy.compiling import compile_policy
from unotify.policy.explain import explain_call
from unotify.policy.model import Policy, Verb, Verdict
from unotify.protocol import Continue, Fail, Return
from unotify.supervisor import Instrument
from unotify.supervisor.policies import policies_of
from unotify.testing.facility import descriptors, judging
from unotify.testing.facility.state import CallData, File
from unotify.testing.supervised import Supervised

__all__ = ["Effect", "Step", "forget", "play"]

_UNHANDLED: Final = Return(0x7E57)
"""What a call gets that a rule gives to Python handlers: nothing else returns it."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What became of a call.

    Attributes:
        verb: As in a policy: ``allow``, ``fail``, ``return``, ``kill-process``, ``continue`` ...
        number: Of ``fail`` the errno, of ``return`` the value, of ``trap`` its data.
        parameters: What a handler's verb was given.
    """

    verb: str
    number: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.verb == "fail":
            return f"fail {errorcode.get(self.number, self.number)}"
        if self.verb == "return" or self.number:
            return f"{self.verb} {self.number}"
        return f"{self.verb} {dict(self.parameters)}" if self.parameters else self.verb


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a test, and what is expected of it.

    Attributes:
        call: The kernel's name, or a number.
        args: Its arguments, in order or by name.
        arch: The ABI, or ``None`` for the native one.
        by: What is known of the caller: uid, gid, comm, exe, cgroup, and ``fd:N``.
        expect: What is expected.
        decided: ``filter``, ``supervisor``, or ``None`` for either.
        rule: The name of the rule that decides, or ``None`` for any.
    """

    call: str | int
    args: tuple[Any, ...] | Mapping[str, Any]
    arch: Arch | None
    by: Mapping[str, Any]
    expect: Verdict
    decided: str | None
    rule: str | None


class _Watch(Instrument):
    """Notes the rule that a policy's supervisor half decided by."""

    def __init__(self) -> None:
        self.rule: str | None = None

    def judged(self, call: Call, judgement: Any) -> None:
        self.rule = judgement.rule.name if judgement.rule is not None else None


@lru_cache(maxsize=64)
def _loaded(paths: tuple[Path, ...], stamps: tuple[int, ...]) -> tuple[Policy, ...]:
    # Included files may change alone, so it is for the time of one run: see `forget`.
    return policies_of(paths, Arch.X86_64)


@lru_cache(maxsize=64)
def _compiled(policy: Policy) -> Program:
    return compile_policy(policy)


def forget() -> None:
    """Read all policies anew from now on."""
    _loaded.cache_clear()
    _compiled.cache_clear()


def play(paths: list[Path], steps: tuple[Step, ...], links: dict[str, str], version: str) -> None:
    """Make the calls of a test in order, by one target."""
    policies = _loaded(
        tuple(paths), tuple(path.stat().st_mtime_ns for path in paths if path.exists())
    )
    acted: list[Effect] = []
    watch = _Watch()
    with Supervised(version=version, policy=policies, unhandled=_UNHANDLED) as supervised:
        judge = supervised.supervisor._judge
        assert judge is not None
        for name in ACTIONS:
            judge.verbs[name] = _recorder(name, acted)
        supervised.supervisor.add_instrument(watch)
        supervised.kernel.links.update(links)
        for number, step in enumerate(steps, 1):
            acted.clear()
            watch.rule = None
            where = f"step {number}: " if len(steps) > 1 else ""
            _check(step, policies, supervised, acted, watch, where)


def _recorder(name: str, acted: list[Effect]) -> Callable[[Any, Mapping[str, Any]], Return]:
    def act(call: Any, parameters: Mapping[str, Any]) -> Return:
        acted.append(Effect(name, 0, dict(parameters)))
        return Return(0)

    return act


def _check(
    step: Step,
    policies: tuple[Policy, ...],
    supervised: Supervised,
    acted: list[Effect],
    watch: _Watch,
    where: str,
) -> None:
    target = supervised.target
    if target.ended:
        raise AssertionError(f"{where}the target has been killed before")
    _become(supervised, step.by)
    named = step.args if isinstance(step.args, Mapping) else {}
    words = () if isinstance(step.args, Mapping) else step.args
    data = target.begin(step.call, *words, arch=step.arch, **named)
    value, _ = judging.judge(supervised.kernel.world, target.task, data)
    if value & ACTION_MASK == Action.USER_NOTIF:
        place = "supervisor"
        effect = _supervised(supervised, data, acted)
        rule = watch.rule
    else:
        place, effect = "filter", _filtered(value)
        rule = _rule(policies, data, value)
        supervised.kernel.begin(target.tid, data)
    name = step.call if isinstance(step.call, str) else None
    got = f"{effect}, decided by the {place}" + (f', by the rule "{rule}"' if rule else "")
    if not _meets(effect, step.expect, name):
        raise AssertionError(f"{where}expected {_wanted(step.expect, name)}; got {got}")
    if step.decided not in (None, place):
        raise AssertionError(f"{where}expected the {step.decided} to decide; got {got}")
    if step.rule not in (None, rule):
        raise AssertionError(f'{where}expected the rule "{step.rule}" to decide; got {got}')


def _become(supervised: Supervised, by: Mapping[str, Any]) -> None:
    world, task = supervised.kernel.world, supervised.target.task
    task.uid, task.gid = int(by.get("uid", 0)), int(by.get("gid", 0))
    task.comm = str(by.get("comm", "target"))
    world.process_of(task).exe = str(by.get("exe", "/bin/target"))
    supervised.kernel.cgroup = str(by.get("cgroup", ""))
    for key, text in by.items():
        if key.startswith("fd:"):
            kind, _, path = str(text).partition(":")
            file: File = descriptors.new_file(world, kind, path)
            descriptors.put(world, task, int(key[3:]), file.key)


def _filtered(value: int) -> Effect:
    data = value & DATA_MASK
    match value & ACTION_MASK:
        case Action.ERRNO:
            return Effect("fail", min(data, MAX_ERRNO)) if data else Effect("return", 0)
        case Action.TRAP:
            return Effect("trap", data)
        case Action.TRACE:
            return Effect("trace", data)
        case Action.KILL_THREAD:
            return Effect("kill-thread")
        case Action.LOG:
            return Effect("log")
        case Action.ALLOW:
            return Effect("allow")
    return Effect("kill-process")


def _supervised(supervised: Supervised, data: CallData, acted: list[Effect]) -> Effect:
    supervised.reply = None
    before = set(supervised.listener.sent)
    listener = supervised.listener
    supervised.kernel.begin(supervised.target.tid, data)
    supervised.serve()
    if acted:
        return acted[-1]
    if supervised.target.ended:
        return Effect("kill-process")
    for id in listener.sent.keys() - before:
        reply = supervised.reply_to(id)
        if reply == _UNHANDLED:
            return Effect("notify")
        if isinstance(reply, Fail):
            return Effect("fail", reply.errno)
        if isinstance(reply, Return):
            return Effect("return", reply.value)
        if isinstance(reply, Continue):
            return Effect("continue")
    raise AssertionError("the supervisor has not answered")


def _rule(policies: tuple[Policy, ...], data: CallData, value: int) -> str | None:
    """The rule that the filter's answer comes from: of the first policy that says so."""
    for policy in policies:
        arch = next((one for one in policy.architectures if one.audit == data.arch), None)
        if arch is None:
            continue
        found = explain_call(policy, _compiled(policy), arch, data.nr, data.args)
        if found.verdict is not None and found.verdict.action(found.call) == value:
            return found.rule.name if found.rule is not None else None
    return None


def _meets(effect: Effect, expected: Verdict, call: str | None) -> bool:
    errno = expected.fails_with(call)
    if errno is not None:
        return effect == Effect("fail", errno)
    match expected.verb:
        case Verb.ALLOW:
            return effect.verb in ("allow", "log", "continue")
        case Verb.RETURN | Verb.TRAP | Verb.TRACE:
            return effect == Effect(expected.verb.value, expected.value)
        case Verb.ACT:
            wanted = dict(expected.parameters)
            same = not wanted or wanted == dict(effect.parameters)
            return effect.verb == expected.handler and same
    return effect.verb == str(expected.verb.value)


def _wanted(expected: Verdict, call: str | None) -> str:
    errno = expected.fails_with(call)
    if errno is not None:
        return f"fail {errorcode.get(errno, errno)}"
    parameters = f" {dict(expected.parameters)}" if expected.parameters else ""
    return f"{expected}{parameters}"
