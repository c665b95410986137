"""A target that does what it is told: one JSON object a line in, one out. Stand-alone."""

import ctypes
import json
import mmap
import os
import signal
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
memory = {}  # address -> what keeps it alive
handled = []
lock = threading.Lock()


def say(answer):
    """Print an answer."""
    with lock:
        os.write(1, json.dumps(answer).encode() + b"\n")


def call(number, args):
    """Make a call."""
    words = [ctypes.c_long(word) for word in args]
    result = libc.syscall(ctypes.c_long(number), *words)
    return {"ret": result, "errno": ctypes.get_errno() if result == -1 else 0}


def int80(number, args):
    """``int $0x80`` with up to three full 64-bit registers."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # push rbx; mov rax,rdi; mov rbx,rsi; mov rcx,rdx; mov rdx,r8; int 0x80; pop rbx; ret
    code.write(bytes.fromhex("534889f84889f34889d14c89c2cd805bc3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    kind = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_ulong] * 5)
    ebx, ecx, edx = ([*args, 0, 0, 0])[:3]
    return {"ret": kind(address)(number, ebx, ecx, 0, edx)}


def obey(order):
    """Do what is told; the answer."""
    do = order["do"]
    if do == "call":
        return call(order["nr"], order.get("args", []))
    if do == "int80":
        return int80(order["nr"], order.get("args", []))
    if do == "jump":
        return {"ret": ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long)(order["address"])(0)}
    if do == "bytes":
        buffer = ctypes.create_string_buffer(bytes.fromhex(order["hex"]))
        memory[ctypes.addressof(buffer)] = buffer
        return {"address": ctypes.addressof(buffer)}
    if do == "map":
        pages = mmap.mmap(-1, order["pages"] * 4096)
        address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        memory[address] = pages
        return {"address": address}
    if do == "poke":
        data = bytes.fromhex(order["hex"])
        ctypes.memmove(order["address"], data, len(data))
        return {}
    if do == "peek":
        return {"hex": ctypes.string_at(order["address"], order["length"]).hex()}
    if do == "protect":
        result = libc.mprotect(
            ctypes.c_void_p(order["address"]), ctypes.c_size_t(order["length"]), order["prot"]
        )
        return {"ret": result}
    if do == "handle":
        signal.signal(order["signal"], lambda number, frame: handled.append(number))
        signal.siginterrupt(order["signal"], not order["restart"])
        return {}
    if do == "ignore":
        signal.signal(order["signal"], signal.SIG_IGN)
        return {}
    if do == "handled":
        return {"handled": handled}
    if do == "fds":
        return {"fds": {fd: link(fd) for fd in os.listdir("/proc/self/fd")}}
    if do == "read":
        return {
            "text": os.read(order["fd"], 4096).decode(),
            "inheritable": os.get_inheritable(order["fd"]),
        }
    if do == "limit":
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (order["files"], order["files"]))
        return {}
    if do == "fork":
        pid = os.fork()
        if pid == 0:
            result = call(order["nr"], order.get("args", []))
            os._exit(result["ret"] & 0x7F if result["ret"] >= 0 else 128 + (result["errno"] & 0x7F))
        return {"pid": pid}
    if do == "wait":
        pid, status = os.waitpid(order["pid"], 0)
        return {"status": os.waitstatus_to_exitcode(status)}
    if do == "unshare-files-call":
        assert libc.unshare(0x400) == 0
        fd = os.memfd_create("own")
        return {"fd": fd, **call(order["nr"], [fd])}
    if do == "exec":
        os.execv(order["path"], order["argv"])
    if do == "pid":
        return {"pid": os.getpid(), "tid": threading.get_native_id()}
    raise ValueError(do)


def link(fd):
    """Where a descriptor points."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def work(order):
    """Obey, and answer."""
    answer = obey(order)
    if "tag" in order:
        answer["tag"] = order["tag"]
    say(answer)


def main():
    """Take orders until the end of input."""
    for line in iter(sys.stdin.buffer.readline, b""):
        order = json.loads(line)
        if order["do"] == "exit":
            os._exit(order.get("code", 0))
        if order.get("thread"):
            threading.Thread(target=work, args=(order,), daemon=True).start()
        else:
            work(order)


main()
