"""What may stand after ``do``."""

from __future__ import annotations

import errno
from types import MappingProxyType

import pytest

from unotify.abi import model
from unotify.errors import Conflict, PolicyError, UnknownName
from unotify.policy import actions
from unotify.policy.actions import (
    ACTIONS,
    ERRNOS,
    Action,
    handlers_missing,
    misplaced,
    register,
    registered,
)
from unotify.policy.loader import load
from unotify.policy.model import Verb, Verdict
from unotify.policy.performing import unperformable
from unotify.policy.verbs import VERBS, verdict

CANNOT = (
    "execve execveat fork vfork clone clone3 exit exit_group chdir fchdir chroot mmap munmap ioctl "
    "close dup2 fcntl read write futex rt_sigaction wait4 setuid prctl umask getpid brk"
)
CAN = (
    "open openat openat2 creat mkdirat rmdir unlinkat renameat2 linkat symlinkat mknodat fchmodat2 "
    "fchownat truncate utimensat setxattrat faccessat2 statx readlinkat statfs getxattr listxattr "
    "connect bind sendto sendmsg sendmmsg fchmod fchown ftruncate fsetxattr"
)


def test_each_verb_of_the_model_is_a_verb_of_the_language() -> None:
    """The language has all verbs of the model, but ACT, which stands for handlers' own."""
    assert {plain.verb for plain in VERBS.values()} == set(Verb) - {Verb.ACT}
    assert all(name == plain.verb.value for name, plain in VERBS.items())
    assert not set(VERBS) & set(ACTIONS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("allow", Verdict(Verb.ALLOW)),
        ("deny", Verdict(Verb.DENY)),
        ({"deny": "read-only"}, Verdict(Verb.DENY, why="read-only")),
        ({"fail": "EPERM"}, Verdict(Verb.FAIL, errno=errno.EPERM)),
        ({"fail": "EWOULDBLOCK"}, Verdict(Verb.FAIL, errno=errno.EAGAIN)),
        ({"fail": 4095}, Verdict(Verb.FAIL, errno=4095)),
        ({"return": 0}, Verdict(Verb.RETURN)),
        ({"return": (1 << 63) - 1}, Verdict(Verb.RETURN, value=(1 << 63) - 1)),
        ("kill-process", Verdict(Verb.KILL_PROCESS)),
        ("kill-thread", Verdict(Verb.KILL_THREAD)),
        ("trap", Verdict(Verb.TRAP)),
        ({"trap": 65535}, Verdict(Verb.TRAP, value=65535)),
        ({"trace": 1}, Verdict(Verb.TRACE, value=1)),
        ("log", Verdict(Verb.LOG)),
        ("continue", Verdict(Verb.CONTINUE)),
        ("notify", Verdict(Verb.NOTIFY)),
        ("perform", Verdict(Verb.ACT, handler="perform")),
        (
            {"perform": {"as": "supervisor"}},
            Verdict(Verb.ACT, handler="perform", parameters={"as": "supervisor"}),
        ),
        ({"inject": "x"}, Verdict(Verb.ACT, handler="inject", parameters={"text": "x"})),
        (
            {"redirect": {"address": "127.0.0.1:15432"}},
            Verdict(Verb.ACT, handler="redirect", parameters={"address": "127.0.0.1:15432"}),
        ),
    ],
)
def test_verdicts(value: object, expected: Verdict) -> None:
    """A verb, or a table of one verb and what it takes."""
    found = verdict(value)
    assert found == expected
    assert isinstance(found.parameters, MappingProxyType)


@pytest.mark.parametrize("value", [7, None, [], {}, {"allow": 1, "deny": 2}, 1.5, True])
def test_what_is_no_verb(value: object) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(PolicyError, match=r"^default takes ") as caught:
        verdict(value, what="default")
    assert caught.value.hint


def test_near_names() -> None:
    """A wrong name is told with the nearest right one."""
    for value, hint in [
        ("kill", "did you mean kill"),
        ("perfrm", "did you mean perform?"),
        ("EPERM", 'write { fail = "EPERM" }'),
        ("enoent", 'write { fail = "ENOENT" }'),
        ({"fail": "eperm"}, "did you mean EPERM?"),
        ({"perform": {"ass": "target"}}, "did you mean as?"),
        ("qqqq", "there are allow, deny"),
    ]:
        with pytest.raises(PolicyError) as caught:
            verdict(value)
        assert hint in str(caught.value.hint), value


def test_errnos_are_those_of_programs() -> None:
    """Names are this machine's; none is one that the kernel keeps for itself."""
    assert ERRNOS["ENOSYS"] == errno.ENOSYS
    assert all(0 < number < 512 for number in ERRNOS.values())


@pytest.mark.parametrize("call", CANNOT.split())
def test_what_cannot_be_performed(call: str) -> None:
    """What concerns the calling process alone is refused, with the reason."""
    error = misplaced(verdict("perform"), [call])
    assert error is not None
    assert str(error) == f'"perform" cannot be done for {call}: {unperformable(call)}'
    assert f'"-{call}"' in str(error.hint)


@pytest.mark.parametrize("call", CAN.split())
def test_what_can_be_performed(call: str) -> None:
    """Files and addresses can be acted on for somebody else."""
    assert unperformable(call) is None
    assert misplaced(verdict("perform"), [call]) is None


def test_every_call_has_an_answer() -> None:
    """Whether it can be performed is known of each call."""
    for call in model.names():
        reason = unperformable(call)
        assert reason is None or reason.startswith(("it ", "its ", "only ", "the kernel "))


def test_redirect_and_inject_fit_the_call() -> None:
    """What a call does not take cannot be replaced; only what makes a descriptor gets one."""
    path, address = {"redirect": {"path": "/x"}}, {"redirect": {"address": "1.2.3.4:5"}}
    assert misplaced(verdict(path), ["openat", "unlink"]) is None
    assert misplaced(verdict(address), ["connect", "sendmsg"]) is None
    assert misplaced(verdict(path), ["connect"]) is not None
    assert misplaced(verdict(address), ["openat"]) is not None
    assert misplaced(verdict(path), ["execve"]) is not None
    assert misplaced(verdict({"inject": "x"}), ["openat", "socket"]) is None
    assert misplaced(verdict({"inject": "x"}), ["read"]) is not None
    assert misplaced(verdict("allow"), ["read"]) is None


def test_many_calls_are_not_all_named() -> None:
    """A message about a group stays a sentence."""
    error = misplaced(verdict("perform"), model.names())
    assert error is not None
    assert len(str(error)) < 1200
    assert " more: it changes the calling process itself" in str(error)


@pytest.fixture(name="own_registry")
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_registered", set())
    monkeypatch.setattr(actions, "ACTIONS", actions.ACTIONS)
    for name in list(ACTIONS):
        monkeypatch.setitem(ACTIONS, name, ACTIONS[name])


POLICY = """
version = 1
default = "allow"
[[rule]]
name = "mine"
calls = ["chown"]
do = "fake-ownership"
[[rule]]
calls = ["mkdir"]
do = "deny"
"""


def test_handlers_that_are_missing(own_registry: None) -> None:
    """A policy with a verb that nothing carries out loads, and says what is missing."""
    policy = load(POLICY, source="p.toml")
    (missing,) = handlers_missing(policy)
    assert str(missing) == 'nothing here carries out "fake-ownership", which "mine" wants'
    assert (missing.source, missing.line) == ("p.toml", 4)
    assert missing.hint
    assert handlers_missing(policy, have=["fake-ownership"]) == ()
    register(ACTIONS["fake-ownership"])
    assert registered() == {"fake-ownership"}
    assert handlers_missing(policy) == ()


def test_a_new_verb(own_registry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room that registers a verb makes it known; it cannot take one of the language's."""
    with pytest.raises(UnknownName):
        verdict("emulate-test")
    monkeypatch.setitem(ACTIONS, "emulate-test", ACTIONS["perform"])
    register(Action("emulate-test", "for a test"))
    assert verdict("emulate-test").handler == "emulate-test"
    with pytest.raises(Conflict):
        register(Action("allow", "no"))
