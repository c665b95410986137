"""What a supervisor does with a call that a policy left to it."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.supervisor.policies_by_hand import ALLOW, act, fail, look, policy, register, rule
from tests.unit.supervisor.rig import Rig
from unotify.abi.arch import Arch
from unotify.calls import Call, Getpid, OpenAt
from unotify.errors import Conflict, NotExpressible, PolicyError, RacyContinue, UnknownName
from unotify.policy.conditions import Facts, Need
from unotify.policy.model import Place, Policy, Verb, Verdict
from unotify.protocol import Continue, Fail, Reply, Return
from unotify.supervisor import Instrument
from unotify.supervisor.judging import Judgement

PATH = 0x1000


class Judgements(Instrument):
    """Notes what was judged."""

    def __init__(self) -> None:
        self.seen: list[Judgement] = []

    def judged(self, call: Call, judgement: Judgement) -> None:
        """One more."""
        self.seen.append(judgement)


def reads(facts: Facts) -> bool:
    """A look at the path."""
    return str(facts.call.path) == "/etc/shadow"  # type: ignore[attr-defined]


ACCEPTED: dict[str, Any] = {"racy": True, "because": "a test"}


@pytest.fixture(name="unchecked")
def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start whatever the policy: what must not happen all the same?"""
    monkeypatch.setattr("unotify.supervisor.judging.check", lambda policies, verbs: None)


def shadowed(rig: Rig, path: bytes = b"/etc/shadow\0") -> None:
    """Put a path into the target's memory."""
    rig.kernel.memory.pieces[PATH] = path


@pytest.mark.parametrize(
    ("verdict", "reply"),
    [
        (ALLOW, Continue()),
        (Verdict(Verb.CONTINUE), Continue()),
        (Verdict(Verb.LOG), Continue()),
        (fail(errno.EROFS), Fail(errno.EROFS)),
        (Verdict(Verb.DENY), Fail(errno.ECONNREFUSED)),
        (Verdict(Verb.DENY, why="hidden"), Fail(errno.ENOENT)),
        (Verdict(Verb.RETURN, value=7), Return(7)),
        (Verdict(Verb.NOTIFY), Fail(errno.EPERM)),
    ],
)
def test_verdicts_become_replies(rig: Rig, verdict: Verdict, reply: Reply) -> None:
    """Each verdict has its reply; a call that nobody takes is refused."""
    rig.supervise(policy=policy(rule("connect", verdict)))
    assert rig.ask("connect", 3) == reply


def test_kill_ends_the_process_and_nothing_goes_on(rig: Rig) -> None:
    """Killing is a SIGKILL through the thread's pidfd; should it survive, the call fails."""
    rig.supervise(policy=policy(rule("connect", Verdict(Verb.KILL_PROCESS))))
    assert rig.ask("connect", 3, tid=321) == Fail(errno.EPERM)
    assert rig.kernel.killed == [321]


def test_the_first_rule_that_matches(rig: Rig) -> None:
    """Registers, memory and the default are one ordered list."""
    shadowed(rig)
    rig.supervise(
        policy=policy(
            rule("openat", fail(errno.EXDEV), register(0, 5)),
            rule("openat", fail(errno.ENOENT), look(reads)),
            default=fail(errno.EPERM),
        )
    )
    assert rig.ask("openat", 5, PATH) == Fail(errno.EXDEV)
    assert rig.ask("openat", 6, PATH) == Fail(errno.ENOENT)
    rig.kernel.memory.pieces[PATH] = b"/etc/motd\0"
    assert rig.ask("openat", 6, PATH) == Fail(errno.EPERM)
    assert rig.ask("openat", 6, 0x666) == Fail(errno.EFAULT)


def test_a_race_that_nobody_accepts(embedded: Rig) -> None:
    """C2: a policy that would let a call go on after a look at memory starts nothing."""
    made = policy(rule("openat", fail(errno.ENOENT), look(reads), name="hide"))
    with pytest.raises(RacyContinue, match='"hide" looks at what openat points to'):
        embedded.supervise(policy=made).popen(["true"])


def test_what_was_read_does_not_go_on(
    rig: Rig, unchecked: None, caplog: pytest.LogCaptureFixture
) -> None:
    """C2: after a look at memory the call is refused, and the log says why."""
    shadowed(rig, b"/etc/motd\0")
    rig.supervise(policy=policy(rule("openat", fail(errno.ENOENT), look(reads), name="hide")))
    assert rig.ask("openat", 0, PATH) == Fail(errno.EPERM)
    assert "after its memory was read" in caplog.text


def test_a_race_that_the_author_accepts(rig: Rig) -> None:
    """Then it goes on, and is counted."""
    shadowed(rig, b"/etc/motd\0")
    supervisor = rig.supervise(
        policy=policy(
            rule("openat", fail(errno.ENOENT), look(reads), racy=True, because="a hint only")
        )
    )
    assert rig.ask("openat", 0, PATH) == Continue()
    rig.settled(lambda: supervisor.statistics().racy == 1)


def test_a_look_that_was_not_needed_leaves_no_mark(rig: Rig) -> None:
    """A call whose registers fail the rule was not read, and goes on plainly."""
    from unotify.policy.conditions import All

    condition = All((look(reads), register(0, 5)))
    supervisor = rig.supervise(
        policy=policy(rule("openat", fail(errno.ENOENT), condition, **ACCEPTED))
    )
    assert rig.ask("openat", 6, PATH) == Continue()
    assert supervisor.statistics().racy == 0


# -- handlers and verbs ------------------------------------------------------


def test_rules_then_handlers_then_default(rig: Rig) -> None:
    """A rule decides before handlers; what they leave gets the default."""
    supervisor = rig.supervise(
        policy=policy(rule("getpid", fail(errno.EIO), register(0, 1)), default=fail(errno.EPERM))
    )
    supervisor.on(Getpid)(lambda call: Return(5) if call.exchange.args[0] == 2 else None)
    assert rig.ask("getpid", 1) == Fail(errno.EIO)
    assert rig.ask("getpid", 2) == Return(5)
    assert rig.ask("getpid", 3) == Fail(errno.EPERM)


def test_a_rule_that_allows_comes_before_handlers(rig: Rig) -> None:
    """Handlers are not even asked."""
    supervisor = rig.supervise(policy=policy(rule("getpid", ALLOW), default=fail(errno.EPERM)))
    supervisor.on(Getpid)(lambda call: Return(5))
    assert rig.ask("getpid") == Continue()


def test_a_default_that_allows_what_no_handler_takes(rig: Rig) -> None:
    """Not the unhandled reply: the policy says what is to be done."""
    supervisor = rig.supervise(policy=policy())
    supervisor.on(Getpid)(lambda call: None)
    assert rig.ask("getpid") == Continue()


def test_notify_asks_handlers_and_nobody_else(rig: Rig) -> None:
    """A rule that gives a call to handlers is no permission: without an answer it fails."""
    supervisor = rig.supervise(
        policy=policy(rule("getpid", Verdict(Verb.NOTIFY))), unhandled=Fail(errno.EIO)
    )
    supervisor.on(Getpid)(lambda call: Return(5) if call.exchange.args[0] else None)
    assert rig.ask("getpid", 1) == Return(5)
    assert rig.ask("getpid", 0) == Fail(errno.EIO)


def test_a_verb_gets_its_parameters(rig: Rig) -> None:
    """And its reply is the answer."""
    seen: list[object] = []

    def inject(call: Call, parameters: Mapping[str, Any]) -> Reply:
        seen.append((call.call_name, dict(parameters)))
        return Return(9)

    supervisor = rig.supervise(policy=policy(rule("openat", act("inject", content="x"))))
    supervisor.add_verb("inject", inject)
    assert rig.ask("openat", 0, PATH) == Return(9)
    assert seen == [("openat", {"content": "x"})]


def test_a_verb_may_pass(rig: Rig) -> None:
    """Then handlers are asked, and at last it is refused, whatever the default."""
    supervisor = rig.supervise(policy=policy(rule("openat", act("inject"))))
    supervisor.add_verb("inject", lambda call, parameters: None)
    supervisor.on(OpenAt)(lambda call: Return(4) if call.dirfd else None)
    assert rig.ask("openat", 1, PATH) == Return(4)
    assert rig.ask("openat", 0, PATH) == Fail(errno.EPERM)


def test_a_verb_may_hold(rig: Rig) -> None:
    """Passing on from a hold asks those that come after it."""
    supervisor = rig.supervise(policy=policy(rule("openat", act("inject"))))
    helds = []

    def inject(call: Call, parameters: Mapping[str, Any]) -> object:
        helds.append(supervisor.hold(call))
        return helds[-1]

    supervisor.add_verb("inject", inject)
    pending = rig.notify("openat", 0, PATH)
    rig.settled(lambda: supervisor.statistics().held)
    helds[0].pass_on()
    assert pending.answer() == Fail(errno.EPERM)


def test_a_verb_without_a_handler_is_refused_at_the_start(embedded: Rig) -> None:
    """Naming rule, verb and place; no program starts."""
    place = Place("p.toml", 4, 1)
    made = policy(rule("openat", act("enchant"), name="hosts", place=place))
    supervisor = embedded.supervise(policy=made)
    with pytest.raises(PolicyError, match=r'"hosts" says "enchant"') as caught:
        supervisor.popen(["true"])
    assert (caught.value.source, caught.value.line) == ("p.toml", 4)
    assert "add_verb" in (caught.value.hint or "")
    with pytest.raises(PolicyError):
        supervisor.attach(embedded.listener)
    assert embedded.kernel.spawns == []


def test_verbs_are_added_once_and_for_policies(embedded: Rig) -> None:
    """Two functions for one verb, one without a policy, or one that is none, are mistakes."""
    with pytest.raises(Conflict, match="has none"):
        embedded.supervise().add_verb("inject", lambda call, parameters: None)
    supervisor = embedded.supervise(policy=policy())
    with pytest.raises(Conflict, match="is a function"):
        supervisor.add_verb("inject", 5)  # type: ignore[arg-type]
    supervisor.add_verb("inject", lambda call, parameters: None)
    with pytest.raises(Conflict, match="two handlers"):
        supervisor.add_verb("inject", lambda call, parameters: None)


def test_spare_verbs_give_way(embedded: Rig) -> None:
    """What a room has for a verb counts until somebody else has something, whoever comes first."""
    made = policy(rule("openat", act("inject")), rule("mkdir", act("perform")))
    supervisor = embedded.supervise(policy=made)
    supervisor.add_verb("inject", lambda call, parameters: Return(1), spare=True)
    supervisor.add_verb("inject", lambda call, parameters: Return(2))
    supervisor.add_verb("inject", lambda call, parameters: Return(3), spare=True)
    assert embedded.ask("openat", 0, PATH) == Return(2)
    with pytest.raises(Conflict, match="two handlers"):
        supervisor.add_verb("inject", lambda call, parameters: Return(4))


def test_marked_verbs_are_added(embedded: Rig) -> None:
    """An object may have verbs alone."""
    from unotify.supervisor import verb

    class Addon:
        @verb("inject")
        def inject(self, call: Call, parameters: Mapping[str, Any]) -> Reply:
            return Return(3)

    supervisor = embedded.supervise(policy=policy(rule("openat", act("inject"))))
    supervisor.add(Addon())
    assert embedded.ask("openat", 0, PATH) == Return(3)


@pytest.mark.parametrize("verb", [Verb.KILL_THREAD, Verb.TRAP, Verb.TRACE])
@pytest.mark.parametrize("where", ["rule", "later rule", "default"])
def test_the_kernel_s_own_verdicts_cannot_follow_a_look(
    embedded: Rig, verb: Verb, where: str
) -> None:
    """They are refused at the start, and not silently made something else."""
    rules = {
        "rule": [rule("openat", Verdict(verb), look(reads))],
        "later rule": [rule("openat", ALLOW, look(reads)), rule("openat", Verdict(verb))],
        "default": [rule("openat", ALLOW, look(reads))],
    }[where]
    default = Verdict(verb) if where == "default" else ALLOW
    supervisor = embedded.supervise(policy=policy(*rules, default=default))
    with pytest.raises(NotExpressible, match="only the kernel can do that"):
        supervisor.popen(["true"])


def test_the_kernel_s_own_verdicts_without_a_look(embedded: Rig) -> None:
    """They are the filter's, and fine."""
    made = policy(
        rule("openat", ALLOW, look(reads), **ACCEPTED),
        rule("getpid", Verdict(Verb.TRAP)),
    )
    embedded.supervise(policy=made).popen(["true"])


# -- several policies --------------------------------------------------------


def test_a_stack_is_as_strict_as_each(rig: Rig) -> None:
    """Whatever one refuses is refused; among equals the first one's error."""
    first = policy(rule("openat getpid", fail(errno.EIO), register(0, 1)))
    second = policy(rule("openat", fail(errno.EXDEV)), rule("getpid", ALLOW))
    rig.supervise(policy=[first, second])
    assert rig.ask("openat", 1) == Fail(errno.EIO)
    assert rig.ask("openat", 2) == Fail(errno.EXDEV)
    assert rig.ask("getpid", 2) == Continue()
    assert rig.ask("getpid", 1) == Fail(errno.EIO)


def test_killing_is_stricter_than_failing(rig: Rig) -> None:
    """As the kernel's precedence has it (F1)."""
    rig.supervise(
        policy=[policy(default=fail(errno.EIO)), policy(default=Verdict(Verb.KILL_PROCESS))]
    )
    rig.ask("getpid", tid=50)
    assert rig.kernel.killed == [50]


def test_no_verb_acts_for_what_another_policy_refuses(rig: Rig) -> None:
    """A default refuses too; but where handlers may take a call they come before it."""
    acted = []

    def perform(call: Call, parameters: Mapping[str, Any]) -> Reply:
        acted.append(call.call_name)
        return Return(1)

    strict = policy(default=fail(errno.EIO))
    supervisor = rig.supervise(policy=[policy(rule("openat getpid", act("perform"))), strict])
    supervisor.add_verb("perform", perform)
    supervisor.on(Getpid)(lambda call: Return(2) if call.exchange.args[0] else None)
    assert rig.ask("openat") == Fail(errno.EIO)
    assert rig.ask("getpid", 1) == Return(2)
    assert rig.ask("getpid", 0) == Fail(errno.EIO)
    assert acted == []


def test_a_verb_acts_where_the_others_allow(rig: Rig) -> None:
    """After handlers, if some policy has no rule about the call."""
    supervisor = rig.supervise(policy=[policy(), policy(rule("getpid", act("perform")))])
    supervisor.add_verb("perform", lambda call, parameters: Return(1))
    supervisor.on(Getpid)(lambda call: Return(2) if call.exchange.args[0] else None)
    assert rig.ask("getpid", 1) == Return(2)
    assert rig.ask("getpid", 0) == Return(1)


def test_each_policy_answers_for_its_own_looks(rig: Rig, unchecked: None) -> None:
    """One that accepts a race does not accept it for another."""
    shadowed(rig, b"/etc/motd\0")
    careless = policy(rule("openat", fail(errno.ENOENT), look(reads), racy=True, because="a"))
    rig.supervise(policy=[careless, policy()])
    assert rig.ask("openat", 0, PATH) == Continue()
    careful = policy(rule("openat", fail(errno.ENOENT), look(reads)))
    rig.listener = rig.kernel.listener()
    rig.supervise(policy=[careless, careful])
    assert rig.ask("openat", 0, PATH) == Fail(errno.EPERM)


# -- the rest ----------------------------------------------------------------


def test_unknown_numbers_and_architectures(rig: Rig) -> None:
    """What no table knows gets what the policy says of it, whatever number it has."""
    rig.supervise(
        policy=policy(
            default=ALLOW, architectures=[Arch.X86_64], bad_arch=fail(errno.EIO), unknown=fail(38)
        )
    )
    assert rig.ask(-1) == Fail(38)
    assert rig.ask(0, audit=0x1234) == Fail(errno.EIO)
    assert rig.ask("read", arch=Arch.I386) == Fail(errno.EIO)
    assert rig.ask("read") == Continue()


def test_judgements_are_told(rig: Rig) -> None:
    """With policy, rule and verdict; a handler's answer is none."""
    made = policy(rule("getpid", fail(errno.EIO), register(0, 1), name="one"))
    supervisor = rig.supervise(policy=made)
    watch = Judgements()
    supervisor.add_instrument(watch)
    supervisor.on(Getpid)(lambda call: Return(5) if call.exchange.args[0] == 2 else None)
    for argument in (1, 2, 3):
        rig.ask("getpid", argument)
    assert [(str(seen), seen.policy is made) for seen in watch.seen] == [
        ('fail EIO by rule "one"', True),
        ("allow by no rule", True),
    ]


def test_a_judgement_by_a_rule_without_a_name_reads_well(rig: Rig) -> None:
    """It tells where the rule is, and says once that it is one."""
    supervisor = rig.supervise(policy=policy(rule("getpid", fail(errno.EIO), register(0, 1))))
    watch = Judgements()
    supervisor.add_instrument(watch)
    supervisor.on(Getpid)(lambda call: None)
    rig.ask("getpid", 1)
    assert [str(seen).split(":")[0] for seen in watch.seen] == ["fail EIO by the rule at policy"]


def test_dry_run_lets_all_go_on(rig: Rig) -> None:
    """It tells what would be, and where; handlers and verbs are not asked, nobody dies."""
    shadowed(rig)
    made = policy(
        rule("openat", fail(errno.ENOENT), look(reads), name="hide"),
        rule("getpid", Verdict(Verb.KILL_PROCESS)),
        rule("getuid", act("perform")),
    )
    supervisor = rig.supervise(policy=made, dry_run=True)
    supervisor.on(OpenAt)(lambda call: pytest.fail("asked"))
    supervisor.program()
    watch = Judgements()
    supervisor.add_instrument(watch)
    for call, arguments in (
        ("openat", (0, PATH)),
        ("openat", (0, 0)),
        ("getpid", ()),
        ("getuid", ()),
    ):
        assert rig.ask(call, *arguments) == Continue()
    assert rig.kernel.killed == []
    assert [(str(seen.verdict), seen.by_kernel, seen.dry_run) for seen in watch.seen] == [
        ("fail ENOENT", False, True),
        ("fail EFAULT", False, True),
        ("kill-process", True, True),
        ("perform", False, True),
    ]


def test_flags_reach_the_filter(embedded: Rig) -> None:
    """Those that a policy names; one that nobody knows is refused."""
    from unotify.abi.seccomp import FilterFlag

    names = [f"SECCOMP_FILTER_FLAG_{name}" for name in ("LOG", "TSYNC", "WAIT_KILLABLE_RECV")]
    embedded.supervise(policy=policy(flags=tuple(names))).popen(["true"])
    # It begins with one thread, so there is nothing to synchronise.
    assert embedded.kernel.spawns[0]["flags"] == FilterFlag.LOG | FilterFlag.WAIT_KILLABLE_RECV
    with pytest.raises(UnknownName, match="no filter flag"):
        embedded.supervise(policy=policy(flags=("SECCOMP_FILTER_FLAG_X",))).popen(["true"])


def test_flags_of_several_policies(embedded: Rig) -> None:
    """What protects is there if one wants it; a mitigation is gone if none does."""
    from unotify.abi.seccomp import FilterFlag

    both = ("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW")
    for stack, flags in (
        ([policy(flags=both), policy(flags=both[1:])], FilterFlag.LOG | FilterFlag.SPEC_ALLOW),
        ([policy(flags=both), policy()], FilterFlag.LOG),
        ([policy(), policy(flags=both[1:])], FilterFlag(0)),
    ):
        embedded.supervise(policy=stack).popen(["true"])
        assert embedded.kernel.spawns[-1]["flags"] == flags


def test_what_a_policy_excludes(embedded: Rig) -> None:
    """It has its own architectures; a dry run is about a policy."""
    with pytest.raises(Conflict, match="those of the policy"):
        embedded.supervise(policy=policy(), architectures=[Arch.X86_64])
    with pytest.raises(Conflict, match="there is none"):
        embedded.supervise(dry_run=True)


def test_a_policy_file_is_loaded(embedded: Rig, tmp_path: Any) -> None:
    """A path is as good as a policy; what it includes lies beside it."""
    (tmp_path / "base.toml").write_text(
        'version = 1\n[[rule]]\ncalls = ["getpid"]\ndo = { fail = "EIO" }\n'
    )
    file = tmp_path / "p.toml"
    file.write_text('version = 1\ndefault = "allow"\ninclude = "base.toml"\n')
    embedded.supervise(policy=file)
    assert embedded.ask("getpid") == Fail(errno.EIO)
    with pytest.raises(PolicyError, match="cannot read policy"):
        embedded.supervise(policy=str(tmp_path / "none.toml"))


def test_the_caller_counts_are_kept_apart(rig: Rig) -> None:
    """Two policies of one text have a counter each, so nobody counts twice."""
    counts: list[int] = []

    def made() -> Policy:
        def check(facts: Facts) -> bool:
            counts.append(facts.count("k", "process"))
            return False

        return policy(rule("getpid", fail(errno.EIO), look(check, Need.STATE)))

    rig.supervise(policy=[made(), made()])
    rig.ask("getpid")
    rig.ask("getpid")
    assert counts == [1, 1, 2, 2]
