"""minijail's policies: a line for each call, with a condition and an action.

Each call is decided by its lines alone, the first that matches; else the default,
which is to kill the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from unotify.abi.arch import Arch
from unotify.errors import UnknownName
from unotify.policy.conditions import Condition
from unotify.policy.foreign.c_words import Token, Words, tokens
from unotify.policy.foreign.making import Making, errno_of, fail
from unotify.policy.groups import GROUPS
from unotify.policy.model import TRUE, Place, Verb, Verdict
from unotify.policy.oci.importing import Imported
from unotify.policy.problems import listed, shown

__all__ = ["read"]

_ACTIONS: Final = {
    "1": Verb.ALLOW,
    "allow": Verb.ALLOW,
    "kill": Verb.KILL_PROCESS,
    "kill-process": Verb.KILL_PROCESS,
    "kill-thread": Verb.KILL_THREAD,
    "trap": Verb.TRAP,
    "trace": Verb.TRACE,
    "log": Verb.LOG,
    "user-notify": Verb.NOTIFY,
}
_ARGUMENT: Final = re.compile(r"arg([0-5])")


def read(text: str, source: str, native: Arch) -> Imported:
    """Read a policy file.

    Raises:
        PolicyError: It is wrong, or says what a policy cannot.
    """
    making = Making(source)
    default = Verdict(Verb.KILL_PROCESS)
    for line, content in _lines(text):
        words = Words(list(tokens(content, source, line=line)), Place(source, line))
        match words.peek():
            case "@default":
                words.next()
                default = _action(words)
            case "@frequency":
                making.notes["@frequency is about speed: see --weights of unotify compile"] = None
                continue
            case "@include":
                fail(words.place, "an @include cannot be followed", hint="put the lines here")
            case "@denylist":
                words.next()
                default = Verdict(Verb.ALLOW)
            case _:
                _statement(words, making)
        if words.more:
            fail(words.place, f"{shown(words.peek())} does not belong here")
    kill = Verdict(Verb.KILL_PROCESS)
    return making.done(default, (native,), bad_arch=kill, unknown=default)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines without comments; those that go on keep their line breaks."""
    lines = [line.partition("#")[0].rstrip() for line in text.split("\n")]
    at = 0
    while at < len(lines):
        first, content = at, lines[at]
        while content.endswith("\\") and at + 1 < len(lines):
            at += 1
            content = f"{content[:-1]}\n{lines[at]}"
        at += 1
        if content.strip():
            yield first + 1, content


def _statement(words: Words, making: Making) -> None:
    place = words.place
    calls = []
    if words.take("{"):
        calls += _calls(words, making)
        while words.take(","):
            calls += _calls(words, making)
        words.expect("}")
    else:
        calls += _calls(words, making)
    words.expect(":")
    braced = words.take("{")
    while True:
        condition, verdict = _filter(words)
        making.rule(calls, verdict, place, dict.fromkeys(calls, condition))
        if not braced:
            return
        if not words.take(","):
            words.expect("}")
            return


def _calls(words: Words, making: Making) -> list[str]:
    token = words.next("a call")
    name, at, space = token.text.partition("@")
    if words.peek() == "[":
        fail(words.place, "lines for some architectures cannot be said", hint="leave others out")
    if at:
        if f"@{name}" not in GROUPS or space != "systemd":
            fail(token.place, f"no group is named {shown(token.text)}", kind=UnknownName)
        making.notes["groups are unotify's own, not quite systemd's"] = None
        return sorted(GROUPS[f"@{name}"].calls)
    return making.known([token.text])


def _filter(words: Words) -> tuple[Condition, Verdict]:
    if words.peek() in _ACTIONS or words.peek() == "return":
        return TRUE, _action(words)
    condition = words.condition(_argument)
    if words.peek() == ";":
        fail(
            words.place,
            "minijail and its compiler read an action after a condition differently: "
            "for calls that do not match, and for those that do",
            hint="write { condition, action }, which is for those that do not match",
        )
    return condition, Verdict(Verb.ALLOW)


def _argument(token: Token) -> int | None:
    found = _ARGUMENT.fullmatch(token.text)
    return int(found[1]) if found else None


def _action(words: Words) -> Verdict:
    token = words.next("an action")
    if token.text == "return":
        error = words.next("an error")
        return Verdict(Verb.FAIL, errno=errno_of(error.text, error.place))
    verb = _ACTIONS.get(token.text)
    if verb is None:
        fail(
            token.place,
            f"no action is named {shown(token.text)}",
            hint=f"there are {listed([*_ACTIONS, 'return'])}",
            kind=UnknownName,
        )
    return Verdict(verb)
