"""Warnings: what an author may not have meant."""

from __future__ import annotations

from dataclasses import replace

from unotify.abi.arch import Arch
from unotify.policy.advice import advice
from unotify.policy.conditions import Look, Need
from unotify.policy.loader import load

HEAD = 'version = 1\ndefault = "allow"\narchitectures = ["native"]\n'


def said(rules: str, head: str = HEAD) -> list[str]:
    """The warnings about *rules*."""
    return [f"{advised.place.line}: {advised.message}" for advised in advice(load(head + rules))]


def test_a_good_policy() -> None:
    """Nothing is said of a policy whose rules all count."""
    assert (
        said('[[rule]]\ncalls = ["open"]\ndo = "deny"\n[[rule]]\ncalls = "@path"\ndo = "deny"')
        == []
    )


def test_rules_that_are_never_reached() -> None:
    """A rule whose calls are all decided before is told, with who decides them."""
    assert said(
        '[[rule]]\nname = "a"\ncalls = ["open", "creat"]\ndo = "deny"\n'
        '[[rule]]\ncalls = "openat"\ndo = "deny"\n'
        '[[rule]]\nname = "c"\ncalls = ["open", "openat"]\ndo = "deny"\n'
        '[[rule]]\nname = "d"\ncalls = ["open", "read"]\ndo = "deny"\n'
        '[[rule]]\nname = "e"\ncalls = ["creat"]\ndo = "deny"\n'
    ) == [
        '11: "c" is never reached: "a" and the rule at policy:8:1 decide all its calls before',
        '19: "e" is never reached: "a" decides all its calls before',
    ]


def test_a_rule_with_a_condition_hides_nothing() -> None:
    """Only a rule that always matches keeps others from being reached."""
    policy = load(HEAD + '[[rule]]\ncalls = "open"\ndo = "deny"\n' * 2)
    look = Look("uid == 0", Need.CALLER, bool)
    first = replace(policy.rules[0], conditions={"open": look})
    assert len(advice(policy)) == 1
    assert advice(replace(policy, rules=(first, policy.rules[1]))) == []


def test_another_architecture_may_still_reach_it() -> None:
    """A rule that one architecture reaches is reached."""
    head = HEAD.replace('["native"]', '["native", "compat"]')
    rules = '[[rule]]\ncalls = "open@x86_64"\ndo = "deny"\n[[rule]]\ncalls = "open"\ndo = "deny"\n'
    assert said(rules, head) == []
    assert len(said(rules)) == 1


def test_rules_about_nothing() -> None:
    """A rule for calls that no architecture of the policy has is told."""
    assert said('[[rule]]\nname = "a"\ncalls = ["mmap2", "open@i386"]\ndo = "deny"\n') == [
        '4: "a" is never used: x86_64 has none of its calls'
    ]


def test_parts_of_a_multiplexer_are_used() -> None:
    """On i386 a rule for semop is used: ipc makes it (B6)."""
    policy = load(HEAD + '[[rule]]\ncalls = ["semop"]\ndo = "deny"\n')
    assert advice(replace(policy, architectures=(Arch.I386,))) == []


def test_a_needless_racy() -> None:
    """The word racy on a rule that looks at nothing that can be raced is told."""
    text = '[[rule]]\nname = "a"\ncalls = "open"\ndo = "allow"\nracy = true\nbecause = "x"\n'
    assert said(text) == ['4: "a" is racy = true and looks at nothing that can be raced']
    policy = load(HEAD + text)
    look = Look("path", Need.MEMORY, bool)
    racing = replace(policy.rules[0], conditions={"open": look})
    assert advice(replace(policy, rules=(racing,))) == []


def test_two_rules_of_one_name() -> None:
    """Two rules of one name cannot be told apart in a log."""
    assert said(
        '[[rule]]\nname = "a"\ncalls = "open"\ndo = "deny"\n'
        '[[rule]]\nname = "a"\ncalls = "read"\ndo = "deny"\n'
    ) == ['8: there are two rules named "a"']


OPENS = '[[rule]]\ncalls = ["open", "openat", "openat2"]\ndo = "perform"\n'
EARLIER = '[[rule]]\ncalls = {calls}\nwhere = "flags & O_PATH"\ndo = "allow"\n'


def test_opens_with_o_path_that_are_performed() -> None:
    """A5: who performs all opens is told, once, of those that can only fail."""
    (found,) = said(OPENS)
    assert found.startswith("4: the rule at policy:4:1 performs open with O_PATH too")
    (found,) = said(EARLIER.format(calls='["open"]') + OPENS)
    assert "performs openat with O_PATH" in found
    redirect = 'do = { redirect = { path = "/x" } }'
    assert len(said(f'[[rule]]\ncalls = "openat"\n{redirect}\n')) == 1


def test_opens_with_o_path_that_are_not() -> None:
    """Nothing is said where registers, here or before, leave them to somebody else."""
    assert said(EARLIER.format(calls='["open", "openat"]') + OPENS) == []
    assert (
        said(OPENS.replace("do", 'where = "not flags & O_PATH"\ndo').replace(', "openat2"', ""))
        == []
    )
    assert said('[[rule]]\ncalls = ["creat", "mkdir"]\ndo = "perform"\n') == []
    where = 'where = "flags & O_ACCMODE == O_WRONLY and flags & (O_CREAT | O_PATH) == O_CREAT"'
    assert said(f'[[rule]]\ncalls = "openat"\n{where}\ndo = "perform"\n') == []


def test_sockets_of_the_host_that_reach_anything() -> None:
    """Each call that goes on with a socket of the host's to any address is told."""
    rule = '[[rule]]\ncalls = {}\ndo = {{ host-socket = ["127.0.0.1"] }}\n'
    (found,) = said(rule.format('["connect", "sendto"]'))
    assert found.startswith("4: the rule at policy:4:1 gives out sockets of the host's network")
    assert "bind, listen, sendmsg, sendmmsg and io_uring_setup may go on" in found
    every = rule.format('["connect", "bind", "listen", "sendto", "sendmsg", "sendmmsg"]')
    (found,) = said(every)
    assert "io_uring_setup may go on" in found
    ring = '[[rule]]\ncalls = "io_uring_setup"\ndo = { fail = "ENOSYS" }\n'
    assert said(every + ring) == []
    performed = '[[rule]]\ncalls = "sendmsg"\ndo = "perform"\n'
    (found,) = said(performed + every.replace('"sendmsg", ', "") + ring)
    assert "sendmsg may go on" in found
    assert said(every, HEAD.replace('"allow"', '{ fail = "EPERM" }')) == []
