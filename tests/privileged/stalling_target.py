"""A target whose argument lies in a page that nobody delivers. Stand-alone.

Arguments: the numbers of userfaultfd(2) and of the call to make. Prints the page's address.
"""

import ctypes
import fcntl
import mmap
import struct
import sys

UFFDIO_API, UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00
UFFD_API, MODE_MISSING = 0xAA, 1

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

userfaultfd, number = map(int, sys.argv[1:])
pages = mmap.mmap(-1, mmap.PAGESIZE)
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
libc.syscall(ctypes.c_long(number), ctypes.c_long(address))
