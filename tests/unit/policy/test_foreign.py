"""Lists of systemd, strace, minijail and kafel: what they mean, and mistakes in them."""

from __future__ import annotations

import pytest

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import SeccompData, simulate
from unotify.errors import PolicyError, UnknownName
from unotify.policy.compiling import compile_policy
from unotify.policy.foreign import FORMATS, import_list
from unotify.policy.model import Policy, Verb, Verdict

ALLOW = int(Action.ALLOW)
KILL = int(Action.KILL_PROCESS)
KILL_THREAD = int(Action.KILL_THREAD)
EPERM = Action.ERRNO | 1


def made(text: str, form: str) -> Policy:
    """The policy of a list without notes."""
    found = import_list(text, form, source="list")
    assert not [note for note in found.notes if "groups are" not in note]
    return found.policy


def answer(policy: Policy, call: str, *args: int, arch: Arch = Arch.X86_64) -> int:
    """What its filter says of a call."""
    nr = tables.number(call, arch)
    assert nr is not None
    given = (*args, *(0,) * (6 - len(args)))
    return simulate(compile_policy(policy), SeccompData(nr, arch.audit, given))


# ---------------------------------------------------------------- systemd

UNIT = """
[Service]
ExecStart=/bin/true
SystemCallFilter=read write @mount:EPERM \\
    bpf
SystemCallFilter=~write umount2
SystemCallErrorNumber=EACCES
SystemCallArchitectures=native
"""


def test_systemd_allows_what_is_listed() -> None:
    """Without ~ nothing goes on but what is listed, and what every program needs."""
    policy = made(UNIT, "systemd")
    assert policy.architectures == (Arch.X86_64,)
    assert answer(policy, "read") == answer(policy, "bpf") == ALLOW
    assert answer(policy, "execve") == answer(policy, "exit_group") == ALLOW
    assert answer(policy, "mount") == EPERM
    assert answer(policy, "umount2") == answer(policy, "write") == Action.ERRNO | 13
    unknown = simulate(compile_policy(policy), SeccompData(5000, Arch.X86_64.audit))
    assert unknown == Action.ERRNO | 38


def test_systemd_refuses_what_is_listed() -> None:
    """With ~ all goes on but what is listed, which ends the process."""
    policy = made("~mount umount2:ENOSYS\n", "systemd")
    assert policy.architectures == (Arch.X86_64, Arch.I386)
    assert answer(policy, "mount") == answer(policy, "mount", arch=Arch.I386) == KILL
    assert answer(policy, "umount2") == Action.ERRNO | 38
    assert answer(policy, "read") == ALLOW


def test_systemd_begins_again() -> None:
    """An empty setting forgets what came before."""
    policy = made(
        "SystemCallFilter=read\nSystemCallFilter=\nSystemCallFilter=~mount:EPERM", "systemd"
    )
    assert (answer(policy, "mount"), answer(policy, "write")) == (EPERM, ALLOW)


def test_systemd_logs() -> None:
    """SystemCallLog= is the kernel's log."""
    policy = made("SystemCallLog=mount", "systemd")
    assert (answer(policy, "mount"), answer(policy, "read")) == (int(Action.LOG), ALLOW)


def test_systemd_ignores_unknown_calls() -> None:
    """As in systemd, a call that nobody knows is ignored; a note says so."""
    found = import_list("read nosuch", "systemd")
    assert "no call is named nosuch: ignored" in found.notes


# ---------------------------------------------------------------- strace


def test_strace_trace() -> None:
    """What strace traces is in the kernel's log, and goes on."""
    policy = made("-e trace=openat,%process,?read", "strace")
    assert answer(policy, "openat") == answer(policy, "fork") == int(Action.LOG)
    assert answer(policy, "read") == int(Action.LOG)
    assert answer(policy, "write") == ALLOW


def test_strace_all_but() -> None:
    """A ! is for all but those."""
    policy = made("trace=!read,write", "strace")
    assert (answer(policy, "read"), answer(policy, "openat")) == (ALLOW, int(Action.LOG))


def test_strace_inject() -> None:
    """What strace injects is the answer; a fault is ENOSYS."""
    policy = made("inject=openat:error=ENOENT inject=getpid:retval=0 fault=mount", "strace")
    assert answer(policy, "openat") == Action.ERRNO | 2
    assert answer(policy, "getpid") == Action.ERRNO
    assert answer(policy, "mount") == Action.ERRNO | 38
    (rule,) = made("inject=getpid:retval=7", "strace").rules
    assert rule.verdict == Verdict(Verb.RETURN, value=7)


def test_strace_classes_and_patterns() -> None:
    """Classes and patterns are those of strace."""
    policy = made("trace=%%stat,/^mk,%desc", "strace")
    for call in ("lstat", "statx", "mkdir", "mknodat", "close"):
        assert answer(policy, call) == int(Action.LOG)
    assert answer(policy, "getpid") == ALLOW


# ---------------------------------------------------------------- minijail

MINIJAIL = """
# what it may do
@default kill-process
read: 1
{ open, openat } : arg2 == 0 || arg2 & 0x40   # or make it
mmap: { arg2 in ~0x4, return EPERM }
ioctl: (arg1 == 0x10 && arg0 != 2) || \\
    arg1 > 0x100
getpid: return ENOSYS
kill: user-notify
"""


def test_minijail() -> None:
    """Calls, conditions and actions of minijail's files."""
    policy = made(MINIJAIL, "minijail")
    assert answer(policy, "read") == ALLOW
    assert answer(policy, "write") == KILL
    assert answer(policy, "openat", 0, 0, 0) == answer(policy, "open", 0, 0, 0x41) == ALLOW
    assert answer(policy, "open", 0, 0, 1) == KILL
    assert answer(policy, "mmap", 0, 0, 3) == ALLOW
    assert answer(policy, "mmap", 0, 0, 7) == EPERM
    assert answer(policy, "ioctl", 1, 0x10) == answer(policy, "ioctl", 2, 0x101) == ALLOW
    assert answer(policy, "ioctl", 2, 0x10) == KILL
    assert answer(policy, "getpid") == Action.ERRNO | 38
    assert answer(policy, "kill") == int(Action.USER_NOTIF)


# ---------------------------------------------------------------- kafel

KAFEL = """
#define MINE 2
POLICY base { ALLOW { read, exit_group } }
POLICY sample {
  USE base   // first
  ALLOW {
    write(fd, buf, n) { fd == MINE && (n < 100 || n & 1 == 1) },
    lseek { !(whence == 2) }
  }
  ERRNO(1) { mount }
  TRAP(5) { /* not any more */ ptrace }
}
USE sample DEFAULT KILL
"""


def test_kafel() -> None:
    """Policies, conditions, constants and actions of kafel."""
    policy = made(KAFEL, "kafel")
    assert answer(policy, "read") == ALLOW
    assert answer(policy, "write", 2, 0, 99) == answer(policy, "write", 2, 0, 101) == ALLOW
    assert answer(policy, "write", 2, 0, 100) == answer(policy, "write", 1) == KILL_THREAD
    assert (answer(policy, "lseek", 0, 0, 1), answer(policy, "lseek", 0, 0, 2)) == (ALLOW, 0)
    assert answer(policy, "mount") == EPERM
    assert answer(policy, "ptrace") == Action.TRAP | 5


# ---------------------------------------------------------------- mistakes

WRONG = [
    ("systemd", "", "there is no SystemCallFilter="),
    ("systemd", "@nosuch", "no group is named '@nosuch'"),
    ("systemd", "read:EFOO", "'EFOO' is no error"),
    ("systemd", "SystemCallFilter=read\nSystemCallArchitectures=pdp11", "no architecture"),
    ("systemd", "SystemCallFlter=read", "no setting is named SystemCallFlter"),
    ("strace", "", "there is no set of calls"),
    ("strace", "trace=opnat", "no call or class is named 'opnat'"),
    ("strace", "trace=/(a+)+$", "is too much"),
    ("strace", "inject=read:error=EPERM:when=3", "which of the calls are answered"),
    ("strace", "inject=read:signal=KILL", "'signal=KILL' cannot be converted"),
    ("strace", "inject=read", "does not say what is injected"),
    ("strace", "tracee=read", "no qualifier is named 'tracee'"),
    ("minijail", "read 1", "here should be :, not '1'"),
    ("minijail", "read: alow", "'alow' is no number or constant"),
    ("minijail", "read: arg0 == 1; return EPERM", "read an action after a condition differently"),
    ("minijail", "@include x.policy", "an @include cannot be followed"),
    ("minijail", "read: 1 1", "'1' does not belong here"),
    ("minijail", "read: arg0 == " + "(" * 100 + "1" + ")" * 100, "too many brackets"),
    ("minijail", "read: arg0 == arg1", "two arguments cannot be compared"),
    ("minijail", "read: arg0 == 0x1" + "0" * 40, "is no number of 64 bits"),
    ("minijail", "read: arg0 == 08", "is no number of 64 bits"),
    ("minijail", "read: $", "'$' does not belong here"),
    ("kafel", "POLICY a { ALLOW { read } }", "no policy is used"),
    ("kafel", "USE b DEFAULT KILL", "no policy is named 'b' before this"),
    ("kafel", "POLICY a { ALOW { read } }", "no action is named 'ALOW'"),
    ("kafel", "POLICY a { ALLOW { read", "the text ends where a call should be"),
    ("kafel", "POLICY a { ALLOW { read { foo == 1 } } } USE a", "'foo' is no number or constant"),
    ("kafel", "POLICY a { ERRNO(5000) { read } } USE a", "5000 is no error"),
    ("kafel", "POLICY a { ALLOW { SYSCALL[5] } } USE a", "calls by number"),
]


@pytest.mark.parametrize(("form", "text", "message"), WRONG, ids=[m for _, _, m in WRONG])
def test_wrong_lists(form: str, text: str, message: str) -> None:
    """A mistake is told with what and where."""
    with pytest.raises(PolicyError) as caught:
        import_list(text, form, source="list")
    assert message in str(caught.value)
    assert caught.value.source == "list"


def test_where_mistakes_are() -> None:
    """A mistake has its line and column."""
    with pytest.raises(PolicyError) as caught:
        import_list("read: 1\nwrite: arg0 ==\\\n   nosuch", "minijail")
    assert (caught.value.line, caught.value.column) == (3, 4)


def test_unknown_format() -> None:
    """A format that is none: the nearest."""
    with pytest.raises(UnknownName) as caught:
        import_list("", "systmd")
    assert caught.value.hint == "did you mean systemd?"
    assert set(FORMATS) == {"systemd", "strace", "minijail", "kafel"}
