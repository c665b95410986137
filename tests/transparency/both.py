"""Runs a program natively and again with every call performed, and tells what differs."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import missing
from tests.transparency.identities import Identity

HERE = Path(__file__).parent
LONG = bool(os.environ.get("UNOTIFY_TEST_LONG"))
PATIENCE = 100.0
DAY = 86_400


@dataclass(frozen=True)
class Outcome:
    """All that can be seen of one run."""

    status: int
    stdout: str
    stderr: str
    files: dict[str, Any]


def environment(work: Path) -> dict[str, str]:
    """The same for everybody: no locale, no home and no date of the day."""
    date = "2020-02-02T02:02:02+00:00"
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(work),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SOURCE_DATE_EPOCH": "1580608922",
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_DATE": date for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_NAME": "Somebody" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "somebody@example.org" for who in ("AUTHOR", "COMMITTER")},
    }


def need(*programs: str) -> None:
    """Skip, or fail, without these programs."""
    for program in programs:
        if shutil.which(program) is None:
            missing(f"{program} is not installed")


def run(
    command: Sequence[str], work: Path, identity: Identity, *, performed: bool, by: str = ""
) -> Outcome:
    """Run *command* in *work*, and look at what it left there."""
    report = work.with_name("report.json")
    report.unlink(missing_ok=True)
    target = [*identity.wrapper(work), *command]
    env, options = environment(work), {}
    if performed:
        target = [sys.executable, str(HERE / "performing_main.py"), str(report), *target]
        env["BY"] = by
        if identity.ids:
            env["IDS"] = f"{identity.ids[0]},{identity.ids[1]}"
    elif identity.ids:
        options = {"user": identity.ids[0], "group": identity.ids[1], "extra_groups": []}
    process = subprocess.Popen(
        target,
        cwd=work,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        umask=0o022,
        **options,
    )
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE * (10 if LONG else 1))
    except BaseException:
        process.kill()
        process.wait()
        raise
    if performed:
        told = json.loads(report.read_text())
        assert not told["faults"], told["faults"][0]
        assert any(told["performed"].values()), "nothing was performed"
    if os.geteuid() != 0:
        # Which process a message is from only a privileged supervisor can say.
        stdout = stdout.replace("from False", "from True")
    return Outcome(process.returncode, stdout, stderr, seen(work))


def seen(top: Path) -> dict[str, Any]:
    """All files below *top*: kind, mode, owner, contents, and a time if the program set it."""
    now = time.time()
    found = {}
    for directory, names, files in os.walk(top):
        for name in [".", *names, *files]:
            path = os.path.join(directory, name)
            about = os.lstat(path)
            content: Any = None
            if stat.S_ISLNK(about.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(about.st_mode):
                content = Path(path).read_bytes()
            link = stat.S_ISLNK(about.st_mode)
            xattrs = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in ([] if link else os.listxattr(path, follow_symlinks=False))
            }
            set_time = about.st_mtime_ns if about.st_mtime < now - DAY else None
            count = 0 if stat.S_ISDIR(about.st_mode) else about.st_nlink
            found[os.path.relpath(path, top)] = (
                *(oct(about.st_mode), about.st_uid, about.st_gid, about.st_rdev, count),
                *(content, set_time, xattrs),
            )
    return found


def _require_equal(native: str, performed: str) -> None:
    lines = difflib.unified_diff(
        native.splitlines(), performed.splitlines(), "native", "performed", lineterm="", n=0
    )
    assert native == performed, "\n".join(lines)[:2000]


def require_same(
    command: Sequence[str],
    place: Path,
    identity: Identity,
    prepare: Callable[[Path], None] = lambda work: None,
    *,
    loose: Callable[[str], bool] = lambda name: False,
    by: str = "",
) -> Outcome:
    """Run *command* both ways in equal directories of one name, and compare all there is to see.

    Args:
        command: What to run.
        place: An empty directory.
        identity: As whom.
        prepare: Fills the directory.
        loose: Tells files whose contents differ from one native run to the next.
        by: ``policy``, or else handlers say that all is performed.
    """
    outcomes = []
    for performed in (False, True):
        work = identity.directory(place)
        prepare(work)
        outcomes.append(run(command, work, identity, performed=performed, by=by))
        shutil.rmtree(work)
    native, performed_one = outcomes
    assert native.status == performed_one.status, performed_one.stderr
    _require_equal(native.stdout, performed_one.stdout)
    _require_equal(native.stderr, performed_one.stderr)
    assert sorted(native.files) == sorted(performed_one.files)
    for name, file in native.files.items():
        other = performed_one.files[name]
        if loose(name):
            file, other = (*file[:5], *file[6:]), (*other[:5], *other[6:])
        differ = [(one, two) for one, two in zip(file, other, strict=True) if one != two]
        assert not differ, f"{name}: {str(differ)[:2000]}"
    return native
