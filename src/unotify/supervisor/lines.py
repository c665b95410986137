"""What is logged, as lines that can be looked at."""

from __future__ import annotations

import logging

__all__ = ["LineFormatter"]


class LineFormatter(logging.Formatter):
    """Says what cannot be printed by its number: programs choose names, and terminals obey."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of *record*."""
        return "".join(
            letter
            if letter.isprintable() or letter in "\n\t"
            else letter.encode("unicode_escape").decode("ascii")
            for letter in super().format(record)
        )
