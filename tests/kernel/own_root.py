"""Runs a command in a root directory of its own: python own_root.py ROOT DIR... -- CMD.

ROOT becomes a tmpfs with all that the machine's root directory has, mounted there, and with new
directories DIR. Needs a mount namespace, which unshare(1) makes; the old one stays as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["command"]


def command(root: Path, directories: Sequence[str], argv: Sequence[str]) -> list[str]:
    """What runs *argv* in a new root directory at *root*; who is not root becomes it in there."""
    own = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    return ["unshare", *own, sys.executable, __file__, str(root), *directories, "--", *argv]


def mount(*argv: str) -> None:
    """Mount, or fail."""
    subprocess.run(["mount", *argv], check=True)


def main(root: Path, directories: Sequence[str], argv: Sequence[str]) -> None:
    """Make the directory and run *argv* in it."""
    mount("-t", "tmpfs", "root", str(root))
    for entry in Path("/").iterdir():
        there = root / entry.name
        if entry.is_symlink():
            there.symlink_to(os.readlink(entry))
        elif entry.is_dir():
            there.mkdir()
            mount("--rbind", str(entry), str(there))
    for name in directories:
        (root / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
    os.chroot(root)
    os.chdir("/")
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    at = sys.argv.index("--")
    main(Path(sys.argv[1]), sys.argv[2:at], sys.argv[at + 1 :])
