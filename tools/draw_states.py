"""Draw the state tables of `unotify.protocol` for the documentation.

A machine becomes a row of boxes with arcs: moves to the right run above, moves to the left and
moves that change nothing below. Nothing is fetched when the page is read, and the lines have the
colour of the text, so that the picture fits a dark page as well.

Usage: python -m tools.draw_states DIRECTORY
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from html import escape
from pathlib import Path
from typing import Any

from unotify.protocol.states import EXCHANGE, LISTENER

Table = Mapping[Any, Mapping[Any, Any]]  # state -> move -> state, all of them enums

WIDTH, HEIGHT, GAP = 110, 36, 110  # of a box, and between two
LIFT = 34  # how much higher an arc runs for each box that it passes


def moves(table: Table) -> list[Enum]:
    """Return all moves of a table in the order of their definition."""
    kinds = {type(move) for row in table.values() for move in row}
    return [move for kind in kinds for move in kind]


def grid(table: Table) -> str:
    """Return a Markdown table: a row for each state, a column for each move."""
    columns = moves(table)
    lines = [
        "| state | " + " | ".join(str(move.value) for move in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for state, row in table.items():
        cells = (str(row[move].value) if move in row else "" for move in columns)
        lines.append(f"| **{state.value}** | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def svg(table: Table, name: str) -> str:
    """Return a picture of a table."""
    states = list(table)
    arcs: dict[tuple[int, int], list[str]] = {}
    for state, row in table.items():
        for move, after in row.items():
            arcs.setdefault((states.index(state), states.index(after)), []).append(move.value)
    longest = len(states) - 1
    middle = 40 + LIFT * longest  # the boxes' upper edge
    below = max((15 * len(labels) for (a, b), labels in arcs.items() if a == b), default=0)
    back = max((LIFT * (a - b) + 30 for a, b in arcs if a > b), default=0)
    width = len(states) * WIDTH + (len(states) - 1) * GAP + 40
    height = middle + HEIGHT + 40 + max(below, back)
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}" '
        'style="max-width:100%;color:inherit" fill="none" stroke="currentColor" '
        'font-family="sans-serif" font-size="13" text-anchor="middle">',
        f'<marker id="{name}-tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="currentColor" '
        'stroke="none"/></marker>',
    ]

    def text(x: float, y: float, words: str) -> None:
        # The halo, in the page's colour, keeps the words readable where an arc passes.
        parts.append(
            f'<text x="{x:g}" y="{y:g}" fill="currentColor" stroke-width="5" paint-order="stroke" '
            f'stroke="var(--color-background-primary, white)">{escape(words)}</text>'
        )

    centres = [20 + WIDTH / 2 + number * (WIDTH + GAP) for number in range(len(states))]
    for state, x in zip(states, centres, strict=True):
        parts.append(
            f'<rect x="{x - WIDTH / 2:g}" y="{middle}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
        )
        text(x, middle + 23, state.value)
    for (a, b), labels in arcs.items():
        start, end, floor = centres[a], centres[b], middle + HEIGHT
        lift = LIFT * abs(b - a) + 10
        if a == b:
            parts.append(
                f'<path d="M{start - 16:g} {floor}c-14 34 46 34 32 0" '
                f'marker-end="url(#{name}-tip)"/>'
            )
            for line, label in enumerate(labels):
                text(start, floor + 40 + 15 * line, label)
            continue
        # Arcs leave on the right half of a box's edge and arrive on the left half, or the mirror.
        side = 1 if b > a else -1
        edge = middle if b > a else floor
        start, end, top = start + 34 * side, end - 34 * side, edge - side * lift
        parts.append(
            f'<path d="M{start:g} {edge}C{start:g} {top} {end:g} {top} {end:g} {edge}" '
            f'marker-end="url(#{name}-tip)"/>'
        )
        # A cubic's middle is three quarters of the way to its control points.
        text(
            (start + end) / 2,
            edge - side * lift * 0.75 + (-6 if side > 0 else 16),
            ", ".join(labels),
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(directory: Path) -> None:
    """Write one Markdown file for each machine."""
    directory.mkdir(parents=True, exist_ok=True)
    machines: dict[str, Table] = {"exchange": EXCHANGE, "listener": LISTENER}
    for name, table in machines.items():
        picture = f"```{{raw}} html\n{svg(table, name)}```\n"
        (directory / f"{name}.md").write_text(f"{picture}\n{grid(table)}", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
