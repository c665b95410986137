"""Any text at all is a policy, or a list of what is wrong with it."""

from __future__ import annotations

import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unotify.abi.arch import Arch
from unotify.errors import InvalidPolicy, PolicyError
from unotify.policy.actions import ACTIONS
from unotify.policy.fields import RULE, TOP
from unotify.policy.groups import GROUPS
from unotify.policy.loader import load
from unotify.policy.model import Policy
from unotify.policy.verbs import VERBS

ROOT = Path(__file__).parents[2]
TEXTS = [
    path.read_text()
    for path in (
        *sorted((ROOT / "examples" / "policies").glob("*.toml")),
        *sorted((ROOT / "tests" / "unit" / "policy" / "broken").glob("*.toml")),
    )
]
WORDS = [
    *TOP,
    *RULE,
    *VERBS,
    *ACTIONS,
    *(f'"{name}"' for name in ("open", "mount", "-open", "get*", "open@i386", "native", "EPERM")),
    *(f'"{name}"' for name in list(GROUPS)[:10]),
    *(
        '"""',
        "'''",
        "[[rule]]",
        "[sets]",
        "{",
        "}",
        "[",
        "]",
        ",",
        "=",
        ".",
        "\n",
        "#",
        "1",
        "true",
    ),
    *('"flags & 1"', "'path == \"/x\"'", "'uid == 0 and'", '"nth(3)"', "1979-05-27", "1e9"),
]
SCALARS = (
    st.sampled_from([f'"{name}"' for name in (*VERBS, *ACTIONS, "open", "@mount", "@mine", "a")])
    | st.sampled_from(["1", "-1", "true", "false", "[]", "{}", "1.5", '""', "07:32:00"])
    | st.sampled_from(['{ fail = "EPERM" }', "{ fail = 7 }", "{ return = 0 }", '{ inject = "x" }'])
    | st.sampled_from(['["open"]', '["@path", "-open"]', '["*"]', '["@mine"]', '"x.toml"'])
    | st.sampled_from(["'fd == 0'", "'path == \"/x\"'", "'('", "'uid'", "'nothing > 3'"])
)


@st.composite
def likely(draw: st.DrawFn) -> str:
    """Something with the shape of a policy."""
    good = draw(st.integers(0, 3))
    lines = ["version = 1", 'default = "allow"'] if good else []
    for key in draw(st.lists(st.sampled_from(list(TOP)), max_size=3, unique=True)):
        if key not in ("rule", "sets") and not (good and key in ("version", "default")):
            lines.append(f"{key} = {draw(SCALARS)}")
    if draw(st.booleans()):
        lines += ["[sets]", f"mine = {draw(SCALARS)}"]
    for _ in range(draw(st.integers(0, 3))):
        lines += ["[[rule]]"]
        given = {"calls": '["open", "mkdir"]', "do": '"deny"'} if good else {}
        for key in draw(st.lists(st.sampled_from(list(RULE)), max_size=4)):
            given[key] = draw(SCALARS)
        lines += [f"{key} = {value}" for key, value in given.items()]
    return "\n".join(lines)


@st.composite
def mutilated(draw: st.DrawFn) -> str:
    """A text with some pieces taken out, doubled or replaced."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(text)))
        end = at + draw(st.integers(0, 20))
        piece = draw(st.sampled_from(["", text[at:end] * 2, *WORDS]) | st.text(max_size=3))
        text = text[:at] + piece + text[end:]
    return text


def check(text: str) -> None:
    """Load it; nothing but a policy or a list of problems with places comes out, in time."""
    started = time.monotonic()
    problems: tuple[PolicyError, ...] = ()
    try:
        policy = load(text, include=lambda name: TEXTS[0], native=Arch.X86_64)
    except InvalidPolicy as error:
        problems = error.problems
    else:
        assert isinstance(policy, Policy)
        assert all(rule.calls for rule in policy.rules)
    assert time.monotonic() - started < 10
    lines = text.count("\n") + 1
    for problem in problems:
        assert str(problem)
        assert "\n" not in str(problem)
        if problem.source == "policy" and problem.line is not None:
            assert 1 <= problem.line <= lines
            assert problem.column is not None


@given(st.text())
def test_any_text(text: str) -> None:
    """Any characters at all."""
    check(text)


@given(st.lists(st.sampled_from(WORDS) | st.sampled_from([" ", "\n", " = "])).map("".join))
def test_words_of_the_language_in_any_order(text: str) -> None:
    """Words that the loader knows, in any order."""
    check(text)


@given(likely())
def test_what_looks_like_a_policy(text: str) -> None:
    """Right keys with right and wrong values."""
    check(text)


@given(mutilated())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_damaged_policies(text: str) -> None:
    """Real policies, damaged."""
    check(text)
