"""Whole programs that open many files; each is prepared once for each user."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from benchmarks.rounds import NotHere
from benchmarks.users import User

__all__ = ["GIT", "LOADS", "Load", "give"]

Load = Callable[[User], list[str]]
"""Makes what the program needs in the user's home; returns its command line."""

MODULES = (
    "argparse asyncio base64 concurrent.futures csv ctypes decimal email.message fractions "
    "http.server json logging.handlers multiprocessing sqlite3 ssl tarfile unittest.mock "
    "urllib.request xml.dom.minidom zipfile"
)
C_FILES = 40
PROCESSES = 200
TRACKED_DIRECTORIES, TRACKED_EACH = 500, 20

GIT = "git status, 10,000 files"


def imports(user: User) -> list[str]:
    """Python itself, and a good part of its library."""
    return [user.python, "-I", "-c", "import " + ", ".join(MODULES.split())]


def find(user: User) -> list[str]:
    """Opens each directory; asks for the size of each file, which is not stopped."""
    return [_program("find"), _directory("/usr/share"), "-size", "+100k"]


def grep(user: User) -> list[str]:
    """Opens each file."""
    return [_program("grep"), "-rl", "stdio", _directory("/usr/include")]


def make(user: User) -> list[str]:
    """A compiler opens sources, headers that are not there, and temporary files to write."""
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler is None:
        raise NotHere("there is no C compiler")
    place = user.home / "make"
    place.mkdir()
    names = [f"part{number}" for number in range(C_FILES)]
    for name in names:
        text = f"#include <stdio.h>\n#include <stdlib.h>\nint {name}(void) {{ return puts(0); }}\n"
        (place / f"{name}.c").write_text(text)
    objects = " ".join(f"{name}.o" for name in names)
    rule = f"all: {objects}\n%.o: %.c\n\t@{compiler} -c -o $@ $<\n"
    (place / "Makefile").write_text(rule)
    give(place, user)
    return [_program("make"), "-s", "-B", "-j2", "-C", str(place)]


def processes(user: User) -> list[str]:
    """Each process opens what the dynamic linker wants."""
    true = _program("true")
    loop = f"i=0; while [ $i -lt {PROCESSES} ]; do {true}; i=$((i+1)); done"
    return [_program("sh"), "-c", loop]


def git(user: User) -> list[str]:
    """Opens each directory; asks for the times of each file, which is not stopped."""
    place = user.home / "git"
    for number in range(TRACKED_DIRECTORIES):
        directory = place / f"d{number // 25}" / f"e{number}"
        directory.mkdir(parents=True)
        for name in range(TRACKED_EACH):
            (directory / f"f{name}.txt").write_text(f"{number} {name}\n")
    give(place, user)
    program = [_program("git"), "-C", str(place), "-c", "user.name=n", "-c", "user.email=e@x"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"], ["status"]):
        done = user.run([*program, *words])
        if done.returncode:
            raise NotHere(f"git {words[0]}: {done.stderr.decode(errors='replace').strip()}")
    return [*program, "status"]


LOADS: Final[Mapping[str, Load]] = MappingProxyType(
    {
        "Python imports": imports,
        "find -size /usr/share": find,
        "grep -rl /usr/include": grep,
        "make -j2, 40 C files": make,
        "sh, 200 processes": processes,
        GIT: git,
    }
)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NotHere(f"{name} is not installed")
    return found


def _directory(name: str) -> str:
    if not Path(name).is_dir():
        raise NotHere(f"there is no {name}")
    return name


def give(place: Path, user: User) -> None:
    """Make *user* the owner of all that is in *place*."""
    owner = user.options.get("user")
    if owner is not None:
        for path in [place, *place.rglob("*")]:
            shutil.chown(path, owner, user.options["group"])
