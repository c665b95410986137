"""Pointers and lengths that lead nowhere get what the kernel gives them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.perform_support import _HEAD, PYTHON, attempt
from tests.kernel.targets import nr
from unotify import Supervisor
from unotify.calls import call_class
from unotify.calls.acts import performable

if sys.maxsize < 1 << 32:
    pytest.skip("the addresses are those of 64-bit targets", allow_module_level=True)

CALLS = (
    *("openat", "openat2", "mkdirat", "unlinkat", "truncate", "newfstatat", "statx", "readlinkat"),
    *("setxattr", "getxattr", "utimensat", "connect", "bind", "sendto", "sendmsg", "sendmmsg"),
    *("faccessat2", "fchownat", "renameat2", "symlinkat", "fchmodat2", "statfs", "listxattr"),
)

_ADDRESSES = """
numbers = json.loads(sys.argv[1])
page = mmap.PAGESIZE
pages = mmap.mmap(-1, 4 * page)
start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
libc.mprotect(ctypes.c_void_p(start + 3 * page), page, 0)
def put(at, text):
    pages[at : at + len(text)] = text
    return start + at
NAME = b"./name"
# The bare number cannot be a Python int below 0 in ctypes.c_long; so high ones are wrapped.
WILD = {"null": 0, "one": 1, "wild": 0x7FFF12345000, "high": -(1 << 63) + 4096, "kernel": -4096}
"""

_STRINGS = (
    _ADDRESSES
    + """
places = dict(WILD)
places["crosses"] = put(page - 5, NAME + b"\\0")
places["ends at the edge"] = put(3 * page - len(NAME) - 1, NAME + b"\\0")
def tell(path):
    fd = called(numbers["openat"], -100, path, 0, 0)
    stat = ctypes.create_string_buffer(256)
    words = [fd if isinstance(fd, str) else fd > 2]
    words.append(called(numbers["newfstatat"], -100, path, ctypes.addressof(stat), 0))
    words.append(called(numbers["fchmodat2"], -100, path, 0o600, 0))
    words.append(called(numbers["mkdirat"], -100, path, 0o777))
    return words
found = {name: tell(path) for name, path in places.items()}
pages[: 3 * page] = b"x" * (3 * page)
found["no end before the edge"] = tell(start + 3 * page - 100)
found["too long"] = tell(start + 100)
found["long name"] = tell(put(0, b"/" + b"y" * 256 + b"\\0"))
found["empty"] = tell(put(0, b"\\0"))
long = b"./" * 2000 + b"name\\0"
found["4005 bytes"] = tell(put(0, long))
say(found)
"""
)

_OTHERS = (
    _ADDRESSES
    + """
name, text = put(0, NAME + b"\\0"), put(64, b"user.x\\0")
unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
fd, sending = unix.fileno(), pair[0].fileno()
HUGE = (1 << 63) - 1
def header(at, *words):
    return put(at, struct.pack("=QIxxxxQQQQixxxx", *(word & (1 << 64) - 1 for word in words)))
found = {}
for what, bad in WILD.items():
    found[what] = [
        called(numbers["openat2"], -100, name, bad, 24),
        called(numbers["statx"], -100, name, 0, 0x7FF, bad),
        called(numbers["newfstatat"], -100, name, bad, 0),
        called(numbers["readlinkat"], -100, put(128, b"/proc/self/exe\\0"), bad, 100),
        called(numbers["setxattr"], name, text, bad, 4, 0) if bad else 0,
        called(numbers["setxattr"], name, bad, text, 4, 0),
        called(numbers["getxattr"], name, text, bad, 4) if bad else 0,
        called(numbers["statfs"], name, bad),
        called(numbers["utimensat"], -100, name, bad, 0) if bad else 0,
        called(numbers["connect"], fd, bad, 16),
        called(numbers["bind"], fd, bad, 16),
        called(numbers["sendto"], sending, bad, 8, 0x40, 0, 0),
        called(numbers["sendmsg"], sending, bad, 0x40),
        called(numbers["sendmsg"], sending, header(200, 0, 0, bad, 1, 0, 0, 0), 0x40),
        bad and called(numbers["sendmsg"], sending, header(200, 0, 0, 0, 0, bad, 64, 0), 0x40),
        called(numbers["sendmmsg"], sending, bad, 2, 0x40),
        called(numbers["renameat2"], -100, name, -100, bad, 0),
        called(numbers["symlinkat"], bad, -100, name),
    ]
found["lengths"] = [
    called(numbers["openat2"], -100, name, put(300, bytes(24)), 8),
    called(numbers["openat2"], -100, name, put(300, bytes(24)), HUGE),
    called(numbers["openat2"], -100, name, put(300, struct.pack("=4Q", 0, 0, 0, 1)), 32),
    called(numbers["openat2"], -100, name, put(300, struct.pack("=3Q", 1 << 40, 0, 0)), 24),
    called(numbers["setxattr"], name, text, start, HUGE, 0),
    called(numbers["setxattr"], name, text, start, 65537, 0),
    called(numbers["readlinkat"], -100, put(128, b"/proc/self/cwd\\0"), start + page, 0),
    called(numbers["readlinkat"], -100, put(128, b"/proc/self/cwd\\0"), start + page, -1),
    called(numbers["connect"], fd, start, -1),
    called(numbers["connect"], fd, start, 129),
    called(numbers["connect"], fd, put(400, b"\\1\\0"), 0),
    called(numbers["connect"], fd, put(400, b"\\1\\0"), 2),
    called(numbers["bind"], fd, start, 1 << 30),
    called(numbers["sendmsg"], sending, header(500, 0, 0, start, 1025, 0, 0, 0), 0x40),
    called(numbers["sendmsg"], sending, header(500, 0, 0, start, HUGE, 0, 0, 0), 0x40),
    called(numbers["sendmsg"], sending, header(500, start, 0xFFFFFFFF, 0, 0, 0, 0, 0), 0x40),
    called(numbers["sendmsg"], 999, header(500, 0, 0, 0, 0, 0, 0, 0), 0x40),
    called(numbers["truncate"], name, -1),
    called(numbers["openat"], 999, put(600, b"x\\0"), 0, 0),
    called(numbers["openat"], -1, put(600, b"x\\0"), 0, 0),
    called(numbers["openat"], sending, put(600, b"x\\0"), 0, 0),
    called(numbers["faccessat2"], -100, name, 0xFF, 0),
    called(numbers["faccessat2"], -100, name, 0, 0xFFFF),
    called(numbers["unlinkat"], -100, name, 0xFFFF),
    called(numbers["renameat2"], -100, name, -100, name, 0xFF),
    called(numbers["fchmodat2"], -100, name, 0, 0xFFFF),
    called(numbers["fchownat"], -100, name, 0, 0, 0xFFFF),
    called(numbers["newfstatat"], -100, name, start + page, 0xFFFF),
    called(numbers["statx"], -100, name, 0xFFFF, 0x7FF, start + page),
    called(numbers["statx"], -100, name, 0, 0x80000000, start + page),
    called(numbers["sendmmsg"], sending, start, 0, 0x40),
]
say(found)
"""
)


@pytest.fixture(name="supervisor")
def _supervisor() -> Iterator[Supervisor]:
    with Supervisor() as supervisor:
        for name in CALLS:
            assert name in performable()
            supervisor.on(call_class(name))(lambda call: call.perform())
        yield supervisor


def natively(code: str, *args: object, **options: Any) -> Any:
    """What the program says without a supervisor."""
    import json

    command = [PYTHON, "-I", "-S", "-c", _HEAD + code, *map(str, args)]
    found = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60, **options)
    return json.loads(found.stdout)


@pytest.mark.parametrize("code", [_STRINGS, _OTHERS], ids=["strings", "structs and lengths"])
def test_what_leads_nowhere_is_refused_as_the_kernel_does(
    supervisor: Supervisor, tmp_path: Path, code: str
) -> None:
    """M1, M5, M9: edges of pages, no end, NULL, wild, above 2^63: natively and performed alike."""
    import json

    numbers = json.dumps({name: nr(name) for name in CALLS})
    (tmp_path / "name").touch()
    expected = natively(code, numbers, cwd=tmp_path)
    found = attempt(supervisor, code, numbers, cwd=tmp_path)
    differing = {
        (key, at): (found[key][at], answer)
        for key, answers in expected.items()
        for at, answer in enumerate(answers)
        if found[key][at] != answer
    }
    assert differing == {}
    assert supervisor.statistics().faults == 0
