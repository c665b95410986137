"""What an agent says on standard error, for people and for the journal.

systemd reads levels from ``<N>`` at the start of a line (sd-daemon(3)), and has its own times and
names. So if standard error is the journal's, each line has its level; otherwise it has a name.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Final

from unotify.supervisor.lines import LineFormatter

__all__ = ["JournalFormatter", "counted", "set_up", "to_journal"]

_LEVELS: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)


class JournalFormatter(LineFormatter):
    """Puts the level before each line, of tracebacks too: a line is an entry of its own there."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of *record*."""
        level = next((number for least, number in _LEVELS if record.levelno >= least), 7)
        return "\n".join(f"<{level}>{line}" for line in super().format(record).split("\n"))


def to_journal(environ: Mapping[str, str], fd: int) -> bool:
    """Whether *fd* is the journal's stream that JOURNAL_STREAM tells of, by device and inode."""
    told = environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return told == f"{found.st_dev}:{found.st_ino}"


def counted(number: int, what: str) -> str:
    """``1 container``, ``2 containers``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def set_up(*, quiet: bool) -> None:
    """Say what is logged on standard error; *quiet*: warnings and errors only."""
    handler = logging.StreamHandler(sys.stderr)
    if to_journal(os.environ, sys.stderr.fileno()):
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(LineFormatter("unotify: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING if quiet else logging.INFO)
