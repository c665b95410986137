"""``python -m benchmarks [--rounds N] [NAME ...]``: run all benchmarks, or those named."""

from __future__ import annotations

import argparse
from importlib import import_module

BENCHMARKS = {
    "containers": 5,
    "fakeroot": 5,
    "filter": 7,
    "perform": 5,
    "roundtrip": 7,
    "spawn": 21,
    "start": 21,
}
"""Each benchmark, and how many rounds make its median steady."""


def main() -> None:
    """Print each table and write each JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, help="rounds instead of each benchmark's own number")
    options = parser.parse_args()
    if unknown := set(options.names) - BENCHMARKS.keys():
        parser.error(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    for name in options.names or BENCHMARKS:
        rounds = BENCHMARKS[name] if options.rounds is None else max(1, options.rounds)
        report = import_module(f"benchmarks.{name}").measure(rounds)
        print(report.markdown(), flush=True)
        report.write()


if __name__ == "__main__":
    main()
