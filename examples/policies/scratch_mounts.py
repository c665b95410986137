"""Carries out the mounts that `scratch-mounts.toml` passes on."""

import ctypes
import errno
import os

import unotify
from unotify import Fail, Reply, Return
from unotify.abi.constants import MountFlags
from unotify.calls import Mount

libc = ctypes.CDLL(None, use_errno=True)
LIMITS = MountFlags.MS_NOSUID | MountFlags.MS_NODEV


@unotify.on(Mount)
def mount_tmpfs(call: Mount) -> Reply:
    """Mount a small tmpfs on what the checked path names now, and hold that meanwhile."""
    # The path is the supervisor's copy. A directory on its way may have been swapped since the
    # policy looked, so what it names is opened, asked for its name, and mounted on as opened.
    there = os.open(os.fspath(call.target), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place = f"/proc/self/fd/{there}"
        if not os.readlink(place).startswith("/scratch/"):
            return Fail(errno.EPERM)
        if not call.caller.is_waiting():
            return Fail(errno.EINTR)
        options = b"size=16m,mode=0777"
        if libc.mount(b"scratch", place.encode(), b"tmpfs", int(LIMITS), options) != 0:
            return Fail(ctypes.get_errno())
    finally:
        os.close(there)
    return Return(0)
