"""Performed calls whose path lies in a page that nobody delivers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.perform_support import attempt, start
from tests.kernel.targets import nr, until
from unotify import Supervisor
from unotify.calls import Mkdir

_STALLS = """
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
called(int(sys.argv[2]), *(word or address for word in map(int, sys.argv[3:])))
"""


def test_a_path_that_nobody_delivers_costs_one_thread(tmp_path: Path) -> None:
    """M4: a page of userfaultfd; others are performed, and all ends with the target."""
    with Supervisor() as supervisor:
        supervisor.on(Mkdir)(lambda call: call.perform())
        process = start(supervisor, _STALLS, nr("userfaultfd"), nr("mkdir"), 0, 0o777)
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


@pytest.mark.usefixtures("needs_native")
def test_such_a_path_stalls_nobody_else(tmp_path: Path) -> None:
    """M4 without Python: more of them than are let in there, and others are served as before."""
    policy = tmp_path / "policy.toml"
    policy.write_text("""
version = 1
default = "allow"
[[rule]]
calls = ["openat"]
where = 'under(path, "/nowhere")'
do = "deny"
[[rule]]
calls = ["openat"]
do = "perform"
""")
    other = "for _ in range(100): os.close(os.open('/usr', 0))\nsay(7)"
    with Supervisor(policy=str(policy), readers=2) as supervisor:
        stuck = []
        for _ in range(4):
            stuck.append(start(supervisor, _STALLS, nr("userfaultfd"), nr("openat"), -100, 0, 0, 0))
            if stuck[-1].stdout.readline() != b'"waits"\n':
                stuck[-1].communicate(timeout=20)
                missing("there is no userfaultfd")
            assert attempt(supervisor, other) == 7
        assert supervisor.statistics().native > 0
        for process in stuck:
            process.kill()
            process.communicate(timeout=20)
        until(lambda: supervisor.statistics().in_flight == 0)
        before = supervisor.statistics().native
        assert attempt(supervisor, other) == 7
        assert supervisor.statistics().native > before
        assert supervisor.statistics().faults == 0
