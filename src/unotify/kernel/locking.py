"""Mounts whose attributes the root of a user namespace cannot take off again.

Theory of operation. Whoever may mount in a namespace may also change the mounts in there: take
nodev off, and the device nodes on somebody's disk image are devices. The kernel locks attributes
when a mount namespace is copied for a less privileged user namespace, and at no other time
(mount_namespaces(7)), and what is cloned of such a mount keeps the locks. So a process
(`unotify.kernel.locking_main`) attaches the mount in a copy of our mount namespace, enters the user
namespace, and makes a copy of that copy for it. The clone that it sends back is what the target
gets. Nobody sees the two namespaces, and they end with the process.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from typing import Final

from unotify.errors import KernelError
from unotify.kernel.acts import number
from unotify.kernel.mounting import Mount

__all__ = ["locked"]

_PATIENCE: Final = 10.0

_PROGRAM: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "locking_main.py")
_CALLS: Final = ("unshare", "mount", "move_mount", "setns", "open_tree")


def locked(mount: Mount, user_namespace: int) -> Mount:
    """A clone of *mount*, whose attributes are locked for all in a user namespace.

    Args:
        mount: One that is in no namespace; it is used up.
        user_namespace: A descriptor of the user namespace, which is not ours.

    Raises:
        KernelError: It could not be locked: EPERM without CAP_SYS_ADMIN.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours:
        with theirs:
            fds = (theirs.fileno(), mount.fd, user_namespace)
            numbers = [str(number(call)) for call in _CALLS]
            try:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", _PROGRAM, *map(str, fds), *numbers],
                    env={},
                    stdin=subprocess.DEVNULL,
                    pass_fds=fds,
                )
            except OSError as error:
                raise KernelError(error.errno or errno.EAGAIN, "fork(2)") from error
        with process:
            ours.settimeout(_PATIENCE)
            try:
                word, got, _, _ = socket.recv_fds(ours, 4, 1, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                word, got = b"", []
            if not got:
                process.kill()
    if got:
        return Mount(got[0])
    failed = int.from_bytes(word, "little") if len(word) == 4 else errno.EIO
    raise KernelError(failed or errno.EIO, "setns(2)", "a mount cannot be locked for a container")
