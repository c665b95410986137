"""A supervisor that does everything itself: python performing_main.py REPORT PROGRAM ARGUMENT...

Runs a program with all calls performed that can be, and ends as the program did. What went wrong
on the supervisor's side is written to the file REPORT. IDS=uid,gid in the environment starts the
program as another user; BY=policy has a policy say it, so that what is plain takes no Python.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
from collections import Counter
from typing import Any

from unotify import Continue, Instrument, Reply, Supervisor
from unotify.abi import tables
from unotify.abi.constants import OpenFlags
from unotify.calls import Call, Open, OpenAt, OpenAt2
from unotify.calls.acts import performable
from unotify.errors import HandlerFault
from unotify.kernel import default_kernel

WHERE = {
    # A5: a descriptor of O_PATH can be handed to nobody.
    "open": Open.flags & os.O_PATH == 0,
    "openat": OpenAt.flags & os.O_PATH == 0,
}


class Report(Instrument):
    """What the supervisor did, and what failed of it."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.performed: Counter[str] = Counter()

    def perform(self, call: Call) -> Reply:
        """Do it in the target's place."""
        self.performed[call.call_name] += 1
        reply: Reply = call.perform()
        return reply

    def open_how(self, call: OpenAt2) -> Reply:
        """The same, but for what can be said of no register."""
        if call.how.flags & OpenFlags.O_PATH:
            return Continue.racy(because="A5")
        return self.perform(call)

    def fault(self, fault: HandlerFault) -> None:
        """An instrument."""
        self.faults.append("".join(traceback.format_exception(fault)))

    def write(self, path: str) -> None:
        """Leave it where the test looks for it."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"faults": self.faults, "performed": self.performed}, file)


def policy() -> str:
    """What the handlers below do, as rules."""
    calls = ", ".join(f'"{name}"' for name in sorted(performable()))
    return f"""
version = 1
default = "allow"
[[rule]]
calls = ["open", "openat"]
where = "flags & O_PATH"
do = "allow"
[[rule]]
calls = ["openat2"]
where = "how.flags & O_PATH"
do = "continue"
racy = true
because = "A5"
[[rule]]
calls = [{calls}]
do = "perform"
"""


def options() -> dict[str, Any]:
    """Of popen: as whom."""
    ids = os.environ.pop("IDS", "")
    if not ids:
        return {}
    uid, gid = map(int, ids.split(","))
    return {"user": uid, "group": gid, "extra_groups": []}


def main(path: str, command: list[str]) -> int:
    """Run *command*; returns its exit status, or a negative signal."""
    if os.environ.pop("BY", "") == "policy":
        return by_policy(path, command)
    report = Report()
    with Supervisor() as supervisor:
        numbers = tables.numbers(default_kernel().arch)
        for name in performable():
            if name == "openat2":
                supervisor.on(name)(report.open_how)
            elif name in numbers:
                supervisor.on(name, where=WHERE.get(name))(report.perform)
        supervisor.add_instrument(report)
        status = supervise(supervisor, command)
    report.write(path)
    return status


def by_policy(path: str, command: list[str]) -> int:
    """The same, and no instrument: it would have to see all."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(policy())
        file.flush()
        with Supervisor(policy=file.name) as supervisor:
            status = supervise(supervisor, command)
    found = supervisor.statistics()
    report = Report()
    report.faults = ["a fault"] * found.faults
    report.performed["native"] = found.native
    report.write(path)
    return status


def supervise(supervisor: Supervisor, command: list[str]) -> int:
    """Run *command* and all that it leaves behind."""
    with supervisor.popen(command, **options()) as process:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda signum, _: process.send_signal(signum))
        status: int = process.wait()
    supervisor.wait(20)
    return status


if __name__ == "__main__":
    status = main(sys.argv[1], sys.argv[2:])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
