"""What a benchmark found: a Markdown table for people, a JSON list for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["OUT", "Report", "Result"]

OUT = Path(__file__).parent / "out"
"""Where the JSON files go."""

_COLUMNS = ("name", "unit", "median", "baseline", "ratio", "goal", "met")


@dataclass(frozen=True)
class Result:
    """One measured thing.

    Attributes:
        name: What was measured.
        unit: Of *median* and *baseline*; less is better.
        median: The median of all rounds.
        baseline: What it is compared with, if that could be measured.
        goal: The greatest ratio that is good enough, if there is a goal.
    """

    name: str
    unit: str
    median: float
    baseline: float | None = None
    goal: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the baseline it takes."""
        return None if self.baseline is None else self.median / self.baseline

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; ``None`` without a goal, or without a baseline."""
        if self.goal is None or self.ratio is None:
            return None
        return self.ratio <= self.goal

    def as_json(self) -> dict[str, object]:
        """The object that goes into the file, unrounded."""
        return {column: getattr(self, column) for column in _COLUMNS}


@dataclass(frozen=True)
class Report:
    """One benchmark's outcome.

    Attributes:
        name: The benchmark's; also the file's.
        title: One line that says what the numbers are.
        results: In the order of the table.
        missing: What could not be measured here, and why.
        notes: Sentences below the table.
    """

    name: str
    title: str
    results: tuple[Result, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """The table, what is missing from it, and the notes."""
        lines = [f"## {self.name}", "", self.title, ""]
        lines += _table([_COLUMNS, *(_cells(result) for result in self.results)])
        if self.missing:
            lines += ["", "Not measured here:", ""]
            lines += [f"- {name}: {reason}" for name, reason in self.missing.items()]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"

    def write(self, directory: Path = OUT) -> Path:
        """Write ``NAME.json`` into *directory*, which is made if need be."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.name}.json"
        found = [result.as_json() for result in self.results]
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return path


def _cells(result: Result) -> tuple[str, ...]:
    met = {None: "", True: "yes", False: "NO"}[result.met]
    goal = "" if result.goal is None else f"<= {result.goal:g}"
    numbers = (_number(value) for value in (result.median, result.baseline, result.ratio))
    return (result.name, result.unit, *numbers, goal, met)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    # Text to the left, numbers to the right, and the columns in line also as plain text.
    head, *body = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    widths = [max(3, *(len(row[column]) for row in (head, *body))) for column in range(len(head))]
    right = [column not in ("name", "unit") for column in head]
    rule = tuple(
        "-" * (width - 1) + (":" if to_right else "-")
        for width, to_right in zip(widths, right, strict=True)
    )
    return [
        "| "
        + " | ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        + " |"
        for row in (head, rule, *body)
    ]
