"""What is decided without Python is what the policy says, for any policy and any call."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import missing
from tests.kernel.perform_support import PYTHON
from unotify.abi import tables
from unotify.abi.seccomp import Action
from unotify.bpf import compile_filter
from unotify.errors import PolicyError
from unotify.kernel import native
from unotify.kernel._libc import NATIVE
from unotify.kernel.interface import Came, Origin, Shortcut
from unotify.kernel.linux import LinuxKernel
from unotify.policy.deciding import decide
from unotify.policy.loader import load
from unotify.policy.model import Policy, Verb
from unotify.supervisor.shortcuts import CONTINUE, PERFORM, RETURN, shortcuts

ASKED, PERFORMED, CONTINUED, GIVEN = 4000, 4001, 4002, 4010
"""What a target gets in the place of an answer by somebody else, an open file, going on, and the
value 0."""

_TARGET = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
for line in sys.stdin:
    got = []
    for nr, *words in json.loads(line):
        words = [w.encode("latin1") if isinstance(w, str) else ctypes.c_long(w) for w in words]
        assert libc.syscall(ctypes.c_long(nr), *words) == -1
        got.append(ctypes.get_errno())
    print(json.dumps(got[:-1]), flush=True)
"""

ARGUMENTS = {"open": ("path", "flags", "mode"), "rename": ("oldpath", "newpath")}
LAST = "rmdir"
"""A call that no rule is about: a target makes it at the end of a batch."""


class Bench:
    """A target whose calls are decided by shortcuts; what is not answered is told."""

    def __init__(self) -> None:
        numbers = {call: tables.number(call, NATIVE) for call in (*ARGUMENTS, LAST)}
        if None in numbers.values():
            missing("this architecture has no open, rename or rmdir")
        self.numbers: dict[str, Any] = numbers
        notify = {nr: int(Action.USER_NOTIF) for nr in self.numbers.values()}
        program = compile_filter({NATIVE: notify}, default=Action.ALLOW, bad_arch=Action.ALLOW)
        self.spawned = LinuxKernel().spawn(
            program.encode(),
            [PYTHON, "-I", "-S", "-c", _TARGET],
            popen_options={"stdin": subprocess.PIPE, "stdout": subprocess.PIPE},
        )
        self.listener = self.spawned.listener
        self.epoll = select.epoll()
        self.epoll.register(self.listener.fileno(), select.EPOLLIN)
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def answers(self, rules: Sequence[Shortcut], calls: Sequence[Sequence[Any]]) -> list[int]:
        """The errnos that a target gets for its calls."""
        stand_ins = {PERFORM: -PERFORMED, CONTINUE: -CONTINUED}
        marked = [
            replace(rule, verdict=stand_ins.get(rule.verdict, rule.verdict))
            if rule.verdict != RETURN
            else replace(rule, verdict=-GIVEN - rule.value)
            for rule in rules
        ]
        server = native.NativeServer(self.epoll.fileno(), self.bell, marked)
        assert server.add(self.listener, Origin(0))
        batch = [[self.numbers[name], *words] for name, *words in (*calls, (LAST, "/nowhere"))]
        process = self.spawned.process
        process.stdin.write(json.dumps(batch).encode() + b"\n")
        process.stdin.flush()
        last = False
        while not last:
            assert server.serve() == Came.YOURS
            _, notification = server.received()  # type: ignore[misc]
            last = int.from_bytes(notification[16:20], "little") == self.numbers[LAST]
            assert self.listener.send(
                notification[:8] + bytes(8) + (-ASKED).to_bytes(4, "little", signed=True) + bytes(4)
            )
        server.close()
        found: list[int] = json.loads(process.stdout.readline())
        return found

    def close(self) -> None:
        """End it."""
        self.spawned.process.communicate(timeout=20)
        self.epoll.close()
        os.close(self.bell)
        self.listener.close()


@pytest.fixture(name="bench", scope="module")
def _bench(needs_native: None) -> Iterator[Bench]:
    """One for all."""
    bench = Bench()
    yield bench
    bench.close()


@dataclass
class Seen:
    """A call as conditions see it; see `unotify.policy.conditions.Facts`."""

    call_name: str
    words: Sequence[Any]
    arch: Any = NATIVE
    looked: bool = False

    @property
    def exchange(self) -> Any:
        """Registers; where a pointer points to has no meaning here."""
        args = [word if isinstance(word, int) else 1 << 20 for word in self.words]
        nr = tables.number(self.call_name, NATIVE)
        return SimpleNamespace(nr=nr, args=args + [0] * (6 - len(args)))

    def __getattr__(self, name: str) -> Any:
        word = self.words[ARGUMENTS[self.call_name].index(name)]
        if not isinstance(word, str):
            return word
        self.looked = True
        return word.encode("latin1")


def expected(policy: Policy, name: str, words: Sequence[Any]) -> int:
    """What `unotify.supervisor.judging` makes of a call; `ASKED` for what is no errno."""
    call: Any = Seen(name, words)
    facts: Any = SimpleNamespace(call=call, comm="x")
    decision = decide(policy, call, facts)
    verdict = decision.verdict
    if verdict.verb in (Verb.ALLOW, Verb.CONTINUE):
        return ASKED if decision.because is None and call.looked else CONTINUED
    if verdict.verb is Verb.ACT and verdict.parameters.get("as", "target") == "target":
        return PERFORMED if verdict.handler == "perform" and name == "open" else ASKED
    if verdict.verb in (Verb.FAIL, Verb.DENY):
        return verdict.fails_with(name) or ASKED
    if verdict.verb is Verb.RETURN:
        return GIVEN + verdict.value
    return ASKED


DIRECTORIES = ("/", "/a", "/a/", "//a", "/a/b", "/a/./b", "/a/../b", "/.", "/é", "/a/b/c")
TEXTS = (*DIRECTORIES, "", "a", "a/b", "/A", "..", "./a")
PATHS = (*TEXTS, "/a/b/c/d", "/ab", "/a//b", "/a/b/", "/a/./b/x", "/a/..b", "/a/b/..", "/..a/b")


def quoted(text: str) -> str:
    """As a literal of a condition."""
    return json.dumps(text, ensure_ascii=False)


def path_tests(argument: str) -> st.SearchStrategy[str]:
    """Tests of one path."""
    text = st.sampled_from(TEXTS).map(quoted)
    return st.one_of(
        st.tuples(st.sampled_from(("==", "==", "!=")), text).map(
            lambda it: f"{argument} {it[0]} {it[1]}"
        ),
        st.tuples(st.sampled_from(("in", "in", "not in")), text, text).map(
            lambda it: f"{argument} {it[0]} ({it[1]}, {it[2]})"
        ),
        st.sampled_from(DIRECTORIES).map(lambda it: f"under({argument}, {quoted(it)})"),
        st.tuples(st.sampled_from(DIRECTORIES), st.sampled_from(DIRECTORIES)).map(
            lambda it: f"under({argument}, ({quoted(it[0])}, {quoted(it[1])}))"
        ),
        st.sampled_from((f'glob({argument}, "/*")', f'basename({argument}) == "b"')),
    )


def wheres(name: str) -> st.SearchStrategy[str]:
    """Conditions on one call."""
    atoms = [path_tests(argument) for argument in ARGUMENTS[name] if argument.endswith("path")]
    if name == "open":
        atoms += [st.sampled_from(("flags & O_APPEND", "flags == O_WRONLY", "mode == 3"))] * 2
    else:
        atoms.append(st.just('comm == "x"'))
    return st.recursive(
        st.one_of(*atoms),
        lambda inner: st.one_of(
            inner.map(lambda it: f"not ({it})"),
            st.tuples(inner, st.sampled_from(("and", "or")), inner).map(
                lambda it: f"({it[0]}) {it[1]} ({it[2]})"
            ),
        ),
        max_leaves=4,
    )


DOES = (
    '"perform"',
    '{ fail = "EXDEV" }',
    '{ fail = "EIO" }',
    '"deny"',
    "{ return = 5 }",
    '"notify"',
    '"continue"',
    '"allow"',
)


@st.composite
def rules(draw: st.DrawFn) -> str:
    """One rule of a policy."""
    name = draw(st.sampled_from(sorted(ARGUMENTS)))
    where = draw(st.none() | wheres(name) | wheres(name))
    does = draw(st.sampled_from(DOES))
    written = f"where = '''{where}'''\n" if where else ""
    racy = draw(st.sampled_from(("", 'racy = true\nbecause = "it is a test"\n'))) if where else ""
    return f'[[rule]]\ncalls = ["{name}"]\n{written}do = {does}\n{racy}'


WORDS = [path.encode().decode("latin1") for path in PATHS]
PAIRS = [
    (one, WORDS[(number * 7 + shift) % len(WORDS)])
    for shift in (3, 5)
    for number, one in enumerate(WORDS)
]
CALLS = [
    *(("open", word, flags, mode) for word in WORDS for flags, mode in ((0, 2), (0o2001, 3))),
    *(("rename", *pair) for pair in PAIRS),
]


def test_two_paths_are_not_one(bench: Bench) -> None:
    """A rule about the second path of a call is not held against the first."""
    policy = load(
        'version = 1\ndefault = "allow"\n'
        + "".join(
            f'[[rule]]\ncalls = ["rename"]\nwhere = \'under({path}, "{directory}")\'\n'
            f"do = {{ fail = {number} }}\n"
            for path, directory, number in (("oldpath", "/a", 5), ("newpath", "/b", 18))
        )
    )
    calls = [("rename", "/a/x", "/b"), ("rename", "/b", "/c"), ("rename", "/c", "/b")]
    rules = shortcuts(policy, NATIVE, frozenset())
    assert bench.answers(rules, calls) == [5, ASKED, ASKED]


def test_any_policy_and_any_call(bench: Bench) -> None:
    """An answer without Python is that of the first rule that matches, and there are many."""
    decided = total = 0

    @settings(
        max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(rules(), min_size=2, max_size=4), st.sampled_from(("allow", "deny")))
    def property_holds(written: list[str], default: str) -> None:
        nonlocal decided, total
        try:
            policy = load(f'version = 1\ndefault = "{default}"\n' + "".join(written))
        except PolicyError:
            return
        calls = [call for call in CALLS if any(f'"{call[0]}"' in rule for rule in written)]
        found = bench.answers(shortcuts(policy, NATIVE, frozenset()), calls)
        for (name, *words), answer in zip(calls, found, strict=True):
            wanted = expected(policy, name, words)
            total += wanted != ASKED
            decided += answer != ASKED
            assert answer in (wanted, ASKED), (name, words)

    property_holds()
    assert decided > total / 6 > 50
