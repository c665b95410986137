"""Flags are asked about before any path, however that path is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.perform_support import attempt
from tests.kernel.targets import nr
from tests.kernel.test_perform_hostile_memory import natively
from unotify import Supervisor
from unotify.calls import OpenAt, OpenAt2
from unotify.calls.lookups import spot_of

_OPENED = """
openat, openat2 = json.loads(sys.argv[1])
found = {}
paths = ["file", "missing", "missing/x", "link", "link/file", "directory/../file",
         f"{sys.argv[2]}/file", f"{sys.argv[2]}/missing", "absolute/file",
         "/proc/self/cwd/file", "/proc/self/cwd/missing"]
def closed(fd):
    if isinstance(fd, int):
        os.close(fd)
        return "opened"
    return fd
for path in paths:
    raw = path.encode() + b"\\0"
    for flags, mode, resolve in (
        (1 << 40, 0, 0),
        (0, 0, 1 << 40),
        (0, 0, 0x18),
        (0, 0o600, 0),
        (0o100, 0o200000, 0),
        (0o20200000, 0o600, 0),
        (0o20000002, 0o600, 0),
        (0o200100, 0o600, 0),
        (0, 0, 0),
    ):
        how = struct.pack("=QQQ", flags, mode, resolve)
        words = ctypes.create_string_buffer(how, 24)
        name = f"{path} {flags:#o} {mode:#o} {resolve:#x}".replace(sys.argv[2], "DIR")
        found[name] = [closed(called(openat2, -100, raw, ctypes.addressof(words), 24))]
        if not resolve:
            found[name].append(closed(called(openat, -100, raw, flags & 0x7FFFFFFF, mode)))
        if os.path.lexists("missing"):
            os.unlink("missing")
say(found)
"""


@pytest.mark.parametrize("looked", [False, True], ids=["found", "looked at before"])
def test_flags_that_are_wrong_are_wrong_for_each_path(tmp_path: Path, looked: bool) -> None:
    """Unknown ones, those that exclude each other, and a mode for nothing are EINVAL."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "absolute").symlink_to(tmp_path.resolve())
    args = json.dumps([nr("openat"), nr("openat2")]), str(tmp_path.resolve())
    expected = natively(_OPENED, *args, cwd=tmp_path)
    with Supervisor() as supervisor:

        @supervisor.on(OpenAt, OpenAt2)
        def handler(call: Any) -> Any:
            if looked and b"proc" not in call.path.raw:
                call.caller.pin("path", spot_of(call, "path"))
            return call.perform()

        found = attempt(supervisor, _OPENED, *args, cwd=tmp_path)
        assert supervisor.statistics().faults == 0
    # What a rule looked at was looked up before anything else was asked.
    lost = {"ENOENT", "ENOTDIR", "ELOOP"} if looked else set()
    assert {
        name: (answers, found[name])
        for name, answers in expected.items()
        if found[name] != answers and not lost & set(found[name])
    } == {}
    assert sum(answers[0] == "EINVAL" for answers in expected.values()) > 50
