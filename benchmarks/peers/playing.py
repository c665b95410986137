"""Runs a program that plays root under us: ``playing.py STORE COMMAND ...``; - for no store."""

from __future__ import annotations

import sys

from unotify import Supervisor
from unotify.handlers.ownership import FakeRoot


def main(store: str, command: list[str]) -> int:
    """Run it, and end as it does."""
    with FakeRoot(None if store == "-" else store) as root, Supervisor() as supervisor:
        root.attach(supervisor)
        return supervisor.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
