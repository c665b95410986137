"""A target in a storm: threads that call in loops and check each answer. Stand-alone.

``storm_target.py THREADS CALLS MODE``; prints one JSON object. Modes: ``value``
(getppid has to return 42), ``descriptor`` (getppid has to return a descriptor
whose content is its own call's number), ``signals`` (as ``value``, with a timer
signal that may interrupt), ``restart`` (with one that restarts).
"""

import ctypes
import json
import os
import signal
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
SYS_GETPPID = ctypes.c_long(int(os.environ["STORM_NR"]))

threads, calls, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
totals = {"right": 0, "interrupted": 0, "wrong": []}
lock = threading.Lock()


def work():
    """Call, and look at each answer."""
    right = interrupted = 0
    wrong = []
    for number in range(calls):
        result = libc.syscall(SYS_GETPPID, ctypes.c_long(number))
        error = ctypes.get_errno() if result == -1 else 0
        if result == -1 and error == 4 and mode == "signals":
            interrupted += 1
        elif mode == "descriptor":
            text = os.read(result, 20) if result > 2 else b""
            if text == b"%d" % number:
                right += 1
            else:
                wrong.append([number, result, text.decode("ascii", "replace")])
            if result > 2:
                os.close(result)
        elif result == 42:
            right += 1
        else:
            wrong.append([number, result, error])
    with lock:
        totals["right"] += right
        totals["interrupted"] += interrupted
        totals["wrong"] += wrong[:5]


def main():
    """Let the storm blow."""
    before = len(os.listdir("/proc/self/fd"))
    if mode in ("signals", "restart"):
        signal.signal(signal.SIGALRM, lambda number, frame: None)
        signal.siginterrupt(signal.SIGALRM, mode == "signals")
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    signal.setitimer(signal.ITIMER_REAL, 0)
    totals["leaked"] = len(os.listdir("/proc/self/fd")) - before
    print(json.dumps(totals))


main()
