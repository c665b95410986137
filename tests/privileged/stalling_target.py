"""A target whose argument lies in a page that nobody delivers, or late. Stand-alone.

Arguments: the numbers of userfaultfd(2) and of the call to make; and, to make it again and again,
the seconds after which each page comes. Prints the page's address.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import struct
import sys
import threading
import time

UFFDIO_API, UFFDIO_REGISTER, UFFDIO_ZEROPAGE = 0xC018AA3F, 0xC020AA00, 0xC020AA04
UFFD_API, MODE_MISSING = 0xAA, 1

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

userfaultfd, number = map(int, sys.argv[1:3])
delays = [float(word) for word in sys.argv[3:]]
pages = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
fd = libc.syscall(ctypes.c_long(userfaultfd), ctypes.c_long(0))
if fd < 0:
    sys.exit(f"userfaultfd: errno {ctypes.get_errno()}")
fcntl.ioctl(fd, UFFDIO_API, bytearray(struct.pack("=QQQ", UFFD_API, 0, 0)), True)
fcntl.ioctl(
    fd,
    UFFDIO_REGISTER,
    bytearray(struct.pack("=QQQQ", address, mmap.PAGESIZE, MODE_MISSING, 0)),
    True,
)
print(address, flush=True)


def deliver() -> None:
    """Deliver each page that somebody waits for."""
    while True:
        os.read(fd, 32)
        time.sleep(delays[0])
        zero = struct.pack("=QQQq", address, mmap.PAGESIZE, 0, 0)
        fcntl.ioctl(fd, UFFDIO_ZEROPAGE, bytearray(zero), True)


if delays:
    threading.Thread(target=deliver, daemon=True).start()
libc.syscall(ctypes.c_long(number), ctypes.c_long(address))
# Without its supervisor (ENOSYS) it ends.
while delays and ctypes.get_errno() != errno.ENOSYS:
    pages.madvise(mmap.MADV_DONTNEED)
    libc.syscall(ctypes.c_long(number), ctypes.c_long(address))
