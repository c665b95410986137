"""`emulate-clock`, `emulate-keyring` and `emulate-perf`: what belongs to the whole machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.targets import until
from tests.privileged.handlers_support import attempt, handled
from unotify.handlers import perf_events
from unotify.kernel.privileged import open_event

CLOCK = "clock_settime settimeofday clock_adjtime adjtimex"

_TIME = """
SPEC, VAL = struct.pack("qq", 5, 6), struct.pack("qq", 5, 6)
def timex(modes):
    return ctypes.create_string_buffer(struct.pack("I204x", modes), 208)
def adjust(modes, nr=159, *more):
    buffer = timex(modes)
    done = called(nr, *more, buffer)
    seconds, = struct.unpack_from("q", buffer.raw, 72)
    return done if isinstance(done, str) else [done in range(6), seconds]
"""


@pytest.mark.parametrize(("answer", "expected"), [("deny", "EPERM"), ("fake", 0)])
def test_the_clock_is_not_set(answer: str, expected: object) -> None:
    """Refused, or said to be done; what is wrong is told in any case, and reading is answered."""
    code = (
        _TIME
        + """
contain()
now = adjust(0)
say([
    called(227, 0, SPEC), called(164, VAL, 0), called(164, 0, bytes(8)),
    called(227, 1, SPEC), called(227, 0, struct.pack("qq", 5, 1 << 30)),
    called(227, 0, struct.pack("qq", -5, 1)), called(164, struct.pack("qq", 5, -1), 0),
    called(227, 0, 8), called(164, 8, 0), called(159, 8), called(305, 7, timex(0)),
    now[0], abs(now[1] - __import__("time").time()) < 5, adjust(0xa001)[0],
    adjust(2) if sys.argv[1] == "deny" else adjust(2)[0], adjust(0, 305, 0)[0],
    os.setresuid(5, 5, 5), called(227, 0, SPEC), adjust(2), adjust(0)[0],
])
"""
    )
    before = time.time() - time.monotonic()
    with handled(f'{CLOCK}: {{ emulate-clock = "{answer}" }}') as (supervisor, notes):
        found = attempt(supervisor, code, answer)
    assert abs(time.time() - time.monotonic() - before) < 5
    assert found == [
        *[expected] * 3,
        *["EINVAL"] * 4,
        *("EFAULT", "EFAULT", "EFAULT", "ENOTSUP"),
        *(True, True, True),
        "EPERM" if answer == "deny" else True,
        True,
        *(None, "EPERM", "EPERM", True),
    ]
    assert notes.faults == []


def test_the_calls_of_32_bits() -> None:
    """Stime and the old layout of adjtimex, for int $0x80 in a 64-bit program too."""
    code = """
import mmap
page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40, prot=7)
start = ctypes.addressof(ctypes.c_char.from_buffer(page))
page[:7] = bytes.fromhex("5389f889f3cd80")
page[7:9] = bytes.fromhex("5bc3")
call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_long, ctypes.c_long)(start)
page[1024:1200] = b"\\0" * 128 + b"\\xff" * 48
state = call(124, start + 1024)
seconds, = struct.unpack_from("i", page, 1024 + 36)
page[2048:2052] = struct.pack("i", 5)
say([state in range(6), abs(seconds - __import__("time").time()) < 5,
     page[1152:1200] == b"\\xff" * 48, call(25, start + 2048), call(25, 8), call(124, 8)])
"""
    with handled('stime adjtimex: { emulate-clock = "fake" }') as (supervisor, notes):
        if supervisor.kernel.arch.label != "x86_64" or len(supervisor.kernel.architectures) < 2:
            missing("this needs an x86-64 kernel that runs 32-bit calls")
        found = attempt(supervisor, code)
    assert found == [True, True, True, 0, -14, -14]
    assert notes.faults == []


KEYS = "keyctl add_key request_key"

_KEYS = """
contain()
def keyctl(*args):
    return called(250, *args)
"""


@pytest.mark.parametrize(("answer", "expected"), [("absent", "ENOSYS"), ("deny", "EPERM")])
def test_no_keyrings(answer: str, expected: str) -> None:
    """As of a kernel without them, or refused."""
    code = _KEYS + (
        'say([keyctl(1, 0), called(248, b"user", b"x", b"y", 1, -2),'
        ' called(249, b"user", b"x", 0, 0)])'
    )
    with handled(f'{KEYS}: {{ emulate-keyring = "{answer}" }}') as (supervisor, _):
        assert attempt(supervisor, code) == [expected] * 3


def test_a_session_keyring_that_stays_empty() -> None:
    """What starts a session makes one, looks at it and sets its permissions; no key is in it."""
    code = (
        _KEYS
        + """
room = ctypes.create_string_buffer(100)
ring = keyctl(1, b"box")
length = keyctl(6, ring, room, 100)
say([
    ring > 0, keyctl(0, -3, 0) == ring, room.value.decode(), length == len(room.value) + 1,
    keyctl(6, ring, room, 3) == length, keyctl(6, -3, 0, 0) == length,
    keyctl(5, ring, 0x3f3f0000), keyctl(4, ring, 0, 0), keyctl(10, ring, b"user", b"x", 0),
    keyctl(11, ring, room, 100), keyctl(7, ring), keyctl(5, 12345, 0), keyctl(1, b".x"),
    keyctl(1, 8), keyctl(6, ring, 8, 100), keyctl(23, ring),
    called(248, b"user", b"x", b"y", 1, -3), called(249, b"user", b"x", 0, 0),
])
"""
    )
    with handled(f'{KEYS}: {{ emulate-keyring = "session" }}') as (supervisor, notes):
        found = attempt(supervisor, code)
    assert found == [
        *(True, True, "keyring;100000;100000;3f1f0000;_ses", True, True, True),
        *(0, 0, "ENOKEY", 0, 0, "ENOKEY", "EPERM", "EFAULT", "EFAULT", "ENOTSUP"),
        *("EDQUOT", "ENOKEY"),
    ]
    assert notes.faults == []


_PERF = """
def event(kind=1, config=1, pid=0, cpu=-1, group=-1, flags=0, sample=0, bits=1, size=64, more=b""):
    attr = struct.pack("IIQQQQQIIQ", kind, size, config, 0, sample, 0, bits, 0, 0, 0) + more
    return called(298, attr, pid, cpu, group, flags)
def count(fd):
    return struct.unpack("Q", os.read(fd, 8))[0]
"""


def test_events_of_one_s_own_threads() -> None:
    """The event counts, in user space; groups, threads and close-on-exec are as asked for."""
    code = (
        _PERF
        + """
contain()
first = event(flags=8)
assert isinstance(first, int), first
libc.ioctl(first, 0x2400, 0)
for number in range(100000):
    pass
libc.ioctl(first, 0x2401, 0)
tids = []
wait, go = os.pipe()
def other():
    tids.append(threading.get_native_id())
    os.read(wait, 1)
thread = threading.Thread(target=other)
thread.start()
while not tids:
    pass
second = event(pid=tids[0], bits=0)
grouped = event(config=2, group=first)
os.write(go, b"x")
thread.join()
say([count(first) > 1000, os.get_inheritable(first), isinstance(second, int),
     os.get_inheritable(second), isinstance(grouped, int)])
"""
    )
    with handled('perf_event_open: "emulate-perf"') as (supervisor, notes):
        found = attempt(supervisor, code)
    assert found == [True, False, True, True, True]
    assert notes.faults == []


def test_events_that_are_not_one_s_own() -> None:
    """Of others, of a processor, of the kernel, and of kinds that are not listed: refused."""
    code = (
        _PERF
        + """
contain()
child = os.fork()
if child == 0:
    signal.pause()
found = [
    event(pid=child), event(pid=-1, cpu=0), event(pid=777), event(kind=2), event(kind=4),
    event(kind=5), event(config=10), event(kind=0, config=1 << 40), event(sample=1 << 19),
    event(sample=0x400), event(bits=1 << 30), event(bits=1 << 50), event(flags=4), event(flags=16),
    event(size=63), event(size=5000), event(size=200, more=b"\\1" * 136), event(group=99),
    called(298, 8, 0, -1, -1, 0), event(kind=0),
]
os.kill(child, 9)
say(found)
"""
    )
    rule = 'perf_event_open: { emulate-perf = { events = ["software"] } }'
    with handled(rule) as (supervisor, notes):
        found = attempt(supervisor, code)
    assert found == [
        *("EACCES", "EACCES", "ESRCH", "EACCES", "EACCES", "EACCES", "EACCES", "EACCES", "EACCES"),
        *("EACCES", "EACCES", "EACCES", "EACCES", "EINVAL", "E2BIG", "E2BIG", "E2BIG", "EBADF"),
        *("EFAULT", "EACCES"),
    ]
    assert notes.faults == []


_SAME_NUMBER = """
import ctypes, os, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
wanted = (ctypes.c_int32 * 1)(int(sys.argv[1]))
# struct clone_args: exit_signal is the fifth word, set_tid the ninth, set_tid_size the tenth.
args = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
pid = libc.syscall(ctypes.c_long(435), args, ctypes.c_size_t(len(args)))
if pid == 0:
    os.read(0, 1)
    os._exit(0)
print(pid if pid > 0 else -ctypes.get_errno(), flush=True)
sys.stdin.read()
"""


def test_an_event_is_not_of_whoever_got_the_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread ends, and another process gets its number, before the event is opened: ESRCH."""
    fifo = tmp_path / "end"
    os.mkfifo(fifo)
    opened = []

    def open_late(attr: bytes, tid: int, cpu: int, group: int, flags: int) -> int:
        fifo.write_text("x")
        until(lambda: not os.path.exists(f"/proc/{tid}"), "the thread's end")
        command = [sys.executable, "-I", "-S", "-c", _SAME_NUMBER, str(tid)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            assert int(other.stdout.readline()) == tid
            fd = open_event(attr, tid, cpu, group, flags)
            assert "perf_event" in os.readlink(f"/proc/self/fd/{fd}")
            opened.append(fd)
        return fd

    monkeypatch.setattr(perf_events, "open_event", open_late)
    code = (
        _PERF
        + """
tids = []
def other():
    tids.append(threading.get_native_id())
    open(sys.argv[1]).read()
threading.Thread(target=other).start()
while not tids:
    pass
say(event(pid=tids[0]))
"""
    )
    with handled('perf_event_open: "emulate-perf"') as (supervisor, notes):
        assert attempt(supervisor, code, fifo) == "ESRCH"
    assert len(opened) == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
    assert notes.faults == []


@pytest.mark.parametrize(("answer", "expected"), [("absent", "ENOSYS"), ("deny", "EACCES")])
def test_no_events(answer: str, expected: str) -> None:
    """As of a kernel without them, or refused."""
    rule = f'perf_event_open: {{ emulate-perf = {{ answer = "{answer}" }} }}'
    with handled(rule) as (supervisor, _):
        assert attempt(supervisor, _PERF + "contain()\nsay(event())") == expected
