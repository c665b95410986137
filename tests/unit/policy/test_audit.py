from __future__ import annotations

from tests.unit.policy.policies import (
    ALLOW,
    DENY,
    FILES,
    NOSYS,
    WRITES,
    path_is,
    policy,
    register,
    rule,
)
from unotify.abi.arch import Arch
from unotify.bpf import CompareOp
from unotify.bpf.audit import Finding
from unotify.policy.audit import audit_policy
from unotify.policy.conditions import All
from unotify.policy.model import Policy


def found(subject: Policy, check: str) -> list[Finding]:
    """What one check finds."""
    return [finding for finding in audit_policy(subject) if finding.check == check]


def test_golden() -> None:
    """All that is found in a policy with all sorts of holes."""
    assert [
        (finding.severity.label, finding.check, finding.title) for finding in audit_policy(FILES)
    ] == [
        ("high", "io-uring", "io_uring is open while files or sockets are restricted"),
        ("high", "families", "openat restricted, open, creat, openat2 open"),
        ("high", "families", "mount restricted, move_mount open"),
        ("high", "at-twins", "mkdir restricted, mkdirat open"),
        (
            "medium",
            "doors",
            "ptrace, process_vm_writev, pidfd_getfd open beside calls that the supervisor decides",
        ),
        ("low", "default-allow", "what is not mentioned may go on"),
        ("info", "personality", "personality is open for any argument"),
        ("info", "accepted-races", '"passwords" accepts a race'),
    ]


def test_rules_that_never_match() -> None:
    """A rule behind one that takes all of its calls, by its calls or by its condition."""
    subject = policy(
        rule("mkdir", DENY),
        rule("mkdir", ALLOW, name="late", line=4),
        rule("openat", DENY, WRITES),
        rule(
            "openat", ALLOW, All((WRITES, path_is("/x"))), name="narrower", racy=True, because="x"
        ),
    )
    titles = [(finding.title, finding.calls) for finding in found(subject, "shadowed")]
    assert titles == [
        ('"late" never matches', ("mkdir",)),
        ('"narrower" never matches', ("openat",)),
    ]
    assert found(subject, "shadowed")[0].place == "policy.toml:4:1"


def test_conditions_that_cover_together() -> None:
    """Two rules that together take every argument leave nothing for a third."""
    low, high = (register("fd", 0, op, 10) for op in (CompareOp.LT, CompareOp.GE))
    subject = policy(
        rule("close", ALLOW, low), rule("close", DENY, high), rule("close", ALLOW, name="third")
    )
    (finding,) = found(subject, "shadowed")
    assert finding.title == '"third" never matches'


def test_impossible_conditions() -> None:
    """A condition that holds for no arguments."""
    one, two = (register("fd", 0, CompareOp.EQ, number) for number in (1, 2))
    subject = policy(rule("close", DENY, All((one, two)), name="both"))
    (finding,) = found(subject, "shadowed")
    assert finding.title == '"both" never matches'


def test_partly_shadowed() -> None:
    """A rule that still decides one of its calls is worth a word, no more."""
    subject = policy(rule("mkdir", DENY), rule("mkdir rmdir", NOSYS, name="both"))
    (finding,) = found(subject, "shadowed")
    assert (finding.severity.label, finding.calls) == ("info", ("mkdir",))


def test_looks_do_not_shadow() -> None:
    """A rule behind one that must look may still match."""
    subject = policy(rule("openat", DENY, path_is("/x")), rule("openat", NOSYS))
    assert found(subject, "shadowed") == []


def test_calls_of_other_architectures() -> None:
    """A rule about calls that none of the policy's architectures has."""
    subject = policy(rule("socketcall", DENY, name="old"), architectures=(Arch.AARCH64,))
    (finding,) = found(subject, "shadowed")
    assert finding.severity.label == "low"
    assert "no architecture of the policy has its calls" in finding.title


def test_the_default_is_known() -> None:
    """Whether it is a list of what is allowed, the policy itself says."""
    allowed = policy(rule("mkdir openat exit_group", ALLOW), default=DENY)
    assert found(allowed, "families") == []
    assert found(allowed, "default-allow") == []
