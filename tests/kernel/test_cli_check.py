"""``unotify check`` and ``unotify schema``, as processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kernel.cli_support import cli
from unotify.cli.failures import Exit

EXAMPLES = Path(__file__).parents[2] / "examples" / "policies"
GOOD = 'version = 1\ndefault = "allow"\n\n[[rule]]\ncalls = ["mount"]\ndo = "deny"\n'
BAD = 'version = 1\ndefault = "allw"\n\n[[rule]]\ncalls = ["mout"]\ndo = "deny"\nnam = "x"\n'


def written(directory: Path, name: str, text: str) -> str:
    """A policy file."""
    path = directory / name
    path.write_text(text)
    return str(path)


def test_a_good_policy(tmp_path: Path) -> None:
    """A good policy is said to be good, with the number of its rules."""
    file = written(tmp_path, "good.toml", GOOD)
    done = cli("check", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: good: 1 rule\n", "")


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """Each mistake of each file has its line, with place and hint; the exit code is 3."""
    bad, good = written(tmp_path, "bad.toml", BAD), written(tmp_path, "good.toml", GOOD)
    done = cli("check", bad, good)
    assert done.returncode == Exit.POLICY
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"{bad}:2:11: error: no verb is named 'allw'",
        "    hint: did you mean allow?",
        f"{bad}:5:10: error: no system call is named 'mout'",
        "    hint: did you mean mount?",
        f"{bad}:7:1: error: a rule has no key 'nam'",
        "    hint: did you mean name?",
        f"{bad}: 3 errors",
        f"{good}: good: 1 rule",
    ]


def test_for_scripts(tmp_path: Path) -> None:
    """With --json the same as one object."""
    bad, good = written(tmp_path, "bad.toml", BAD), written(tmp_path, "good.toml", GOOD)
    done = cli("check", "--json", bad, good)
    assert done.returncode == Exit.POLICY
    said = json.loads(done.stdout)
    assert said["ok"] is False
    first, second = said["files"]
    assert (first["file"], first["ok"], first["rules"]) == (bad, False, None)
    assert first["problems"][0] == {
        "severity": "error",
        "source": bad,
        "line": 2,
        "column": 11,
        "message": "no verb is named 'allw'",
        "hint": "did you mean allow?",
    }
    assert second == {"file": good, "ok": True, "rules": 1, "problems": []}


def test_warnings_do_not_fail(tmp_path: Path) -> None:
    """A rule that is never reached is a warning."""
    file = written(
        tmp_path,
        "odd.toml",
        GOOD + '[[rule]]\ncalls = ["mount"]\ndo = "allow"\n',
    )
    done = cli("check", file)
    assert done.returncode == 0
    assert f"{file}:7:1: warning: the rule at {file}:7:1 is never reached" in done.stdout
    assert done.stdout.endswith(f"{file}: good: 2 rules, 1 warning\n")


def test_a_race_is_an_error(tmp_path: Path) -> None:
    """Letting a call go on after its memory was read is refused unless it is accepted."""
    text = (
        'version = 1\ndefault = {fail = "EPERM"}\n[[rule]]\ncalls = ["openat"]\n'
        'where = \'path == "/x"\'\ndo = "allow"\n'
    )
    file = written(tmp_path, "race.toml", text)
    done = cli("check", file)
    assert done.returncode == Exit.POLICY
    assert f"{file}:3:1: error: " in done.stdout
    assert "another thread can change it in between" in done.stdout
    file = written(tmp_path, "race.toml", text + 'racy = true\nbecause = "a test"\n')
    assert cli("check", file).returncode == 0


def test_a_wrong_condition_has_its_place(tmp_path: Path) -> None:
    """A mistake inside of where is shown at its own column, escapes or not."""
    rule = '[[rule]]\ncalls = ["openat"]\ndo = "deny"\nwhere = '
    for where, column in (("'flgs == 0'", 10), (r'"flags & 1 \u003d= 1 or flgs == 0"', 33)):
        file = written(tmp_path, "where.toml", f'version = 1\ndefault = "log"\n{rule}{where}\n')
        done = cli("check", file)
        assert done.returncode == Exit.POLICY
        assert done.stdout.startswith(f"{file}:6:{column}: error: "), done.stdout
        assert "did you mean flags?" in done.stdout


def test_an_include_beside_it(tmp_path: Path) -> None:
    """Includes are looked for beside the file that names them."""
    written(tmp_path, "base.toml", GOOD)
    file = written(tmp_path, "top.toml", 'version = 1\ninclude = "base.toml"\n')
    done = cli("check", file, cwd="/")
    assert (done.returncode, done.stdout) == (0, f"{file}: good: 1 rule\n")
    done = cli("check", written(tmp_path, "none.toml", 'version = 1\ninclude = "no.toml"\n'))
    assert done.returncode == Exit.POLICY
    assert "none.toml:2:11: error: " in done.stdout


def test_standard_input() -> None:
    """A dash is standard input."""
    done = cli("check", "-", input=GOOD)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("standard input: good: ")
    done = cli("check", "-", input=BAD)
    assert done.returncode == Exit.POLICY
    assert ":2:11: error: no verb is named 'allw'" in done.stdout


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, or no file to be read, is a mistake of the command line."""
    done = cli("check")
    assert done.returncode == Exit.USAGE
    assert done.stderr.startswith("unotify: error: no policy is given\n")
    done = cli("check", str(tmp_path / "none.toml"))
    assert done.returncode == Exit.USAGE
    assert done.stderr.startswith("unotify: error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_are_good(path: Path) -> None:
    """Each example policy is without errors."""
    done = cli("check", str(path), "--arch", "x86_64")
    assert done.returncode == 0, done.stdout


def test_groups() -> None:
    """Groups are listed with what they are for, and one with its calls."""
    done = cli("check", "--groups")
    assert done.returncode == 0
    assert any(line.startswith("@mount-api ") for line in done.stdout.splitlines())
    done = cli("check", "--groups", "--json", "@swap")
    assert json.loads(done.stdout)["@swap"]["calls"] == ["swapoff", "swapon"]
    done = cli("check", "--groups", "@mout")
    assert done.returncode == Exit.USAGE
    assert "did you mean @mount?" in done.stderr


def test_schema() -> None:
    """The schema is printed as JSON, on many lines or one."""
    long, short = cli("schema"), cli("schema", "--json")
    assert long.returncode == short.returncode == 0
    assert json.loads(long.stdout) == json.loads(short.stdout)
    assert short.stdout.count("\n") == 1
    assert json.loads(long.stdout)["title"] == "unotify policy"


def test_an_empty_file() -> None:
    """Nothing is no policy, and the least one that is told is one."""
    done = cli("check", "-", input=" \n")
    assert (done.returncode, done.stdout) == (Exit.POLICY, "")
    sentence, hint = done.stderr.splitlines()
    assert sentence == "unotify: error: standard input is empty"
    least = hint.partition("two lines: ")[2].replace(" and ", "\n")
    assert cli("check", "-", input=least).returncode == 0
