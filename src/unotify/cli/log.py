"""One JSON object for each call: what was asked, who decided, what was answered."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import Any, Self, TextIO

from unotify.cli.failures import CommandError, Exit, complain
from unotify.supervisor.telling import CallTelling, describe_reply, plain

__all__ = ["CallLog", "describe_reply", "plain"]


class CallLog(CallTelling):
    """Writes the calls to a file as JSON lines.

    The decoded arguments are the log's own look at the target's memory: what
    the kernel saw may differ if the target rewrote it meanwhile (C2).

    Args:
        file: Its name; ``-`` is standard error.

    Raises:
        CommandError: It cannot be written.
    """

    def __init__(self, file: str) -> None:
        super().__init__()
        self._name = file
        self._file: TextIO = sys.stderr
        if file != "-":
            try:
                # For nobody else: of what was executed it has the environment, secrets and all.
                self._file = open(  # noqa: SIM115 - closed on exit
                    file, "w", encoding="utf-8", opener=lambda path, how: os.open(path, how, 0o600)
                )
            except OSError as error:
                message = f"cannot write log {file}: {error.strerror}"
                raise CommandError(message, Exit.USAGE) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not sys.stderr:
            with suppress(OSError):  # a full disk has been told before
                self._file.close()

    def tell(self, entry: dict[str, Any]) -> None:
        """Write the line."""
        if self._file.closed:
            return
        try:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:
            # Once: from now on there is no log, and the target goes on.
            complain(f"cannot write log {self._name}: {error.strerror}; the log ends here")
            with suppress(OSError):
                self._file.close()
