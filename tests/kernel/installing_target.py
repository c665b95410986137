"""Installs filters as its arguments say, one word after the other.

``3``: a filter of three instructions by prctl(2). ``seccomp:3``: the same by seccomp(2) with
FLAG_LOG; ``tsync:3``: with FLAG_TSYNC. ``wait``: says ``ready`` and waits for the end of its
input; ``pause`` waits for a signal. ``fork``, ``thread``: a child or a thread does the rest,
and this one waits for it. ``forking``: children are made all the time meanwhile. ``kill``:
kills itself. ``name:x``: calls itself x. ``say``: says ``ready``. ``exec``: becomes the rest.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
SECCOMP = int(sys.argv[1])
PR_SET_NAME, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 15, 22, 38
FLAGS = {"seccomp": 2, "tsync": 1}


def install(length: int, flags: int | None) -> None:
    """Install a filter that allows everything."""
    code = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000) * length)
    program = ctypes.create_string_buffer(struct.pack("@HP", length, ctypes.addressof(code)))
    if flags is None:
        failed = LIBC.prctl(PR_SET_SECCOMP, 2, program, 0, 0)
    else:
        failed = LIBC.syscall(SECCOMP, 1, flags, program)
    if failed:
        raise OSError(ctypes.get_errno(), "cannot install a filter")


def follow(words: list[str]) -> None:
    """Do what the words say."""
    while words:
        word = words.pop(0)
        kind, _, length = word.rpartition(":")
        match kind or word:
            case "wait":
                print("ready", flush=True)
                sys.stdin.read()
            case "say":
                print("ready", flush=True)
            case "exec":
                os.execv(words[0], words)
            case "name":
                LIBC.prctl(PR_SET_NAME, length.encode())
            case "pause":
                signal.pause()
            case "fork":
                pid = os.fork()
                if not pid:
                    follow(words)
                    os._exit(0)
                os.waitpid(pid, 0)
                return
            case "thread":
                thread = threading.Thread(target=follow, args=(words,))
                thread.start()
                thread.join()
                return
            case "forking":
                threading.Thread(target=fork_for_ever, daemon=True).start()
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case _:
                install(int(length), FLAGS.get(kind))


def fork_for_ever() -> None:
    """Make children and wait for them."""
    while True:
        pid = os.posix_spawn("/bin/true", ["true"], {})
        os.waitpid(pid, 0)


LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
follow(sys.argv[2:])
