"""The program that locks a mount; see `unotify.kernel.locking`.

It is run by itself, once for each mount, and imports little. Its arguments are three descriptors,
of a socket, a mount and a user namespace, and the numbers of the system calls that it makes.
"""

from __future__ import annotations

import array
import ctypes
import os
import socket
import sys

__all__ = ["main"]

_CLONE_NEWNS = 0x20000
_CLONE_NEWUSER = 0x10000000
_MS_REC_PRIVATE = 0x44000
_FROM_DESCRIPTOR = 0x4  # MOVE_MOUNT_F_EMPTY_PATH
_AT_FDCWD = -100
_OPEN_TREE_CLONE = 0x1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _call(number: int, *arguments: int | bytes | None) -> int:
    words = (ctypes.c_long(word) if isinstance(word, int) else word for word in arguments)
    done: int = _libc.syscall(ctypes.c_long(number), *words)
    if done < 0:
        raise OSError(ctypes.get_errno(), "")
    return done


def main(control: int, mount: int, user_namespace: int, *numbers: int) -> None:
    """Lock what *mount* is the root of, and send a clone of it; or an errno."""
    unshare, mount_, move_mount, setns, open_tree = numbers
    with socket.socket(fileno=control) as answers:
        try:
            _call(unshare, _CLONE_NEWNS)
            _call(mount_, None, b"/", None, _MS_REC_PRIVATE, None)
            _call(move_mount, mount, b"", _AT_FDCWD, b"/", _FROM_DESCRIPTOR)
            os.fchdir(mount)
            _call(setns, user_namespace, _CLONE_NEWUSER)
            # The current directory goes along: it is in the copy of the copy afterwards.
            _call(unshare, _CLONE_NEWNS)
            made = _call(open_tree, _AT_FDCWD, b".", _OPEN_TREE_CLONE | os.O_CLOEXEC)
        except OSError as error:
            answers.sendall((error.errno or 5).to_bytes(4, "little"))
            return
        sent = array.array("i", [made])
        answers.sendmsg([b"\0\0\0\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
