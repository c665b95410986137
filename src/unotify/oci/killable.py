"""What a container's own configuration says of its filter.

The kernel cannot be asked whether a listener's filter was installed with
WAIT_KILLABLE_RECV. The runtime's ``config.json`` tells: runtimes refuse a flag that they cannot
set, so what stands there is so.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Final

__all__ = ["is_wait_killable"]

_MOST_BYTES: Final = 8 << 20
_FLAG: Final = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"


def is_wait_killable(bundle: str) -> bool:
    """Whether the ``config.json`` of *bundle* asks for WAIT_KILLABLE_RECV; False if unreadable.

    Args:
        bundle: An absolute path; of others nobody knows where they begin.
    """
    if not bundle.startswith("/"):
        return False
    try:
        # Nothing in it is the container's own; but whatever it is, it must not block us.
        fd = os.open(Path(bundle, "config.json"), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return False
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            return False
        flags = json.loads(data)["linux"]["seccomp"]["flags"]
        return isinstance(flags, list) and _FLAG in flags
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
