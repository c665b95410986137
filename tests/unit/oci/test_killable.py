"""What a bundle says of WAIT_KILLABLE_RECV."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from unotify.oci.killable import is_wait_killable

FLAG = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"


def test_flag(tmp_path: Path) -> None:
    """The flag counts where the profile of the bundle has it."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"linux": {"seccomp": {"flags": [FLAG]}}}))
    assert is_wait_killable(str(tmp_path))
    config.write_text(json.dumps({"linux": {"seccomp": {"flags": []}}}))
    assert not is_wait_killable(str(tmp_path))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"linux": []}', '{"linux": {"seccomp": {"flags": 1}}}']
)
def test_unknown(tmp_path: Path, text: str) -> None:
    """Where the configuration is something else the flag is not there."""
    (tmp_path / "config.json").write_text(text)
    assert not is_wait_killable(str(tmp_path))


def test_no_file(tmp_path: Path) -> None:
    """Nor is it where there is none, a pipe, or a bundle nobody knows where."""
    assert not is_wait_killable(str(tmp_path))
    assert not is_wait_killable(".")
    assert not is_wait_killable("")
    os.mkfifo(tmp_path / "config.json")
    assert not is_wait_killable(str(tmp_path))
