"""File systems on loop devices, for tests that mount them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import missing

__all__ = ["image", "loop"]


def image(directory: Path, kind: str = "ext4") -> Path:
    """A new file system of 4 MiB in a file, with a file of root's in it."""
    make = shutil.which(f"mkfs.{kind}", path="/usr/sbin:/sbin:/usr/bin")
    if make is None:
        missing(f"mkfs.{kind} is not installed")
    tree, file = directory / "tree", directory / f"{kind}.img"
    tree.mkdir()
    (tree / "hello").write_text("hello\n")
    with file.open("wb") as made:
        made.truncate(4 << 20)
    done = subprocess.run(
        [make, "-q", "-O", "^has_journal", "-d", tree, file],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return file


@contextmanager
def loop(file: Path) -> Iterator[str]:
    """A loop device of *file*."""
    setup = shutil.which("losetup", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if setup is None:
        missing("losetup is not installed")
    done = subprocess.run(
        [setup, "--find", "--show", file], check=False, capture_output=True, text=True
    )
    if done.returncode:
        missing(f"no loop device: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run([setup, "--detach", device], check=True)
    assert os.path.exists(file)
