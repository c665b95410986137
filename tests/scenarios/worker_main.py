"""A process that does as it is told: one JSON object a line in, one out. Stand-alone.

Each order names a thread. The main thread reads the orders, and does its own at once: while it
sleeps in a call no order is read. Others have a queue each.
"""

import ctypes
import fcntl
import json
import mmap
import os
import queue
import resource
import signal
import socket
import struct
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.process_vm_readv.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
kept = []
handled = []
locks = [threading.Lock()]
queues = {}
SECCOMP = int(sys.argv[1])


def say(answer):
    """Print an answer."""
    with locks[0]:
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


def mapping(data, protection):
    """Pages of their own, where 32-bit calls find them too; nothing is mapped behind them."""
    length = max(1, -(-len(data) // 4096)) * 4096
    found = libc.mmap(None, length + 4096, 3, 0x62, -1, 0)  # MAP_PRIVATE, ANONYMOUS, 32BIT
    if found in (None, 2**64 - 1):
        raise OSError(ctypes.get_errno(), "mmap")
    libc.munmap(ctypes.c_void_p(found + length), ctypes.c_size_t(4096))
    ctypes.memmove(found, data, len(data))
    libc.mprotect(ctypes.c_void_p(found), ctypes.c_size_t(length), protection)
    return found


def by_prctl(order):
    """prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER)."""
    code = bytes.fromhex(order["program"])
    buffer = ctypes.create_string_buffer(code)
    fprog = struct.pack("@HP", len(code) // 8 & 0xFFFF, ctypes.addressof(buffer))
    return result(libc.prctl(22, 2, fprog, 0, 0))


def take(order):
    """A descriptor that the stage sends."""
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(order["path"])
        _, fds, _, _ = socket.recv_fds(end, 1, 1)
    return {"ret": fds[0]}


def ioctl(order):
    """An ioctl on a listener, as a 64-bit call or as a 32-bit one; once, EINTR is told."""
    data = bytes.fromhex(order["hex"])
    address = mapping(data, 3)
    request = order["request"]
    if order["compat"]:
        done = int80(54, [order["fd"], request, address])
    else:
        argument = ctypes.c_void_p(address)
        done = result(libc.ioctl(order["fd"], ctypes.c_ulong(request), argument))
    done["hex"] = ctypes.string_at(address, len(data)).hex()
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(4096))
    return done


def repeat(order):
    """A call again and again, whose results are closed; an alarm rings meanwhile."""
    bad = []
    signal.setitimer(signal.ITIMER_REAL, order["alarm"], order["alarm"])
    for _ in range(order["times"]):
        found = libc.syscall(ctypes.c_long(order["nr"]), *order["args"])
        if found < 0:
            bad.append(ctypes.get_errno())
        else:
            os.close(found)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return {"bad": bad}


def look(order):
    """Into somebody else: process_vm_readv(2), /proc/PID/mem or pidfd_getfd(2)."""
    try:
        if order["way"] == "mem":
            with open(f"/proc/{order['pid']}/mem", "rb", buffering=0) as memory:
                found = os.pread(memory.fileno(), order["length"], order["address"])
                return {"ret": 0, "errno": 0, "hex": found.hex()}
        if order["way"] == "fd":
            pidfd = os.pidfd_open(order["pid"])
            done = result(libc.syscall(438, pidfd, order["address"], 0))
            os.close(pidfd)
            return done
    except OSError as error:
        return {"ret": -1, "errno": error.errno}
    buffer = ctypes.create_string_buffer(order["length"])
    ours = struct.pack("@PN", ctypes.addressof(buffer), order["length"])
    theirs = struct.pack("@PN", order["address"], order["length"])
    done = result(libc.process_vm_readv(order["pid"], ours, 1, theirs, 1, 0))
    return {**done, "hex": buffer.raw[: max(done["ret"], 0)].hex()}


def guard(order):
    """A page that nobody delivers until it is told to (userfaultfd(2))."""
    pages = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    fd = libc.syscall(323, 0)
    if fd < 0:
        return result(fd)
    fcntl.ioctl(fd, 0xC018AA3F, bytearray(struct.pack("=QQQ", 0xAA, 0, 0)), True)
    span = struct.pack("=QQQQ", address, mmap.PAGESIZE, 1, 0)
    fcntl.ioctl(fd, 0xC020AA00, bytearray(span), True)
    kept.extend((pages, fd))
    return {"ret": address, "errno": 0}


def deliver(order):
    """UFFDIO_COPY."""
    source = mapping(bytes.fromhex(order["hex"]), 3)
    span = struct.pack("=QQQQq", order["address"], source, mmap.PAGESIZE, 0, 0)
    fcntl.ioctl(kept[-1], 0xC028AA03, bytearray(span), True)
    return {}


def ring(order):
    """openat2(2) through io_uring."""
    sys.path.insert(0, order["home"])
    import uring_target

    return uring_target.through_the_ring(ctypes.create_string_buffer(order["path"].encode()))


def jump(order):
    """A call of the vsyscall page."""
    return result(ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(order["address"])(None))


MORE = {
    "by_prctl": by_prctl,
    "take": take,
    "ioctl": ioctl,
    "repeat": repeat,
    "look": look,
    "guard": guard,
    "deliver": deliver,
    "ring": ring,
    "jump": jump,
    "clock": lambda order: {"ret": int(time.clock_gettime(order["id"]) > 0)},
    "open": lambda order: {"ret": os.open(order["path"], os.O_RDONLY)},
}


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
        return {"ret": mapping(bytes.fromhex(order["hex"]), order["protection"])}
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
        if order["flags"] == 0x20000000 and not libc.unshare(order["flags"]):
            return {}
        more = 0x10000000 if order["flags"] == 0x20000000 else 0
        if libc.unshare(order["flags"] | more):
            raise OSError(ctypes.get_errno(), "unshare")
        return {}
    if do == "tid":
        return {"ret": threading.get_native_id()}
    if do in MORE:
        return MORE[do](order)
    raise ValueError(do)


def link(fd):
    """Where a descriptor points."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def lines():
    """Orders, as they come."""
    buffer = b""
    while True:
        while b"\n" not in buffer:
            data = os.read(0, 1 << 16)
            if not data:
                return
            buffer += data
        line, _, buffer = buffer.partition(b"\n")
        yield json.loads(line)


def work(name):
    """A thread's life."""
    while True:
        order = queues[name].get()
        if order["do"] == "serve":
            serve(order["orders"])
            os._exit(0)
        if order["do"] == "end":
            break
        say({**obey(order), "thread": name})
    # Daemon: it ends by returning.


def serve(orders):
    """Take orders until there are no more."""
    for order in orders:
        name = order["thread"]
        if order["do"] == "exit":
            os._exit(order["code"])
        if order["do"] == "fork":
            # The new process takes its orders from two FIFOs.
            pid = os.fork()
            if pid == 0:
                locks[0] = threading.Lock()  # another thread may have had it
                queues.clear()
                for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY)):
                    fd = os.open(order["answers" if number else "orders"], mode)
                    os.dup2(fd, number)
                    os.close(fd)
                serve(lines())
                os._exit(0)
            say({"ret": pid, "thread": ""})
        elif order["do"] == "reap":
            say({"ret": os.waitpid(order["pid"], 0)[1], "thread": ""})
        elif order["do"] == "thread":
            queues[name] = queue.SimpleQueue()
            threading.Thread(target=work, args=(name,), daemon=True).start()
            queues[name].put({"do": "tid", "thread": name})
        elif order["do"] == "leave":
            # Another thread takes the orders from now on, and this one ends alone.
            queues[order["to"]].put({"do": "serve", "orders": orders})
            libc.syscall(60, 0)
        elif name:
            queues[name].put(order)
        else:
            say({**obey(order), "thread": ""})


serve(lines())
