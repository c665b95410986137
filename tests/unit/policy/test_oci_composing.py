"""A policy above an engine's profile: what its rules decide is theirs, all else the profile's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import SeccompData, simulate
from unotify.errors import NotExpressible
from unotify.policy.compiling import compile_policy
from unotify.policy.loader import load
from unotify.policy.model import Policy, Verb, Verdict
from unotify.policy.oci import USUAL_CAPABILITIES, Base, import_profile, runtime_profile

ADMIN = frozenset({"CAP_SYS_ADMIN"})
NETLINK = {"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}
BASE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {
            "names": ["read", "write", "openat", "mkdir", "chdir", "personality", "never_heard"],
            "action": "SCMP_ACT_ALLOW",
        },
        {
            "names": ["mount", "umount2", "clone"],
            "action": "SCMP_ACT_ALLOW",
            "includes": {"caps": ["CAP_SYS_ADMIN"]},
        },
        {
            "names": ["mount", "umount2"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 1,
            "excludes": {"caps": ["CAP_SYS_ADMIN"]},
        },
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
            "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390x"]},
        },
        {
            "names": ["socket"],
            "action": "SCMP_ACT_ALLOW",
            "args": [NETLINK | {"op": "SCMP_CMP_NE"}],
        },
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "args": [NETLINK]},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
    ],
}
POLICIES = {
    "whole calls": '[[rule]]\ncalls = ["mkdir", "mount"]\ndo = "notify"\n',
    "what the base refuses": '[[rule]]\ncalls = ["keyctl", "bpf"]\ndo = "allow"\n',
    "as the base's default": '[[rule]]\ncalls = ["read", "chdir"]\ndo = { fail = "ENOSYS" }\n',
    "by a mask": '[[rule]]\ncalls = ["clone"]\nwhere = "flags & CLONE_NEWNET"\ndo = "notify"\n',
    "by a number": '[[rule]]\ncalls = ["socket"]\nwhere = "protocol == 8"\ndo = { fail = 1 }\n',
    "several rules": """
[[rule]]
calls = ["mount"]
where = "flags & MS_REMOUNT"
do = { fail = "EBUSY" }
[[rule]]
calls = ["mount", "umount2"]
where = "flags & 1"
do = "notify"
[[rule]]
calls = ["personality"]
where = "persona > 7"
do = { return = 0 }
""",
    "up to the end": """
[[rule]]
calls = ["socket"]
where = "type == 3"
do = { fail = "EACCES" }
[[rule]]
calls = ["socket"]
do = "allow"
""",
}


def policy(text: str, *, default: str = '"allow"') -> Policy:
    """A policy for x86-64 and i386."""
    head = f'version = 1\ndefault = {default}\narchitectures = ["native", "compat"]\n'
    return load(head + text, native=Arch.X86_64)


def profile(of: Policy, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """The profile above `BASE`."""
    base = Base(json.dumps(BASE), "base", **options)
    return runtime_profile(of, listener="/run/agent.sock", base=base)


def calls() -> Iterator[SeccompData]:
    """All calls, with arguments that the rules and the base tell apart."""
    values = (0, 1, 3, 7, 8, 10, 16, 32, 33, 0x40000000, 0x7E020000, 0x10000, (1 << 64) - 1)
    for arch in (Arch.X86_64, Arch.I386):
        asked = {tables.number(name, arch) for entry in BASE["syscalls"] for name in entry["names"]}
        for nr in tables.names(arch):
            for value in values if nr in asked else (0,):
                whole = value & (1 << arch.bits) - 1
                yield SeccompData(nr, arch.audit, (whole,) * 6)
                yield SeccompData(nr, arch.audit, (whole, 3, 0, 1, 0, 0))
                yield SeccompData(nr, arch.audit, (0, 0, 0, whole, 0, 0))


@pytest.mark.parametrize("caps", [frozenset(), USUAL_CAPABILITIES, ADMIN], ids=len)
@pytest.mark.parametrize("kept", [False, True], ids=["settled", "kept"])
@pytest.mark.parametrize("name", POLICIES)
def test_rules_above_the_base(name: str, kept: bool, caps: frozenset[str]) -> None:
    """Each call gets the answer of the rule that matches it, and where none does the base's."""
    of = policy(POLICIES[name])
    document, _ = profile(of, capabilities=None if kept else caps, keep_kernel=kept)
    made = compile_policy(import_profile(document, capabilities=caps))
    nobody = Verdict(Verb.TRACE, value=4711)
    rules = compile_policy(replace(of, default=nobody))
    base = compile_policy(import_profile(BASE, capabilities=caps))
    decided = set()
    for data in calls():
        wanted = simulate(rules, data)
        decided.add(wanted == nobody.action(None))
        if wanted == nobody.action(None):
            wanted = simulate(base, data)
        assert simulate(made, data) == wanted, data
    assert decided == {True, False}


def test_includes_are_kept_for_engines() -> None:
    """What an engine settles for each container stays open, what is settled here is left out."""
    of = policy(POLICIES["by a mask"])
    kept, _ = profile(of, capabilities=None, keep_kernel=True)
    conditions = [
        {key: entry[key] for key in ("includes", "excludes") if key in entry}
        for entry in kept["syscalls"]
    ]
    assert {"includes": {"caps": ["CAP_SYS_ADMIN"]}} in conditions
    assert {"excludes": {"caps": ["CAP_SYS_ADMIN"]}} in conditions
    assert {"includes": {"minKernel": "4.8"}} in conditions
    settled, _ = profile(of)
    assert not any({"includes", "excludes"} & set(entry) for entry in settled["syscalls"])
    old, _ = profile(of, kernel=(4, 4))
    assert [e["names"] for e in settled["syscalls"] if "ptrace" in e["names"]] == [["ptrace"]]
    assert not any("ptrace" in entry["names"] for entry in old["syscalls"])


def test_the_listener_comes_first() -> None:
    """Entries of the policy stand first; the socket, its text and the flags are the profile's."""
    of = policy('[[rule]]\ncalls = ["mkdir"]\ndo = "notify"\n')
    base = Base(json.dumps(BASE | {"flags": ["SECCOMP_FILTER_FLAG_LOG"]}), "base")
    document, notes = runtime_profile(
        of, listener="/a b", metadata="x=1", base=base, wait_killable=True
    )
    assert document["syscalls"][0] == {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
    assert not any("mkdir" in entry["names"] for entry in document["syscalls"][1:])
    assert (document["listenerPath"], document["listenerMetadata"]) == ("/a b", "x=1")
    assert document["flags"] == [
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ]
    assert notes == []


def test_calls_without_a_number_here_stay() -> None:
    """Names of the base that no table here has are the engine's to know."""
    document, _ = profile(policy(POLICIES["whole calls"]))
    assert any("never_heard" in entry["names"] for entry in document["syscalls"])


def test_without_a_base_the_default_decides() -> None:
    """Without a base the profile is the policy, with its own default."""
    of = policy('[[rule]]\ncalls = ["mkdir"]\ndo = "notify"\n', default='{ fail = "EPERM" }')
    document, _ = runtime_profile(of, listener="/run/agent.sock")
    assert (document["defaultAction"], document["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert document["syscalls"] == [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]


def test_what_runtimes_refuse() -> None:
    """A default, or a write, that the listener must decide is an error and no profile."""
    with pytest.raises(NotExpressible, match="the default is for the listener"):
        runtime_profile(policy("", default='"notify"'), listener="/l")
    conditional = '[[rule]]\ncalls = ["write"]\nwhere = "fd == 1"\ndo = "notify"\n'
    for text in ('[[rule]]\ncalls = ["write"]\ndo = "notify"\n', conditional):
        with pytest.raises(NotExpressible, match="write is for the listener"):
            runtime_profile(policy(text), listener="/l")
        with pytest.raises(NotExpressible, match="write is for the listener"):
            profile(policy(text))
    notifying = BASE | {"defaultAction": "SCMP_ACT_NOTIFY"}
    base = Base(json.dumps(notifying), "base")
    with pytest.raises(NotExpressible, match="the default is for the listener"):
        runtime_profile(policy(POLICIES["whole calls"]), listener="/l", base=base)


def test_two_numbers_that_one_argument_must_not_be() -> None:
    """Where only so many bits count for the kernel, the rest of two tests on one can be said."""
    of = policy('[[rule]]\ncalls = ["socket"]\nwhere = "family == 10"\ndo = { fail = "EPERM" }\n')
    document, notes = profile(of)
    assert any("only the bits that the kernel reads count" in note for note in notes)
    made = compile_policy(import_profile(document))
    for arch in (Arch.X86_64, Arch.I386):
        nr = tables.number("socket", arch)
        assert nr is not None
        answers = [
            simulate(made, SeccompData(nr, arch.audit, (n, 1, 0, 0, 0, 0))) for n in range(40)
        ]
        expected = {10: Action.ERRNO | 1, 16: Action.ERRNO | 22}
        assert answers == [expected.get(family, Action.ALLOW) for family in range(40)]


def test_a_base_that_contradicts_itself() -> None:
    """Where a part of a call is left to entries that contradict each other, there is no profile."""
    twice = {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    base = Base(json.dumps(BASE | {"syscalls": [*BASE["syscalls"], twice]}), "base")
    with pytest.raises(NotExpressible, match=r"socket: .* contradict each other"):
        runtime_profile(policy(POLICIES["by a number"]), listener="/l", base=base)
    runtime_profile(policy(POLICIES["up to the end"]), listener="/l", base=base)


def test_what_may_surprise_is_told() -> None:
    """Defaults that do not count, foreign architectures and filters alone are told."""
    of = policy('[[rule]]\ncalls = ["mount"]\nwhere = \'fstype == "x"\'\ndo = "notify"\n')
    _, notes = profile(of)
    assert notes == [
        "mount: where the listener sees that no rule matches, the policy's default counts "
        '("allow"), not base'
    ]
    only = load('version = 1\ndefault = "kill-process"\narchitectures = ["x86_64"]\n')
    _, notes = profile(only)
    assert notes == [
        "i386: the policy does not list it, so its calls are fatal",
        'the default of the policy is "kill-process"; calls without a rule are decided by base '
        "instead",
        "the filter decides all of it: nothing comes to the listener",
    ]


def test_a_condition_without_words_goes_to_the_listener() -> None:
    """Where the format has no words the whole call is the listener's, and that is told."""
    test = " and ".join(f"persona != {1 << at}" for at in range(0, 32, 2))
    of = policy(f'[[rule]]\ncalls = ["personality"]\nwhere = "{test}"\ndo = {{ fail = "EPERM" }}\n')
    document, notes = profile(of)
    found = [entry for entry in document["syscalls"] if "personality" in entry["names"]]
    assert found == [{"names": ["personality"], "action": "SCMP_ACT_NOTIFY"}]
    assert any("the listener decides on all of these calls" in note for note in notes)
    made = compile_policy(import_profile(document))
    nr = tables.number("personality", Arch.X86_64)
    assert nr is not None
    assert simulate(made, SeccompData(nr, Arch.X86_64.audit)) == Action.USER_NOTIF
