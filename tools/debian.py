"""Fetch Debian packages without touching the machine's own package state.

The generators read kernel headers, kernel source and manual pages out of
Debian packages. A private apt configuration in a scratch directory lets them
ask any suite; signatures are verified as always. Nothing is installed.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

__all__ = ["SUITES", "Archive"]

SUITES = ("sid", "forky", "trixie")
"""Newest first. Since trixie one ``linux-libc-dev`` holds the headers of every architecture."""

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

_CONF = """\
Dir "{root}";
Dir::State "{root}/state";
Dir::State::Lists "{root}/lists";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache";
Dir::Etc "{root}/etc";
Dir::Etc::sourcelist "{root}/etc/sources.list";
Dir::Etc::sourceparts "{root}/etc/sources.list.d";
Dir::Etc::parts "{root}/etc/apt.conf.d";
Dir::Etc::preferencesparts "{root}/etc/preferences.d";
Acquire::Languages "none";
APT::Sandbox::User "";
"""


class Archive:
    """One suite of the Debian archive, seen through a private apt configuration.

    Args:
        suite: Such as ``sid``.
        root: A scratch directory; package lists and downloads stay in it.
        mirror: Base address of the mirror.
        accept_expired: Use an index that is past its validity date, as frozen
            mirrors serve it. Its signature is still verified.
    """

    def __init__(
        self,
        suite: str,
        root: Path,
        *,
        mirror: str = "http://deb.debian.org/debian",
        accept_expired: bool = False,
    ) -> None:
        self.suite = suite
        self.root = root.resolve() / suite
        for sub in (
            "state",
            "lists/partial",
            "cache/archives/partial",
            "etc/sources.list.d",
            "etc/apt.conf.d",
            "etc/preferences.d",
            "debs",
        ):
            (self.root / sub).mkdir(parents=True, exist_ok=True)
        (self.root / "state/status").touch()
        (self.root / "etc/sources.list").write_text(
            f"deb [signed-by={_KEYRING}] {mirror} {suite} main\n"
        )
        conf = _CONF.format(root=self.root)
        if accept_expired:
            conf += 'Acquire::Check-Valid-Until "false";\n'
        self._conf = self.root / "apt.conf"
        self._conf.write_text(conf)
        if not any((self.root / "lists").glob("*Packages*")):
            self._apt("update", "--error-on=any")

    def _apt(self, *args: str) -> str:
        return subprocess.run(
            ["apt-get", "-q", *args],
            env={**os.environ, "APT_CONFIG": str(self._conf), "LC_ALL": "C"},
            cwd=self.root / "debs",
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    def download(self, package: str) -> Path:
        """Return the path of *package*'s newest ``.deb``, fetched if need be."""
        debs = self.root / "debs"
        if not any(debs.glob(f"{package}_*.deb")):
            self._apt("download", package)
        return max(debs.glob(f"{package}_*.deb"))

    def unpack(self, package: str) -> Path:
        """Return the directory that holds *package*'s files."""
        into = self.root / "unpacked" / package
        if not into.exists():
            into.parent.mkdir(exist_ok=True)
            subprocess.run(["dpkg-deb", "-x", self.download(package), into], check=True)
        return into

    def version(self, package: str) -> str:
        """Return *package*'s upstream version, such as ``7.2.13``."""
        return self.download(package).name.split("_")[1].rsplit("-", 1)[0]
