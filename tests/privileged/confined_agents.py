"""Agents that lack some capability, each in a fork of one process: it is imported once.

It reads lines of JSON, ``{"lacking": BITS, "log": PATH, "arguments": [...]}``, and answers each
with the process id of an agent. All of them end with it.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import unotify.cli

# Imported once for all.
import unotify.handlers
import unotify.kernel.journaled
import unotify.oci.outfit
import unotify.policy.compiling
from unotify.kernel.confining import _drop_bounding, _set, _sets


def serve(lacking: int, log: str, arguments: list[str]) -> None:
    """Be an agent that never had some capabilities."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    _drop_bounding(~lacking)
    effective, permitted, inheritable = (each & ~lacking for each in _sets())
    _set(effective, permitted, inheritable)
    sys.argv[1:] = ["agent", *arguments]
    unotify.cli.main()


def main() -> None:
    """Fork an agent for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    children = []
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                serve(**asked)
            finally:
                os._exit(1)
        children.append(child)
        print(child, flush=True)
    for child in children:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
