"""As whom, and where, programs are run."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import NOBODY, missing, need_root

UNSHARE = ("unshare", "-Urmpf", "--mount-proc")
ROOT_PARTS = ("usr", "lib", "lib64", "bin", "sbin", "etc", "dev", "proc", "opt", "root")


@dataclass(frozen=True)
class Identity:
    """Who a target is.

    Attributes:
        name: In words.
        ids: User and group that the target is started as, by a supervisor that is root.
        unshared: In user, mount and pid namespaces of its own.
        jailed: With another root directory, in a mount namespace of its own.
        root: Whether it takes root to be it.
    """

    name: str
    ids: tuple[int, int] | None = None
    unshared: bool = False
    jailed: bool = False
    root: bool = False

    def require(self) -> None:
        """Skip what cannot be had here."""
        if self.root:
            need_root()
        if self.unshared and (reason := _no_namespaces(self.ids)):
            missing(reason)

    def directory(self, place: Path) -> Path:
        """A new directory to work in."""
        work = place / "work"
        work.mkdir()
        if self.ids:
            os.chown(work, *self.ids)
        for directory in (place, *place.parents):
            if self.ids and directory.stat().st_uid == os.geteuid() and directory != Path("/"):
                directory.chmod(directory.stat().st_mode | 0o011)
        return work

    def wrapper(self, work: Path) -> Sequence[str]:
        """What starts the program."""
        if self.unshared:
            return UNSHARE
        if self.jailed:
            return ("unshare", "-m", "sh", "-euc", _JAIL, "jail", str(work))
        return ()


# A root with only a few parts of ours in it, and the place to work in at a path of its own.
_JAIL = f"""
work=$1; shift
jail=/tmp/unotify-jail-$$
mkdir $jail
mount -t tmpfs jail $jail
for part in {" ".join(ROOT_PARTS)}; do
    if [ -L /$part ]; then cp -P /$part $jail/$part; elif [ -d /$part ]; then
        mkdir $jail/$part; mount --rbind /$part $jail/$part; fi
done
mkdir -p $jail/tmp $jail$work
echo only here > $jail/jailed
mount --bind $work $jail$work
exec chroot $jail sh -c 'cd "$0" && exec "$@"' $work "$@"
"""

SELF = Identity("self")
DROPPED = Identity("dropped", ids=(NOBODY, NOBODY), root=True)
JAILED = Identity("jailed", jailed=True, root=True)
UNSHARED = Identity("unshared", unshared=True)
DROPPED_UNSHARED = Identity("dropped-unshared", ids=(NOBODY, NOBODY), unshared=True, root=True)
ALL = (SELF, DROPPED, JAILED, UNSHARED, DROPPED_UNSHARED)


@functools.cache
def _no_namespaces(ids: tuple[int, int] | None) -> str | None:
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    options = {} if ids is None else {"user": ids[0], "group": ids[1], "extra_groups": []}
    done = subprocess.run(
        [*UNSHARE, "true"], check=False, capture_output=True, text=True, cwd="/", **options
    )
    return f"no namespaces: {done.stderr}" if done.returncode else None
