"""Make this process one of an operating system that is not Linux, and run a program in it.

Usage: python without_linux.py PROGRAM.py ARGUMENT...

The Linux-only names of os, socket and select disappear, and with them /proc, the modules that
make system calls, and the room that does.
"""

from __future__ import annotations

import builtins
import os
import runpy
import select
import socket
import sys
from typing import Any

_OS = """
pidfd_open memfd_create sched_getaffinity sched_setaffinity sched_setscheduler sched_param
SCHED_FIFO SCHED_OTHER SCHED_BATCH SCHED_IDLE getxattr setxattr listxattr removexattr unshare setns
eventfd splice copy_file_range getrandom getresuid setresuid getresgid setresgid pipe2
O_PATH O_TMPFILE O_DIRECT O_NOATIME O_LARGEFILE O_RSYNC P_PIDFD MFD_CLOEXEC MFD_ALLOW_SEALING
CLONE_NEWUSER CLONE_NEWNS CLONE_FS CLONE_FILES EFD_CLOEXEC POSIX_FADV_NORMAL
"""
_SOCKET = """
AF_NETLINK AF_PACKET AF_VSOCK AF_ALG AF_CAN AF_TIPC SO_PEERCRED SCM_CREDENTIALS SO_PASSCRED
SO_BINDTODEVICE SO_DOMAIN SO_PROTOCOL SO_MARK SOCK_CLOEXEC SOCK_NONBLOCK MSG_CMSG_CLOEXEC
"""
_MODULES = (
    *("ctypes", "fcntl", "mmap", "resource", "termios", "grp"),
    *("unotify.kernel._libc", "unotify.kernel._native"),
)


def _refuse(path: Any) -> None:
    if isinstance(path, (str, bytes)) and os.fsdecode(path).split("/")[1:2] in (["proc"], ["sys"]):
        raise FileNotFoundError(2, "there is no such thing here", path)


def leave_linux() -> None:
    """Take all that away."""
    sys.platform = "darwin"
    sys.modules.update(dict.fromkeys(_MODULES))  # type: ignore[arg-type]
    epoll = [name for name in dir(select) if name.lower().startswith("epoll")]
    for module, names in ((os, _OS.split()), (socket, _SOCKET.split()), (select, epoll)):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    plain, low = builtins.open, os.open

    def opened(path: Any, *args: Any, **options: Any) -> Any:
        _refuse(path)
        return plain(path, *args, **options)

    def low_opened(path: Any, *args: Any, **options: Any) -> Any:
        _refuse(path)
        return low(path, *args, **options)

    builtins.open, os.open = opened, low_opened  # type: ignore[assignment]


if __name__ == "__main__":
    del sys.argv[0]
    leave_linux()
    runpy.run_path(sys.argv[0], run_name="__main__")
