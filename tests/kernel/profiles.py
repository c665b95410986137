"""Container engines' default profiles: where they are, or why a test cannot have them."""

from __future__ import annotations

import os
from pathlib import Path

from tests.conftest import missing

__all__ = ["CONTAINERS", "ENGINES", "MOBY", "profile"]

CONTAINERS = "containers-common"
MOBY = "moby"
ENGINES = (CONTAINERS, MOBY)

# What names another file, where Debian's packages put theirs, and how to get it.
_FILES = {
    CONTAINERS: (
        "UNOTIFY_CONTAINERS_PROFILE",
        "/usr/share/containers/seccomp.json",
        "apt-get install golang-github-containers-common",
    ),
    MOBY: (
        "UNOTIFY_MOBY_PROFILE",
        "/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json",
        "export UNOTIFY_MOBY_PROFILE=$(.ci/moby-profile build/moby)",
    ),
}


def profile(engine: str) -> Path:
    """The file of an engine's default profile, or no test."""
    variable, usual, cure = _FILES[engine]
    path = Path(os.environ.get(variable, usual))
    if not path.exists():
        missing(f"no profile of {engine}: there is no {path} ({cure})")
    return path
