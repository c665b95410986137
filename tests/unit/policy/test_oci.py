"""OCI seccomp profiles in: what each part means, and what is said of those that are wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import SeccompData, simulate
from unotify.errors import InvalidPolicy, UnknownName
from unotify.policy.compiling import compile_policy
from unotify.policy.model import Policy, Verb, Verdict
from unotify.policy.oci import import_profile, read_profile

EPERM = Action.ERRNO | 1
ALLOW = int(Action.ALLOW)
FULL = (1 << 64) - 1


def profile(*syscalls: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A profile that refuses all but what *syscalls* says."""
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(syscalls)} | more


def entry(*names: str, action: str = "ALLOW", **more: Any) -> dict[str, Any]:
    """One entry."""
    return {"names": list(names), "action": f"SCMP_ACT_{action}"} | more


def arg(index: int, op: str, value: int, two: int = 0) -> dict[str, Any]:
    """One condition."""
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": two}


def answer(policy: Policy, call: str, *args: int, arch: Arch = Arch.X86_64) -> int:
    """What its filter says of a call."""
    nr = tables.number(call, arch)
    assert nr is not None
    given = (*args, *(0,) * (6 - len(args)))
    return simulate(compile_policy(policy), SeccompData(nr, arch.audit, given))


def refused(document: object) -> InvalidPolicy:
    """What is said of a profile that is wrong."""
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(InvalidPolicy) as caught:
        import_profile(text, source="p.json")
    return caught.value


@pytest.mark.parametrize(
    ("word", "verdict"),
    [
        ("KILL", Verdict(Verb.KILL_THREAD)),
        ("KILL_THREAD", Verdict(Verb.KILL_THREAD)),
        ("KILL_PROCESS", Verdict(Verb.KILL_PROCESS)),
        ("TRAP", Verdict(Verb.TRAP)),
        ("ERRNO", Verdict(Verb.FAIL, errno=1)),
        ("TRACE", Verdict(Verb.TRACE, value=1)),
        ("LOG", Verdict(Verb.LOG)),
        ("ALLOW", Verdict(Verb.ALLOW)),
        ("NOTIFY", Verdict(Verb.NOTIFY)),
    ],
)
def test_actions(word: str, verdict: Verdict) -> None:
    """Each action has its verb; an error without a number is EPERM."""
    default = "SCMP_ACT_LOG" if word == "KILL_PROCESS" else "SCMP_ACT_KILL_PROCESS"
    policy = import_profile(profile(entry("read", action=word), defaultAction=default))
    (rule,) = policy.rules
    assert rule.verdict == verdict
    assert import_profile(profile(defaultAction=f"SCMP_ACT_{word}")).default == verdict


def test_errors() -> None:
    """errnoRet, errno names, which count more, and 0, which is success."""
    policy = import_profile(
        profile(
            entry("read", action="ERRNO", errnoRet=5),
            entry("write", action="ERRNO", errnoRet=5, errno="EINVAL"),
            entry("close", action="ERRNO", errno="38"),
            entry("mount", action="ERRNO", errnoRet=0),
            entry("chroot", action="TRACE", errnoRet=7),
            defaultErrnoRet=38,
            defaultErrno="ENOSYS",
        )
    )
    assert answer(policy, "read") == Action.ERRNO | 5
    assert answer(policy, "write") == Action.ERRNO | 22
    assert answer(policy, "close") == Action.ERRNO | 38
    assert answer(policy, "mount") == Action.ERRNO
    assert answer(policy, "chroot") == Action.TRACE | 7
    assert answer(policy, "getpid") == Action.ERRNO | 38


@pytest.mark.parametrize(
    ("op", "value", "two", "yes", "no"),
    [
        ("NE", 5, 0, [0, 4, 6, 5 | 1 << 32], [5]),
        ("LT", 5, 0, [0, 4], [5, 6, 1 << 32, FULL]),
        ("LE", 5, 0, [0, 5], [6, 1 << 63]),
        ("EQ", 5, 0, [5], [4, 6, 5 | 1 << 40]),
        ("GE", 5, 0, [5, 6, 1 << 32, FULL], [0, 4]),
        ("GT", 5, 0, [6, FULL], [5, 0]),
        ("MASKED_EQ", 0xF0, 0x30, [0x30, 0x3F, 0x1030], [0, 0x31 << 4]),
        ("MASKED_EQ", 0xF0, 0x3F, [0x30, 0x3F], [0, 0x20]),
        ("MASKED_EQ", 0, 7, [0, 7, FULL], []),
    ],
)
def test_operators(op: str, value: int, two: int, yes: list[int], no: list[int]) -> None:
    """B3: each operator is about all 64 bits, unsigned; bits outside of a mask are none."""
    policy = import_profile(profile(entry("ioctl", args=[arg(1, op, value, two)])))
    assert [n for n in yes + no if answer(policy, "ioctl", 0, n) == ALLOW] == yes


def test_conditions_join() -> None:
    """Conditions on several arguments must all hold, two on one argument need one to hold."""
    both = import_profile(profile(entry("ioctl", args=[arg(0, "EQ", 1), arg(1, "EQ", 2)])))
    assert answer(both, "ioctl", 1, 2) == ALLOW
    assert answer(both, "ioctl", 1, 3) == answer(both, "ioctl", 3, 2) == EPERM
    conditions = [arg(0, "EQ", 1), arg(1, "EQ", 2), arg(1, "EQ", 3)]
    each = import_profile(profile(entry("ioctl", args=conditions)))
    assert answer(each, "ioctl", 1, 9) == answer(each, "ioctl", 9, 3) == ALLOW
    assert answer(each, "ioctl", 9, 9) == EPERM


def test_narrow_registers() -> None:
    """B3: on a 32-bit ABI the low half counts, and -1 in 64 bits is -1."""
    document = profile(
        entry("ioctl", args=[arg(1, "EQ", FULL)]),
        entry("read", args=[arg(0, "EQ", 1 << 32 | 5)]),
        entry("write", args=[arg(0, "LT", 1 << 32)]),
        entry("close", args=[arg(0, "MASKED_EQ", FULL - 7, FULL - 7)]),
        architectures=["SCMP_ARCH_X86"],
    )
    policy = import_profile(document)
    assert answer(policy, "ioctl", 0, 7 << 32 | 0xFFFFFFFF, arch=Arch.I386) == ALLOW
    assert answer(policy, "ioctl", 0, 0xFFFFFFFF) == EPERM
    assert answer(policy, "read", 5, arch=Arch.I386) == EPERM
    assert answer(policy, "write", FULL, arch=Arch.I386) == ALLOW
    assert answer(policy, "write", FULL) == EPERM
    assert answer(policy, "close", 0xFFFFFFFB, arch=Arch.I386) == ALLOW


def test_architectures() -> None:
    """The host's is always there; archMap adds what its entry for the host has."""
    arch_map = [
        {
            "architecture": "SCMP_ARCH_X86_64",
            "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        },
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": None},
    ]
    document = profile(archMap=arch_map)
    found = {
        native: import_profile(document, native=native).architectures
        for native in (Arch.X86_64, Arch.AARCH64, Arch.RISCV64, Arch.S390X)
    }
    assert found == {
        Arch.X86_64: (Arch.X86_64, Arch.I386, Arch.X32),
        Arch.AARCH64: (Arch.AARCH64, Arch.ARM),
        Arch.RISCV64: (Arch.RISCV64,),
        Arch.S390X: (Arch.S390X,),
    }
    listed = profile(architectures=["SCMP_ARCH_X86", "SCMP_ARCH_NATIVE"])
    assert import_profile(listed).architectures == (Arch.X86_64, Arch.I386)
    foreign = read_profile(profile(architectures=["SCMP_ARCH_PARISC64"]))
    assert foreign.policy.architectures == (Arch.X86_64,)
    assert "SCMP_ARCH_PARISC64" in foreign.notes[0]


def test_other_calls() -> None:
    """Another architecture's call kills the thread; an unknown number is ENOSYS as with runc."""
    policy = import_profile(profile(entry("read")))
    program = compile_policy(policy)
    assert simulate(program, SeccompData(0, Arch.AARCH64.audit)) == Action.KILL_THREAD
    assert simulate(program, SeccompData(5000, Arch.X86_64.audit)) == Action.ERRNO | 38
    lenient = compile_policy(import_profile(profile(defaultAction="SCMP_ACT_ALLOW")))
    assert simulate(lenient, SeccompData(5000, Arch.X86_64.audit)) == ALLOW


@pytest.mark.parametrize(
    ("condition", "where"),
    [
        ({"includes": {"caps": ["CAP_SYS_ADMIN"]}}, {"admin", "both"}),
        ({"includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}}, {"both"}),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}}, {"none", "arm", "old"}),
        ({"includes": {"arches": ["arm64", "s390x"]}}, {"arm"}),
        ({"excludes": {"arches": ["arm64"]}}, {"none", "admin", "both", "old"}),
        ({"includes": {"minKernel": "4.8"}}, {"none", "admin", "both", "arm"}),
        ({"excludes": {"minKernel": "4.8"}}, {"old"}),
        ({"includes": {}, "excludes": None}, {"none", "admin", "both", "arm", "old"}),
    ],
)
def test_includes_and_excludes(condition: dict[str, Any], where: set[str]) -> None:
    """An entry counts for all capabilities of includes, and for none of excludes, and so on."""
    document = profile(entry("read", **condition))
    places: dict[str, dict[str, Any]] = {
        "none": {},
        "admin": {"capabilities": {"CAP_SYS_ADMIN"}},
        "both": {"capabilities": ["CAP_SYS_ADMIN", "CAP_BPF"]},
        "arm": {"native": Arch.AARCH64},
        "old": {"kernel": (4, 7)},
    }
    found = {name for name, options in places.items() if import_profile(document, **options).rules}
    assert found == where


def test_a_whole_configuration() -> None:
    """A bundle's config.json has the profile, and the capabilities of its process."""
    document = {
        "ociVersion": "1.0.2",
        "process": {"capabilities": {"bounding": ["CAP_BPF"]}},
        "linux": {"seccomp": profile(entry("bpf", includes={"caps": ["CAP_BPF"]}))},
    }
    assert answer(import_profile(document), "bpf") == ALLOW


def test_settings() -> None:
    """Flags, and where the listener goes, are kept."""
    policy = import_profile(
        profile(
            flags=["SECCOMP_FILTER_FLAG_LOG"], listenerPath="/run/a.sock", listenerMetadata="x=1"
        )
    )
    assert policy.flags == ("SECCOMP_FILTER_FLAG_LOG",)
    assert (policy.listener_path, policy.listener_metadata) == ("/run/a.sock", "x=1")


def test_legacy_name_and_comments() -> None:
    """Old profiles have one name an entry; comments say nothing."""
    old = {"name": "read", "action": "SCMP_ACT_ALLOW", "args": [], "comment": "why"}
    assert answer(import_profile(profile(old)), "read") == ALLOW


def test_what_is_not_there() -> None:
    """Unknown calls, and entries that do what the default does, are left out."""
    found = read_profile(
        profile(entry("read", "no_such_call"), entry("write", action="ERRNO", errnoRet=1))
    )
    assert [sorted(rule.calls) for rule in found.policy.rules] == [["read"]]
    assert found.notes == ("no call is named no_such_call: ignored",)


@pytest.mark.parametrize("turned", [False, True])
def test_an_unconditional_entry_decides(turned: bool) -> None:
    """An entry without conditions takes its calls from those with, wherever it stands."""
    entries = [
        entry("ioctl", args=[arg(0, "EQ", 1)]),
        entry("ioctl", action="ERRNO", errnoRet=5),
    ]
    found = read_profile(profile(*(entries[::-1] if turned else entries)))
    assert answer(found.policy, "ioctl", 1) == Action.ERRNO | 5
    assert any(note.startswith("ioctl: the entry at") for note in found.notes)


@pytest.mark.parametrize("turned", [False, True])
def test_entries_that_contradict(turned: bool) -> None:
    """Where entries differ about the same call, libseccomp's order counts, and a note says so."""
    entries = [
        entry("ioctl", args=[arg(0, "EQ", 1)]),
        entry("ioctl", action="ERRNO", errnoRet=5, args=[arg(1, "EQ", 1)]),
    ]
    found = read_profile(profile(*(entries[::-1] if turned else entries)))
    assert answer(found.policy, "ioctl", 1, 1) == Action.ERRNO | 5
    assert answer(found.policy, "ioctl", 1, 0) == ALLOW
    assert "libseccomp's" in found.notes[0]


@pytest.mark.parametrize(
    "others",
    [
        (arg(0, "EQ", 1), arg(0, "EQ", 2)),
        (arg(0, "LT", 5), arg(0, "GE", 5)),
        (arg(0, "MASKED_EQ", 3, 1), arg(0, "MASKED_EQ", 1, 0)),
        (arg(0, "NE", 5), arg(0, "EQ", 5)),
        (arg(0, "MASKED_EQ", 4, 4), arg(0, "EQ", 3)),
    ],
)
def test_entries_that_never_meet(others: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Entries that cannot match the same call keep the file's order, without a note."""
    first, second = others
    found = read_profile(
        profile(entry("ioctl", args=[first]), entry("ioctl", action="LOG", args=[second]))
    )
    assert not found.notes
    assert [rule.verdict.verb for rule in found.policy.rules] == [Verb.ALLOW, Verb.LOG]


def test_multiplexed_calls() -> None:
    """B6: a condition cannot follow a call into socketcall: that form fails, and a note says so."""
    document = profile(entry("socket", args=[arg(0, "EQ", 1)]), architectures=["SCMP_ARCH_X86"])
    found = read_profile(document)
    assert answer(found.policy, "socketcall", 1, arch=Arch.I386) == Action.ERRNO | 38
    assert "socketcall" in found.notes[0]
    whole = read_profile(
        {**document, "syscalls": [entry("socket", args=[arg(0, "EQ", 1)]), entry("socketcall")]}
    )
    assert answer(whole.policy, "socketcall", 1, arch=Arch.I386) == ALLOW
    assert not whole.notes


def test_places() -> None:
    """A rule knows where its entry stands."""
    text = json.dumps(profile(entry("read"), entry("write", action="LOG")), indent=1)
    lines = text.split("\n")
    for rule in import_profile(text, source="p.json").rules:
        assert (rule.place.source, rule.place.column) == ("p.json", 3)
        assert rule.place.line is not None
        assert lines[rule.place.line - 1] == "  {"


WRONG: list[tuple[object, str]] = [
    ("{", "this is not JSON: expecting property name"),
    ("[" * 100_000, "nested too deeply"),
    ("[1" + "0" * 5000 + "]", "thousands of digits"),
    ([], "a profile is an object, not an array"),
    ({}, "it has no defaultAction"),
    ({"defaultAction": 5}, "defaultAction: it takes a string, not an integer"),
    ({"defaultAction": "SCMP_ACT_ALOW"}, "defaultAction: no action is named 'SCMP_ACT_ALOW'"),
    (profile(defaultErrnoRet=4096), "defaultErrnoRet: 4096 is not a number from 0 to 0xfff"),
    (profile(defaultErrnoRet=True), "it takes an integer, not true or false"),
    (profile(defaultErrno="EFOO"), "defaultErrno: no error is named 'EFOO'"),
    (profile(defaultErrnoRet=512), "512 is no error that a program may see"),
    (profile(architectures=["SCMP_ARCH_X"]), "architectures[0]: no architecture is named"),
    (profile(architectures="x"), "architectures: it takes an array, not a string"),
    (profile(archMap=[{}]), "archMap[0].architecture: it takes the name of an architecture"),
    (
        profile(architectures=["SCMP_ARCH_X86"], archMap=[{"architecture": "SCMP_ARCH_X86"}]),
        "archMap: there is architectures too",
    ),
    (profile(flags=["SECCOMP_FILTER_FLAG_NEW"]), "flags[0]: no flag for a profile is named"),
    ({"defaultAction": "SCMP_ACT_LOG", "syscalls": [5]}, "syscalls[0]: it takes an object"),
    (profile({"names": ["read"]}), "syscalls[0]: it has no action"),
    (profile(entry("read", name="write")), "syscalls[0].name: there are names too"),
    (profile({"names": [5], "action": "SCMP_ACT_LOG"}), "names[0]: it takes a string"),
    (profile(entry("read", args=[{}])), "args[0].op: it has no operator"),
    (profile(entry("read", args=[arg(6, "EQ", 0)])), "args[0].index: 6 is not a number from 0"),
    (profile(entry("read", args=[arg(0, "EQ", -1)])), "args[0].value: -1 is not a number"),
    (profile(entry("read", args=[arg(0, "EQ", 1 << 64)])), "is not a number from 0 to 0xffff"),
    (profile(entry("read", args=[{"op": "SCMP_CMP_EQ"}])), "does not say which argument"),
    (profile(entry("read", includes={"caps": ["CAP_NO"]})), "no capability is named 'CAP_NO'"),
    (profile(entry("read", includes={"minKernel": "x"})), "minKernel: 'x' is no version"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "message"), WRONG, ids=[m for _, m in WRONG])
def test_wrong_profiles(document: object, message: str) -> None:
    """A mistake is told with what, where and how; no other exception ever comes out."""
    error = refused(document)
    assert message in str(error)
    assert error.source == "p.json"
    if not str(error).startswith("this JSON"):
        assert error.line is not None


def test_all_mistakes_at_once() -> None:
    """All mistakes are told, in their order, with the nearest right name."""
    document = profile(
        entry("read", action="ALOW"),
        entry("write", args=[arg(0, "EQUAL", 1)]),
        entry("close", action="NOTFY"),
    )
    text = json.dumps(document, indent=1)
    error = refused(text)
    assert [str(problem).partition(":")[0] for problem in error.problems] == [
        "syscalls[0].action",
        "syscalls[1].args[0].op",
        "syscalls[2].action",
    ]
    assert all(isinstance(problem, UnknownName) for problem in error.problems)
    assert error.problems[2].hint == "did you mean SCMP_ACT_NOTIFY?"
    line = error.problems[2].line
    assert line is not None
    assert "NOTFY" in text.split("\n")[line - 1]


def test_notes_of_what_is_ignored() -> None:
    """What engines take and ignore is taken and ignored, with a note."""
    document = profile(
        entry("read", action="LOG", errnoRet=5, colour="red"),
        entry(),
        entry("write", args=[arg(0, "EQ", 1, 2)]),
        listenerMetadata="x",
    )
    notes = " / ".join(read_profile(document).notes)
    for part in ("errnoRet means nothing", "'colour'", "[1] names no call", "valueTwo", "Metadata"):
        assert part in notes
