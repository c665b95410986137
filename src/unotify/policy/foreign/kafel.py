"""kafel's policies: blocks of calls under an action, and policies made of others.

The first rule that matches decides, in the order in which the blocks are used.
Arguments have their names in the kernel, or those that a call is written with:
``write(fd, buffer) { fd == 1 }``.
"""

from __future__ import annotations

import re
from typing import Final

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.errors import UnknownName
from unotify.policy.conditions import Condition
from unotify.policy.foreign.c_words import Token, Words, tokens
from unotify.policy.foreign.making import Making, fail
from unotify.policy.model import TRUE, Place, Verb, Verdict
from unotify.policy.oci.importing import Imported
from unotify.policy.problems import listed, shown

__all__ = ["read"]

_ACTIONS: Final = {
    "ALLOW": Verb.ALLOW,
    "LOG": Verb.LOG,
    "KILL": Verb.KILL_THREAD,
    "DENY": Verb.KILL_THREAD,
    "KILL_THREAD": Verb.KILL_THREAD,
    "KILL_PROCESS": Verb.KILL_PROCESS,
    "USER_NOTIF": Verb.NOTIFY,
    "ERRNO": Verb.FAIL,
    "TRAP": Verb.TRAP,
    "TRACE": Verb.TRACE,
}
_NUMBERED: Final = (Verb.FAIL, Verb.TRAP, Verb.TRACE)
_DEFINE: Final = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(.+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_DEEPEST: Final = 16
_MOST: Final = 20_000

_Rule = tuple[list[str], Verdict, Place, dict[str, Condition]]


def read(text: str, source: str, native: Arch) -> Imported:
    """Read a policy.

    Raises:
        PolicyError: It is wrong, or says what a policy cannot.
    """
    making = Making(source)
    own: dict[str, int] = {}
    for found in _DEFINE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        words = Words(list(tokens(found[2], source, line=line)), Place(source, line), own)
        own[found[1]] = words.number()
    code = _COMMENT.sub("", text)
    reader = _Reader(Words(list(tokens(code, source)), Place(source), own), making)
    default = reader.file()
    kill = Verdict(Verb.KILL_THREAD)
    return making.done(default, (native,), bad_arch=kill, unknown=default)


class _Reader:
    def __init__(self, words: Words, making: Making) -> None:
        self._words = words
        self._making = making
        self._policies: dict[str, list[_Rule]] = {}

    def file(self) -> Verdict:
        """All of it; the default action."""
        words = self._words
        default = Verdict(Verb.KILL_THREAD)
        used: list[_Rule] = []
        loose: list[_Rule] = []
        while words.more:
            if words.take("POLICY"):
                name = words.next("the name of a policy").text
                words.expect("{")
                self._policies[name] = self._body()
                words.expect("}")
            elif words.take("USE"):
                used += self._use()
            elif words.take("DEFAULT"):
                default = self._action()
            elif words.peek() in (",", ";"):
                words.next()
            else:
                loose += self._block()
            self._limit(used)
        for calls, verdict, place, conditions in used or loose:
            self._making.rule(calls, verdict, place, conditions)
        if not used and not loose:
            fail(words.place, "no policy is used", hint="end with: USE name DEFAULT KILL")
        return default

    def _limit(self, rules: list[_Rule]) -> None:
        if len(rules) > _MOST:
            fail(self._words.place, f"there are more than {_MOST} rules")

    def _use(self) -> list[_Rule]:
        found: list[_Rule] = []
        while True:
            token = self._words.next("the name of a policy")
            if token.text not in self._policies:
                hint = nearest(token.text, self._policies)
                fail(
                    token.place,
                    f"no policy is named {shown(token.text)} before this",
                    hint=hint,
                    kind=UnknownName,
                )
            found += self._policies[token.text]
            self._limit(found)
            if not self._words.take(","):
                return found

    def _body(self) -> list[_Rule]:
        found: list[_Rule] = []
        while self._words.more and self._words.peek() != "}":
            if self._words.take("USE"):
                found += self._use()
            elif not self._words.take(","):
                found += self._block()
            self._limit(found)
        return found

    def _action(self) -> Verdict:
        words = self._words
        token = words.next("an action")
        verb = _ACTIONS.get(token.text)
        if verb is None:
            hint = nearest(token.text, _ACTIONS) or f"there are {listed(_ACTIONS)}"
            fail(
                token.place, f"no action is named {shown(token.text)}", hint=hint, kind=UnknownName
            )
        if verb not in _NUMBERED:
            return Verdict(verb)
        words.expect("(")
        place = words.place
        number = words.number()
        words.expect(")")
        if verb is Verb.FAIL:
            if number == 0:
                return Verdict(Verb.RETURN)
            if number > 4095 or 512 <= number < 532:
                fail(place, f"{number} is no error that a program may see")
            return Verdict(verb, errno=number)
        if number > 0xFFFF:
            fail(place, f"{number:#x} has more than 16 bits")
        return Verdict(verb, value=number)

    def _block(self) -> list[_Rule]:
        words = self._words
        verdict = self._action()
        words.expect("{")
        found: list[_Rule] = []
        while not words.take("}"):
            if not words.take(","):
                found.append(self._call(verdict))
        return found

    def _call(self, verdict: Verdict) -> _Rule:
        words = self._words
        token = words.next("a call")
        if words.peek() == "[":
            fail(words.place, "calls by number cannot be said", hint="write the call's name")
        calls = self._making.known([token.text])
        names: list[str] | None = None
        if words.take("("):
            names = []
            while not words.take(")"):
                if not words.take(","):
                    names.append(words.next("the name of an argument").text)
        if not words.take("{"):
            return calls, verdict, token.place, {}
        places = self._places(token, names)
        if not calls and not places:
            # Nobody knows its arguments, and it is ignored anyway.
            while not words.take("}"):
                words.next("a closing brace")
            return calls, verdict, token.place, {}
        conditions = []
        while not words.take("}"):
            conditions.append(words.condition(lambda word: places.get(word.text)))
            words.take(",")
        condition = conditions[0] if len(conditions) == 1 else None
        if condition is None:
            fail(token.place, "one condition stands in the braces", hint="join them with || or &&")
        return calls, verdict, token.place, {call: condition for call in calls if condition != TRUE}

    def _places(self, token: Token, names: list[str] | None) -> dict[str, int]:
        if names is not None:
            if len(names) > 6:
                fail(token.place, "a call has at most six arguments")
            return {name: at for at, name in enumerate(names)}
        if token.text not in model.names():
            return {}
        return {arg.name: arg.index for arg in model.spec(token.text).args}
