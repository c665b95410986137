"""What the audit command finds, given each kind of file; what the checks are worth is in units."""

from __future__ import annotations

import json

import pytest

from tests.kernel.cli_support import cli
from unotify.bpf.audit import CHECKS
from unotify.cli.failures import Exit

DENYING = 'version = 1\ndefault = "allow"\narchitectures = ["x86_64"]\n'
ALLOWING = 'version = 1\ndefault = { fail = "ENOSYS" }\narchitectures = ["x86_64"]\n'
I386 = 'version = 1\ndefault = "allow"\narchitectures = ["i386"]\n'


def rule(calls: str, do: str, where: str = "") -> str:
    """A rule in TOML."""
    condition = f"where = '{where}'\n" if where else ""
    return f"[[rule]]\ncalls = {json.dumps(calls.split())}\n{condition}do = {do}\n"


REFUSE, ASK = '{ fail = "EPERM" }', '"notify"'
HOLES = {
    "architecture": (
        "A = nr\nif A == 83 goto L\nreturn ALLOW\nL: return ERRNO(EPERM)\n",
        "high",
        [],
    ),
    "x32": (
        "A = arch\nif A != x86_64 goto K\nA = nr\nif A == x86_64:mkdir goto L\nreturn ALLOW\n"
        "L: return ERRNO(EPERM)\nK: return KILL_PROCESS\n",
        "high",
        ["mkdir"],
    ),
    "default-allow": (DENYING + rule("mkdir mkdirat", REFUSE), "low", []),
    "io-uring": (DENYING + rule("connect", REFUSE), "high", ["io_uring_setup"]),
    "clone3": (
        DENYING + rule("clone", REFUSE, "flags & CLONE_NEWUSER"),
        "high",
        ["clone3"],
    ),
    "families": (DENYING + rule("open openat", REFUSE), "high", ["creat", "openat2"]),
    "at-twins": (DENYING + rule("mkdir", REFUSE), "high", ["mkdirat"]),
    "never-retried": (DENYING + rule("close", ASK), "medium", ["close"]),
    "restart": (
        ALLOWING + rule("nanosleep exit_group", '"allow"'),
        "medium",
        ["restart_syscall"],
    ),
    "hand-over": (DENYING + rule("sendmsg write", ASK), "medium", ["sendmsg", "write"]),
}
"""For each hole a policy or filter that has it, how bad it is, and which calls it names."""


def findings(text: str) -> dict[str, dict[str, object]]:
    """The last finding of each check, which names are unique here."""
    done = cli("audit", "-", "--json", "--fail-on", "never", "--arch", "x86_64", input=text)
    assert (done.returncode, done.stderr) == (0, "")
    return {finding["check"]: finding for finding in json.loads(done.stdout)}


@pytest.mark.parametrize("check", HOLES)
def test_each_hole(check: str) -> None:
    """Each hole is found, with severity, reason and cure, and the calls that it is about."""
    text, severity, calls = HOLES[check]
    finding = findings(text)[check]
    assert (finding["severity"], finding["calls"]) == (severity, calls)
    assert all(finding[key] for key in ("title", "reason", "cure"))


def test_multiplexers_of_i386() -> None:
    """B6: socketcall and ipc are found beside what they do, unless the policy closes them."""
    text = (
        "A = nr\nif A == i386:socket goto L\nif A == i386:semget goto L\nreturn ALLOW\n"
        "L: return ERRNO(EPERM)\n"
    )
    done = cli("audit", "-", "--json", "--arch", "i386", input=text)
    assert done.returncode == Exit.POLICY
    found = [one for one in json.loads(done.stdout) if one["check"] == "multiplexers"]
    assert sorted((one["severity"], one["calls"]) for one in found) == [
        ("high", ["semget"]),
        ("high", ["socket"]),
    ]
    assert "multiplexers" not in findings(I386 + rule("socket semget", REFUSE))


def test_levels() -> None:
    """--fail-on is the least severity that makes it exit with 3; never is never."""
    text = DENYING + rule("ioprio_set", REFUSE)
    codes = {
        level: cli("audit", "-", "--fail-on", level, input=text).returncode
        for level in ("info", "low", "medium", "high", "never")
    }
    assert codes == {"info": 3, "low": 3, "medium": 0, "high": 0, "never": 0}
    quiet = ALLOWING + rule("read write exit_group restart_syscall", '"allow"')
    done = cli("audit", "-", "--fail-on", "info", input=quiet)
    assert (done.returncode, done.stdout) == (0, "nothing found\n")


def test_text() -> None:
    """Golden: severity, title and check, then reason, cure, calls and where they are."""
    done = cli("audit", "-", "--fail-on", "never", input=HOLES["hand-over"][0])
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines == [line.rstrip() for line in lines]
    at = lines.index("medium sendmsg, write ask the supervisor  [hand-over]")
    told = " ".join(line.strip() for line in lines[at + 1 : at + 8])
    assert told.startswith("launchers that hand the listener over from inside the filter wait")
    assert "Cure: decide these calls in the filter if other launchers" in told
    assert "Calls: sendmsg, write. On x86_64." in " ".join(line.strip() for line in lines)
    assert lines[-1].startswith("1 high, ")


def test_profiles() -> None:
    """An OCI profile is looked at as it is: place and rule of what it says twice."""
    entry = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [entry, {**entry, "errnoRet": 2}],
    }
    found = findings(json.dumps(profile))
    assert found["at-twins"]["calls"] == ["mkdirat"]


def test_names() -> None:
    """Every hole that is tried here is a check that there is."""
    assert HOLES.keys() <= {check.name for check in CHECKS}
