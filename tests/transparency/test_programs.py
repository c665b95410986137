"""Real programs do the same, to the last byte, when each of their calls is performed for them."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.transparency import scripts
from tests.transparency.both import LONG, need, require_same
from tests.transparency.identities import (
    ALL,
    DROPPED,
    DROPPED_UNSHARED,
    JAILED,
    SELF,
    UNSHARED,
    Identity,
)

PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3")


@dataclass(frozen=True)
class Program:
    """A shell script, what it needs, and files whose contents are never twice the same."""

    script: str
    needs: tuple[str, ...]
    prepare: Callable[[Path], None] = lambda work: None
    loose: Callable[[str], bool] = lambda name: False


def _wheel(work: Path) -> None:
    """A wheel by hand."""
    about = "small-1.0.dist-info"
    files = {
        "small/__init__.py": "def main():\n    print('small')\n",
        "small/data.txt": "data\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"{about}/entry_points.txt": "[console_scripts]\nsmall = small:main\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(work / "small-1.0-py3-none-any.whl", "w") as archive:
        for name, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)


def _index(name: str) -> bool:
    # It has times and numbers of files in it.
    return name.endswith("/index") and ".git/" in name


PROGRAMS = {
    "shell": Program(scripts.SHELL, ("sh", "stat", "mkfifo")),
    "git": Program(scripts.GIT, ("git",), loose=_index),
    "tar": Program(scripts.TAR, ("tar",)),
    "cp": Program(scripts.CP, ("cp",)),
    "rsync": Program(scripts.RSYNC, ("rsync",)),
    "find": Program(scripts.FIND, ("find", "xargs")),
    "make": Program(scripts.MAKE, ("make", "gcc")),
    "sqlite": Program(scripts.SQLITE, ("sqlite3",)),
    "busybox": Program(scripts.BUSYBOX, ("busybox",)),
    "compileall": Program(scripts.COMPILEALL, ()),
    "curl": Program(scripts.CURL, ("curl",)),
    "sockets": Program(scripts.SOCKETS, ()),
    "pip": Program(scripts.PIP, (), prepare=_wheel),
}

QUICK = [
    *((SELF, name) for name in PROGRAMS if name != "pip"),
    *((identity, name) for identity in (DROPPED, JAILED) for name in ("shell", "sockets")),
    *((JAILED, "busybox"), (UNSHARED, "sockets"), (DROPPED_UNSHARED, "sockets")),
]
CASES = [(identity, name) for identity in ALL for name in PROGRAMS] if LONG else QUICK


def python() -> str:
    """An interpreter that everybody can run."""
    return next(filter(shutil.which, PYTHONS), None) or missing("no Python of the system")


BY_POLICY = list(PROGRAMS) if LONG else ["git", "tar", "make", "shell"]


def _same(identity: Identity, name: str, tmp_path: Path, by: str = "") -> None:
    identity.require()
    program = PROGRAMS[name]
    need(*program.needs)
    if name == "pip" and not Path(sys.base_prefix).exists():
        missing("no Python to make an environment of")

    def prepare(work: Path) -> None:
        (work / "script").write_text(program.script)
        program.prepare(work)
        if identity.ids:
            for file in work.iterdir():
                os.chown(file, *identity.ids)

    command = ["sh", "-eu", "script", python()]
    done = require_same(command, tmp_path, identity, prepare, loose=program.loose, by=by)

    assert done.status == 0, done.stderr


@pytest.mark.parametrize(
    ("identity", "name"), CASES, ids=[f"{identity.name}-{name}" for identity, name in CASES]
)
def test_same_result(identity: Identity, name: str, tmp_path: Path) -> None:
    """Exit status, output and each file are the same, whether performed or not."""
    _same(identity, name, tmp_path)


@pytest.mark.usefixtures("needs_native")
@pytest.mark.parametrize("name", BY_POLICY)
def test_same_result_by_policy(name: str, tmp_path: Path) -> None:
    """The same where rules say so, and what is plain is done without Python."""
    _same(SELF, name, tmp_path, by="policy")
