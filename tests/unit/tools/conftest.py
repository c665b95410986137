"""What tests of generators share: a place for Debian's packages, where they may be fetched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for downloads; tests that ask for it use the network, if that is wanted."""
    if os.environ.get("UNOTIFY_NETWORK_TESTS") != "1":
        pytest.skip("UNOTIFY_NETWORK_TESTS=1 fetches Debian's packages")
    return tmp_path_factory.mktemp("packages")
