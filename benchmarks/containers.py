"""What it costs a container to be answered: single calls in runc, and many containers at once."""

from __future__ import annotations

import platform
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from benchmarks.bundles import Bundle, agent, compiled
from benchmarks.report import Report, Result
from benchmarks.rounds import NotHere, Outcome, command, interleave
from benchmarks.roundtrip import ours
from unotify.kernel import default_kernel
from unotify.policy.loader import load
from unotify.policy.oci import runtime_profile

__all__ = ["measure"]

Fleets: TypeAlias = dict[tuple[int, int], list[dict[str, float]]]
"""What the runs of each fleet found."""

BARE = "bare round trip"
NATIVE, OURS, FORK = "native, privileged", "ours", "a process for each call"
CALLS = ("mknod", "bind")
GOAL = 10.0
"""Bare round trips that a whole mknod may take."""

COUNTS = {NATIVE: 2000, OURS: 400, FORK: 100}
FLEETS = ((1, 1), (10, 10), (100, 100), (1000, 1000), (1000, 10))
"""Containers of one agent, and how many of them ask without a pause."""

ALONE, AMONG = (10, 10), (1000, 10)
IDLE_GOAL = 2.0
"""How many times their latency without idle containers busy ones may have."""

SECONDS = 1.0
SECONDS_OF_FLEETS = 40.0

POLICIES = {
    "ours": """
version = 1
default = "allow"
[[rule]]
calls = ["mknod", "mknodat"]
do = { emulate-mknod = ["c:1:3"] }
[[rule]]
calls = ["mount"]
do = { emulate-mount = { file-systems = ["tmpfs"], binds = true } }
[[rule]]
calls = ["mount"]
do = "deny"
""",
    "forks": """
version = 1
default = "allow"
[[rule]]
calls = ["mknod", "mknodat", "mount"]
do = "notify"
""",
    "fleet": """
version = 1
default = "allow"
[[rule]]
calls = ["getppid"]
do = { return = 7 }
""",
}


def measure(rounds: int) -> Report:
    """Start an agent with all policies, and let everybody ask it in turns."""
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="unotify-bench-") as name:
        scratch = Path(name)
        try:
            calls, fleets = _all(scratch, rounds)
        except NotHere as reason:
            missing["all of it"] = str(reason)
            calls, fleets = Outcome({}, {}), {}
    return Report(
        "containers",
        "Microseconds of one call in a container of runc, and of one answer with many containers.",
        (*results_of(calls), *results_of_fleets(fleets)),
        missing | calls.missing,
        (
            f"Python {platform.python_version()}. Medians of {rounds} rounds, of fleets of as many "
            "as fitted in time. The base of a call is a bare round trip in Python. LXD 5.0.2 took "
            "4400 us for a mknod on two cores.",
            "Answers per second, all containers of one agent together: "
            + "; ".join(
                f"{_named(fleet)} {1e6 / median(one['each'] for one in found):.0f}"
                for fleet, found in fleets.items()
            )
            + ".",
        ),
    )


def _all(scratch: Path, rounds: int) -> tuple[Outcome, Fleets]:
    programs = {
        "devices": compiled("devices", scratch, "-static"),
        "fleet": compiled("fleet", scratch),
        "fork_helper": compiled("fork_helper", scratch),
    }
    policies = scratch / "policies"
    policies.mkdir()
    for name, text in POLICIES.items():
        (policies / f"{name}.toml").write_text(text)
    socket = scratch / "agent.sock"
    handlers = ["--handlers", str(Path(__file__).parent / "peers" / "fork_handlers.py")]
    helper = {"UNOTIFY_FORK_HELPER": str(programs["fork_helper"])}
    with agent(socket, policies, *handlers, **helper):
        contenders: dict[str, Callable[[], float]] = {BARE: command(ours("lowlevel"))}
        for way in COUNTS:
            bundle = _bundle(scratch, way, socket, programs["devices"])
            contenders |= {f"{call}: {way}": partial(_call, bundle, call, way) for call in CALLS}
        outcome = interleave(contenders, rounds)
        fleets = _fleets(programs["fleet"], socket, rounds)
    return outcome, fleets


def _bundle(scratch: Path, way: str, socket: Path, program: Path) -> Bundle:
    seccomp: dict[str, Any] | None = None
    if way != NATIVE:
        name = "ours" if way == OURS else "forks"
        arch = default_kernel().arch
        policy = load(POLICIES[name], native=arch)
        seccomp, _ = runtime_profile(policy, listener=str(socket), metadata=name, native=arch)
    path = scratch / way.partition(",")[0].replace(" ", "-")
    return Bundle(path, program, ["CAP_MKNOD", "CAP_SYS_ADMIN"], seccomp)


def _call(bundle: Bundle, call: str, way: str) -> float:
    return command(bundle.command(call, str(COUNTS[way])))()


def _fleets(program: Path, socket: Path, rounds: int) -> Fleets:
    found: Fleets = {fleet: [] for fleet in FLEETS}

    def run(fleet: tuple[int, int]) -> float:
        containers, busy = map(str, fleet)
        done = subprocess.run(
            [str(program), str(socket), containers, busy, str(SECONDS)],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_OF_FLEETS,
        )
        if done.returncode:
            raise NotHere((done.stderr.strip().splitlines() or ["it ends with an error"])[-1])
        rate, middle, late = map(float, done.stdout.split())
        found[fleet].append({"each": 1e6 / rate, "p50": middle, "p99": late})
        return rate

    contenders = {_named(fleet): partial(run, fleet) for fleet in FLEETS}
    outcome = interleave(contenders, rounds, seconds=SECONDS_OF_FLEETS)
    return {fleet: one for fleet, one in found.items() if _named(fleet) in outcome.samples}


def _named(fleet: tuple[int, int]) -> str:
    containers, busy = fleet
    each = f"{containers} container" + ("s" if containers > 1 else "")
    return each if containers == busy else f"{each}, {busy} busy"


def results_of(outcome: Outcome) -> list[Result]:
    """Each call against a bare round trip, and ours against a process for each call."""
    base = outcome.median(BARE)
    medians = {name: value for name in outcome.samples if (value := outcome.median(name))}
    results = [
        Result(name, "us", value, base, GOAL if name == f"mknod: {OURS}" else None)
        for name, value in medians.items()
    ]
    for call in CALLS:
        mine, theirs = (medians.get(f"{call}: {way}") for way in (OURS, FORK))
        if mine is not None and theirs is not None:
            results.append(Result(f"{call}: {OURS} : {FORK}", "us", mine, theirs, 1.0))
    return results


def results_of_fleets(
    fleets: Mapping[tuple[int, int], Sequence[Mapping[str, float]]],
) -> list[Result]:
    """What one answer takes the agent, and how long who asks waits for it."""
    medians = {
        fleet: {key: median(one[key] for one in found) for key in ("each", "p50", "p99")}
        for fleet, found in fleets.items()
        if found
    }
    results = [
        Result(f"{_named(fleet)}: {what}", "us", one[key])
        for fleet, one in medians.items()
        for key, what in (("each", "one answer"), ("p50", "half wait"), ("p99", "99 % wait"))
    ]
    if ALONE in medians and AMONG in medians:
        late, alone = medians[AMONG]["p99"], medians[ALONE]["p99"]
        results.append(
            Result(f"{_named(AMONG)} : {_named(ALONE)}, 99 %", "us", late, alone, IDLE_GOAL)
        )
    return results
