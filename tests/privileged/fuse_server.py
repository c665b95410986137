"""A file system in user space whose answers may never come. Stand-alone; needs root.

Arguments: the mount point. Its one file is ``file``; ``slow`` and what else begins so is looked up
only when a line comes in. Prints a line when it is mounted, and one for each look-up that waits.
"""

import contextlib
import ctypes
import os
import struct
import sys
import threading

LOOKUP, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT, OPENDIR, RELEASEDIR = (
    1,
    3,
    14,
    15,
    18,
    25,
    26,
    27,
    29,
)
FORGET, BATCH_FORGET, INTERRUPT = 2, 42, 36
PARALLEL = 1 << 18  # several look-ups in one directory at a time
ROOT, FILE = 1, 2
CONTENT = b"content\n"
ENOENT, ENOSYS = 2, 38


def attributes(node):
    """Struct fuse_attr."""
    mode, size = (0o100644, len(CONTENT)) if node == FILE else (0o40755, 0)
    return struct.pack("=6Q3I7I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(opcode, node, body):
    """What a request gets: bytes, or a negative errno."""
    if opcode == INIT:
        return struct.pack("=4I2H2I2H8I", 7, 31, 0, PARALLEL, 0, 0, 4096, 0, 0, 0, *[0] * 8)
    if opcode == LOOKUP:
        name = body.rstrip(b"\0")
        if name.startswith(b"slow"):
            print(name.decode(), flush=True)
            released.wait()
        if name != b"file" and not name.startswith(b"slow"):
            return -ENOENT
        # Nothing is remembered: each look-up comes here.
        return struct.pack("=4Q2I", FILE, 1, 0, 0, 0, 0) + attributes(FILE)
    if opcode == GETATTR:
        return struct.pack("=Q2I", 0, 0, 0) + attributes(node)
    if opcode in (OPEN, OPENDIR):
        return struct.pack("=Q2I", 0, 0, 0)
    if opcode == READ:
        offset, size = struct.unpack_from("=8xQI", body)
        return CONTENT[offset : offset + size]
    return b"" if opcode in (RELEASE, RELEASEDIR, FLUSH) else -ENOSYS


def reply(fd, unique, opcode, node, body):
    """Answer one request."""
    found = answer(opcode, node, body)
    error, data = (found, b"") if isinstance(found, int) else (0, found)
    with contextlib.suppress(OSError):  # it was interrupted meanwhile
        os.write(fd, struct.pack("=IiQ", 16 + len(data), error, unique) + data)


def serve(fd):
    """Read requests; each is answered in a thread of its own."""
    while True:
        try:
            request = os.read(fd, 1 << 17)
        except OSError:
            return
        _, opcode, unique, node = struct.unpack_from("=IIQQ", request)
        if opcode not in (FORGET, BATCH_FORGET, INTERRUPT):
            threading.Thread(
                target=reply, args=(fd, unique, opcode, node, request[40:]), daemon=True
            ).start()


released = threading.Event()
libc = ctypes.CDLL(None, use_errno=True)
point = sys.argv[1].encode()
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"slow", point, b"fuse", 6, options):
    sys.exit(f"mount: errno {ctypes.get_errno()}")
threading.Thread(target=serve, args=(fuse,), daemon=True).start()
print("mounted", flush=True)
sys.stdin.readline()
released.set()
sys.stdin.readline()
libc.umount2(point, 2)
