"""A target that makes openat2 through io_uring, and once without. Stand-alone.

Arguments: the file, and the number of openat2(2).

Prints what io_uring_setup said, and the result of each: one JSON object.
"""

import ctypes
import json
import mmap
import os
import struct
import sys

SETUP, ENTER = 425, 426
OFF_SQ_RING, OFF_CQ_RING, OFF_SQES = 0, 0x8000000, 0x10000000
OP_OPENAT2, GETEVENTS, AT_FDCWD, HOW_SIZE = 28, 1, -100, 24

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(number, *words):
    """A raw system call: the result, or the negative errno."""
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(word) for word in words])
    return -ctypes.get_errno() if result < 0 else result


how = ctypes.create_string_buffer(HOW_SIZE)


def through_the_ring(path):
    """Open *path* by a request in a ring of one entry."""
    params = ctypes.create_string_buffer(120)
    ring = call(SETUP, 1, ctypes.addressof(params))
    if ring < 0:
        return {"setup": ring}
    # struct io_uring_params: at 40 where things are in the submission ring, at 80 in the other.
    (sq_tail,) = struct.unpack_from("=I", params, 44)
    (sq_array,) = struct.unpack_from("=I", params, 64)
    (cqes,) = struct.unpack_from("=I", params, 100)
    sq = mmap.mmap(ring, sq_array + 4, offset=OFF_SQ_RING)
    cq = mmap.mmap(ring, cqes + 32, offset=OFF_CQ_RING)
    entries = mmap.mmap(ring, 64, offset=OFF_SQES)
    request = (OP_OPENAT2, 0, 0, AT_FDCWD, ctypes.addressof(how), ctypes.addressof(path), HOW_SIZE)
    struct.pack_into("=BBHiQQIIQ", entries, 0, *request, 0, 7)
    struct.pack_into("=I", sq, sq_array, 0)
    struct.pack_into("=I", sq, sq_tail, 1)
    done = call(ENTER, ring, 1, 1, GETEVENTS, 0, 0)
    assert done == 1, done
    user, result = struct.unpack_from("=Qi", cq, cqes)
    assert user == 7
    return {"setup": 0, "ring": result}


if __name__ == "__main__":
    buffer = ctypes.create_string_buffer(os.fsencode(sys.argv[1]))
    answer = through_the_ring(buffer)
    answer["plain"] = call(
        int(sys.argv[2]), AT_FDCWD, ctypes.addressof(buffer), ctypes.addressof(how), HOW_SIZE
    )
    print(json.dumps(answer), flush=True)
