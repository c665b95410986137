"""A file system that a program of the host serves, out of a file or a device of the target's.

The program gets what the target can open, by a descriptor, and the ids of the target's user; root's
are those of nobody.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from typing import Any, Final

from unotify.calls.acts import Act
from unotify.calls.lookups import Spot
from unotify.errors import Refused
from unotify.handlers.devices import devices_of
from unotify.handlers.options import Option
from unotify.kernel.fuse import serve
from unotify.kernel.mounting import Mount

__all__ = ["make_served"]

_NOBODY: Final = 65534


def make_served(
    caller: Any,
    source: Spot | None,
    options: Iterable[Option],
    program: Sequence[str],
    *,
    devices: tuple[str, ...],
    attributes: int,
) -> Mount:
    """Start a program that serves a file system, and make a mount of it that nobody sees yet.

    Args:
        caller: The target; a `unotify.Target`.
        source: Where the target says that the file or device is.
        options: Which are listed; the program is told them.
        program: It and its options; ``{uid}`` and ``{gid}`` stand for ids that it is to have.
        devices: Block devices that may be the source.
        attributes: ``MOUNT_ATTR_*`` that the mount gets.

    Raises:
        Refused: As the kernel refuses the source; EPERM: that device is not listed; EINVAL: it is
            no file, or an option cannot be told; EINTR: the target has given up.
        KernelError: As `unotify.kernel.fuse.serve`.
    """
    if source is None:
        raise Refused("no source is named", errno=errno.EINVAL)
    values = {"flags": os.O_RDONLY | os.O_NONBLOCK, "mode": 0}
    done = caller.act(Act("openat", "openat", values, {"path": source}, returns_fd=True))
    if done.value < 0:
        raise Refused("the source cannot be opened", errno=-done.value)
    try:
        status = os.fstat(done.fd)
        if stat.S_ISBLK(status.st_mode):
            if not devices_of(devices).has(stat.S_IFBLK, status.st_rdev):
                raise Refused("the device is not listed", errno=errno.EPERM)
        elif not stat.S_ISREG(status.st_mode):
            raise Refused("the source is neither a file nor a device", errno=errno.EINVAL)
        theirs = caller.credentials
        uid, gid = (theirs.uid, theirs.gid) if theirs.uid else (_NOBODY, _NOBODY)
        command = [part.replace("{uid}", str(uid)).replace("{gid}", str(gid)) for part in program]
        told = [str(option) for option in options if option.key not in ("ro", "rw")]
        if any("," in text or "\\" in text for text in told):
            # To the program it would be another option, which is not listed.
            raise Refused("an option with a comma or backslash in it", errno=errno.EINVAL)
        command += ["-o", ",".join(told)] if told else []
        if not caller.is_waiting():
            raise Refused("it has given up", errno=errno.EINTR)
        return serve(
            command, done.fd, owner=caller.listener, uid=uid, gid=gid, attributes=attributes
        )
    finally:
        os.close(done.fd)
