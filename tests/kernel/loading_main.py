"""A target under load: ``loading_main.py GETPPID THREADS CALLS [open]``; says what went wrong.

Each thread makes getppid calls with a number in the first register, and looks whether the answer
is that of this very call. With ``open`` it asks for a file in memory each time, and reads it.
"""

import ctypes
import errno
import json
import os
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
GETPPID = int(sys.argv[1])
wrong: list[str] = []


def load(thread: int, calls: int, opening: bool) -> None:
    """Make calls."""
    for number in range(calls):
        value = thread * 1_000_000 + number
        if opening:
            try:
                fd = os.memfd_create("mine")
                if os.pread(fd, 100, 0) != b"from the agent":
                    wrong.append("another file")
                os.close(fd)
            except OSError as error:
                wrong.append(errno.errorcode[error.errno])
            continue
        answer = libc.syscall(ctypes.c_long(GETPPID), ctypes.c_long(value))
        if answer != value * 3 + 1:
            wrong.append(errno.errorcode.get(ctypes.get_errno(), str(answer)))


def main() -> None:
    """Make them in threads."""
    threads, calls = int(sys.argv[2]), int(sys.argv[3])
    opening = sys.argv[4:] == ["open"]
    running = [
        threading.Thread(target=load, args=(number, calls, opening)) for number in range(threads)
    ]
    print("begun", flush=True)
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print(json.dumps({"wrong": wrong[:5], "count": len(wrong)}), flush=True)


main()
