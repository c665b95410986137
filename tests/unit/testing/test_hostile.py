"""What a hostile target gets in spite of a policy: each kind of hole, and the policy mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from unotify.abi.arch import Arch
from unotify.errors import NotExpressible, PolicyError, UnknownName
from unotify.policy.loader import load
from unotify.testing import PolicyExploration, Story, explore_policy
from unotify.testing.facility.rules import without
from unotify.testing.hostile.effects import Effect
from unotify.testing.hostile.spelling import spelled

pytestmark = pytest.mark.slow
START = 'version = 1\ndefault = "allow"\n'
NO_RINGS = """
[[rule]]
calls = ["io_uring_setup", "io_uring_enter", "io_uring_register"]
do = { fail = "ENOSYS" }
"""
NO_OTHER_OPENS = """
[[rule]]
calls = ["openat2", "open_by_handle_at"]
do = { fail = "ENOSYS" }
"""
NO_NEW_NAMES = """
[[rule]]
name = "no new names"
calls = ["rename", "renameat", "renameat2", "link", "linkat", "mount", "move_mount"]
do = "deny"
"""
CLOSED = START + NO_RINGS + NO_OTHER_OPENS


def found(text: str, *, suppose: Sequence[str] = (), depth: int = 4) -> dict[str, Story]:
    """The stories that there are of a policy, by the kind of hole."""
    explored = explore_policy(load(text), suppose=suppose, depth=depth)
    assert explored.covered.goals
    return {story.kind: story for story in explored.stories}


@dataclass(frozen=True)
class Hole:
    """A policy with a hole of one kind, its story, and the policy mended."""

    kind: str
    policy: str
    mended: str
    calls: tuple[str, ...]
    steps: int
    facts: tuple[str, ...]
    got: str
    suppose: tuple[str, ...] = ()
    abis: tuple[str, ...] = ("x86_64", "i386")


def rule(calls: str, do: str = '"deny"', where: str = "", more: str = "") -> str:
    """A rule in TOML."""
    named = ", ".join(f'"{call}"' for call in calls.split())
    condition = f"where = {where!r}\n" if where else ""
    return f"[[rule]]\ncalls = [{named}]\n{condition}do = {do}\n{more}\n"


RACY = 'racy = true\nbecause = "a test"\n'
ABIS = 'version = 1\ndefault = "allow"\narchitectures = ["x86_64"]\n'
SHADOW = 'openat(path="/etc/shadow")'

HOLES = (
    Hole(
        "twin",
        START + NO_RINGS + rule("rename renameat"),
        START + NO_RINGS + rule("rename renameat renameat2"),
        ("renameat2",),
        1,
        ("B1",),
        'renameat2(oldpath="/tmp/harmless", newpath="/tmp/harmless")',
    ),
    Hole(
        "twin",
        START
        + NO_RINGS
        + rule("open openat", where="flags & O_ACCMODE != O_RDONLY")
        + rule("creat"),
        CLOSED + rule("open openat", where="flags & O_ACCMODE != O_RDONLY") + rule("creat"),
        ("openat2", "open_by_handle_at"),
        1,
        ("B1",),
        'openat(path="/tmp/harmless", flags=0x1)',
    ),
    Hole(
        "twin",
        START + NO_RINGS + rule("connect"),
        START
        + NO_RINGS
        + rule("connect")
        + rule("sendto sendmsg sendmmsg", where="flags & MSG_FASTOPEN"),
        ("sendto", "sendmsg", "sendmmsg"),
        1,
        ("B1",),
        'connect(address="203.0.113.7:80")',
    ),
    Hole(
        "twin",
        START + NO_RINGS + rule("mount"),
        START + NO_RINGS + rule("mount move_mount"),
        ("move_mount",),
        2,
        ("B1",),
        'mount(target="/tmp/harmless", fstype="tmpfs")',
    ),
    Hole(
        "descriptor",
        START + NO_RINGS + rule("chmod fchmodat fchmodat2", where="mode & S_ISUID"),
        START + NO_RINGS + rule("chmod fchmodat fchmodat2 fchmod", where="mode & S_ISUID"),
        ("fchmod",),
        2,
        ("B1",),
        'fchmodat2(path="/tmp/harmless", mode=0o4000)',
    ),
    Hole(
        "ring",
        START + rule("mkdir mkdirat"),
        START + NO_RINGS + rule("mkdir mkdirat"),
        ("mkdirat",),
        2,
        ("B9",),
        'mkdirat(path="/tmp/harmless")',
    ),
    Hole(
        "abi",
        ABIS + 'bad-architecture = "allow"\n' + rule("chroot"),
        ABIS + rule("chroot"),
        ("chroot",),
        1,
        ("B2", "B4"),
        'chroot(path="/tmp/harmless")',
        abis=("i386", "x32"),
    ),
    Hole(
        "multiplexed",
        ABIS + 'bad-architecture = "allow"\n' + rule("socket"),
        START + rule("socket") + NO_RINGS,
        ("socketcall",),
        1,
        ("B2", "B6"),
        "socket()",
        abis=("i386",),
    ),
    Hole(
        "rewrite",
        CLOSED
        + rule("open openat", '"continue"', 'path == "/etc/hostname"', RACY)
        + rule("open openat creat"),
        CLOSED
        + rule("open openat", '"perform"', 'resolved == "/etc/hostname"')
        + rule("open openat creat"),
        ("open", "openat"),
        3,
        ("C1", "C2", "M7"),
        'openat(path="/etc/hostname/file")',
    ),
    Hole(
        "rewrite",
        START
        + NO_RINGS
        + rule("connect", '"continue"', "address.port == 5432", RACY)
        + rule("connect")
        + rule("sendto sendmsg sendmmsg", where="flags & MSG_FASTOPEN"),
        START
        + NO_RINGS
        + rule("connect", '"perform"', "address.port == 5432")
        + rule("connect")
        + rule("sendto sendmsg sendmmsg", where="flags & MSG_FASTOPEN"),
        ("connect",),
        3,
        ("C1", "C2", "M7"),
        'connect(address="203.0.113.7:80")',
    ),
    Hole(
        "swap",
        CLOSED
        + NO_NEW_NAMES
        + rule("open openat creat", where='resolved == "/etc/shadow"')
        + rule("open openat creat", '"continue"', "", RACY),
        CLOSED
        + NO_NEW_NAMES
        + rule("open openat creat", where='resolved == "/etc/shadow"')
        + rule("open openat creat", '"perform"'),
        ("open", "openat"),
        4,
        ("C1", "C2"),
        SHADOW,
    ),
    Hole(
        "spelling",
        CLOSED
        + NO_NEW_NAMES
        + rule("open openat creat", where='path == "/etc/shadow"')
        + rule("open openat creat", '"perform"'),
        CLOSED
        + NO_NEW_NAMES
        + rule("open openat creat", where='resolved == "/etc/shadow"')
        + rule("open openat creat", '"perform"'),
        ("open", "openat"),
        1,
        (),
        SHADOW,
    ),
    Hole(
        "link",
        CLOSED
        + NO_NEW_NAMES
        + rule("open openat creat", where='under(path, "/etc")')
        + rule("open openat creat", '"perform"'),
        CLOSED
        + NO_NEW_NAMES
        + rule("open openat creat", where='under(resolved, "/etc")')
        + rule("open openat creat", '"perform"'),
        ("open", "openat"),
        2,
        (),
        'openat(path="/etc")',
    ),
    Hole(
        "moved",
        CLOSED
        + rule("open openat creat", where='resolved == "/etc/shadow"')
        + rule("open openat creat", '"perform"'),
        CLOSED
        + NO_NEW_NAMES
        + rule("open openat creat", where='resolved == "/etc/shadow"')
        + rule("open openat creat", '"perform"'),
        ("open", "openat"),
        2,
        (),
        SHADOW,
    ),
    Hole(
        "fork",
        START + NO_RINGS + rule("mkdir mkdirat", '"allow"', "nth(1)") + rule("mkdir mkdirat"),
        START
        + NO_RINGS
        + rule("mkdir mkdirat", '"allow"', 'nth(1, per="rule")')
        + rule("mkdir mkdirat"),
        ("mkdir", "mkdirat"),
        3,
        ("R1",),
        'mkdirat(path="/tmp/harmless")',
    ),
    Hole(
        "comm",
        START + NO_RINGS + rule("chroot", '"allow"', 'comm == "installer"') + rule("chroot"),
        START + NO_RINGS + rule("chroot"),
        ("chroot",),
        2,
        ("M6",),
        'chroot(path="/tmp/harmless")',
    ),
    Hole(
        "exe",
        START
        + NO_RINGS
        + rule("chroot", '"allow"', 'exe == "/usr/bin/installer"')
        + rule("chroot"),
        START + NO_RINGS + rule("chroot"),
        ("chroot",),
        2,
        ("C4",),
        'chroot(path="/tmp/harmless")',
    ),
    Hole(
        "filter",
        START
        + NO_RINGS
        + rule("mkdir mkdirat", where='resolved == "/x"')
        + rule("mkdir mkdirat", '"perform"'),
        START
        + NO_RINGS
        + rule("seccomp", where="flags & SECCOMP_FILTER_FLAG_NEW_LISTENER")
        + rule("mkdir mkdirat", where='resolved == "/x"')
        + rule("mkdir mkdirat", '"perform"'),
        ("mkdir", "mkdirat"),
        3,
        ("F1", "F5", "R8"),
        'mkdirat(path="/x")',
        ("supervisor-ends",),
    ),
    Hole(
        "accomplice",
        START + NO_RINGS + rule("socket"),
        START + NO_RINGS + rule("socket recvmsg recvmmsg recvmmsg_time64 pidfd_getfd"),
        ("recvmsg", "recvmmsg", "pidfd_getfd"),
        1,
        (),
        "socket()",
        ("accomplice",),
    ),
)


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: f"{hole.kind}: {hole.calls[0]}")
def test_a_hole_is_found(hole: Hole) -> None:
    """A policy with a hole has a story of it: the call, the ABIs, the steps, and the facts."""
    stories = found(hole.policy, suppose=hole.suppose)
    assert hole.kind in stories
    story = stories[hole.kind]
    assert story.got == hole.got
    assert set(hole.calls) <= set(story.calls)
    assert set(story.abis) <= set(hole.abis)
    assert len(story.steps) == hole.steps
    assert set(hole.facts) <= set(story.facts)
    assert story.cure


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: f"{hole.kind}: {hole.calls[0]}")
def test_the_mended_policy_has_none(hole: Hole) -> None:
    """Where it is mended nothing of the kind is found."""
    assert not found(hole.mended, suppose=hole.suppose)


def test_without_the_supposition() -> None:
    """While the supervisor lives a target has no listener of its own (F4)."""
    (hole,) = (one for one in HOLES if one.kind == "filter")
    assert not found(hole.policy)


def test_it_is_the_facility_that_is_asked() -> None:
    """Without the rule that a chain has one open listener there is a way that it closes (F4)."""
    (hole,) = (one for one in HOLES if one.kind == "filter")
    with without("chain_has_no_listener"):
        assert set(found(hole.policy)) == {"filter"}
        assert not found(hole.mended)


def test_a_ring_is_the_facility_s_too() -> None:
    """If rings did nothing, a policy that forgets them would have no hole (B9)."""
    (hole,) = (one for one in HOLES if one.kind == "ring")
    with without("enter_unseen"):
        assert not found(hole.policy)


def test_a_story() -> None:
    """It is told in numbered steps, each with what came of it, and says what to write instead."""
    (hole,) = (one for one in HOLES if one.kind == "swap")
    assert str(found(hole.policy)["swap"]).splitlines() == [
        f"{SHADOW} is forbidden by the rule at policy:16:1, and is done:",
        '  1. the target calls open(path="/tmp/link"), with a second thread that waits for the '
        "answer, too: it waits for an answer",
        "  2. the supervisor looks, and decides: it lets the call go on (continue by the rule at "
        "policy:21:1)",
        "  3. a second thread of the target makes /tmp/link a symbolic link to /etc/shadow: "
        'symlink(target="/etc/shadow", linkpath="/tmp/link"): its filter lets it go, and it '
        "returns 0",
        "  4. the target's call goes on: it returns 0",
        "  The same goes for open, openat, creat, by x86_64.",
        "  Why: the kernel looks the path up again when the call goes on, and it leads elsewhere "
        "by then (C1, C2).",
        '  Instead: let the supervisor act on what it has looked up, do = "perform".',
    ]


@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.I386, Arch.X32], ids=lambda arch: arch.label)
def test_messages_that_connect_are_tried_on_each_abi(arch: Arch) -> None:
    """MSG_FASTOPEN connects by whatever call sends, in the layout of each ABI."""
    connecting = Effect("connect", (("address", "203.0.113.7:80"),))
    assert {"connect", "sendto", "sendmsg", "sendmmsg"} <= spelled(connecting, arch).keys()


def test_what_was_covered() -> None:
    """Nothing found says what was tried: acts, calls, ABIs, preparations, states, and the bound."""
    covered = explore_policy(load(START + NO_RINGS + rule("rename renameat renameat2"))).covered
    assert [by for _, by in covered.goals] == ["the rule at policy:7:1"]
    assert covered.calls == ("rename", "renameat", "renameat2")
    assert covered.abis == ("x86_64", "i386", "x32")
    assert {"link", "moved", "ring", "fork", "own listener"} <= set(covered.moves)
    assert covered.states > 10
    assert covered.steps > covered.states
    assert (covered.depth, covered.preparing, covered.cut) == (8, 2, 0)
    assert not covered.not_judged
    assert not covered.not_reached
    assert any("ptrace" in one for one in covered.unknown)


def test_a_bound_that_is_too_small() -> None:
    """With fewer moves than it takes nothing is found, and it is said that there was more."""
    (hole,) = (one for one in HOLES if one.kind == "swap")
    explored = explore_policy(load(hole.policy), depth=2)
    assert not explored.stories
    assert explored.covered.cut > 0


def test_too_many_states() -> None:
    """Nothing is claimed of more states than are allowed."""
    with pytest.raises(OverflowError, match="more than 3 states"):
        explore_policy(load(START + rule("rename")), most=3)


def test_goals() -> None:
    """What a policy does not forbid is got at once; what it refuses is not."""
    goals = ["mount", 'openat: path == "/etc/shadow"', "socket: family == AF_INET"]
    explored = explore_policy(load(START), goals=goals)
    assert {(story.forbidden_by, story.got) for story in explored.stories} == {
        ("the goal 'mount'", 'mount(target="/tmp/harmless", fstype="tmpfs")'),
        ("the goal 'openat: path == \"/etc/shadow\"'", SHADOW),
        ("the goal 'socket: family == AF_INET'", "socket(family=0x2)"),
    }
    strict = load('version = 1\ndefault = { fail = "EPERM" }\n' + rule("read write", '"allow"'))
    assert not explore_policy(strict, goals=goals).stories


def test_what_the_default_forbids() -> None:
    """A default that refuses forbids what no rule names, by other spellings and ABIs, too."""
    strict = 'version = 1\ndefault = { fail = "EPERM" }\narchitectures = ["x86_64"]\n'
    allowed = rule("openat", '"continue"', 'path == "/etc/hostname"', RACY)
    explored = explore_policy(load(strict + allowed))
    assert [(story.kind, story.forbidden_by) for story in explored.stories] == [
        ("rewrite", "the default")
    ]
    assert len(explored.covered.goals) > 25
    performed = rule("openat", '"perform"', 'resolved == "/etc/hostname"')
    assert not explore_policy(load(strict + performed)).stories


def test_rules_that_forbid_nothing() -> None:
    """Rules that count, and rules that end an ABI, are named as not judged."""
    text = START + rule("fsync", '{ fail = "EIO" }', "nth(3)")
    covered = explore_policy(load(text)).covered
    assert not covered.goals
    assert covered.not_judged == ("the rule at policy:3:1: it counts, draws lots, or ends an ABI",)


def test_a_rule_that_is_never_reached() -> None:
    """A rule for which no arguments were found is named: nothing is claimed of it."""
    text = (
        START
        + NO_RINGS
        + rule("mkdir", where='matches(path, "/q{3}[0-9]+")')
        + rule("mkdir", '"perform"')
    )
    covered = explore_policy(load(text)).covered
    assert covered.not_reached == ("the rule at policy:7:1",)


def played(text: str) -> PolicyExploration:
    """A policy explored."""
    return explore_policy(load(text), depth=3)


def test_the_same_every_time() -> None:
    """Two searches give the same, to the last state."""
    (hole,) = (one for one in HOLES if one.kind == "link")
    assert played(hole.policy) == played(hole.policy)


def test_what_is_wrong() -> None:
    """Goals and suppositions that are none, and other machines, are errors in one sentence."""
    policy = load(START)
    with pytest.raises(UnknownName, match="there is no call 'mout'") as raised:
        explore_policy(policy, goals=["mout"])
    assert raised.value.hint
    assert "mount" in raised.value.hint
    with pytest.raises(UnknownName):
        explore_policy(policy, goals=['openat: pfad == "/x"'])
    with pytest.raises(PolicyError, match="nothing is known of 'rain'"):
        explore_policy(policy, suppose=["rain"])
    other = load('version = 1\ndefault = "allow"\narchitectures = ["aarch64"]\n')
    with pytest.raises(NotExpressible, match="is for aarch64"):
        explore_policy(other)
