"""The benchmarks' report: the JSON that programs read and the table that people read."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.report import Report, Result

SLOW = Result("slow | odd", "us", 12.0, 6.0, 1.8)
QUICK = Result("quick", "us", 7.5, 6.0, 1.25)
ALONE = Result("alone", "ms", 3.0, None, 2.0)
PLAIN = Result("plain", "us", 9.0, 6.0)


def test_ratio_and_goal() -> None:
    """A goal is the greatest ratio that is good enough, and the bound itself still is."""
    assert (SLOW.ratio, SLOW.met) == (2.0, False)
    assert (QUICK.ratio, QUICK.met) == (1.25, True)


def test_unknown_is_none() -> None:
    """Without a baseline there is no ratio, and without either nothing is met or missed."""
    assert (ALONE.ratio, ALONE.met) == (None, None)
    assert (PLAIN.ratio, PLAIN.met) == (1.5, None)


def test_json_is_a_list_of_objects(tmp_path: Path) -> None:
    """NAME.json, in a directory that is made, has one object a result with seven fixed names."""
    path = Report("sample", "Title.", (SLOW, ALONE)).write(tmp_path / "new" / "out")
    assert path == tmp_path / "new" / "out" / "sample.json"
    assert json.loads(path.read_text()) == [
        {
            "name": "slow | odd",
            "unit": "us",
            "median": 12.0,
            "baseline": 6.0,
            "ratio": 2.0,
            "goal": 1.8,
            "met": False,
        },
        {
            "name": "alone",
            "unit": "ms",
            "median": 3.0,
            "baseline": None,
            "ratio": None,
            "goal": 2.0,
            "met": None,
        },
    ]


def test_markdown_table() -> None:
    """The table is Markdown whose columns are also in line as plain text."""
    report = Report("sample", "Title.", (SLOW, QUICK, ALONE, PLAIN))
    assert report.markdown() == (
        "## sample\n"
        "\n"
        "Title.\n"
        "\n"
        "| name        | unit | median | baseline | ratio |    goal | met |\n"
        "| ----------- | ---- | -----: | -------: | ----: | ------: | --: |\n"
        "| slow \\| odd | us   |  12.00 |     6.00 |  2.00 |  <= 1.8 |  NO |\n"
        "| quick       | us   |   7.50 |     6.00 |  1.25 | <= 1.25 | yes |\n"
        "| alone       | ms   |   3.00 |          |       |    <= 2 |     |\n"
        "| plain       | us   |   9.00 |     6.00 |  1.50 |         |     |\n"
    )


def test_what_is_missing_is_listed() -> None:
    """What could not be measured is named with its reason, and notes follow."""
    text = Report("sample", "Title.", (), {"strace": "not installed"}, ("A note.",)).markdown()
    assert text.endswith("\nNot measured here:\n\n- strace: not installed\n\nA note.\n")
