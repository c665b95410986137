"""The throw-away process that finds out what the kernel has: ``python -I -S probe_child.py``.

Stand-alone, like the launcher: run by a bare interpreter, prints one JSON object.
It installs real filters, since answers that need none can lie: a sandbox may
refuse the install and nothing else. Each risky step is a process of its own.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import struct
import sys

__all__: list[str] = []

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

SET_MODE_FILTER, GET_ACTION_AVAIL, GET_NOTIF_SIZES = 1, 2, 3
TSYNC, LOG, SPEC_ALLOW, NEW_LISTENER, TSYNC_ESRCH, WAIT_KILLABLE_RECV = (1 << n for n in range(6))
USER_NOTIF = 0x7FC00000
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000
RECV, SEND, ADDFD, SET_FLAGS = 0, 1, 3, 4
# A filter that allows everything.
ALLOW_ALL = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000), 8)


class Fprog(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def call(number: int, *arguments: object) -> int:
    """Make a call; a negative result is an errno."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *words)
    return -ctypes.get_errno() if result == -1 else result


def install(spec: dict[str, int], flags: int) -> int:
    """Install the filter that allows everything."""
    program = Fprog(1, ctypes.addressof(ALLOW_ALL))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return call(spec["seccomp"], SET_MODE_FILTER, flags, ctypes.byref(program))


def apart(work: object) -> object:
    """The result of *work* in a process of its own; ``None`` if that died."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, json.dumps(work()).encode())  # type: ignore[operator]
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(data) if data else None


def flag_known(spec: dict[str, int], flags: int) -> bool:
    """EFAULT for a missing program says that the flags are known."""
    return call(spec["seccomp"], SET_MODE_FILTER, flags, 0) == -errno.EFAULT


def known_features(spec: dict[str, int]) -> object:
    """What seccomp(2) says that it knows."""
    action = ctypes.c_uint32(USER_NOTIF)
    return {
        "user-notif": call(spec["seccomp"], GET_ACTION_AVAIL, 0, ctypes.byref(action)) == 0,
        "tsync": flag_known(spec, TSYNC),
        "log": flag_known(spec, LOG),
        "spec-allow": flag_known(spec, SPEC_ALLOW),
        "tsync-esrch": flag_known(spec, TSYNC | TSYNC_ESRCH),
        "wait-killable-recv": flag_known(spec, NEW_LISTENER | WAIT_KILLABLE_RECV),
    }


def ioctl_errno(fd: int, number: int, argument: object) -> int:
    """The errno of an ioctl, 0 if it worked."""
    try:
        fcntl.ioctl(fd, number, argument)  # type: ignore[call-overload]
    except OSError as error:
        return error.errno or 0
    return 0


def listener_features(spec: dict[str, int]) -> object:
    """What an idle listener's ioctls say about ids that it never gave out."""
    listener = install(spec, NEW_LISTENER)
    if listener < 0:
        return {"error": errno.errorcode.get(-listener, str(-listener))}
    unknown = struct.pack("=Q", 1)
    return {
        "new-listener": True,
        "continue": ioctl_errno(listener, spec["send"], struct.pack("=QqiI", 1, 0, 0, 1))
        == errno.ENOENT,
        "id-valid": ioctl_errno(listener, spec["id_valid"], unknown) == errno.ENOENT,
        "addfd": ioctl_errno(listener, spec["addfd"], struct.pack("=QIIII", 1, 0, 0, 0, 0))
        == errno.ENOENT,
        "addfd-send": ioctl_errno(listener, spec["addfd"], struct.pack("=QIIII", 1, 2, 0, 0, 0))
        == errno.ENOENT,
        "sync-wake-up": ioctl_errno(listener, spec["set_flags"], 0) == 0,
    }


def hangup_features(spec: dict[str, int]) -> object:
    """What a listener says when its last user is a zombie."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            listener = install(spec, NEW_LISTENER)
            rights = array.array("i", [listener])
            theirs.sendmsg([b"L"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        finally:
            os._exit(0)
    theirs.close()
    _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    listener = array.array("i", ancillary[0][2])[0]
    # Dead, and not reaped.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    poller = select.poll()
    poller.register(listener, 0)
    hangup = any(mask & select.POLLHUP for _, mask in poller.poll(50))
    os.waitpid(pid, 0)
    # Before 6.11 this blocks; a signal ends it.
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    ends = ioctl_errno(listener, spec["recv"], bytearray(80)) == errno.ENOENT
    return {"hangup-at-exit": hangup, "recv-ends": ends}


def process_features(spec: dict[str, int]) -> object:
    """What may be done to a process that we have started."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    found: dict[str, object] = {}
    pidfd = call(spec["pidfd_open"], pid, 0)
    stolen = call(spec["pidfd_getfd"], pidfd, 0, 0) if pidfd >= 0 else -1
    # Descriptor 0 may be closed in us, and so in it: EBADF says that the call works.
    found["pidfd-getfd"] = stolen >= 0 or stolen == -errno.EBADF
    buffer = ctypes.create_string_buffer(8)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    remote = (ctypes.c_size_t * 2)(ctypes.addressof(ALLOW_ALL), 8)
    result = libc.process_vm_readv(pid, local, ctypes.c_ulong(1), remote, ctypes.c_ulong(1), 0)
    found["process-vm-readv"] = result == 8 and buffer.raw == ALLOW_ALL.raw
    os.close(write)
    os.waitpid(pid, 0)
    found["pidfd-thread"] = thread_pidfd(spec)
    return found


def thread_pidfd(spec: dict[str, int]) -> bool:
    """Whether a thread that leads no group can have a pidfd."""
    import threading

    found: list[bool] = []

    def look() -> None:
        found.append(call(spec["pidfd_open"], threading.get_native_id(), os.O_EXCL) >= 0)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0]


def i386_works() -> bool:
    """Make getpid(2) by ``int $0x80``."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # push rbx; mov eax, 20; int 0x80; pop rbx; ret
    code.write(bytes.fromhex("53b814000000cd805bc3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return bool(ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid())


def x32_works() -> bool:
    """Make x32's getpid(2)."""
    return call(0x40000000 | 39) == os.getpid()


def user_namespace() -> bool:
    """Whether we may make a user and a mount namespace."""
    return bool(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0)


def main() -> None:
    """Probe everything."""
    # Ignored, as some parents leave it, no child would leave a status.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    spec = json.loads(sys.argv[1])
    # A process for each kind, since a sandbox may kill for the very call.
    features: dict[str, object] = {}
    known = apart(lambda: known_features(spec))
    features |= known if isinstance(known, dict) else {}
    listener = apart(lambda: listener_features(spec))
    answer: dict[str, object] = {"features": features, "install_error": None}
    if isinstance(listener, dict) and "error" not in listener:
        features |= listener
        hangup = apart(lambda: hangup_features(spec))
        features |= hangup if isinstance(hangup, dict) else {}
    else:
        answer["install_error"] = listener["error"] if isinstance(listener, dict) else "SIGSYS"
    process = apart(lambda: process_features(spec))
    features |= process if isinstance(process, dict) else {}
    answer["user_namespace"] = apart(user_namespace) or False
    answer["i386"] = bool(spec["x86"] and apart(i386_works))
    answer["x32"] = bool(spec["x86"] and apart(x32_works))
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
