"""What the agent says, for people and for the journal."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from unotify.oci.logs import JournalFormatter, to_journal
from unotify.supervisor.lines import LineFormatter


def test_each_line_has_a_level_for_the_journal() -> None:
    """Lines of a traceback too: each is an entry of its own there."""
    formatter = JournalFormatter("%(message)s")
    for level, number in (
        (logging.DEBUG, 7),
        (logging.INFO, 6),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
        (logging.CRITICAL, 2),
    ):
        record = logging.LogRecord("x", level, "file", 1, "one\ntwo %d", (2,), None)
        assert formatter.format(record) == f"<{number}>one\n<{number}>two 2"


def test_terminals_get_no_orders() -> None:
    """What programs call themselves is shown, and moves no cursor; nor is a line cut by it."""
    name = "\x1b[2Jé\r\x85\u2028\udc80\x7f"
    record = logging.LogRecord("x", logging.INFO, "file", 1, "by %s", (name,), None)
    told = r"by \x1b[2Jé\r\x85\u2028\udc80\x7f"
    assert LineFormatter("%(message)s").format(record) == told
    assert JournalFormatter("%(message)s").format(record) == f"<6>{told}"


def test_whether_a_stream_is_the_journals(tmp_path: Path) -> None:
    """By device and inode: of a file that was redirected the variable tells something else."""
    with (tmp_path / "a").open("w") as ours, (tmp_path / "b").open("w") as other:
        found = os.fstat(ours.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert to_journal(environ, ours.fileno())
        assert not to_journal(environ, other.fileno())
        assert not to_journal({}, ours.fileno())
