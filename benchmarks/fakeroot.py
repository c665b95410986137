"""What it costs to play root: whole jobs as they are, under fakeroot(1), and under us.

Each job is timed from inside, so that nobody's start counts, and has to end under us as it does
under fakeroot: with the same archive. Natively an ordinary user's tar sets no owners, so that
column measures the machine, not a job that one could do instead.
"""

from __future__ import annotations

import io
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from benchmarks.loads import Load, find, give, make
from benchmarks.report import Report, Result
from benchmarks.rounds import NotHere, Outcome, command, interleave
from benchmarks.users import User, ordinary, ourselves

__all__ = ["JOBS", "WAYS", "measure", "results_of"]

NATIVE, FAKEROOT, OURS, STORED = "native", "fakeroot", "unotify", "unotify, with a store"

FILES, OWNERS = 1500, 7
SECONDS = 60.0
"""How long the rounds of one job may take."""

Way = Callable[[User, Sequence[str]], list[str]]
"""Makes a command line of one."""


def tar(user: User) -> list[str]:
    """Takes an archive with owners out, and makes another one of what came out."""
    place = user.home / "tar"
    place.mkdir()
    with tarfile.open(place / "in.tar", "w") as archive:
        for number in range(FILES):
            entry = tarfile.TarInfo(f"tree/d{number // 50}/f{number}")
            entry.uid, entry.gid, entry.size = number % OWNERS, number % 3, 600
            entry.mode = 0o4755 if number % 10 == 0 else 0o644
            archive.addfile(entry, io.BytesIO(b"x" * 600))
    give(place, user)
    script = (
        f"cd {place} && rm -rf tree && tar -xpf in.tar && "
        "tar --sort=name --mtime=@0 --numeric-owner -cf out.tar tree && cksum < out.tar"
    )
    return ["sh", "-c", script]


JOBS: Final[Mapping[str, Load]] = MappingProxyType(
    {f"tar, {FILES} files": tar, "make, 40 C files": make, "find -size /usr/share": find}
)
"""Each prepares what it needs in the user's home, and returns its command line."""


def _native(user: User, args: Sequence[str]) -> list[str]:
    return list(args)


def _fakeroot(user: User, args: Sequence[str]) -> list[str]:
    if shutil.which("fakeroot") is None:
        raise NotHere("fakeroot is not installed")
    return ["fakeroot", "--", *args]


def _ours(user: User, args: Sequence[str]) -> list[str]:
    return [user.python, "-m", "benchmarks.peers.playing", "-", *args]


def _stored(user: User, args: Sequence[str]) -> list[str]:
    store = str(user.home / "store")
    return [user.python, "-m", "benchmarks.peers.playing", store, *args]


WAYS: Final[Mapping[str, Way]] = MappingProxyType(
    {NATIVE: _native, FAKEROOT: _fakeroot, OURS: _ours, STORED: _stored}
)
"""In the order of the table."""


def measure(rounds: int) -> Report:
    """Prepare each job, and run it in turns: all ways of one job, then the next job."""
    missing: dict[str, str] = {}
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="unotify-bench-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        try:
            user = ordinary(scratch)
        except NotHere:
            user = ourselves(scratch)
        for job, load in JOBS.items():
            try:
                outcome = _job(user, load, rounds)
            except NotHere as reason:
                missing[job] = str(reason)
                continue
            results += results_of(job, outcome)
            missing |= {f"{job}: {way}": why for way, why in outcome.missing.items()}
    return Report(
        "fakeroot",
        "Milliseconds of whole jobs of an ordinary user who plays root.",
        tuple(results),
        missing,
        (
            f"Python {platform.python_version()}. Medians of {rounds} rounds, or of as many as "
            "fitted in time. The base is the native run, which sets no owners. No start is "
            "counted. fakeroot is a library in each program, and misses static ones; it asks a "
            "process of its own by messages.",
        ),
    )


def results_of(job: str, outcome: Outcome) -> list[Result]:
    """Each way against the native run."""
    base = outcome.median(NATIVE)
    return [
        Result(f"{job}: {way}", "ms", median, base)
        for way in WAYS
        if (median := outcome.median(way)) is not None
    ]


def _job(user: User, load: Load, rounds: int) -> Outcome:
    args = load(user)
    timed = [user.python, "-m", "benchmarks.peers.timed"]
    expected = _expected(user, [*timed, "", *args])
    contenders = {}
    for name, way in WAYS.items():
        digest = "" if name == NATIVE else expected
        contenders[name] = partial(_run, way, user, [*timed, digest, *args])
    return interleave(contenders, rounds, seconds=SECONDS)


def _expected(user: User, target: list[str]) -> str:
    """What comes of it for who plays root, by fakeroot where there is one."""
    for way in (_fakeroot, _ours):
        try:
            before = user.run(way(user, target))
        except NotHere:
            continue
        if before.returncode:
            raise NotHere(before.stderr.decode(errors="replace").strip() or "it does not run")
        return before.stdout.decode().split()[0]
    raise NotHere("nobody can play root here")


def _run(way: Way, user: User, target: list[str]) -> float:
    return command(way(user, target), **user.options)() * 1e3
