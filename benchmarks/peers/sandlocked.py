"""A program in the package sandlock: ``sandlocked.py MODE WRITABLE COMMAND ...``.

It stops thirty-three calls in each mode; in mode ``denied`` it decides about paths too.
"""

from __future__ import annotations

import sys

from sandlock import Sandbox  # type: ignore[import-not-found]

mode, writable, *command = sys.argv[1:]
denied = ["/nowhere/secret"] if mode == "denied" else []
result = Sandbox(fs_readable=["/"], fs_writable=[writable, "/tmp", "/dev"], fs_denied=denied).run(
    command
)
sys.stdout.write((result.stdout or b"").decode())
sys.stderr.write((result.stderr or b"").decode())
if not result.success:
    sys.exit(f"{result.error or result.reason} {result.exit_code}")
