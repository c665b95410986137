"""Scheduling of a container's own threads: policies, nice values and priorities of I/O.

Theory of operation. The kernel asks for CAP_SYS_NICE in the user namespace of the thread that is
changed, but for real-time policies in the initial one. Here it is asked for in the caller's
container, what is wanted is kept to what the policy lists, and done with the supervisor's rights.
Whoever has no such capability may do what the kernel lets anybody do: lower what is its own.

The numbers that a caller gives are of its pid namespace, and are threads; 0 is the caller. A
thread of another user namespace is never touched.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from unotify.abi.capabilities import Capability
from unotify.abi.types import Address
from unotify.calls import Call
from unotify.errors import Refused
from unotify.kernel.scheduling import Scheduled
from unotify.protocol import Reply, Return
from unotify.supervisor.addons import verb

__all__ = ["IO_CLASSES", "POLICIES", "emulate_sched"]

POLICIES: Final[Mapping[str, int]] = {"other": 0, "fifo": 1, "rr": 2, "batch": 3, "idle": 5}
"""Policies that can be set for somebody; deadlines and extensions are not among them."""

IO_CLASSES: Final[Mapping[str, int]] = {"none": 0, "realtime": 1, "best-effort": 2, "idle": 3}
"""Classes of priorities of I/O."""

_REALTIME: Final = frozenset({POLICIES["fifo"], POLICIES["rr"]})
_NICE: Final = (POLICIES["other"], POLICIES["batch"])
_IDLE: Final = POLICIES["idle"]
_KNOWN: Final = frozenset(range(8)) - {4}
_RESET: Final = 0x40000000
_ATTR_RESET, _ATTR_KEEP_POLICY, _ATTR_KEEP_PARAMS = 1, 8, 16
_ATTR_KNOWN: Final = 0x7F


@dataclass(frozen=True, slots=True)
class _Bounds:
    policies: Collection[str]
    priority: int
    nice: int
    io: Collection[str]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to become of a thread; ``None``: that stays as it is."""

    policy: int | None = None
    priority: int = 0
    reset: bool = False
    nice: int | None = None
    io: int | None = None
    keep_policy: bool = False
    keep_parameters: bool = False


def emulate_sched(
    call: Call,
    *,
    policies: Collection[str] = ("other", "batch", "idle"),
    priority: int = 1,
    nice: int = 0,
    io: Collection[str] = ("none", "best-effort", "idle"),
) -> Reply:
    """Set how a thread is scheduled, for a target that has CAP_SYS_NICE in its container only.

    For sched_setscheduler, sched_setparam, sched_setattr, and for setpriority and ioprio_set of
    single threads. Children of a thread that gets a real-time policy do not inherit it.

    Args:
        call: The call.
        policies: Which may be set, of `POLICIES`.
        priority: The highest priority of a real-time policy, 1 to 99.
        nice: The lowest nice value, -20 to 19.
        io: Classes of I/O priorities that may be set, of `IO_CLASSES`.

    Raises:
        TargetError: EINVAL, EFAULT, ESRCH: as the kernel says it. EPERM: it is not the caller's
            thread, or more than it may have.
        KernelError: The supervisor may not look at the caller.
    """
    wish = _WISHES[call.call_name](call)
    around = call.caller.around
    capable = around.may(Capability.CAP_SYS_NICE)
    bounds = _Bounds(policies, priority, nice, io)
    number = call.register("who" if "who" in _arguments(call) else "pid")
    with Scheduled(around.thread_of(number)) as thread:
        if thread.user_namespace() != _own(call):
            raise Refused("a thread of another user namespace", errno=errno.EPERM)
        if wish.keep_policy or wish.keep_parameters:
            wish = _completed(thread, wish)
        if capable:
            _require_listed(wish, bounds)
        else:
            _require_less(call, thread, wish)
        if not call.caller.is_waiting():
            raise Refused("it does not wait any more", errno=errno.EINTR)
        _carry_out(thread, wish)
    return Return(0)


def _arguments(call: Call) -> set[str]:
    return {spec.name for spec in call.spec.args}


def _own(call: Call) -> str:
    return f"user:[{call.caller.namespaces['user']}]"


def _completed(thread: Scheduled, wish: _Wish) -> _Wish:
    policy, priority, reset = thread.policy()
    if wish.keep_parameters:
        wish = replace(wish, priority=priority, nice=None)
    if wish.keep_policy:
        wish = replace(wish, policy=policy, reset=reset or wish.reset)
    policy, priority = _valid(wish.policy or 0, wish.priority)
    return replace(wish, policy=policy, priority=priority)


def _carry_out(thread: Scheduled, wish: _Wish) -> None:
    if wish.policy is not None:
        reset = wish.reset or wish.policy in _REALTIME
        thread.set_policy(wish.policy, wish.priority, reset_on_fork=reset)
    if wish.nice is not None and wish.policy in (None, *_NICE):
        thread.set_nice(wish.nice)
    if wish.io is not None:
        thread.set_io_priority(wish.io)


# -- what is allowed ----------------------------------------------------------------


def _require_listed(wish: _Wish, bounds: _Bounds) -> None:
    listed = {POLICIES[name] for name in bounds.policies}
    classes = {IO_CLASSES[name] for name in bounds.io}
    for bad, what in (
        (wish.policy is not None and wish.policy not in listed, f"policy {wish.policy}"),
        (wish.priority > bounds.priority, f"priority {wish.priority}"),
        (wish.nice is not None and wish.nice < bounds.nice, f"nice value {wish.nice}"),
        (wish.io is not None and wish.io >> 13 not in classes, "that class of I/O"),
    ):
        if bad:
            raise Refused(f"{what} is not listed", errno=errno.EPERM)


def _require_less(call: Call, thread: Scheduled, wish: _Wish) -> None:
    """What the kernel lets anybody do: less, to threads of its own."""
    mine, theirs = call.caller.credentials, thread.rights()
    if mine.uid not in (theirs.uid, theirs.real[0]):
        raise Refused("a thread of somebody else", errno=errno.EPERM)
    policy, priority, reset = thread.policy()
    more = wish.nice is not None and wish.nice < thread.nice()
    if wish.policy is not None:
        realtime = wish.policy in _REALTIME
        more |= wish.policy not in POLICIES.values()
        more |= realtime and (policy != wish.policy or wish.priority > priority)
        more |= policy == _IDLE and wish.policy != _IDLE
        more |= reset and not wish.reset
    more |= wish.io is not None and wish.io >> 13 == IO_CLASSES["realtime"]
    if more:
        raise Refused("it has no CAP_SYS_NICE in its container", errno=errno.EPERM)


# -- what is wanted -----------------------------------------------------------------


def _valid(policy: int, priority: int) -> tuple[int, int]:
    if policy not in _KNOWN:
        raise Refused(f"policy {policy}", errno=errno.EINVAL)
    if policy in _REALTIME:
        if not 1 <= priority <= 99:
            raise Refused(f"priority {priority}", errno=errno.EINVAL)
    elif priority:
        raise Refused(f"priority {priority} without a real-time policy", errno=errno.EINVAL)
    return policy, priority


def _param(call: Call) -> int:
    address = call.register("param")
    if not address or call.register("pid") < 0:
        raise Refused("no parameter, or a process below 0", errno=errno.EINVAL)
    raw: bytes = call.caller.read(Address(address), 4)
    (priority,) = struct.unpack(("<" if call.arch.little else ">") + "i", raw)
    return int(priority)


def _setscheduler(call: Call) -> _Wish:
    policy = call.register("policy")
    if policy < 0:
        raise Refused("a policy below 0", errno=errno.EINVAL)
    return _Wish(*_valid(policy & ~_RESET, _param(call)), bool(policy & _RESET))


def _setparam(call: Call) -> _Wish:
    return _Wish(priority=_param(call), keep_policy=True)


def _setattr(call: Call) -> _Wish:
    if not call.register("attr") or call.register("pid") < 0 or call.register("flags"):
        raise Refused("no attributes, or flags, or a process below 0", errno=errno.EINVAL)
    attr: Any = call.attr  # type: ignore[attr-defined]
    if any(attr.extra):
        raise Refused("fields of sched_attr that are not known", errno=errno.E2BIG)
    if attr.flags & ~_ATTR_KNOWN or attr.policy >> 31:
        raise Refused("flags of sched_attr", errno=errno.EINVAL)
    if attr.flags & ~(_ATTR_RESET | _ATTR_KEEP_POLICY | _ATTR_KEEP_PARAMS):
        raise Refused("deadlines and clamps are not to be had", errno=errno.EPERM)
    reset = bool(attr.flags & _ATTR_RESET)
    nice = max(-20, min(19, attr.nice))
    if attr.flags & (_ATTR_KEEP_POLICY | _ATTR_KEEP_PARAMS):
        keeps = bool(attr.flags & _ATTR_KEEP_POLICY), bool(attr.flags & _ATTR_KEEP_PARAMS)
        return _Wish(attr.policy, attr.priority, reset, nice, None, *keeps)
    policy, priority = _valid(attr.policy, attr.priority)
    return _Wish(policy, priority, reset, nice if policy in _NICE else None)


def _setpriority(call: Call) -> _Wish:
    if call.register("which") != 0:
        raise Refused("only single threads can be changed", errno=errno.EPERM)
    return _Wish(nice=max(-20, min(19, call.register("prio"))))


def _ioprio_set(call: Call) -> _Wish:
    if call.register("which") != 1:
        raise Refused("only single threads can be changed", errno=errno.EPERM)
    value = call.register("ioprio")
    kind, level = value >> 13, value & 7
    if not 0 <= kind <= 3 or (kind == 0 and (level or value & 0x1FFF)):
        raise Refused(f"I/O priority {value:#x}", errno=errno.EINVAL)
    return _Wish(io=value)


_WISHES: Final = {
    "sched_setscheduler": _setscheduler,
    "sched_setparam": _setparam,
    "sched_setattr": _setattr,
    "setpriority": _setpriority,
    "ioprio_set": _ioprio_set,
}


@verb("emulate-sched")
def _emulate_sched(call: Call, parameters: Mapping[str, Any]) -> Reply:
    return emulate_sched(call, **parameters)
