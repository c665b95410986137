"""Explore the agent's restart protocol, and write into ``docs/testing.md`` how much there was.

Usage: python -m tools.draw_explored DIRECTORY
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from unotify.testing.exploring import explore

# By name: tests are not what mypy is asked about.
SMALL: dict[str, Any] = import_module("tests.unit.oci.restart_bounds").SMALL
BEGIN, END = "<!-- explored -->\n", "<!-- that is all -->\n"


def table() -> str:
    """One row for each exploration of the small bound."""
    lines = ["| what may happen | targets | states | moves | ends |", "|---|---|---|---|---|"]
    for name, model in SMALL.items():
        found = explore(model.world(), model.moves, always=model.always, at_end=model.at_end)
        counts = (model.targets, found.states, found.moves, found.ends)
        lines.append("| " + " | ".join([name, *(f"{count:,}" for count in counts)]) + " |")
    return "\n".join(lines) + "\n"


def main(directory: Path) -> None:
    """Put the table between its two marks."""
    page = directory / "testing.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + BEGIN + table() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
