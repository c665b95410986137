"""Whoever plays root hears what root hears: the same program, really and as an ordinary user."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.fake_root_support import played, root_target


@pytest.fixture(name="real", scope="module")
def _real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What root hears."""
    where = tmp_path_factory.mktemp("real")
    done = subprocess.run(root_target(where), capture_output=True, text=True, check=True)
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("store", [False, True], ids=["for one run", "with a store"])
def test_as_root(
    real: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    as_nobody: dict[str, Any],
    store: bool,
) -> None:
    """Owners, modes, devices, attributes, ids, capabilities: each case ends as it really does."""
    where = tmp_path_factory.mktemp("played")
    for directory in (where, *where.parents[:2]):
        directory.chmod(0o755)
    os.chown(where, 65534, 65534)
    program = where / "program.py"
    program.write_bytes(Path(root_target(where)[3]).read_bytes())
    args = root_target(where)
    args[3] = str(program)
    path = tmp_path_factory.mktemp("store") / "store" if store else None
    said = played(*args, store=path, **as_nobody)
    found = dict(json.loads(line) for line in said.splitlines())
    assert found.keys() == real.keys()
    for name, value in real.items():
        assert not str(value).endswith("Error"), name
        assert found[name] == value, name
    # And nobody but that user has anything of it.
    assert {path.lstat().st_uid for path in where.rglob("*")} <= {0, 65534}
