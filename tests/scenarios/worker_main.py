"""A process that does as it is told: one JSON object a line in, one out. Stand-alone.

Each order names a thread. The main thread reads the orders, and does its own at once: while it
sleeps in a call no order is read. Others have a queue each.
"""

import ctypes
import json
import mmap
import os
import queue
import resource
import signal
import struct
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
kept = []
handled = []
lock = threading.Lock()
queues = {}
SECCOMP = int(sys.argv[1])


def say(answer):
    """Print an answer."""
    with lock:
        os.write(1, json.dumps(answer).encode() + b"\n")


def result(value):
    """A result and its errno."""
    return {"ret": value, "errno": ctypes.get_errno() if value == -1 else 0}


def install(order):
    """seccomp(2)."""
    if order["program"] is None:
        return result(libc.syscall(SECCOMP, 1, ctypes.c_ulong(order["flags"]), None))
    code = bytes.fromhex(order["program"])
    buffer = ctypes.create_string_buffer(code)
    fprog = struct.pack("@HP", len(code) // 8 & 0xFFFF, ctypes.addressof(buffer))
    return result(libc.syscall(SECCOMP, 1, ctypes.c_ulong(order["flags"]), fprog))


def int80(number, args):
    """``int $0x80`` with up to three full 64-bit registers."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # push rbx; mov rax,rdi; mov rbx,rsi; mov rcx,rdx; mov rdx,r8; int 0x80; pop rbx; ret
    code.write(bytes.fromhex("534889f84889f34889d14c89c2cd805bc3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    kept.append(code)
    kind = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_ulong] * 5)
    ebx, ecx, edx = ([*args, 0, 0, 0])[:3]
    value = kind(address)(number, ebx, ecx, 0, edx)
    if -4096 < value < 0:
        return {"ret": -1, "errno": -value}
    return {"ret": value, "errno": 0}


def obey(order):
    """Do what is told."""
    do = order["do"]
    if do == "call":
        if order["compat"]:
            return int80(order["nr"], order["args"])
        words = [ctypes.c_long(word - (1 << 64) if word >> 63 else word) for word in order["args"]]
        return result(libc.syscall(ctypes.c_long(order["nr"]), *words))
    if do == "install":
        return install(order)
    if do == "strict":
        done = libc.syscall(SECCOMP, 0, 0, None)
        return result(done if order["nr"] is None else libc.syscall(order["nr"]))
    if do == "seccomp":
        pointer = ctypes.c_void_p(order["pointer"])
        return result(libc.syscall(SECCOMP, order["op"], ctypes.c_ulong(order["flags"]), pointer))
    if do == "available":
        action = ctypes.c_uint32(order["action"])
        return result(libc.syscall(SECCOMP, 2, ctypes.c_ulong(0), ctypes.byref(action)))
    if do == "sizes":
        found = (ctypes.c_uint16 * 3)()
        libc.syscall(SECCOMP, 3, ctypes.c_ulong(0), found)
        return {"sizes": list(found)}
    if do == "nnp":
        return result(libc.prctl(38 if order["set"] else 39, int(order["set"]), 0, 0, 0))
    if do == "drop":
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        return {}
    if do == "bytes":
        buffer = ctypes.create_string_buffer(bytes.fromhex(order["hex"]), 4096)
        kept.append(buffer)
        return {"ret": ctypes.addressof(buffer)}
    if do == "poke":
        data = bytes.fromhex(order["hex"])
        ctypes.memmove(order["address"], data, len(data))
        return {}
    if do == "close":
        return result(libc.close(order["fd"]))
    if do == "fds":
        return {"fds": {fd: link(fd) for fd in os.listdir("/proc/self/fd")}}
    if do == "limit":
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (order["files"], hard))
        return {}
    if do == "handle":
        signal.signal(order["signal"], lambda number, frame: handled.append(number))
        signal.siginterrupt(order["signal"], not order["restart"])
        return {}
    if do == "ignore":
        signal.signal(order["signal"], signal.SIG_IGN)
        return {}
    if do == "handled":
        return {"handled": handled}
    if do == "unshare":
        if libc.unshare(0x20000000) and libc.unshare(0x20000000 | 0x10000000):
            raise OSError(ctypes.get_errno(), "unshare")
        return {}
    if do == "tid":
        return {"ret": threading.get_native_id()}
    raise ValueError(do)


def link(fd):
    """Where a descriptor points."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def work(name):
    """A thread's life."""
    while True:
        order = queues[name].get()
        if order["do"] == "end":
            break
        say({**obey(order), "thread": name})
    # Daemon: it ends by returning.


def serve():
    """Take orders until the end of input."""
    for line in iter(sys.stdin.buffer.readline, b""):
        order = json.loads(line)
        name = order["thread"]
        if order["do"] == "exit":
            os._exit(order["code"])
        if order["do"] == "fork":
            # The new process takes its orders from two FIFOs.
            pid = os.fork()
            if pid == 0:
                queues.clear()
                orders = os.open(order["orders"], os.O_RDONLY)
                os.dup2(orders, 0)
                os.close(orders)
                answers = os.open(order["answers"], os.O_WRONLY)
                os.dup2(answers, 1)
                os.close(answers)
                serve_raw()
                os._exit(0)
            say({"ret": pid, "thread": ""})
        elif order["do"] == "reap":
            say({"ret": os.waitpid(order["pid"], 0)[1], "thread": ""})
        elif order["do"] == "thread":
            queues[name] = queue.SimpleQueue()
            threading.Thread(target=work, args=(name,), daemon=True).start()
            queues[name].put({"do": "tid", "thread": name})
        elif name:
            queues[name].put(order)
        else:
            say({**obey(order), "thread": ""})


def serve_raw():
    """The same for a forked process: one order a read, since nothing is sent ahead."""
    while line := os.read(0, 1 << 20):
        order = json.loads(line)
        if order["do"] == "exit":
            os._exit(order["code"])
        say({**obey(order), "thread": ""})


serve()
