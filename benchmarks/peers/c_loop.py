"""A minimal loop in C, built beforehand: ``python -m benchmarks.peers.c_loop PROGRAM``."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.peers.spawned import target
from benchmarks.peers.target import TOTAL

with target() as listener:
    fd = listener.fileno()
    subprocess.run([sys.argv[1], str(fd), str(TOTAL)], pass_fds=[fd], check=True)
