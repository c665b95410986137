"""Tests of policies: what they can say, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from unotify.errors import PolicyError
from unotify.testing.policies import Outcome, find, load, run

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples/policies"
POLICY = """
version = 1
default = "allow"
[[rule]]
name = "no new directories"
calls = ["mkdir"]
where = 'under(path, "/etc")'
do = { fail = "EROFS" }
racy = true
because = "a test"
[[rule]]
name = "root alone"
calls = ["unlink"]
where = "uid != 0"
do = "deny"
[[rule]]
name = "what it is open on"
calls = ["fchmod"]
where = 'fd_kind(fd) == "socket" or under(fd_path(fd), "/etc")'
do = { fail = "EACCES" }
racy = true
because = "a test"
[[rule]]
name = "told"
calls = ["getpid"]
do = { return = 7 }
[[rule]]
name = "of the kernel"
calls = ["getuid"]
do = { trap = 3 }
[[rule]]
calls = ["getgid"]
do = "log"
[[rule]]
calls = ["gettid"]
do = "kill-thread"
[[rule]]
calls = ["rmdir"]
where = 'path == "/x"'
do = "continue"
racy = true
because = "a test"
[[rule]]
calls = ["chdir"]
where = 'path == "/x"'
do = "kill-process"
racy = true
because = "a test"
[[rule]]
calls = ["open"]
do = "perform"
"""


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Path:
    (tmp_path / "p.toml").write_text(POLICY)
    return tmp_path


def outcomes(home: Path, text: str) -> list[Outcome]:
    """Run a file of tests."""
    (home / "t.toml").write_text('policy = "p.toml"\n' + text)
    return [run(test) for test in load(home / "t.toml")]


def failure(home: Path, text: str) -> str:
    """Why the one step in it fails."""
    (found,) = outcomes(home, f"[[test]]\n{text}\n")
    assert not found.broken
    return found.failure


@pytest.mark.parametrize(
    "step",
    [
        'call = "mkdir"\nargs = ["/etc/x", 0o755]\nexpect = { fail = "EROFS" }',
        'call = "mkdir"\nargs = { path = "/tmp" }\nexpect = "allow"\ndecided = "supervisor"',
        'call = "unlink"\nargs = ["/x"]\nby = { uid = 5 }\nexpect = "deny"\nrule = "root alone"',
        'call = "unlink"\nargs = ["/x"]\nby = { uid = 0 }\nexpect = "allow"',
        'call = "fchmod"\nargs = [3]\nby = { "fd:3" = "socket:x" }\nexpect = { fail = "EACCES" }',
        'call = "fchmod"\nargs = [3, 0]\nby = { "fd:3" = "file:/etc/x" }\nexpect = { fail = 13 }',
        'call = "fchmod"\nargs = [3, 0]\nby = { "fd:3" = "file:/tmp/x" }\nexpect = "allow"',
        'call = "getpid"\nexpect = { return = 7 }\ndecided = "supervisor"\nrule = "told"',
        'call = "getuid"\nexpect = { trap = 3 }\ndecided = "filter"\nrule = "of the kernel"',
        'call = "getgid"\nexpect = "log"',
        'call = "getgid"\nexpect = "allow"',
        'call = "gettid"\nexpect = "kill-thread"',
        'call = "rmdir"\nargs = ["/x"]\nexpect = "continue"',
        'call = "chdir"\nargs = ["/x"]\nexpect = "kill-process"\ndecided = "supervisor"',
        'call = "open"\nargs = ["/x"]\nexpect = "perform"',
        'call = 9999\nexpect = { fail = "ENOSYS" }',
        'call = "mkdir"\nargs = ["/lnk", 0]\nlinks = { "/lnk" = "/etc/a" }\nexpect = "allow"',
        'call = "getpid"\nkernel = "5.0"\nexpect = { return = 7 }',
    ],
)
def test_what_holds(home: Path, step: str) -> None:
    """A step that is right passes: whoever decides, by whatever is known of the caller."""
    assert failure(home, step) == ""


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            'call = "mkdir"\nargs = ["/etc/x"]\nexpect = "allow"',
            'expected allow; got fail EROFS, decided by the supervisor, by the rule "no new',
        ),
        ('call = "getpid"\nexpect = { return = 8 }', "expected return 8; got return 7"),
        (
            'call = "getuid"\nexpect = { trap = 3 }\ndecided = "supervisor"',
            "expected the supervisor to decide; got trap 3, decided by the filter",
        ),
        (
            'call = "getpid"\nexpect = { return = 7 }\nrule = "root alone"',
            'expected the rule "root alone" to decide; got return 7',
        ),
        ('call = "open"\nargs = ["/x"]\nexpect = "redirect"', "expected redirect; got perform"),
        ('call = "getgid"\nexpect = "continue"', "expected continue; got log"),
    ],
)
def test_what_does_not_hold(home: Path, step: str, message: str) -> None:
    """A step that is wrong says what came instead, from where, by which rule."""
    assert message in failure(home, step)


def test_steps_are_one_program(home: Path) -> None:
    """The step that fails is named; after a kill there is nobody to go on."""
    text = """[[test]]
steps = [ { call = "gettid", expect = "kill-thread" }, { call = "getpid", expect = "allow" } ]
[[test]]
steps = [ { call = "getpid", expect = { return = 7 } }, { call = "getpid", expect = "deny" } ]
"""
    first, second = outcomes(home, text)
    assert first.failure == "step 2: the target has been killed before"
    assert second.failure.startswith("step 2: expected fail EPERM; got return 7")
    assert (second.test.line, second.test.name) == (4, "getpid, getpid")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no [[test]]"),
        ("x = 1\n[[test]]\n", "a file of tests has no key 'x'"),
        ('[[test]]\ncal = "mkdir"\n', "a test has no key 'cal'"),
        ('[[test]]\ncall = "mkdir"\n', "a step has a call and what to expect"),
        ('[[test]]\ncall = "x"\nexpect = "alow"\n', "alow"),
        ('[[test]]\ncall = "x"\nexpect = "allow"\nargs = 3\n', "args is a list"),
        ('[[test]]\ncall = "x"\nexpect = "allow"\narch = "pdp11"\n', "no architecture 'pdp11'"),
        ('[[test]]\ncall = "x"\nexpect = "allow"\ndecided = "me"\n', "decided is"),
        ('[[test]]\ncall = "x"\nexpect = "allow"\nby = { name = "x" }\n', "of a caller by 'name'"),
        ('[[test]]\ncall = "x"\nexpect = "allow"\nkernel = "1.0"\n', "there is no kernel '1.0'"),
        ('[[test]]\ncall = "x"\nexpect = "allow"\npolicy = 3\n', "a test has a policy"),
        ("[[test]\n", "it is no TOML"),
    ],
)
def test_files_that_are_wrong(home: Path, text: str, message: str) -> None:
    """What is wrong with a file of tests is one sentence, with its place."""
    with pytest.raises(PolicyError) as caught:
        outcomes(home, text)
    assert message in str(caught.value)
    assert caught.value.source == str(home / "t.toml")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ('call = "mkdri"\nexpect = "allow"', "x86_64 has no call mkdri"),
        ('call = "mkdir"\nargs = { name = "/x" }\nexpect = "allow"', "no argument 'name'"),
        ('call = "getpid"\npolicy = "none.toml"\nexpect = "allow"', "cannot read policy"),
    ],
)
def test_tests_that_cannot_run(home: Path, step: str, message: str) -> None:
    """A call or a policy that is not there breaks its own test alone."""
    broken, good = outcomes(home, f"[[test]]\n{step}\n[[test]]\ncall = 'read'\nexpect = 'allow'\n")
    assert (broken.broken, good.failure) == (True, "")
    assert message in broken.failure


def test_tests_in_python(home: Path) -> None:
    """Functions are tests; an assertion that fails is told with its line."""
    file = home / "test_x.py"
    file.write_text(
        f"""
def test_good(supervised):
    one = supervised(policy={str(home / "p.toml")!r})
    assert one.call("getpid").value == 7

def test_bad(supervised):
    one = supervised(policy={str(home / "p.toml")!r})
    assert one.call("getpid").value == 8

def test_alone():
    raise ValueError("x")
"""
    )
    good, bad, alone = [run(test) for test in load(file)]
    assert good.failure == ""
    assert bad.failure.endswith('(line 8: assert one.call("getpid").value == 8)')
    assert (alone.broken, alone.failure) == (True, "ValueError: x")
    file.write_text("def test_x(tmp_path): pass\n")
    with pytest.raises(PolicyError, match="test_x wants tmp_path"):
        load(file)
    file.write_text("x = 1\n")
    with pytest.raises(PolicyError, match="no function test_"):
        load(file)
    file.write_text("1 / 0\n")
    with pytest.raises(PolicyError, match="ZeroDivisionError"):
        load(file)


def test_of_a_directory_all_are_found(home: Path) -> None:
    """Policies are no tests; files below are found."""
    (home / "sub").mkdir()
    (home / "sub/a.toml").write_text("[[test]]\n")
    (home / "sub/test_b.py").write_text("")
    assert find(home) == [home / "sub/a.toml", home / "sub/test_b.py"]
    assert find(home / "p.toml") == [home / "p.toml"]
    with pytest.raises(PolicyError, match="cannot be read"):
        load(home / "none.toml")


@pytest.mark.parametrize("policy", sorted(path.stem for path in EXAMPLES.glob("*.toml")))
def test_each_example_has_tests(policy: str) -> None:
    """Each policy of the examples is in some test of theirs."""
    texts = [path.read_text() for path in (EXAMPLES / "tests").iterdir() if path.is_file()]
    assert any(f'"../{policy}.toml"' in text or f'"{policy}.toml"' in text for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("file", find(EXAMPLES / "tests"), ids=lambda file: file.stem)
def test_examples(file: Path) -> None:
    """The tests of the example policies pass, without privileges and without a process."""
    assert [(one.test.name, one.failure) for one in map(run, load(file)) if one.failure] == []
