"""Runs a program and prints its seconds: ``timed.py EXPECTED COMMAND ...``.

As a target of what is measured: what a supervisor takes to start is not in it. Fails if
the program does something else than it is EXPECTED to, as `outcome` tells.
"""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter
from zlib import crc32

__all__ = ["outcome"]


def outcome(command: list[str]) -> tuple[str, float]:
    """What came of *command*, in one word, and the seconds that it took."""
    started = perf_counter()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=-1, stderr=subprocess.DEVNULL, check=False
    )
    seconds = perf_counter() - started
    return f"{done.returncode}:{crc32(done.stdout):08x}", seconds


def main(expected: str, command: list[str]) -> None:
    """Run, compare, print."""
    found, seconds = outcome(command)
    if expected not in ("", found):
        sys.exit(f"it ended with {found}, natively with {expected}")
    print(found)
    print(seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
