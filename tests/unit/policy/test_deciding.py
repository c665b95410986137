"""`unotify.policy.deciding` and `compiling`: which rule decides, and what the filter is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import SeccompData, is_constant_allow, simulate
from unotify.calls import Call
from unotify.policy.compiling import compile_policy
from unotify.policy.conditions import Facts
from unotify.policy.deciding import Decision, decide
from unotify.policy.loader import load
from unotify.policy.model import Policy, Verb

POLICY = """
version = 1
default = "allow"
architectures = ["x86_64", "i386"]

[[rule]]
name = "tmp"
calls = ["openat"]
where = 'flags & O_CREAT and path == "/tmp/x"'
do = { fail = "EROFS" }
racy = true
because = "a test"

[[rule]]
name = "connect"
calls = ["connect"]
do = "deny"

[[rule]]
name = "socket"
calls = ["socket"]
where = "family == AF_INET"
do = "deny"

[[rule]]
name = "seen"
calls = ["getppid"]
do = "allow"
log = true
"""


def policy() -> Policy:
    """The policy of these tests."""
    return load(POLICY)


def filtered(name: str, *args: int, arch: Arch = Arch.X86_64) -> int:
    """What the filter answers."""
    nr = tables.number(name, arch)
    assert nr is not None
    six = (*args, *[0] * (6 - len(args)))
    return simulate(compile_policy(policy()), SeccompData(nr, arch.audit, six))


def decided(name: str, *args: int, arch: Arch = Arch.X86_64, **values: Any) -> Decision:
    """What the supervisor decides."""
    exchange = SimpleNamespace(nr=tables.number(name, arch), args=(*args, *[0] * (6 - len(args))))
    call = cast(Call, SimpleNamespace(exchange=exchange, arch=arch, call_name=name, **values))
    return decide(policy(), call, cast(Facts, SimpleNamespace(call=call)))


def test_registers_decide_in_the_filter() -> None:
    """Only calls that a look could decide reach the supervisor."""
    assert filtered("openat", 0, 0, 0o1) == Action.ALLOW
    assert filtered("openat", 0, 0, 0o100) == Action.USER_NOTIF
    assert filtered("connect") == Action.ERRNO | 111
    assert filtered("socket", 2) == Action.ERRNO | 13
    assert filtered("socket", 1) == Action.ALLOW


def test_log_is_seen_by_the_supervisor() -> None:
    """A rule that logs gives up the filter's speed."""
    assert filtered("getppid") == Action.USER_NOTIF
    assert decided("getppid").verdict.verb is Verb.ALLOW


def test_the_supervisor_goes_by_the_same_rules() -> None:
    """The rule that matches decides; past all of them the default, with what the lookers accept."""
    found = decided("openat", 0, 0, 0o100, path="/tmp/x")
    assert found.rule is not None
    assert (found.rule.name, found.verdict.errno) == ("tmp", 30)
    found = decided("openat", 0, 0, 0o100, path="/tmp/y")
    assert (found.rule, found.verdict.verb, found.because) == (None, Verb.ALLOW, "a test")


def test_multiplexed_calls() -> None:
    """B6: socketcall(connect) is refused like connect; what cannot be checked fails with ENOSYS."""
    assert filtered("socketcall", 3, arch=Arch.I386) == Action.ERRNO | 111
    assert filtered("socketcall", 1, arch=Arch.I386) == Action.ERRNO | 38
    assert filtered("socketcall", 2, arch=Arch.I386) == Action.ALLOW
    found = decided("socketcall", 1, arch=Arch.I386)
    assert found.verdict.errno == 38


def test_plain_allow_stays_cached() -> None:
    """A call that no rule is about is answered from the kernel's bitmap."""
    program = compile_policy(policy())
    read, openat = (tables.number(name, Arch.X86_64) for name in ("read", "openat"))
    assert read is not None
    assert openat is not None
    assert is_constant_allow(program, Arch.X86_64.audit, read)
    assert not is_constant_allow(program, Arch.X86_64.audit, openat)


def test_numbers_that_nobody_knows() -> None:
    """B1: unknown and negative numbers get ENOSYS, other architectures are killed."""
    program = compile_policy(policy())
    for nr in (99999, 0xFFFFFFFF):
        assert simulate(program, SeccompData(nr, Arch.X86_64.audit)) == Action.ERRNO | 38
    assert simulate(program, SeccompData(0, Arch.AARCH64.audit)) == Action.KILL_PROCESS
    assert simulate(program, SeccompData(0x40000000, Arch.X86_64.audit)) == Action.KILL_PROCESS
