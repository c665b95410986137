"""From a text to a policy, or to all that is wrong with it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from unotify.abi.arch import Arch
from unotify.errors import InvalidPolicy, PolicyError, UnknownName
from unotify.policy.conditions import Condition, Constant, Look, Need, RegisterTest
from unotify.policy.loader import COMPAT, load
from unotify.policy.model import Place, Policy, Verb, Verdict

HEAD = 'version = 1\ndefault = "allow"\n'
BROKEN = Path(__file__).parent / "broken"


def problems(text: str, **options: object) -> list[str]:
    """What is wrong with *text*, as line:column: message."""
    with pytest.raises(InvalidPolicy) as caught:
        load(text, **options)  # type: ignore[arg-type]
    return [f"{error.line}:{error.column}: {error}" for error in caught.value.problems]


def files(**texts: str) -> Callable[[str], str]:
    """An include of files that are only here."""

    def include(name: str) -> str:
        if name not in texts:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return texts[name]

    return include


@pytest.fixture(name="bound")
def _bound(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Replaces the reader of conditions; returns what it was asked."""
    asked: list[dict[str, object]] = []

    def bind(text: str, calls: object, **options: object) -> dict[str, Condition]:
        names = list(calls)  # type: ignore[call-overload]
        asked.append({"text": text, "calls": names, **options})
        place = options["place"]
        assert isinstance(place, Place)
        assert place.line is not None
        assert place.column is not None
        before = text.partition("WRONG")[0]
        if before != text:
            line = before.count("\n")
            column = len(before.rpartition("\n")[2]) + (1 if line else place.column)
            raise UnknownName("WRONG is wrong", line=place.line + line, column=column)
        if text == "true":
            return dict.fromkeys(names, Constant(True))
        if text == "memory":
            return {name: Look(text, Need.MEMORY, bool) for name in names}
        if text == "caller":
            return {name: Look(text, Need.CALLER, bool) for name in names}
        return {name: RegisterTest(text, NotImplemented) for name in names}

    monkeypatch.setattr("unotify.policy.loader.bind", bind)
    return asked


def test_a_whole_policy(bound: list[dict[str, object]]) -> None:
    """Each key of the language finds its place in the policy."""
    policy = load(
        """
version = 1
default = { fail = "EPERM" }
architectures = ["native", "compat", "x32"]
bad-architecture = "kill-thread"
unknown = "kill-process"

[sets]
mounts = ["mount", "@mount-api", "-fsopen"]
secrets = ["/etc/shadow"]

[[rule]]
name = "no mounts"
calls = ["@mounts", "open*", "-openat2", "creat@i386"]
where = "flags"
do = { deny = "hidden" }
log = true
racy = true
because = "I say so"

[[rule]]
calls = "getpid"
do = { return = 7 }
""",
        source="there.toml",
    )
    assert policy.source == "there.toml"
    assert policy.default == Verdict(Verb.FAIL, errno=errno.EPERM)
    assert policy.architectures == (Arch.X86_64, Arch.I386, Arch.X32)
    assert policy.bad_arch == Verdict(Verb.KILL_THREAD)
    assert policy.unknown == Verdict(Verb.KILL_PROCESS)
    first, second = policy.rules
    assert str(first) == '"no mounts"'
    assert {"mount", "fsmount", "openat"} <= first.calls.keys()
    assert not {"fsopen", "openat2"} & first.calls.keys()
    assert first.calls["openat"] is None
    assert first.calls["creat"] == {Arch.I386}
    assert first.verdict == Verdict(Verb.DENY, why="hidden")
    assert (first.where, first.log, first.racy, first.because) == ("flags", True, True, "I say so")
    assert first.place == Place("there.toml", 12, 1)
    assert first.conditions.keys() == first.calls.keys()
    assert second.verdict == Verdict(Verb.RETURN, value=7)
    assert second.conditions == {}
    assert bound[0]["sets"] == {
        "mounts": {"mount", "@mount-api", "-fsopen"},
        "secrets": {"/etc/shadow"},
    }


def test_what_need_not_be_said() -> None:
    """Without a word, native and compat calls are looked at, and unknown ones are not there."""
    policy = load(HEAD)
    assert policy.architectures == (Arch.X86_64, Arch.I386)
    assert policy.bad_arch == Verdict(Verb.KILL_PROCESS)
    assert policy.unknown == Verdict(Verb.FAIL, errno=errno.ENOSYS)
    assert policy.rules == ()
    assert load(HEAD, native=Arch.AARCH64).architectures == (Arch.AARCH64, Arch.ARM)
    assert load(HEAD, native=Arch.LOONGARCH64).architectures == (Arch.LOONGARCH64,)
    assert all(arch not in others for arch, others in COMPAT.items())


@pytest.mark.parametrize("path", sorted(BROKEN.glob("*.toml")), ids=lambda path: path.stem)
def test_broken_policies(path: Path) -> None:
    """Each broken policy is told all that is wrong with it, where, and what to do."""
    with pytest.raises(InvalidPolicy) as caught:
        load(path.read_text(), source=path.name)
    said = []
    for error in caught.value.problems:
        assert error.source == path.name
        said.append(f"{error.line}:{error.column}: {error}")
        if error.hint:
            said.append(f"    {error.hint}")
    assert said == path.with_suffix(".expected").read_text().splitlines()


def test_a_condition_error_is_placed_in_the_file(bound: list[dict[str, object]]) -> None:
    """Escapes and line ends in a string do not shift where an error in it is shown."""
    rule = HEAD + '[[rule]]\ndo = "deny"\ncalls = ["open"]\n'
    assert problems(rule + 'where = "uid == WRONG"') == ["6:17: WRONG is wrong"]
    assert problems(rule + "where = 'uid == WRONG'") == ["6:17: WRONG is wrong"]
    assert problems(rule + r'where = "\u0041\t\"\" WRONG"') == ["6:23: WRONG is wrong"]
    assert problems(rule + 'where = """\n  a\nor WRONG"""') == ["8:4: WRONG is wrong"]
    assert problems(rule + "where = '''a\r\nor  WRONG'''") == ["7:5: WRONG is wrong"]
    assert problems(rule + 'where = """a \\\n   or \\t\\\n\n  x WRONG"""') == [
        "9:5: WRONG is wrong"
    ]
    inline = HEAD + 'rule = [{ calls = "open", where = "WRONG", do = "deny" }]'
    assert problems(inline) == ["3:36: WRONG is wrong"]


def test_a_condition_knows_its_architectures(bound: list[dict[str, object]]) -> None:
    """All calls are bound at once, each for the architectures that have it."""
    load(
        HEAD
        + '[[rule]]\ncalls = ["open", "openat", "mmap2", "read@i386"]\nwhere = "x"\ndo = "deny"\n'
    )
    (ask,) = bound
    both, one = [Arch.X86_64, Arch.I386], [Arch.I386]
    assert ask["architectures"] == {"open": both, "openat": both, "mmap2": one, "read": one}


def test_always_true_is_no_condition(bound: list[dict[str, object]]) -> None:
    """A condition that always holds is left out, so that what comes after is seen as unreached."""
    text = HEAD + '[[rule]]\ncalls = ["open"]\nwhere = "true"\ndo = "deny"\n'
    assert load(text).rules[0].conditions == {}


@pytest.mark.parametrize("verb", ["kill-thread", "trap", "trace", "log"])
@pytest.mark.parametrize("need", ["memory", "caller"])
def test_too_late_to_leave_it_to_the_kernel(
    bound: list[dict[str, object]], verb: str, need: str
) -> None:
    """What only a filter can do cannot be done after a look; the hint says what can."""
    text = f'{HEAD}[[rule]]\ncalls = ["open"]\nwhere = "{need}"\ndo = "{verb}"\n'
    (problem,) = problems(text)
    assert problem.startswith(f'6:6: only the kernel can "{verb}", and its filter cannot decide')
    load(text.replace(need, "flags"))
    load(text.replace(verb, "kill-process"))


def test_includes_come_first() -> None:
    """Rules of includes come before the file's own, in order; sets are one name space."""
    include = files(
        base='version = 1\ndefault = "log"\nunknown = "allow"\n[sets]\nmine = ["open"]\n'
        '[[rule]]\nname = "b1"\ncalls = ["@theirs"]\ndo = "deny"\n',
        more='version = 1\n[[rule]]\nname = "m1"\ncalls = ["read"]\ndo = "deny"\n',
    )
    policy = load(
        'version = 1\ndefault = "allow"\ninclude = ["base", "more"]\n[sets]\ntheirs = ["creat"]\n'
        '[[rule]]\nname = "t1"\ncalls = ["@mine"]\ndo = "allow"\n',
        source="policies/top.toml",
        include=include,
    )
    assert [rule.name for rule in policy.rules] == ["b1", "m1", "t1"]
    assert policy.rules[0].calls == {"creat": None}
    assert policy.rules[0].place == Place("policies/base", 6, 1)
    assert policy.default == Verdict(Verb.ALLOW)
    assert policy.unknown == Verdict(Verb.ALLOW)
    alone = load('version = 1\ninclude = "base"\nsets.theirs = ["read"]', include=include)
    assert alone.default == Verdict(Verb.LOG)


def test_includes_of_includes() -> None:
    """They are asked for relative to the first file, wherever they stand."""
    asked = []

    def include(name: str) -> str:
        asked.append(name)
        return {"sub/a": 'version = 1\ninclude = "b"\n'}.get(name, "version = 1\n")

    load(HEAD + 'include = ["sub/a", "../up"]\n', include=include, source="x/top")
    assert asked == ["sub/a", "sub/b", "../up"]


def test_includes_that_cannot_be() -> None:
    """Missing, circular, too deep or too many includes are told where they are written."""
    assert problems(HEAD + 'include = ["a", 3, ""]', include=files()) == [
        "3:12: 'a' cannot be read: No such file or directory",
        "3:17: include takes names of files, not 3",
        "3:20: include takes names of files, not ''",
    ]
    assert problems(HEAD + 'include = "a"') == ["3:11: nothing can be included here"]
    circle = files(a='version = 1\ninclude = "./b"', b='version = 1\n\ninclude = ["./a"]')
    assert problems(HEAD + 'include = "a"', include=circle) == ["3:12: './a' includes itself"]
    same = files(a='version = 1\ninclude = "a"')
    assert problems(HEAD + 'include = "a"', include=same) == ["2:11: 'a' includes itself"]

    def deeper(name: str) -> str:
        return f'version = 1\ninclude = "{name}x"'

    assert problems(HEAD + 'include = "a"', include=deeper) == [
        "2:11: more than 8 includes in each other"
    ]

    def wider(name: str) -> str:
        return f'version = 1\ninclude = ["{name}x", "{name}y", "{name}z"]'

    assert any(
        "more than 64 includes" in problem
        for problem in problems(HEAD + 'include = "a"', include=wider)
    )


def test_an_include_that_is_no_text() -> None:
    """What an include says of itself is told where it is asked for."""

    def include(name: str) -> str:
        if name == "a":
            raise UnicodeDecodeError("utf-8", b"", 0, 1, "x")
        raise PolicyError("no policies from the moon")

    assert problems(HEAD + 'include = ["a", "b"]', include=include) == [
        "3:12: 'a' is not UTF-8 text",
        "3:17: no policies from the moon",
    ]


def test_problems_of_an_include_are_its_own() -> None:
    """They name the file that they are in."""
    with pytest.raises(InvalidPolicy) as caught:
        load(HEAD + 'include = "a"\nx = 1', include=files(a="version = 2\n"), source="d/top")
    assert [(error.source, error.line) for error in caught.value.problems] == [
        ("d/top", 4),
        ("d/a", 1),
    ]


def test_two_sets_of_one_name() -> None:
    """Two included files may have the same set, not two different ones of one name."""
    text = 'version = 1\nsets.a = ["open"]\n'
    load(text + 'default = "allow"\ninclude = ["b", "c"]', include=files(b=text, c=text))
    other = text.replace("open", "read")
    with pytest.raises(InvalidPolicy) as caught:
        load(HEAD + 'include = ["b", "c"]', include=files(b=text, c=other))
    (error,) = caught.value.problems
    assert (error.source, error.line) == ("c", 2)
    assert str(error) == "b has a set 'a' too, with other items"


def test_sets_of_who_includes() -> None:
    """A set takes the place of the included files' one, in their rules too, however deep."""
    b = 'version = 1\ninclude = "c"\nsets.a = ["read"]\n'
    c = 'version = 1\nsets.a = ["open"]\n[[rule]]\ncalls = ["@a"]\ndo = "deny"\n'
    top = HEAD + 'include = "b"\n'
    assert load(top, include=files(b=b, c=c)).rules[0].calls.keys() == {"read"}
    found = load(top + 'sets.a = ["write"]', include=files(b=b, c=c))
    assert found.rules[0].calls.keys() == {"write"}
    # What another file has said before is nobody's to change.
    text = HEAD + 'include = ["c", "b"]'
    with pytest.raises(InvalidPolicy) as caught:
        load(text, include=files(b=b.replace('include = "c"', ""), c=c))
    assert str(caught.value) == "c has a set 'a' too, with other items"


def test_the_exception_is_the_first_problem() -> None:
    """Who looks at the exception alone sees the first problem, and how many there are."""
    with pytest.raises(InvalidPolicy) as caught:
        load("version = 3\nx = 1\n", source="s")
    error = caught.value
    assert (error.source, error.line, error.column) == ("s", 1, 11)
    assert str(error).startswith("this is version 3 of the policy language")
    assert str(error).endswith("(and 1 more problem)")


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 100_000,
        "x = " + "{a=" * 100_000,
        "a." * 200_000 + "b = 1",
        "x = " + "9" * 100_000,
        "x" * 2_000_000,
        'version = 1\ndefault = "' + "x" * 900_000,
        "\n".join(f"[a{n}]" for n in range(20_000)),
        'version=1\ndefault="allow"\n[[rule]]\ndo="deny"\ncalls=[' + '"opn",' * 100_000 + "]",
        'version=1\ndefault="allow"\n' + '[[rule]]\ndo="deny"\ncalls=["a*a*a*a*b"]\n' * 10_000,
        'version=1\ndefault="allow"\n[sets]\n'
        + "\n".join(f's{n} = ["@s{n + 1}", "@s{n + 1}"]' for n in range(200))
        + '\n[[rule]]\ncalls = ["@s0"]\ndo = "deny"\n',
        'version=1\ndefault="allow"\n[sets]\n'
        + "\n".join(f's{n} = ["@s{n + 1}", "@s{n + 1}"]' for n in range(12))
        + '\ns12 = ["opn"]\n[[rule]]\ncalls = ["@s0"]\ndo = "deny"\n',
    ],
    ids=[
        "arrays",
        "tables",
        "keys",
        "digits",
        "text",
        "string",
        "many",
        "names",
        "patterns",
        "sets",
        "sets-wide",
    ],
)
@pytest.mark.timeout(20)
def test_no_text_takes_for_ever(text: str) -> None:
    """Nests, numbers and names that would recurse or run for hours are refused in time."""
    assert problems(text)


def test_the_policy_is_frozen() -> None:
    """What was loaded cannot be changed afterwards."""
    policy: Policy = load(HEAD + '[[rule]]\ncalls = ["open"]\ndo = "deny"\n')
    with pytest.raises(TypeError):
        policy.rules[0].calls["read"] = None  # type: ignore[index]
