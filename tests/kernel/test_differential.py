"""Container engines' profiles: what we make of them beside what libseccomp makes of them.

libseccomp is asked through the system's own Python (Debian's python3-seccomp); what an
engine and runc do before is done here a second time, from their sources' description.
Where the two programs differ, it is for one of the reasons that `tests.kernel.libseccomp` lists.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.kernel.libseccomp import (
    ARCHES,
    HOSTS,
    LARGEST,
    ask,
    decoded,
    explained,
    numbers_of,
    questions,
)
from tests.kernel.profiles import ENGINES, profile
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.bpf import Program, SeccompData, evaluate, simulate
from unotify.policy.compiling import bound, compile_policy
from unotify.policy.oci import import_profile

CAPABILITIES = ((), ("CAP_SYS_ADMIN",), ("CAP_AUDIT_WRITE", "CAP_SYS_CHROOT", "CAP_SYS_TIME"))


def request(document: Mapping[str, Any], native: Arch, caps: Sequence[str]) -> dict[str, Any]:
    """What an engine on *native* tells runc, and runc tells libseccomp."""
    host, name = HOSTS[native]
    arches = [name]
    for entry in document.get("archMap", ()):
        if entry["architecture"] == name:
            arches += entry["subArchitectures"] or ()
    rules = [
        [
            entry["action"],
            entry.get("errnoRet", 1),
            call,
            [
                [arg["index"], arg["op"], arg["value"], arg.get("valueTwo", 0)]
                for arg in entry.get("args") or ()
            ],
        ]
        for entry in document["syscalls"]
        if counts(entry, host, caps)
        for call in entry["names"]
    ]
    return {
        "arches": [arch.removeprefix("SCMP_ARCH_").lower() for arch in arches],
        "default": [document["defaultAction"], document.get("defaultErrnoRet", 1)],
        "rules": rules,
    }


def counts(entry: Mapping[str, Any], host: str, caps: Sequence[str]) -> bool:
    """Whether an entry is there for this host and these capabilities; all kernels are new."""
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    if host in excludes.get("arches", ()) or set(caps) & set(excludes.get("caps", ())):
        return False
    if includes.get("arches") and host not in includes["arches"]:
        return False
    return set(includes.get("caps", ())) <= set(caps)


@pytest.mark.parametrize("caps", CAPABILITIES, ids=" ".join)
@pytest.mark.parametrize("native", HOSTS, ids=lambda arch: arch.label)
@pytest.mark.parametrize("engine", ENGINES)
def test_default_profiles(engine: str, native: Arch, caps: tuple[str, ...]) -> None:
    """An engine's profile means what libseccomp makes of it, for all calls of all its ABIs."""
    text = profile(engine).read_text()
    document = json.loads(text)
    wanted = request(document, native, caps)
    (answer,) = ask([wanted])
    theirs = decoded(answer, native)
    ours = compile_policy(import_profile(text, capabilities=caps, native=native))
    asked = questions(wanted["rules"])
    default = simulate(theirs, SeccompData(1199, native.audit))
    compared = 0
    for label in wanted["arches"]:
        arch = ARCHES[label]
        for nr in numbers_of(arch):
            name = tables.name(nr, arch)
            plain = [(0,) * 6, (LARGEST,) * 6]
            for args in [*plain, *asked.get(name or "", ())]:
                data = SeccompData(nr, arch.audit, args)
                their, our = simulate(theirs, data), simulate(ours, data)
                compared += 1
                assert their == our or explained(name, arch, args, their, answer, default), (
                    f"{name or nr} on {label} with {args}: theirs {their:#x}, ours {our:#x}"
                )
    assert compared > 800 * len(wanted["arches"])


def document_of(rules: Sequence[Any]) -> dict[str, Any]:
    """The profile that a request is about."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            {
                "names": [call],
                "action": action,
                "errnoRet": code,
                "args": [
                    {"index": index, "op": op, "value": value, "valueTwo": two}
                    for index, op, value, two in args
                ],
            }
            for action, code, call, args in rules
        ],
    }


def request_of(rules: Sequence[Any]) -> dict[str, Any]:
    """A request for a default of EPERM."""
    return {"arches": ["x86_64", "x86"], "default": ["SCMP_ACT_ERRNO", 1], "rules": rules}


VALUES = [0, 1, 5, 8, 0xFF, 1 << 31, 0xFFFFFFFF, 1 << 32, 1 << 32 | 5, LARGEST]
POINTS = sorted({(value + off) & LARGEST for value in VALUES for off in (-1, 0, 1)})
OPERATORS = [f"SCMP_CMP_{word}" for word in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")]


def argument(index: int, op: str, choose: random.Random) -> list[Any]:
    """A condition."""
    value = choose.choice(VALUES)
    return [index, op, value, choose.choice(VALUES) if op == "SCMP_CMP_MASKED_EQ" else 0]


def compiled(rules: Sequence[Any]) -> Program:
    """Ours."""
    return compile_policy(import_profile(document_of(rules)))


def test_each_operator() -> None:
    """Each of the seven operators, and two of them together, mean what libseccomp's mean."""
    choose = random.Random(1)
    cases = [
        [["SCMP_ACT_ALLOW", 0, "ioctl", [argument(0, op, choose) for op in ops[:1]]]]
        for ops in itertools.product(OPERATORS * 6)
    ] + [
        [
            [
                "SCMP_ACT_ALLOW",
                0,
                "ioctl",
                [argument(at, op, choose) for at, op in enumerate(ops)],
            ]
        ]
        for ops in itertools.product(OPERATORS, repeat=2)
    ]
    answers = ask([request_of(rules) for rules in cases])
    for rules, answer in zip(cases, answers, strict=True):
        theirs, ours = decoded(answer, Arch.X86_64), compiled(rules)
        for first, second in itertools.product(POINTS, POINTS[::3]):
            data = SeccompData(16, Arch.X86_64.audit, (first, second, 0, 0, 0, 0))
            assert simulate(theirs, data) == simulate(ours, data), (rules, data)


def test_several_conditions_on_one_argument() -> None:
    """As in runc, an entry with two conditions on one argument is one entry for each condition."""
    rules = [["SCMP_ACT_ALLOW", 0, "ioctl", [[1, "SCMP_CMP_EQ", 5, 0], [1, "SCMP_CMP_EQ", 8, 0]]]]
    (answer,) = ask([request_of(rules)])
    for value in POINTS:
        data = SeccompData(16, Arch.X86_64.audit, (0, value, 0, 0, 0, 0))
        assert simulate(decoded(answer, Arch.X86_64), data) == simulate(compiled(rules), data)
        assert (simulate(compiled(rules), data) == 0x7FFF0000) == (value in (5, 8))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([], [[0, "SCMP_CMP_EQ", 5, 0]]),
        ([[0, "SCMP_CMP_LT", 8, 0]], [[0, "SCMP_CMP_EQ", 5, 0]]),
        ([[0, "SCMP_CMP_GE", 1, 0]], [[0, "SCMP_CMP_LE", 8, 0]]),
        ([[0, "SCMP_CMP_EQ", 5, 0]], [[1, "SCMP_CMP_EQ", 5, 0]]),
        ([[0, "SCMP_CMP_MASKED_EQ", 1, 1]], [[0, "SCMP_CMP_EQ", 5, 0]]),
    ],
)
def test_entries_that_contradict(first: list[Any], second: list[Any], turned: bool) -> None:
    """Where two entries of one call differ, libseccomp's order counts, not the file's."""
    rules = [
        ["SCMP_ACT_ERRNO", 3, "ioctl", first],
        ["SCMP_ACT_ERRNO", 4, "ioctl", second],
    ]
    rules = rules[::-1] if turned else rules
    (answer,) = ask([request_of(rules)])
    theirs, ours = decoded(answer, Arch.X86_64), compiled(rules)
    for a, b in itertools.product(POINTS, POINTS):
        data = SeccompData(16, Arch.X86_64.audit, (a, b, 0, 0, 0, 0))
        assert simulate(theirs, data) == simulate(ours, data), (rules, data)


# Profiles whose entries all allow, so that a call is allowed if any of them matches.
WRONG_CODE = [
    (
        "or of two ranges",
        [[[1, "SCMP_CMP_LT", 0xFFFFFFFF, 0]], [[1, "SCMP_CMP_GE", 1 << 32, 0]]],
        (0, 0xFFFFFFFF, 0, 0, 0, 0),
    ),
    (
        "a range that holds another",
        [[[0, "SCMP_CMP_LE", 1 << 31, 0]], [[0, "SCMP_CMP_LT", 1 << 32 | 5, 0]]],
        ((1 << 31) + 1, 0, 0, 0, 0, 0),
    ),
    (
        "two arguments beside one",
        [
            [[0, "SCMP_CMP_LE", 8, 0], [1, "SCMP_CMP_EQ", 1, 0]],
            [[0, "SCMP_CMP_LE", 0xFF, 0]],
        ],
        (8, LARGEST, 0, 0, 0, 0),
    ),
]


@pytest.mark.parametrize(
    ("groups", "args"), [(g, a) for _, g, a in WRONG_CODE], ids=[w for w, _, _ in WRONG_CODE]
)
def test_where_libseccomp_is_wrong(groups: list[Any], args: tuple[int, ...]) -> None:
    """An older libseccomp compares halves of 64 bits wrongly where entries share them."""
    rules = [["SCMP_ACT_ALLOW", 0, "ioctl", group] for group in groups]
    (answer,) = ask([request_of(rules)])
    policy = import_profile(document_of(rules))
    wanted = any(
        evaluate(bound(rule.condition("ioctl"), Arch.X86_64, looks=False), args)
        for rule in policy.rules
    )
    data = SeccompData(16, Arch.X86_64.audit, args)
    assert (simulate(compile_policy(policy), data) == 0x7FFF0000) is wanted
    theirs = simulate(decoded(answer, Arch.X86_64), data) == 0x7FFF0000
    if theirs is wanted:
        pytest.skip("this libseccomp is right")


def test_wide_numbers_on_narrow_registers() -> None:
    """On i386 a number of more than 32 bits equals no register; libseccomp cuts it short."""
    rules = [["SCMP_ACT_ALLOW", 0, "ioctl", [[1, "SCMP_CMP_EQ", 1 << 32 | 5, 0]]]]
    (answer,) = ask([request_of(rules)])
    data = SeccompData(54, Arch.I386.audit, (0, 5, 0, 0, 0, 0))
    assert simulate(compiled(rules), data) == 0x50001
    assert simulate(decoded(answer, Arch.X86_64), data) == 0x7FFF0000
    minus_one = [["SCMP_ACT_ALLOW", 0, "ioctl", [[1, "SCMP_CMP_EQ", LARGEST, 0]]]]
    (answer,) = ask([request_of(minus_one)])
    data = SeccompData(54, Arch.I386.audit, (0, 0xFFFFFFFF, 0, 0, 0, 0))
    assert simulate(compiled(minus_one), data) == simulate(decoded(answer, Arch.X86_64), data)
    assert simulate(compiled(minus_one), data) == 0x7FFF0000


def test_multiplexed_calls() -> None:
    """B6: a condition on a call that i386 can also make by socketcall is not checked there.

    libseccomp tests the registers of socketcall as if they were those of socket.
    """
    rules = [["SCMP_ACT_ALLOW", 0, "socket", [[2, "SCMP_CMP_EQ", 9, 0]]]]
    (answer,) = ask([request_of(rules)])
    data = SeccompData(102, Arch.I386.audit, (1, 0x1000, 9, 0, 0, 0))
    assert simulate(decoded(answer, Arch.X86_64), data) == 0x7FFF0000
    assert simulate(compiled(rules), data) == 0x50026
