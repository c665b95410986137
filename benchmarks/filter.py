"""The filter compiler: size and depth of its programs, its time, and that of the proof.

Two profiles: a container's, which needs no file and is about the one that other
compilers' published figures are for, and moby's default profile, where it is found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

from benchmarks.report import Report, Result
from benchmarks.rounds import ROOT, NotHere, command, interleave
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import (
    Compare,
    CompareOp,
    In,
    Program,
    SeccompData,
    compile_filter,
    compiler,
    decode,
    trace,
)
from unotify.policy.compiling import compile_policy
from unotify.policy.oci import import_profile

__all__ = ["measure"]

NATIVE = Arch.X86_64
SYSTEM_PYTHON = "/usr/bin/python3"
MOBY = "/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json"
"""From Debian's golang-github-docker-docker-dev; UNOTIFY_MOBY_PROFILE names another."""

# The goals, and what the best of the others takes on a profile of this size.
MOST_INSTRUCTIONS = 73
MOST_EXECUTED = 10
MOST_HOT = 8
MOST_MILLISECONDS = 60
NOISE = 1.05

KAFEL = "kafel"
MINIJAIL = "minijail (bst)"
PUBLISHED = {KAFEL: (73, 9.6, 10), MINIJAIL: (86, 8.8, 13)}
"""Instructions, average and most executed, on a profile like `container`; measured by hand."""

HOT = {"read": 40.0, "write": 30.0, "openat": 15.0, "close": 10.0, "futex": 5.0}
"""Counts of the calls of a busy program, for the weights."""

_REFUSED = """
    _sysctl acct add_key bpf clock_adjtime clock_settime clone3 create_module delete_module
    finit_module get_kernel_syms get_mempolicy init_module ioperm iopl kcmp kexec_file_load
    kexec_load keyctl lookup_dcookie mbind mount move_pages nfsservctl open_by_handle_at
    perf_event_open pivot_root process_vm_readv process_vm_writev ptrace query_module quotactl
    reboot request_key set_mempolicy setns settimeofday swapoff swapon sysfs syslog umount2
    unshare uselib userfaultfd ustat vhangup chroot
"""
REFUSED = frozenset(_REFUSED.split())
"""What a container may not do; all else is allowed, but for three calls that depend."""

PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
NAMESPACES = 0x7E020000
VSOCK = 40

ALLOW, EPERM = int(Action.ALLOW), Action.ERRNO | 1


@dataclass(frozen=True)
class Profile:
    """Something to compile.

    Attributes:
        name: What the report calls it.
        build: Compiles and proves it, with weights or without.
        plain: The native calls that are allowed whatever their arguments.
        request: The same for libseccomp.
    """

    name: str
    build: Callable[[Mapping[Arch, Mapping[int, float]] | None], Program]
    plain: Sequence[int]
    request: dict[str, Any]


def measure(rounds: int) -> Report:
    """Compile all profiles with all that can be run here, in turns."""
    missing: dict[str, str] = {}
    results: list[Result] = []
    for make in (container, moby):
        try:
            profile = make()
        except NotHere as reason:
            missing[make.__name__] = str(reason)
            continue
        results += ours(profile, rounds)
        for level in (1, 2):
            try:
                results += theirs(profile, level)
            except NotHere as reason:
                missing[f"{profile.name}, libseccomp opt={level}"] = str(reason)
    for peer, figures in PUBLISHED.items():
        results += figures_of(f"container, {peer}", *figures)
    results += cost_of_a_call(rounds, missing)
    return Report(
        "filter",
        "Instructions of filters, how many a plainly allowed call runs, and milliseconds to "
        "compile; the baseline of our own rows is the goal.",
        tuple(results),
        missing,
        (
            f"{KAFEL} and {MINIJAIL}: published figures for a profile of the same size, not run "
            "here. libseccomp's time is without a proof.",
        ),
    )


def ours(profile: Profile, rounds: int) -> Iterator[Result]:
    """Our rows for a profile; the goals are for the usual profile and hold for both times."""
    program = profile.build(None)
    executed = [len(trace(program, call(nr))) for nr in profile.plain]
    goals = profile.name == "container"
    yield Result(f"{profile.name}: size", "insns", len(program), *goal(MOST_INSTRUCTIONS, goals))
    yield Result(f"{profile.name}: executed, average", "insns", sum(executed) / len(executed))
    yield Result(
        f"{profile.name}: executed, most", "insns", max(executed), *goal(MOST_EXECUTED, goals)
    )
    counts = {number(name): count for name, count in HOT.items()}
    weighted = profile.build({NATIVE: counts})
    hot = [len(trace(weighted, call(nr))) for nr in counts]
    yield Result(f"{profile.name}, weighted: size", "insns", len(weighted))
    yield Result(
        f"{profile.name}, weighted: executed, most of five", "insns", max(hot), *goal(MOST_HOT)
    )
    both: list[float] = []
    proofs: list[float] = []

    def once() -> float:
        with stopwatch() as proof:
            started = perf_counter()
            profile.build(None)
            both.append((perf_counter() - started) * 1e3)
        proofs.append(sum(proof) * 1e3)
        return both[-1]

    outcome = interleave({"both": once}, max(3, rounds))
    took = outcome.median("both")
    assert took is not None
    yield Result(f"{profile.name}: compile and prove", "ms", took, *goal(MOST_MILLISECONDS))
    yield Result(f"{profile.name}: of that, the proof", "ms", sorted(proofs)[len(proofs) // 2])


def theirs(profile: Profile, level: int) -> Iterator[Result]:
    """Libseccomp's rows."""
    answer = libseccomp(profile, level)
    program = Program(decode(bytes.fromhex(answer["program"])))
    executed = [len(trace(program, call(nr))) for nr in profile.plain]
    name = f"{profile.name}, libseccomp opt={level}"
    yield from figures_of(name, len(program), sum(executed) / len(executed), max(executed))
    yield Result(f"{name}: compile", "ms", answer["seconds"] * 1e3)


def figures_of(name: str, size: int, average: float, most: int) -> Iterator[Result]:
    """The rows of a compiler that is not ours."""
    yield Result(f"{name}: size", "insns", size)
    yield Result(f"{name}: executed, average", "insns", average)
    yield Result(f"{name}: executed, most", "insns", most)


def cost_of_a_call(rounds: int, missing: dict[str, str]) -> Iterator[Result]:
    """What an allowed call costs under each filter, in one run of interleaved rounds."""
    profile = container()
    script = "benchmarks/peers/filtered.py"
    programs = {"no filter": "", "unotify": profile.build(None).encode().hex()}
    for level in (1, 2):
        try:
            programs[f"libseccomp opt={level}"] = libseccomp(profile, level)["program"]
        except NotHere:
            continue  # the profile's own rows say why
    contenders = {
        name: command([sys.executable, script, *([program] if program else [])])
        for name, program in programs.items()
    }
    outcome = interleave(contenders, rounds)
    missing |= {f"getppid, {name}": reason for name, reason in outcome.missing.items()}
    peer = outcome.median("libseccomp opt=2")
    for name in contenders:
        took = outcome.median(name)
        if took is not None:
            fair = (peer, NOISE) if name == "unotify" and peer else ()
            yield Result(f"getppid, {name}", "ns", took, *fair)


def goal(most: float, here: bool = True) -> tuple[float, float] | tuple[()]:
    """Baseline and greatest ratio that say: no more than that."""
    return (most, 1.0) if here else ()


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Collects how many seconds each proof takes."""
    found: list[float] = []
    prove = compiler.prove

    def timed(*args: Any) -> None:
        started = perf_counter()
        prove(*args)
        found.append(perf_counter() - started)

    with patch.object(compiler, "prove", timed):
        yield found


def libseccomp(profile: Profile, level: int) -> dict[str, Any]:
    """What the system's libseccomp makes of a profile."""
    asked = json.dumps({**profile.request, "optimize": level})
    try:
        done = subprocess.run(
            [SYSTEM_PYTHON, "benchmarks/peers/libseccomp_compile.py"],
            input=asked,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise NotHere(str(error)) from None
    if done.returncode:
        raise NotHere((done.stderr.strip().splitlines() or ["it failed"])[-1])
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def container() -> Profile:
    """334 calls that are plainly allowed, and three that depend on an argument."""
    special = {
        "personality": (In(0, PERSONALITIES), [[0, "SCMP_CMP_EQ", at, 0] for at in PERSONALITIES]),
        "clone": (
            Compare(0, CompareOp.EQ, 0, mask=NAMESPACES),
            [[0, "SCMP_CMP_MASKED_EQ", NAMESPACES, 0]],
        ),
        "socket": (Compare(0, CompareOp.NE, VSOCK), [[0, "SCMP_CMP_NE", VSOCK, 0]]),
    }
    names = [
        name
        for _, name in sorted(tables.names(NATIVE).items())
        if name not in REFUSED and name not in special
    ]
    table: dict[int, Any] = {number(name): ALLOW for name in names}
    table |= {number(name): ((test, ALLOW), EPERM) for name, (test, _) in special.items()}

    def build(weights: Mapping[Arch, Mapping[int, float]] | None) -> Program:
        return compile_filter({NATIVE: table}, default=EPERM, weights=weights)

    rules = [["SCMP_ACT_ALLOW", 1, name, []] for name in names]
    rules += [["SCMP_ACT_ALLOW", 1, name, [test]] for name in special for test in special[name][1]]
    request = {"default": ["SCMP_ACT_ERRNO", 1], "arches": [], "rules": rules}
    return Profile("container", build, [number(name) for name in names], request)


def moby() -> Profile:
    """Moby's default profile for a container without further capabilities, with all its ABIs."""
    path = Path(os.environ.get("UNOTIFY_MOBY_PROFILE", MOBY))
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise NotHere(
            f"{path}: {error.strerror}; UNOTIFY_MOBY_PROFILE=$(.ci/moby-profile build/moby) has it"
        ) from None
    policy = import_profile(document, source=str(path), native=NATIVE)
    rules = [
        [
            entry["action"],
            entry.get("errnoRet", 1),
            name,
            [
                [arg["index"], arg["op"], arg["value"], arg.get("valueTwo", 0)]
                for arg in entry.get("args") or ()
            ],
        ]
        for entry in document["syscalls"]
        if is_in_force(entry)
        for name in entry["names"]
    ]
    request = {
        "default": [document["defaultAction"], document.get("defaultErrnoRet", 1)],
        "arches": ["X86", "X32"],
        "rules": rules,
    }
    plain = {
        nr
        for action, _, name, args in rules
        if action == "SCMP_ACT_ALLOW" and not args
        if (nr := tables.number(name, NATIVE)) is not None
    }
    build = partial(_build_policy, policy)
    return Profile("moby", build, sorted(plain), request)


def _build_policy(policy: Any, weights: Mapping[Arch, Mapping[int, float]] | None) -> Program:
    return compile_policy(policy, weights=weights)


def is_in_force(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of the profile counts here: no capabilities, x86-64, a new kernel."""
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    if includes.get("caps") or "amd64" in excludes.get("arches", ()):
        return False
    return not includes.get("arches") or "amd64" in includes["arches"]


def call(nr: int) -> SeccompData:
    """A native call without arguments."""
    return SeccompData(nr, NATIVE.audit)


def number(name: str) -> int:
    """The native number of a call."""
    found = tables.number(name, NATIVE)
    assert found is not None, name
    return found
