"""CPython's own tests of files, paths, sockets and processes go the same, each of them.

They need an interpreter that has its tests: those of distributions often lack them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.conftest import missing
from tests.transparency.both import LONG, environment
from tests.transparency.identities import JAILED, SELF, UNSHARED, Identity

HERE = Path(__file__).parent
QUICK = ["test_genericpath", "test_fileio"]
MODULES = [
    *("test_os", "test_posix", "test_posixpath", "test_pathlib", "test_shutil", "test_tempfile"),
    *("test_glob", "test_socket", "test_subprocess", "test_zipfile", "test_tarfile"),
    *("test_mailbox", "test_dbm_dumb", "test_selectors", "test_file", "test_largefile"),
    *(
        "test_stat",
        "test_filecmp",
        "test_fileinput",
        "test_linecache",
        "test_fnmatch",
        "test_netrc",
    ),
    *("test_socketserver", "test_httpservers", "test_ftplib", "test_poplib", "test_mmap"),
    *("test_zipimport", "test_py_compile", "test_compileall", "test_sqlite3", "test_gzip"),
    *(
        "test_asyncio.test_unix_events",
        "test_asyncio.test_subprocess",
        "test_asyncio.test_sendfile",
    ),
]
ELSEWHERE = [
    *(*QUICK, "test_os", "test_posix", "test_shutil", "test_tempfile", "test_glob", "test_pathlib"),
    *("test_filecmp", "test_zipfile", "test_tarfile", "test_socketserver", "test_subprocess"),
]
"""Modules that are also tried with another root directory, and in namespaces."""

CASES = [
    *((SELF, module) for module in [*QUICK, *(MODULES if LONG else [])]),
    *((at, module) for at in (JAILED, UNSHARED) for module in (ELSEWHERE if LONG else QUICK[:1])),
]
LEFT_OUT = ("VSOCK", "CAN", "Bluetooth", "test_sendall_interrupted", "InterruptedSendTimeoutTest")
"""Sockets that hang in some virtual machines, and what waits for a signal to interrupt a send."""

DIFFERENT: dict[str, str] = {}
"""Tests that go another way, and why; docs/perform-differences.md has the list for people."""


def interpreter() -> str:
    """One that has its tests."""
    known = (getattr(sys, "_base_executable", sys.executable), "/usr/bin/python3")
    return next(filter(_has_tests, known), None) or missing("no Python here has its own tests")


def _has_tests(python: str) -> bool:
    command = [python, "-I", "-c", "import test.test_os, test.support"]
    if shutil.which(python) is None:
        return False
    with TemporaryDirectory() as place:  # they try what names a file there may have
        done = subprocess.run(command, cwd=place, check=False, capture_output=True)
    return done.returncode == 0


def outcomes(
    module: str, place: Path, identity: Identity = SELF, *, performed: bool
) -> dict[str, Any]:
    """How each test of *module* ended."""
    work = identity.directory(place)
    # All that is needed is in there: with another root directory nothing else may be.
    own = work / "own"
    own.mkdir()
    result = own / "result.json"
    shutil.copy(HERE / "outcomes_main.py", own)
    command = [interpreter(), "-B", str(own / "outcomes_main.py"), str(result), module]
    command = [*identity.wrapper(work), *command]
    report = place / "report.json"
    if performed:
        command = [sys.executable, str(HERE / "performing_main.py"), str(report), *command]
    with open(place / "log", "w") as log:
        done = subprocess.run(
            command,
            cwd=work,
            env={**environment(work), "LEFT_OUT": " ".join(LEFT_OUT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=900,
            check=False,
        )
    assert done.returncode == 0, (place / "log").read_text()[-2000:]
    if performed:
        assert json.loads(report.read_text())["faults"] == []
    found: dict[str, Any] = json.loads(result.read_text())
    shutil.rmtree(work)
    return found


@pytest.mark.timeout(2000)
@pytest.mark.parametrize(
    ("identity", "module"), CASES, ids=[f"{identity.name}-{module}" for identity, module in CASES]
)
def test_same_outcome(identity: Identity, module: str, tmp_path: Path) -> None:
    """Each test of a module ends the same way, whether its calls are performed or not."""
    identity.require()
    native = outcomes(module, tmp_path, identity, performed=False)
    ours = outcomes(module, tmp_path, identity, performed=True)

    assert native.keys() == ours.keys()
    assert {
        name: (native[name][0], *ours[name])
        for name in native
        if native[name][0] != ours[name][0] and name not in DIFFERENT
    } == {}
