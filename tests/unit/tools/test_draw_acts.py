"""The tables of docs/perform.md, which are made of what the code asks."""

from __future__ import annotations

import re
from pathlib import Path

from tools import draw_acts
from unotify.abi import model
from unotify.calls.acts import performable

DOCS = Path(__file__).parents[3] / "docs"


def row(table: str, call: str) -> str:
    """The row that names *call*."""
    (found,) = (line for line in table.splitlines() if f"`{call}`" in line.split("|")[1])
    return found


def test_each_call_that_can_be_performed_has_one_row() -> None:
    """All are there, once, and no others."""
    rows = draw_acts.performed().splitlines()[2:]
    named = [call for line in rows for call in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(named) == sorted(performable())


def test_what_a_row_says() -> None:
    """What a redirect replaces, and what has to be known."""
    table = draw_acts.performed()
    assert row(table, "openat").endswith("| path | umask, may wait, gives a descriptor |")
    assert row(table, "rename").endswith("| paths |  |")
    assert row(table, "lstat").endswith("| path | answer in memory |")
    assert row(table, "sendto").endswith("| address | answer in memory (`sendmmsg`), may wait |")
    assert row(table, "fchmod").endswith("|  |  |")


def test_each_other_call_has_a_reason() -> None:
    """Together the two tables are about all calls of the model."""
    table = draw_acts.refused()
    counted = sum(
        len(re.findall(r"`\w+`", line)) + sum(map(int, re.findall(r"and (\d+) more", line)))
        for line in table.splitlines()
    )
    assert counted + len(performable()) == len(model.names())
    assert "| it changes the memory of the calling process |" in table


def test_the_page_includes_them(tmp_path: Path) -> None:
    """What is drawn is what the page shows."""
    draw_acts.write(tmp_path)
    page = (DOCS / "perform.md").read_text()
    for file in tmp_path.iterdir():
        assert f"```{{include}} _generated/{file.name}\n```" in page
