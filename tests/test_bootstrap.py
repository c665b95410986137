"""tools/bootstrap.py: what stops `make` is told in one sentence, with the cure."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import bootstrap

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "tools" / "bootstrap.py"
GOOD = ((3, 12), [])
OLD = ((3, 9), [])
BARE = ((3, 11), ["ensurepip"])


def choose(environ: dict[str, str], **pythons: bootstrap.Probed | None) -> str:
    """What is chosen where ``python3`` runs the program and these interpreters are there."""
    there = {name.replace("_", "."): answer for name, answer in pythons.items()}
    return bootstrap.choose_python(
        environ, "python3", find=lambda name: name if name in there else None, look=there.get
    )


def test_old_pythons_can_read_it() -> None:
    """It is valid Python 3.6: an old interpreter must be able to say that it is old."""
    ast.parse(PROGRAM.read_text(), feature_version=(3, 6))


def test_the_running_interpreter_comes_first() -> None:
    """An interpreter that is new enough is used, although there is a newer one."""
    assert choose({}, python3=((3, 11), []), python3_13=GOOD) == "python3"


def test_an_old_interpreter_gives_way_to_the_newest() -> None:
    """With an old ``python3``, the newest suitable interpreter is used instead."""
    assert choose({}, python3=OLD, python3_11=GOOD, python3_13=GOOD) == "python3.13"


def test_a_wrapper_that_does_not_run_is_passed_over() -> None:
    """An interpreter that cannot be run at all is not chosen."""
    assert choose({}, python3=OLD, python3_13=None, python3_12=GOOD) == "python3.12"


def test_python_overrides() -> None:
    """PYTHON is obeyed, and not silently replaced where it does not fit."""
    assert choose({"PYTHON": "python3.12"}, python3=GOOD, python3_12=GOOD) == "python3.12"
    with pytest.raises(bootstrap.Problem, match=r"mine is Python 3\.9, and unotify needs 3\.11"):
        choose({"PYTHON": "mine"}, python3=GOOD, mine=OLD)
    with pytest.raises(bootstrap.Problem, match="nowhere does not run"):
        choose({"PYTHON": "nowhere"}, python3=GOOD)


def test_missing_venv_names_the_package() -> None:
    """Without ensurepip, which Debian packs apart, the cure is that package."""
    with pytest.raises(bootstrap.Problem, match="apt-get install python3-venv"):
        choose({}, python3=BARE)


@pytest.mark.parametrize(
    ("actions", "system", "expected"),
    [
        ("kill_process errno user_notif trace log allow\n", "Linux", None),
        ("kill_process errno trace log allow\n", "Linux", "boot Linux 5.0 or newer"),
        (None, "Linux", "CONFIG_SECCOMP_FILTER=y"),
        (None, "FreeBSD", "use a Linux machine"),
    ],
)
def test_kernel_problem(actions: str | None, system: str, expected: str | None) -> None:
    """A kernel without user notification is told together with the cure."""
    problem = bootstrap.kernel_problem(actions, "4.19.0", system)
    assert problem is None if expected is None else expected in (problem or "")


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_problem_is_one_line_and_exit_1(tmp_path: Path) -> None:
    """What a person sees is one line on stderr, no traceback."""
    (tmp_path / "ensurepip.py").write_text("raise ImportError")
    done = run(str(tmp_path / "venv"), PYTHON=sys.executable, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("unotify: error: ")
    assert "apt-get install python3-venv" in done.stderr


def test_pip_without_an_index_says_so(tmp_path: Path) -> None:
    """When pip fails, one line says where its words are and what to check."""
    venv = tmp_path / "venv" / "bin"
    venv.mkdir(parents=True)
    # Stands in for an environment whose pip reaches nothing.
    (venv / "python").write_text(
        f'#!/bin/sh\ncase $2 in pip) echo no network; exit 1;; esac\nexec {sys.executable} "$@"\n'
    )
    (venv / "python").chmod(0o755)
    done = run(str(venv.parent), "test", PYTHON=sys.executable)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "package index" in done.stderr
    assert (venv.parent / "pip.log").read_text() == "no network\n"


def test_no_arguments_is_a_usage_error() -> None:
    """Without arguments the usage is shown and the exit status is 2."""
    done = run()
    assert (done.returncode, "Usage:" in done.stderr) == (2, True)
