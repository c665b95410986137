"""Which process is whose child, and whether it runs another program than before.

Theory of operation. ``/proc/PID/stat`` tells parent, start and where the stack of the program
begins. A number and a start name a process for good. The stack begins elsewhere after each exec,
where addresses are random, and stays where it is over a fork: so two looks at one process, or at
a process and its child, tell whether one has run another program since.

Of others than a target that waits nobody can say that the number is not somebody else's by now.
A parent is the one that was meant if its child still names it after the look.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

__all__ = ["Life", "children_of", "life_of"]

_USUAL: Final = 1024


class Life(NamedTuple):
    """One process.

    Attributes:
        pid: Its number, as seen from here.
        parent: Its parent's; 0 for none, or one that is not visible from here.
        group: Its process group.
        session: Its session.
        started: When it started, in clock ticks since boot.
        image: Where its program's code and stack are; another after exec.
    """

    pid: int
    parent: int
    group: int
    session: int
    started: int
    image: tuple[int, int]


def life_of(pid: int) -> Life | None:
    """What ``/proc/PID/stat`` tells of process *pid*; ``None``: there is none."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.pread(fd, _USUAL, 0)
    except OSError:
        return None
    finally:
        os.close(fd)
    # The name, in parentheses, may have spaces and more of them.
    rest = text.rpartition(b")")[2].split()
    _, parent, group, session = rest[:4]
    return Life(
        pid, int(parent), int(group), int(session), int(rest[19]), (int(rest[23]), int(rest[25]))
    )


def children_of(pid: int) -> list[int]:
    """The children of process *pid* that live."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    for tid in threads:
        try:
            with open(f"/proc/{pid}/task/{tid}/children", "rb") as file:
                found += map(int, file.read().split())
        except FileNotFoundError:
            if not os.path.exists(f"/proc/{pid}/task/{pid}/children"):
                return _searched(pid)  # a kernel without CONFIG_PROC_CHILDREN
        except OSError:
            continue
    return found


def _searched(pid: int) -> list[int]:
    lives = (life_of(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [life.pid for life in lives if life is not None and life.parent == pid]
