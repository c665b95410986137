from __future__ import annotations

from errno import EACCES, ENOSYS

from tests.unit.policy.policies import FILES, policy, rule
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.policy.compiling import compile_policy
from unotify.policy.conditions import Need
from unotify.policy.explain import Explanation, explain_call, explain_policy
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


def test_the_table() -> None:
    """Golden: the whole policy, a row for each rule and each default."""
    rows = [
        (row.title, row.calls[:1], str(row.verdict), row.filter, row.supervisor, row.looks)
        for row in explain_policy(FILES, PROGRAM)
    ]
    assert rows == [
        ("no files made", ("openat",), "fail ENOSYS", True, False, ()),
        ("passwords", ("openat",), "fail EACCES", False, True, ('path == "/etc/passwd"',)),
        ("ordinary users", ("openat",), "allow", False, True, ("uid == 0",)),
        ("no directories", ("mkdir",), "fail EACCES", True, False, ()),
        ("mounts", ("mount",), "notify", False, True, ()),
        ("default", ("_sysctl",), "allow", True, False, ()),
        ("unknown numbers", (), "fail ENOSYS", True, False, ()),
        ("other architectures", (), "kill-process", True, False, ()),
    ]


def test_costs_in_the_table() -> None:
    """Costs are those of the paths of a rule's calls; only calls always allowed are cached."""
    rows = {row.title: row for row in explain_policy(FILES, PROGRAM)}
    files = rows["no files made"].cost
    assert files is not None
    assert 5 < files.least <= files.most <= len(PROGRAM)
    assert (files.cached, files.calls) == (0, 1)
    rest = rows["default"].cost
    assert rest is not None
    assert rest.calls == len(rows["default"].calls)
    assert rest.cached == rest.calls - 1  # openat may come down to it
    assert rows["passwords"].needs == {Need.REGISTERS, Need.MEMORY}


def test_logged_rules_are_supervised() -> None:
    """A rule with log is decided where it can be logged."""
    logged = policy(rule("mkdir", Verdict(Verb.ALLOW), log=True, name="seen"))
    program = compile_policy(logged)
    (row, *_) = explain_policy(logged, program)
    assert (row.filter, row.supervisor) == (False, True)
    assert explain_call(logged, program, X86, 83).supervised


def test_rules_that_never_match_have_no_calls() -> None:
    """A rule behind one that takes everything decides nothing."""
    shadowed = policy(rule("mkdir", FILES.unknown), rule("mkdir", FILES.default, name="never"))
    rows = explain_policy(shadowed, compile_policy(shadowed))
    assert (rows[1].title, rows[1].calls, rows[1].cost) == ("never", (), None)
    assert not rows[1].filter
    assert not rows[1].supervisor
