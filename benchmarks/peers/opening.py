"""The target of `benchmarks.perform`: opens and closes a file; prints the microseconds of one."""

from __future__ import annotations

import os
import sys
from itertools import repeat
from statistics import median
from time import perf_counter

WARM_UP = 200
BATCHES = 150
BATCH = 20


def batch(path: str) -> float:
    """The time of one, without the loop's start."""
    opened, closed, flags = os.open, os.close, os.O_RDONLY
    started = perf_counter()
    for _ in repeat(None, BATCH):
        closed(opened(path, flags))
    return (perf_counter() - started) / BATCH


def main(path: str) -> None:
    """Warm up, measure, print."""
    for _ in range(WARM_UP):
        os.close(os.open(path, os.O_RDONLY))
    # Of many short ones the median: what else the machine does falls on few of them.
    print(median(batch(path) for _ in range(BATCHES)) * 1e6)


if __name__ == "__main__":
    main(sys.argv[1])
