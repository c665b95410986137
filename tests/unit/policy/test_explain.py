from __future__ import annotations

from errno import EACCES, ENOSYS

from tests.unit.policy.policies import FILES
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.policy.compiling import compile_policy
from unotify.policy.explain import Explanation, explain_call
from unotify.policy.model import Verb, Verdict
from unotify.policy.offline import OfflineFacts, call_of, prepare

PROGRAM = compile_policy(FILES)
X86 = Arch.X86_64


def explained(call: str, *words: str, **facts: str) -> Explanation:
    """What the policy does with a call."""
    nr = tables.numbers(X86)[call]
    args, memory = prepare(call, X86, words)
    known = OfflineFacts(call_of(X86, call, nr, args, memory), facts)
    return explain_call(FILES, PROGRAM, X86, nr, args, known)


def test_registers_decide() -> None:
    """A rule that registers decide is decided in the filter, at a cost that is told."""
    found = explained("openat", "AT_FDCWD", "/etc/passwd", "O_WRONLY|O_CREAT")
    assert found.action == Action.ERRNO | ENOSYS
    assert found.rule is FILES.rules[0]
    assert not found.supervised
    assert not found.cached
    assert found.looks == ()
    assert 0 < found.executed <= found.instructions == len(PROGRAM)
    assert found.data.args[0] == 0xFFFFFF9C


def test_memory_decides() -> None:
    """A rule that looks at memory is decided by the supervisor: the look is named and made."""
    found = explained("openat", "AT_FDCWD", "/etc/passwd", "O_WRONLY")
    assert found.action == Action.USER_NOTIF
    assert found.verdict == Verdict(Verb.FAIL, errno=EACCES)
    assert found.looks == ('path == "/etc/passwd"',)
    assert found.reason == '"passwords": it matches by path == "/etc/passwd"; because a fence'
    assert [step.matches for step in found.steps] == [False, True]


def test_later_rules_and_the_default() -> None:
    """What an earlier rule passes by, later ones and the default decide."""
    found = explained("openat", "AT_FDCWD", "/tmp/a", "O_WRONLY", uid="1000")
    assert found.rule is FILES.rules[2]
    found = explained("openat", "AT_FDCWD", "/tmp/a", "O_WRONLY", uid="0")
    assert (found.rule, found.verdict) == (None, FILES.default)
    assert found.reason == "no rule matches: the default"
    assert found.looks == ('path == "/etc/passwd"', "uid == 0")


def test_what_is_not_known_stays_open() -> None:
    """Without the facts, each way that the decision may go is told."""
    found = explained("openat", "AT_FDCWD", "_", "O_WRONLY")
    assert found.verdict is None
    assert found.reason == (
        'the supervisor must look; if path == "/etc/passwd": fail EACCES by "passwords"; '
        'if uid == 0: allow by "ordinary users"; otherwise the default, allow'
    )
    assert found.steps[2].note == "the uid of the caller is not given"


def test_cached_allow() -> None:
    """A call that no rule is about stays in the kernel's bitmap."""
    found = explained("read", "0")
    assert found.cached
    assert found.reason == "no rule is about read"


def test_unknown_numbers_and_architectures() -> None:
    """Numbers without a name, and calls of other architectures, have verdicts of their own."""
    found = explain_call(FILES, PROGRAM, X86, 9999)
    assert (found.call, found.verdict) == (None, FILES.unknown)
    found = explain_call(FILES, PROGRAM, Arch.I386, 5)
    assert found.verdict == FILES.bad_arch
    assert found.action == Action.KILL_PROCESS
