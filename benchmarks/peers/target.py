"""The target: calls ``getppid`` and prints the microseconds that one call took."""

from __future__ import annotations

import os
import sys
from itertools import repeat
from time import perf_counter

__all__ = ["ANSWER", "CALLS", "COMMAND", "TOTAL", "exec_target"]

ANSWER = 42
WARM_UP = 2_000
CALLS = 20_000
TOTAL = WARM_UP + CALLS
"""How many calls a supervisor has to answer in all."""

BARE = "--bare"
"""As the only argument: run without a supervisor, and expect no answer of its own."""

COMMAND = (sys.executable, "-m", __name__ if __name__ != "__main__" else "benchmarks.peers.target")


def exec_target() -> None:
    """Become the target; in a process that has the filter already."""
    try:
        os.execv(COMMAND[0], COMMAND)
    finally:
        os._exit(127)


def main() -> None:
    """Warm up, measure, print."""
    getppid = os.getppid
    for _ in range(WARM_UP):
        if getppid() != ANSWER and BARE not in sys.argv:
            sys.exit("the answer is wrong")
    started = perf_counter()
    for _ in repeat(None, CALLS):
        getppid()
    print((perf_counter() - started) / CALLS * 1e6)


if __name__ == "__main__":
    main()
