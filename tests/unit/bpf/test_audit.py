from __future__ import annotations

from errno import ENOSYS, EPERM
from pathlib import Path

import pytest

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Compare, CompareOp, Program, Verdict, compile_filter
from unotify.bpf.audit import CHECKS, Finding, Severity, audit_program
from unotify.bpf.audit.at_twins import at_twins
from unotify.bpf.audit.wide_twins import wide_twins
from unotify.bpf.instructions import jeq, ld_abs, ret

ALLOW, NOTIFY, KILL = int(Action.ALLOW), int(Action.USER_NOTIF), int(Action.KILL_PROCESS)
REFUSED, NOSYS = Action.ERRNO | EPERM, Action.ERRNO | ENOSYS
SOME: Verdict = [(Compare(0, CompareOp.EQ, 1, bits=32), ALLOW), REFUSED]
NO_RINGS: dict[str, Verdict] = dict.fromkeys(
    ("io_uring_setup", "io_uring_enter", "io_uring_register"), NOSYS
)
X86 = (Arch.X86_64,)


def denying(
    calls: dict[str, Verdict], *, archs: tuple[Arch, ...] = X86, unknown: int = NOSYS
) -> Program:
    """A program that allows all known calls but some."""
    tabled = {
        arch: {nr: calls.get(name, ALLOW) for nr, name in tables.names(arch).items()}
        for arch in archs
    }
    return compile_filter(tabled, default=unknown)


def allowing(calls: dict[str, Verdict], *, default: int = REFUSED) -> Program:
    """A program that refuses all calls but some."""
    numbers = tables.numbers(Arch.X86_64)
    return compile_filter(
        {Arch.X86_64: {numbers[name]: verdict for name, verdict in calls.items()}},
        default=default,
    )


def found(program: Program, check: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """What one check finds: severity, title, calls."""
    return [
        (finding.severity.label, finding.title, finding.calls)
        for finding in audit_program(program)
        if finding.check == check
    ]


def test_every_check_has_a_test() -> None:
    """Names are unique, and each check is tested here."""
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in names if f'"{name}"' not in text] == []


def test_nothing_to_find() -> None:
    """A program that allows everything restricts nothing, and has no holes."""
    worst = max(finding.severity for finding in audit_program(Program((ret(ALLOW),))))
    assert worst <= Severity.INFO


def test_a_clean_allow_list() -> None:
    """A list of what is allowed, with ENOSYS for the rest, is clean."""
    calls = ("read", "write", "exit_group", "restart_syscall", "nanosleep")
    assert audit_program(allowing(dict.fromkeys(calls, ALLOW), default=NOSYS)) == []


def test_no_look_at_the_architecture() -> None:
    """A program that reads numbers alone."""
    program = Program((ld_abs(0), jeq(83, 0, 1), ret(REFUSED), ret(ALLOW)))
    (one,) = found(program, "architecture")
    assert one == ("high", "the architecture is never looked at", ())


def test_foreign_architectures_allowed() -> None:
    """A program that allows what it does not know."""
    program = compile_filter({Arch.X86_64: {83: REFUSED}}, default=ALLOW, bad_arch=ALLOW, x32=KILL)
    (one,) = found(program, "architecture")
    assert one[:2] == ("high", "calls of other architectures may go on")
    assert found(denying({"mkdir": REFUSED}), "architecture") == []


def test_x32() -> None:
    """B4: a call that is refused by its own number and goes on by x32's."""
    program = compile_filter({Arch.X86_64: {83: REFUSED}}, default=ALLOW, x32=ALLOW)
    (one,) = found(program, "x32")
    assert one == ("high", "x32 numbers are open for calls that are restricted", ("mkdir",))
    assert found(denying({"mkdir": REFUSED}), "x32") == []


def test_upper_halves() -> None:
    """B3: a 64-bit test of an int can be got around; a 32-bit one cannot, nor one of a long."""
    wide = [(Compare(0, CompareOp.EQ, 40, bits=64), REFUSED), ALLOW]
    (one,) = found(denying({"socket": wide, "mmap": wide}), "upper-halves")
    assert one == ("high", "bits that the kernel ignores decide", ("socket",))
    narrow = [(Compare(0, CompareOp.EQ, 40, bits=32), REFUSED), ALLOW]
    assert found(denying({"socket": narrow}), "upper-halves") == []
    # To refuse for a dirty half is strict, but no hole.
    strict = [(Compare(0, CompareOp.EQ, 1, bits=64), ALLOW), REFUSED]
    assert found(denying({"socket": strict}), "upper-halves") == []


def test_io_uring() -> None:
    """B9: rings beside restricted files; closed ones are fine, half closed ones worth a word."""
    (one,) = found(denying({"openat": NOTIFY}), "io-uring")
    assert one[0] == "high"
    assert found(denying({"openat": NOTIFY, **NO_RINGS}), "io-uring") == []
    (one,) = found(denying({"openat": NOTIFY, "io_uring_setup": NOSYS}), "io-uring")
    assert one == (
        "info",
        "an inherited ring could be used",
        ("io_uring_enter", "io_uring_register"),
    )
    assert found(denying({"reboot": REFUSED}), "io-uring") == []


def test_clone3() -> None:
    """clone3 is open beside a restricted clone, or refused so that libcs do not fall back."""
    (one,) = found(denying({"clone": SOME}), "clone3")
    assert one == ("high", "clone is restricted and clone3 is not", ("clone3",))
    assert found(denying({"clone": SOME, "clone3": NOSYS}), "clone3") == []
    (one,) = found(denying({"clone3": REFUSED}), "clone3")
    assert one[0] == "medium"


@pytest.mark.parametrize(
    ("calls", "title"),
    [
        ({"openat": SOME, "openat2": NOSYS}, "openat restricted, open, creat open"),
        ({"rmdir": REFUSED}, "rmdir restricted, unlinkat open"),
        ({"mount": NOTIFY}, "mount restricted, move_mount open"),
        ({"finit_module": REFUSED}, "finit_module restricted, init_module open"),
    ],
)
def test_families(calls: dict[str, Verdict], title: str) -> None:
    """Another call that does the same is open."""
    assert ("high", title) in [one[:2] for one in found(denying(calls), "families")]


def test_families_on_allow_lists() -> None:
    """A call that is not on a list of what is allowed is not meant; one with a condition is."""
    calls: dict[str, Verdict] = {"openat": ALLOW}
    assert found(allowing(calls), "families") == []
    (one,) = found(allowing({"openat": ALLOW, "open": SOME}), "families")
    assert one == ("high", "open restricted, openat open", ("openat",))


def test_at_twins() -> None:
    """A path call is open by its *at twin."""
    (one,) = found(denying({"mkdir": REFUSED}), "at-twins")
    assert one == ("high", "mkdir restricted, mkdirat open", ("mkdirat",))
    assert found(denying({"mkdir": REFUSED, "mkdirat": REFUSED}), "at-twins") == []
    assert found(denying({"mkdir": REFUSED, "mkdirat": NOSYS}), "at-twins") == []


def test_twins_come_from_the_model() -> None:
    """Each call that takes a path by a descriptor, and has a plain form, is a twin."""
    found = at_twins()
    assert found["rename"] == ("renameat", "renameat2")
    assert found["chmod"] == ("fchmodat", "fchmodat2")
    assert found["stat"] == ("fstatat64", "newfstatat")
    assert {"mkdir", "mknod", "symlink", "link", "unlink", "readlink", "execve"} <= set(found)
    forms = wide_twins()
    assert forms["stat"] == ("oldstat", "stat64")
    assert forms["futex"] == ("futex_time64",)
    assert forms["dup"] == ("dup2", "dup3")
    assert "clone" not in forms


def test_wide_twins() -> None:
    """A call is open in its 64-bit form."""
    program = denying({"futex": REFUSED, "dup2": NOTIFY}, archs=(Arch.I386,))
    assert found(program, "wide-twins") == [
        ("medium", "dup2 restricted, dup, dup3 open", ("dup", "dup3")),
        ("medium", "futex restricted, futex_time64 open", ("futex_time64",)),
    ]


def test_multiplexers() -> None:
    """B6: what is restricted goes on through socketcall; a test of its selector counts."""
    i386 = (Arch.I386,)
    (one,) = found(denying({"socket": SOME}, archs=i386), "multiplexers")
    assert one == ("high", "socketcall does what is restricted", ("socket",))
    selected: Verdict = [(Compare(0, CompareOp.EQ, 1, bits=32), NOSYS), ALLOW]
    assert (
        found(denying({"socket": SOME, "socketcall": selected}, archs=i386), "multiplexers") == []
    )


def test_fast_open() -> None:
    """A connection that needs no connect."""
    (one,) = found(denying({"connect": NOTIFY}), "fast-open")
    assert one[0] == "medium"
    assert one[2] == ("sendto", "sendmsg", "sendmmsg")


def test_hand_over() -> None:
    """Calls that other launchers need before there is a supervisor."""
    (one,) = found(denying({"sendmsg": NOTIFY, "close": NOTIFY}), "hand-over")
    assert one == ("medium", "sendmsg, close ask the supervisor", ("sendmsg", "close"))
    assert found(denying({"mkdir": NOTIFY}), "hand-over") == []


def test_never_retried() -> None:
    """I2: calls that nobody tries again; the harmful ones are worse."""
    title = "calls that are never tried again ask the supervisor"
    program = denying({"fork": NOTIFY, "getpid": NOTIFY, "mkdir": NOTIFY})
    assert found(program, "never-retried") == [
        ("medium", title, ("fork",)),
        ("low", title, ("getpid",)),
    ]


@pytest.mark.parametrize(
    ("verdict", "title"),
    [
        (NOTIFY, "restart_syscall asks the supervisor"),
        (NOSYS, "restart_syscall is refused"),
        (KILL, "restart_syscall is refused"),
    ],
)
def test_restart(verdict: int, title: str) -> None:
    """C3: sleeps that are stopped and continued."""
    (one,) = found(denying({"restart_syscall": verdict}), "restart")
    assert one == ("medium", title, ("restart_syscall",))


def test_default_allow() -> None:
    """What is not mentioned may go on: worse if that includes what comes tomorrow."""
    (one,) = found(denying({"mkdir": REFUSED}), "default-allow")
    assert one[0] == "low"
    (one,) = found(denying({"mkdir": REFUSED}, unknown=ALLOW), "default-allow")
    assert one[0] == "medium"
    assert found(allowing({"read": ALLOW}), "default-allow") == []


def test_unknown_numbers() -> None:
    """Numbers that nobody knows: ENOSYS is right, EPERM breaks, killing breaks more."""
    (one,) = found(allowing({"read": ALLOW}), "unknown-numbers")
    assert one[:2] == ("low", "unknown numbers fail with another errno than ENOSYS")
    (one,) = found(allowing({"read": ALLOW}, default=KILL), "unknown-numbers")
    assert one[:2] == ("medium", "unknown numbers kill")


def test_doors() -> None:
    """C2: calls that change other processes, beside a supervisor that looks at these."""
    (one,) = found(denying({"openat": NOTIFY, "ptrace": REFUSED}), "doors")
    assert one[2] == ("process_vm_writev", "pidfd_getfd")
    assert found(denying({"openat": REFUSED}), "doors") == []


def test_personality() -> None:
    """An allow list that lets protections be switched off."""
    (one,) = found(allowing({"personality": ALLOW}), "personality")
    assert one[0] == "low"
    assert found(allowing({"personality": SOME}), "personality") == []


def test_architectures_are_joined_and_the_worst_comes_first() -> None:
    """One finding for all architectures that have it; in the order of severity."""
    program = denying({"mkdir": REFUSED, "clone": SOME}, archs=(Arch.X86_64, Arch.AARCH64))
    findings: list[Finding] = audit_program(program)
    severities = [finding.severity for finding in findings]
    assert severities == sorted(severities, reverse=True)
    (one,) = [finding for finding in findings if finding.check == "clone3"]
    assert one.architectures == (Arch.X86_64, Arch.AARCH64)
    assert one.reason
    assert one.cure
