"""``unotify profile`` as people use it, and what libseccomp makes of its profiles."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.cli_support import cli
from tests.kernel.libseccomp import ARCHES, LARGEST, ask, decoded, explained, numbers_of, questions
from tests.kernel.profiles import CONTAINERS, ENGINES, MOBY, profile
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.bpf import simulate
from unotify.bpf.simulator import SeccompData
from unotify.cli.failures import Exit
from unotify.policy.compiling import compile_policy
from unotify.policy.loader import load
from unotify.policy.model import Verb, Verdict
from unotify.policy.oci import import_profile

POLICY = """version = 1
default = "allow"

[[rule]]
calls = ["mkdir", "mkdirat"]
do = "perform"

[[rule]]
calls = ["mknod", "mknodat"]
where = "mode & S_IFMT in (S_IFCHR, S_IFBLK)"
do = "perform"

[[rule]]
calls = ["clone"]
where = "flags & CLONE_NEWNET"
do = { fail = "EPERM" }

[[rule]]
calls = ["socket"]
where = "family == AF_INET6"
do = { fail = "EAFNOSUPPORT" }

[[rule]]
calls = ["keyctl"]
do = "allow"
"""
ASKING = 'version = 1\ndefault = "notify"\n'
WRITING = POLICY + '[[rule]]\ncalls = ["write"]\ndo = "notify"\n'
LISTENER = ["--listener", "/run/agent.sock"]


@pytest.fixture(name="policy")
def _policy(tmp_path: Path) -> str:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    return str(file)


def test_without_a_base(policy: str, tmp_path: Path) -> None:
    """The profile of a policy alone: its rules, its default, the socket and the text for it."""
    out = tmp_path / "out.json"
    done = cli(
        "profile", policy, *LISTENER, "--metadata", "a b", "--arch", "x86_64", "-o", str(out)
    )
    assert (done.returncode, done.stdout) == (0, "")
    document: dict[str, Any] = json.loads(out.read_text())
    assert document["defaultAction"] == "SCMP_ACT_ALLOW"
    assert (document["listenerPath"], document["listenerMetadata"]) == ("/run/agent.sock", "a b")
    assert document["syscalls"][0] == {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}
    assert "there is no --base: what no rule is about is allowed" in done.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_above_a_default_profile(engine: str, policy: str) -> None:
    """What libseccomp makes of it is what the rules say, and where none matches the engine's."""
    base, native = profile(engine), Arch.X86_64
    variables = {"UNOTIFY_MOBY_PROFILE": str(profile(MOBY))} if engine == MOBY else {}
    done = cli(
        *("profile", policy, *LISTENER, "--base", engine, "--capability", "CAP_SYS_CHROOT"),
        *("--arch", "x86_64"),
        env=os.environ | variables,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    nobody = Verdict(Verb.TRACE, value=4711)
    ours = compile_policy(replace(load(POLICY, native=native), default=nobody))
    below = compile_policy(
        import_profile(base.read_text(), capabilities={"CAP_SYS_CHROOT"}, native=native)
    )
    default = [document["defaultAction"], document.get("defaultErrnoRet", 1)]
    rules = [
        [
            entry["action"],
            entry.get("errnoRet", 1),
            call,
            [
                [arg["index"], arg["op"], arg["value"], arg.get("valueTwo", 0)]
                for arg in entry.get("args", ())
            ],
        ]
        for entry in document["syscalls"]
        if [entry["action"], entry.get("errnoRet", 1)] != default
        for call in entry["names"]
    ]
    labels = [name.removeprefix("SCMP_ARCH_").lower() for name in document["architectures"]]
    (answer,) = ask([{"arches": labels, "default": default, "rules": rules}])
    theirs = decoded(answer, native)
    asked = questions(rules)
    standard = simulate(theirs, SeccompData(1199, native.audit))
    compared = 0
    for label in labels:
        arch = ARCHES[label]
        for nr in numbers_of(arch):
            call = tables.name(nr, arch)
            if call is None or call in tables.MULTIPLEXERS:
                continue
            for args in [(0,) * 6, (LARGEST,) * 6, *asked.get(call, ())]:
                data = SeccompData(nr, arch.audit, args)
                wanted = simulate(ours, data)
                if wanted == nobody.action(None):
                    wanted = simulate(below, data)
                found = simulate(theirs, data)
                compared += 1
                # Of socket's numbers only the bits that the kernel reads count, as is told.
                same = found == wanted or (call == "socket" and args[0] >> 32)
                assert same or explained(call, arch, args, found, answer, standard), (
                    f"{call} on {label} with {args}: theirs {found:#x}, wanted {wanted:#x}"
                )
    assert compared > 1600


def test_for_engines_that_settle_capabilities(policy: str) -> None:
    """Engines get what depends on capabilities with its conditions; with oci there are none."""
    base = str(profile(CONTAINERS))
    for form in ("podman", "docker"):
        done = cli("profile", policy, *LISTENER, "--base", base, "--format", form)
        entries = json.loads(done.stdout)["syscalls"]
        assert any(entry.get("includes", {}).get("caps") for entry in entries)
        assert not any("arches" in entry.get("includes", {}) for entry in entries)
    done = cli("profile", policy, *LISTENER, "--base", base)
    assert not any("includes" in entry for entry in json.loads(done.stdout)["syscalls"])
    done = cli(
        *("profile", policy, *LISTENER, "--base", base),
        *("--format", "podman", "--capability", "CAP_BPF"),
    )
    assert done.returncode == Exit.USAGE
    assert "podman knows each container's capabilities" in done.stderr


def test_capabilities_settle_the_base(policy: str) -> None:
    """With oci --capability says what containers may have: all, none, or what is listed."""
    base = str(profile(CONTAINERS))

    def lets(*options: str) -> set[str]:
        done = cli("profile", policy, *LISTENER, "--base", base, *options)
        return {
            call
            for entry in json.loads(done.stdout)["syscalls"]
            if entry["action"] == "SCMP_ACT_ALLOW" and "args" not in entry
            for call in entry["names"]
        }

    assert "chroot" in lets()
    assert "bpf" not in lets()
    assert "chroot" not in lets("--capability", "NONE")
    assert {"bpf", "chroot"} <= lets("--capability", "all")
    assert "bpf" in lets("--capability", "CAP_SYS_ADMIN")


@pytest.mark.parametrize(
    ("text", "options", "code", "says"),
    [
        (POLICY, ["--listener", "agent.sock"], Exit.USAGE, "is no absolute path"),
        (POLICY, ["--listener", "/" + "x" * 107], Exit.USAGE, "paths of sockets have at most 107"),
        (POLICY, [*LISTENER, "--base", "/nowhere.json"], Exit.USAGE, "cannot read /nowhere.json"),
        (POLICY, [*LISTENER, "--base", "moby"], Exit.USAGE, "there is no /nowhere/moby.json"),
        (POLICY, [*LISTENER, "--capability", "ALL"], Exit.USAGE, "are about the --base"),
        (ASKING, LISTENER, Exit.POLICY, "the default is for the listener to decide"),
        (WRITING, LISTENER, Exit.POLICY, "write is for the listener to decide"),
    ],
)
def test_what_cannot_be(
    text: str, options: list[str], code: Exit, says: str, tmp_path: Path
) -> None:
    """What runtimes would refuse is refused here, in one sentence."""
    file = tmp_path / "policy.toml"
    file.write_text(text)
    environ = os.environ | {"UNOTIFY_MOBY_PROFILE": "/nowhere/moby.json"}
    done = cli("profile", str(file), *options, env=environ)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.startswith("unotify: error: ")
