"""Whoever plays root hears what root hears: the same program, really and as an ordinary user."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.cli_support import ENVIRON, UNOTIFY
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


def test_on_an_overlay(tmp_path: Path) -> None:
    """A file that is copied up when it is written to is still the one that was remembered."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower/file").write_text("below")
    script = (
        "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && "
        'exec "$@" sh -c "chown 5:6 merged/file && echo above >> merged/file && '
        "touch merged/new && chown 7:8 merged/new && echo more >> merged/new && "
        "stat -c '%u %g' merged/file merged/new && rm merged/new && touch merged/new && "
        "stat -c '%u %g' merged/new\""
    )
    args = ["unshare", "-m", "sh", "-c", script, "sh", *UNOTIFY, "run", "--fake-root", "--"]
    done = subprocess.run(
        args, cwd=tmp_path, env=ENVIRON, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("5 6\n7 8\n0 0\n", "")
    assert (tmp_path / "upper/file").read_text() == "belowabove\n"
