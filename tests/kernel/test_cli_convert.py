"""``unotify convert`` as people use it."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.cli_support import cli
from unotify.bpf.difference import differences
from unotify.cli.failures import Exit
from unotify.policy.compiling import compile_policy
from unotify.policy.loader import load
from unotify.policy.oci import import_profile

PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read", "write", "nosuch"], "action": "SCMP_ACT_ALLOW"},
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 2114060288}],
        },
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
    ],
}


@pytest.fixture(name="profile")
def _profile(tmp_path: Path) -> str:
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(PROFILE))
    return str(file)


def calls(text: str) -> set[str]:
    """All calls that a policy in TOML has rules about."""
    return {call for rule in tomllib.loads(text)["rule"] for call in rule["calls"]}


def test_a_profile_becomes_a_policy(profile: str) -> None:
    """A profile as TOML loads as the same policy; what was ignored is told beside it."""
    done = cli("convert", profile, "--to", "toml", "--arch", "x86_64")
    assert done.returncode == 0
    assert calls(done.stdout) == {"read", "write", "clone", "ptrace"}
    assert done.stderr == "unotify: note: no call is named nosuch: ignored\n"
    back, ours = load(done.stdout), import_profile(PROFILE)
    assert differences(compile_policy(back), compile_policy(ours)) == []


def test_capabilities_and_kernel(profile: str) -> None:
    """--capability and --kernel choose what of a profile counts."""
    options = ["--to", "toml", "--arch", "x86_64"]
    with_bpf = cli("convert", profile, *options, "--capability", "CAP_BPF", "--kernel", "4.4")
    assert calls(with_bpf.stdout) == {"read", "write", "clone", "bpf"}
    everything = cli("convert", profile, *options, "--capability", "ALL")
    assert calls(everything.stdout) == {"read", "write", "clone", "bpf", "ptrace"}


def test_a_policy_becomes_a_profile(tmp_path: Path) -> None:
    """A policy as a profile; what the format cannot say is told on standard error."""
    policy, out = tmp_path / "policy.toml", tmp_path / "out.json"
    policy.write_text(
        """version = 1
default = "allow"
architectures = ["x86_64"]
bad-architecture = "kill-thread"
unknown = "allow"

[[rule]]
calls = ["mount"]
where = 'target == "/x"'
do = { fail = "EPERM" }

[[rule]]
calls = ["socket"]
where = "family == AF_INET and protocol == 0"
do = { fail = "EACCES" }
"""
    )
    done = cli("convert", str(policy), "--to", "oci", "-o", str(out))
    assert (done.returncode, done.stdout) == (0, "")
    document: dict[str, Any] = json.loads(out.read_text())
    assert document["syscalls"] == [
        {"names": ["mount"], "action": "SCMP_ACT_NOTIFY"},
        {
            "names": ["socket"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 13,
            "args": [
                {"index": 0, "value": 2, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}
                | {"value": 0xFFFFFFFF},
                {"index": 2, "value": 0xFFFFFFFF, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
            ],
        },
    ]
    assert done.stderr.splitlines() == [
        "unotify: note: listenerPath is not set, and SCMP_ACT_NOTIFY needs it",
        f"unotify: note: the rule at {policy}:7:1: only the listener can tell: target == '/x'",
    ]


def test_other_lists() -> None:
    """Lists of other tools are read from standard input, with --from."""
    options = ["--to", "toml", "--arch", "x86_64"]
    done = cli("convert", "-", "--from", "systemd", *options, input="~mount:EPERM @swap\n")
    assert calls(done.stdout) == {"mount", "swapon", "swapoff"}
    done = cli("convert", "-", "--from", "minijail", *options, input="close: arg0 == 3\n")
    assert 'where = "fd == 3"' in done.stdout
    assert done.returncode == 0
    kafel = "POLICY a { ALLOW { lseek { offset == 0 } } } USE a DEFAULT ERRNO(1)"
    done = cli("convert", "-", "--from", "kafel", *options, input=kafel)
    assert 'where = "offset == 0"' in done.stdout
    done = cli("convert", "-", "--from", "strace", *options, input="inject=read:error=EIO")
    assert 'do = { fail = "EIO" }' in done.stdout


def test_for_scripts(profile: str) -> None:
    """--json: what was made, and the notes."""
    done = cli("convert", profile, "--to", "oci", "--arch", "x86_64", "--json")
    found = json.loads(done.stdout)
    assert (found["format"], done.stderr) == ("oci", "")
    assert json.loads(found["text"])["defaultAction"] == "SCMP_ACT_ERRNO"
    assert found["notes"] == ["no call is named nosuch: ignored"]


@pytest.mark.parametrize(
    ("content", "options", "code", "message"),
    [
        (b"{", ["--to", "toml"], Exit.POLICY, "this is not JSON"),
        (b"{}", ["--to", "toml"], Exit.POLICY, "it has no defaultAction"),
        (b"\x00\xff", ["--to", "oci"], Exit.POLICY, "is no text"),
        (b"read", ["--to", "oci", "--from", "minijail"], Exit.POLICY, "here should be :"),
        (b'version = 1\ndefault = "allow"\n', ["--to", "toml"], Exit.USAGE, "in TOML already"),
        (b"version = 1\n", ["--to", "oci"], Exit.POLICY, "there is no default"),
        (b"{}", ["--to", "toml", "--kernel", "six"], Exit.USAGE, "'six' is no release"),
        (b"{}", ["--to", "toml", "--capability", "CAP_X"], Exit.USAGE, "CAP_X"),
        (b"read", ["--to", "oci", "--from", "strace", "--kernel", "6.1"], Exit.USAGE, "are about"),
    ],
)
def test_mistakes(
    tmp_path: Path, content: bytes, options: list[str], code: Exit, message: str
) -> None:
    """A mistake: one clear sentence, and its exit code; never a traceback."""
    file = tmp_path / "file"
    file.write_bytes(content)
    done = cli("convert", str(file), *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """No such file: which, and why."""
    done = cli("convert", str(tmp_path / "no"), "--to", "toml")
    assert done.returncode == Exit.USAGE
    assert "No such file" in done.stderr


def test_a_converted_profile_runs(profile: str, tmp_path: Path) -> None:
    """What was converted supervises a real program."""
    document = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}],
    }
    file, out = tmp_path / "p.json", tmp_path / "p.toml"
    file.write_text(json.dumps(document))
    assert cli("convert", str(file), "--to", "toml", "-o", str(out)).returncode == 0
    code = "import os\ntry: os.getpgid(0)\nexcept OSError as e: print(e.errno)"
    done = cli("run", "--policy", str(out), "--", sys.executable, "-c", code)
    assert done.stdout == "99\n"


def test_what_is_missing() -> None:
    """A missing option is one line, with what it can be."""
    done = cli("convert", "-", input="")
    assert (done.returncode, done.stderr) == (
        Exit.USAGE,
        "unotify: error: Missing option '--to'. Choose from: toml, oci\n"
        "unotify: hint: see unotify convert --help\n",
    )
