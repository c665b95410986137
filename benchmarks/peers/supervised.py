"""A program under `unotify.Supervisor`: ``supervised.py MODE COMMAND ...``; MODE as below."""

from __future__ import annotations

import sys
import tempfile

from unotify import Reply, Supervisor
from unotify.calls import Open, OpenAt

KEEPING = """
[[rule]]
calls = ["chroot", "pivot_root", "setns", "unshare"]
do = "deny"

[[rule]]
calls = ["clone3"]
do = { fail = "ENOSYS" }

[[rule]]
calls = ["clone"]
where = "flags & (CLONE_NEWUSER | CLONE_NEWNS)"
do = "deny"
"""
"""What sandboxes and container profiles refuse as well."""

# What looks at no path goes to the filter: O_PATH descriptors cannot be handed over.
POLICY = """
version = 1
default = "allow"
{first}
[[rule]]
calls = ["open", "openat"]
where = "flags & O_PATH"
do = "allow"

[[rule]]
calls = ["open", "openat"]
where = 'under(path, "/nowhere/secret")'
do = "deny"

[[rule]]
calls = ["open", "openat"]
{verdict}
"""

VERDICTS = {
    "policy": 'do = "perform"',
    "free": 'do = "perform"',
    "racy": 'do = "continue"\nracy = true\nbecause = "it is measured"',
}


def text(mode: str) -> str:
    """The policy of a mode."""
    return POLICY.format(first="" if mode == "free" else KEEPING, verdict=VERDICTS[mode])


def perform(call: Open | OpenAt) -> Reply:
    """The plainest handler that acts."""
    reply: Reply = call.perform()
    return reply


def main(mode: str, command: list[str]) -> int:
    """Run *command* to the end; returns its exit status."""
    if mode == "handler":
        with Supervisor() as supervisor:
            supervisor.on(Open, OpenAt)(perform)
            return supervisor.run(command).returncode
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text(mode))
        file.flush()
        with Supervisor(policy=file.name) as supervisor:
            return supervisor.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
