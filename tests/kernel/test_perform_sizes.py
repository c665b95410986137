"""Messages that are as large as can be cost the supervisor little."""

from __future__ import annotations

from pathlib import Path

from tests.kernel.perform_support import attempt
from tests.kernel.targets import nr
from unotify import Supervisor
from unotify.calls import Sendmmsg, Sendmsg

_MESSAGES = """
number, handler = int(sys.argv[1]), sys.argv[2]
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
ours.setblocking(False)
data = mmap.mmap(-1, 64 << 20)
start = ctypes.addressof(ctypes.c_char.from_buffer(data))
fds = struct.pack("=253i", *[ours.fileno()] * 253)
one = struct.pack("=QiiI", 16 + len(fds), 1, 1, 0)[:16] + fds
one += bytes(-len(one) % 8)
control = one * 60
data[: len(control)] = control
def vectors(count, length):
    return struct.pack("=2Q", start + (1 << 20), length) * count
data[1 << 18 : (1 << 18) + 16 * 1024] = vectors(1024, 1 << 20)
def header(vector, count, control, size):
    return struct.pack("=QIIQQQQi4x", 0, 0, 0, vector, count, control, size, 0)
"""

_LARGE = (
    _MESSAGES
    + """
each = header(start + (1 << 18), 1, 0, 0) + bytes(8)
data[1 << 19 : (1 << 19) + len(each) * 1024] = each * 1024
say(called(number, ours.fileno(), start + (1 << 19), 1024, 0))
"""
)

_MANY = (
    _MESSAGES
    + """
data[1 << 19 : (1 << 19) + 56] = header(start + (1 << 18), 1, start, len(control))
say(called(number, ours.fileno(), start + (1 << 19), 0))
"""
)


def _peak() -> int:
    """The most memory that we ever had, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def test_a_thousand_messages_of_a_megabyte_are_not_all_read_at_once() -> None:
    """The answer may be shorter than the question: the rest is for the next call."""
    before = _peak()
    with Supervisor() as supervisor:
        supervisor.on(Sendmmsg)(lambda call: call.perform())
        assert attempt(supervisor, _LARGE, nr("sendmmsg"), "") == 1
        assert supervisor.statistics().faults == 0
    assert _peak() - before < 64 << 20


def test_more_descriptors_than_one_message_may_have_are_refused_before_they_are_taken() -> None:
    """They may be spread over many control messages, each of which may have so many."""
    with Supervisor() as supervisor:
        supervisor.on(Sendmsg)(lambda call: call.perform())
        assert attempt(supervisor, _MANY, nr("sendmsg"), "") == "EINVAL"
        assert supervisor.statistics().faults == 0
