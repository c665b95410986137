"""Who runs the contenders: ourselves, and an ordinary user if we are root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.rounds import ROOT, NotHere

__all__ = ["User", "ordinary", "ourselves"]

NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"
USABLE = "import sys; sys.exit(sys.version_info < (3, 11))"


@dataclass(frozen=True)
class User:
    """Somebody who can run contenders.

    Attributes:
        name: For the table.
        python: An interpreter that runs `benchmarks` and `unotify`.
        home: A directory that is this user's.
        options: For `subprocess.Popen`.
    """

    name: str
    python: str
    home: Path
    options: dict[str, Any] = field(default_factory=dict)

    def run(self, args: list[str]) -> subprocess.CompletedProcess[bytes]:
        """Run *args* to the end as this user; output and complaints are kept."""
        return subprocess.run(args, capture_output=True, check=False, **self.options)


def ourselves(scratch: Path) -> User:
    """Whoever runs the benchmark."""
    home = scratch / "ours"
    home.mkdir()
    name = "root" if os.geteuid() == 0 else "user"
    return User(name, sys.executable, home, {"cwd": ROOT})


def ordinary(scratch: Path) -> User:
    """User 65534, with a copy of the sources, which may be where nobody else can read.

    Raises:
        NotHere: We are not root, or there is no interpreter for everybody.
    """
    if os.geteuid():
        raise NotHere("another user takes root, and this is an ordinary one already")
    tree, home = scratch / "tree", scratch / "theirs"
    for name in ("benchmarks", "src"):
        shutil.copytree(
            ROOT / name, tree / name, ignore=shutil.ignore_patterns("out", "__pycache__")
        )
    for path in [tree, *tree.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    environ = {
        "HOME": str(home),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{tree}/src",
        "TMPDIR": str(home),
    }
    options = {
        "cwd": tree,
        "env": environ,
        "user": NOBODY,
        "group": NOBODY,
        "extra_groups": [],
    }
    for python in (sys.executable, SYSTEM_PYTHON):
        user = User("user", python, home, options)
        try:
            if user.run([python, "-c", USABLE]).returncode == 0:
                # As root's own sources have theirs: else each start compiles all modules.
                compiling = [python, "-m", "compileall", "-q", str(tree)]
                subprocess.run(compiling, check=False, umask=0o022)
                return user
        except OSError:
            continue
    raise NotHere(f"user {NOBODY} can run no Python from 3.11 on")
