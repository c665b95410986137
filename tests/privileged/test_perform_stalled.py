"""Performed calls whose path lies in a page that nobody delivers."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import missing
from tests.kernel.perform_support import attempt, start
from tests.kernel.targets import nr, until
from unotify import Supervisor
from unotify.calls import Mkdir


def test_a_path_that_nobody_delivers_costs_one_thread(tmp_path: Path) -> None:
    """M4: a page of userfaultfd; others are performed, and all ends with the target."""
    number = nr("userfaultfd")
    code = """
import fcntl
pages = mmap.mmap(-1, mmap.PAGESIZE)
address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
fd = libc.syscall(ctypes.c_long(int(sys.argv[1])), ctypes.c_long(0))
if fd < 0:
    say("none")
    sys.exit()
fcntl.ioctl(fd, 0xC018AA3F, bytearray(struct.pack("=QQQ", 0xAA, 0, 0)), True)
fcntl.ioctl(fd, 0xC020AA00,
            bytearray(struct.pack("=QQQQ", address, mmap.PAGESIZE, 1, 0)), True)
say("waits")
called(int(sys.argv[2]), address, 0o777)
"""
    with Supervisor() as supervisor:
        supervisor.on(Mkdir)(lambda call: call.perform())
        process = start(supervisor, code, number, nr("mkdir"))
        if process.stdout.readline() != b'"waits"\n':
            process.communicate(timeout=20)
            missing("there is no userfaultfd")
        until(lambda: supervisor.kernel.stalled() == 1)
        other = "say(tried(os.mkdir, sys.argv[1]))"
        assert attempt(supervisor, other, tmp_path / "other") == 0
        process.kill()
        process.wait()
        process.stdout.close()
        until(lambda: supervisor.kernel.stalled() == 0)
