"""What ``/proc/TID`` tells by a number: who asks finds out afterwards whose it was (P8)."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from unotify.errors import KernelError, TargetGone

__all__ = ["entry", "link", "listed", "numbers_alike", "process_of", "status_fields", "unseen"]


def entry(tid: int, name: str) -> bytes:
    """The content of ``/proc/TID/NAME``."""
    try:
        return Path(f"/proc/{tid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        if not Path("/proc/self").exists():
            raise KernelError(errno.ENOENT, "open(2)", "/proc is not mounted") from None
        raise TargetGone(f"thread {tid} has ended") from None


def listed(directory: str) -> list[str]:
    """Names in *directory*, of a thread."""
    try:
        return os.listdir(directory)
    except (FileNotFoundError, ProcessLookupError):
        raise TargetGone(f"{directory} has gone") from None


def status_fields(tid: int) -> dict[bytes, bytes]:
    """Lines of its ``status``, by name."""
    lines = entry(tid, "status").splitlines()
    return {name: value for name, _, value in (line.partition(b":") for line in lines)}


def numbers_alike() -> bool:
    """Whether ``/proc`` numbers threads as the kernel does for us (P2), if there is one at all.

    One that was mounted in another pid namespace has our targets' numbers for somebody else.
    """
    try:
        own = Path("/proc/self/status").read_bytes()
    except FileNotFoundError:
        return not Path("/proc/1").exists()
    # One number for each namespace, from that of the mount to our own.
    return len(re.findall(rb"^NSpid:\t\d+\t", own, re.MULTILINE)) == 0


def process_of(tid: int) -> int:
    """Its process."""
    return int(status_fields(tid)[b"Tgid"])


def link(tid: int, name: str) -> str:
    """What ``/proc/TID/NAME`` links to."""
    try:
        return os.readlink(f"/proc/{tid}/{name}")
    except (FileNotFoundError, ProcessLookupError):
        raise TargetGone(f"thread {tid} has ended") from None
    except OSError as error:
        raise unseen(error, tid, name) from error


def unseen(error: OSError, tid: int, name: str) -> KernelError:
    """That we may not look at ``/proc/TID/NAME``."""
    return KernelError(
        error.errno or errno.EACCES,
        "readlink(2)",
        f"no look at /proc/{tid}/{name}: {error.strerror}",
        hint="it takes ptrace rights over the target",
    )
