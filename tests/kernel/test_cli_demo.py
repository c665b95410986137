"""``unotify demo``: five stories, with real results."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.cli_support import ENVIRON, SOURCES, UNOTIFY
from unotify.cli.demo import find_example

NEEDED = ("click", "rich", "pygments", "markdown_it", "mdurl")


def table(output: str) -> list[tuple[str, ...]]:
    """The rows of the demo's table, with the lines of a cell joined."""
    rows: list[list[str]] = []
    for line in output.splitlines():
        if line.startswith("│"):
            cells = [cell.strip() for cell in line.strip("│").split("│")]
            if cells[0]:
                rows.append(cells)
            else:
                rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], cells, strict=True)]
    return [tuple(row) for row in rows]


def left_behind() -> set[str]:
    """Mounts and directories of demos."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found = {line for line in mounts if "unotify-demo" in line}
    return found | {str(path) for path in Path(tempfile.gettempdir()).glob("unotify-demo-*")}


def check(done: subprocess.CompletedProcess[str]) -> None:
    """Find the five stories in what the demo wrote."""
    assert done.returncode == 0, done.stderr
    told = done.stdout
    assert "permission denied" in done.stderr  # by mount(8), for the disk
    assert "seen there: hello" in told
    assert "finit_module: Operation not permitted" in told
    assert "The answer is 42." in told
    assert "\x1b" not in told  # no terminal is there
    assert "they see: hello hello" in told
    rows = table(told)
    assert all(row[3].isdigit() and int(row[3]) > 0 for row in rows)

    def answers(words: str) -> list[tuple[str, str]]:
        return [(row[0], row[2]) for row in rows if words in row[1]]

    assert [answer for _, answer in answers("$SCRATCH/disk")] == ["EPERM"]
    assert [answer for _, answer in answers("$SCRATCH/to,")] == ["done for it"]
    assert [answer for _, answer in answers("finit_module(")] == [
        "EPERM modules are not for guests"
    ]
    assert [answer for _, answer in answers("/etc/answer")] == ["a descriptor"]
    children = answers("$SCRATCH/child")
    assert [answer for _, answer in children] == ["done for it"] * 2
    assert len({who for who, _ in children}) == 2
    assert f"{len(rows)} are shown above" in told


def test_demo() -> None:
    """Whoever runs it: the five stories come true, and nothing stays behind."""
    before = left_behind()
    done = subprocess.run(
        [*UNOTIFY, "demo"], env=ENVIRON, capture_output=True, text=True, check=False
    )
    if os.geteuid() != 0 and "unshare failed" in done.stderr:
        missing("an ordinary user cannot make a user namespace here")
    check(done)
    assert left_behind() <= before


def test_source() -> None:
    """``--source`` prints the example that is run."""
    done = subprocess.run(
        [*UNOTIFY, "demo", "--source"], env=ENVIRON, capture_output=True, text=True, check=True
    )
    assert done.stdout == find_example().read_text()


@pytest.fixture(name="readable")
def _readable(as_nobody: dict[str, object]) -> Iterator[tuple[str, dict[str, str]]]:
    """An interpreter and an environment with which an ordinary user can run unotify."""
    with tempfile.TemporaryDirectory(prefix="unotify-tests-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        home = place / "home"
        home.mkdir()
        home.chmod(0o777)
        shutil.copytree(Path(SOURCES) / "unotify", place / "src" / "unotify")
        (place / "examples").mkdir()
        shutil.copy(find_example(), place / "examples")
        for name in NEEDED:
            spec = importlib.util.find_spec(name)
            assert spec is not None
            assert spec.origin is not None
            shutil.copytree(Path(spec.origin).parent, place / "src" / name)
        environ = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(place / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for python in (os.path.realpath(sys.executable), "/usr/bin/python3"):
            try:
                code = "import sys, unotify.cli; sys.exit(sys.version_info < (3, 11))"
                argv = [python, "-c", code]
                if subprocess.run(argv, check=False, env=environ, **as_nobody).returncode == 0:  # type: ignore[call-overload]
                    yield python, environ
                    return
            except OSError:
                continue
        missing("there is no interpreter that an ordinary user can run")


def test_demo_as_an_ordinary_user(
    readable: tuple[str, dict[str, str]], as_nobody: dict[str, object]
) -> None:
    """Without root the demo makes namespaces of its own, with the same results."""
    python, environ = readable
    done = subprocess.run(  # type: ignore[call-overload]
        [python, "-m", "unotify.cli", "demo"],
        env=environ,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        **as_nobody,
    )
    if "unshare failed" in done.stderr:
        missing("an ordinary user cannot make a user namespace here")
    check(done)
    assert list(Path(environ["HOME"]).iterdir()) == []


def test_run_as_an_ordinary_user(
    readable: tuple[str, dict[str, str]], as_nobody: dict[str, object]
) -> None:
    """S5: ``unotify run`` needs no privilege, neither to install nor to look into memory."""
    python, environ = readable
    home = Path(environ["HOME"])
    file = home / "handlers.py"
    file.write_text(
        "import unotify\n"
        "@unotify.on('mkdir', 'mkdirat')\n"
        "def pretend(call):\n"
        "    return unotify.Return(0) if call.path.raw == b'/pretended' else None\n"
    )
    command = ["sh", "-c", "id -u; mkdir /pretended && echo made; mkdir /refused; exit 7"]
    done = subprocess.run(  # type: ignore[call-overload]
        [python, "-m", "unotify.cli", "run", "--handlers", str(file), "--", *command],
        env=environ,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        **as_nobody,
    )
    assert (done.returncode, done.stdout) == (7, "65534\nmade\n")
    assert "Operation not permitted" in done.stderr
