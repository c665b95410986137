"""`emulate-device-programs`: which devices the control groups of a container may use."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.targets import until
from tests.privileged.handlers_support import FIRST, attempt, handled
from unotify.errors import Refused
from unotify.handlers.cgroups import hierarchies
from unotify.kernel.privileged import attach_program, attached_programs, load_device_program

RULE = 'bpf: "emulate-device-programs"'
DENY = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
ALLOW = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)


@pytest.fixture(name="group")
def _group() -> Iterator[Path]:
    """A control group of version 2 that belongs to the container's root, with one above it."""
    top = hierarchies().unified
    if not top or not os.access(top, os.W_OK):
        missing("this needs control groups of version 2 that can be made")
    above = Path(top) / f"unotify-bpf-{os.getpid()}"
    group = above / "box"
    group.mkdir(parents=True)
    for name in ("", "cgroup.procs", "cgroup.subtree_control"):
        os.chown(group / name, FIRST, FIRST)
    try:
        loaded = load_device_program(ALLOW, b"GPL", b"", flags=0, log_level=0, log_size=0)
        if loaded.value < 0:
            missing(f"no programs can be loaded: {os.strerror(-loaded.value)}")
        os.close(loaded.value)
        yield group
    finally:
        until(lambda: "populated 0" in (above / "cgroup.events").read_text())
        for path in sorted(above.glob("**/"), reverse=True):
            path.rmdir()


_CODE = (
    f"""
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
contain(0x32020000)
os.mkdir(sys.argv[1] + "/sub")
here, sub = sys.argv[1], sys.argv[1] + "/sub"
DENY, ALLOW = {DENY!r}, {ALLOW!r}
"""
    + """
keep = []
def at(data):
    keep.append(ctypes.create_string_buffer(data, len(data)))
    return ctypes.addressof(keep[-1])
def bpf(command, attr, size=None):
    return called(321, command, at(attr), len(attr) if size is None else size)
def load(code=DENY, kind=15, count=None, level=0, room=0, log=0, flags=0, attach=6, more=b""):
    count = len(code) // 8 if count is None else count
    return bpf(5, struct.pack("IIQQIIQII16sII", kind, count, at(code), at(b"GPL\\0"),
        level, room, log, 0, flags, b"x", 0, attach) + more)
def attach(group, program, flags=2, kind=6, command=8, other=0):
    fd = group if isinstance(group, int) else os.open(group, os.O_RDONLY)
    return bpf(command, struct.pack("IIIII", fd, program, kind, flags, other))
"""
)


def test_a_program_of_the_container(group: Path) -> None:
    """It is loaded and attached below the container's root, and really decides."""
    code = (
        _CODE
        + """
null = os.open("/dev/null", os.O_RDONLY)
first, second = load(), load(ALLOW)
done = [attach(sub, first), os.get_inheritable(first)]
child = os.fork()
if child == 0:
    open(sub + "/cgroup.procs", "w").write("0")
    os._exit(0 if tried(os.open, "/dev/null", os.O_RDONLY) == "EPERM" else 1)
done.append(os.waitpid(child, 0)[1])
done += [attach(sub, second, 6, other=first), attach(sub, second, 0, command=9),
         attach(sub, second, 0, command=9)]
os.rmdir(sub)
say(done)
"""
    )
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code, group)
    assert found == [0, False, 0, 0, 0, "ENOENT"]
    assert notes.faults == []


def test_what_the_verifier_says(group: Path) -> None:
    """Its log is the caller's, as far as there is room, with its errno."""
    code = (
        _CODE
        + """
room = ctypes.create_string_buffer(b"\\xff" * 5000, 5000)
bad = struct.pack("<BBhi", 0x95, 0, 0, 0)
where = ctypes.addressof(room)
long = [load(bad, level=1, room=4096, log=where), b"R0" in room.raw]
long.append(room.raw[4096:] == b"\\xff" * 904)
room.raw = b"\\xff" * 5000
short = [load(bad, level=1, room=200, log=where), room.raw[200:] == b"\\xff" * 4800]
os.rmdir(sub)
say(long + short + [load(bad, level=1, room=4096, log=8)])
"""
    )
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code, group)
    assert found[:3] == ["EACCES", True, True]
    assert found[3] in ("EACCES", "ENOSPC", "EINVAL")
    assert found[4] is True
    assert found[5] == "EFAULT"
    assert notes.faults == []


def test_what_is_refused(group: Path) -> None:
    """Other types, maps, calls, ways of attaching that widen, and groups of others."""
    code = (
        _CODE
        + """
program = load(ALLOW)
mapped = struct.pack("<BBhi", 0x18, 0x10, 0, 3) + bytes(8) + ALLOW
calls = struct.pack("<BBhi", 0x85, 0, 0, 6) + ALLOW
found = [
    load(kind=1), load(mapped), load(calls), load(flags=1), load(attach=7), load(count=0),
    load(count=5000), load(more=b"\\1" * 8), load(more=bytes(72) + b"\\1" * 16),
    bpf(5, b"", 0), bpf(5, b"x", 5000),
    called(321, 5, 8, 72), load(level=1),
    attach(here, program), attach(os.path.dirname(here), program), attach("/tmp", program),
    attach(99, program), attach(sub, 99), attach(sub, program, 0), attach(sub, program, 1),
    attach(sub, program, 3), attach(sub, program, kind=0), attach(here, program, 0, command=9),
    attach(sub, program, 2, command=9), attach(0xffffffff, program),
]
os.setresuid(5, 5, 5)
found.append(load())
say(found)
"""
    )
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code, group)
    assert found == [
        *("EPERM", "EPERM", "EPERM", "EPERM", "EPERM", "E2BIG"),
        *("E2BIG", "EPERM", "EINVAL", "E2BIG", "E2BIG"),
        *("EFAULT", "EINVAL"),
        *("EPERM", "EPERM", "EBADF"),
        *("EBADF", "EBADF", "EPERM", "EPERM"),
        *("EPERM", "EPERM", "EPERM"),
        *("EINVAL", "EBADF"),
        "EPERM",
    ]
    assert notes.faults == []


def test_a_mount_that_says_it_is_something_else(group: Path) -> None:
    """The container's own group, mounted over one below it, stays what it is."""
    code = (
        _CODE
        + """
program = load(ALLOW)
assert libc.mount(here.encode(), sub.encode(), None, ctypes.c_ulong(0x5000), None) == 0
found = attach(sub, program)
assert libc.umount2(sub.encode(), 2) == 0
say([found, attach(sub, program)])
"""
    )
    with handled(RULE) as (supervisor, _):
        assert attempt(supervisor, code, group) == ["EPERM", 0]


def test_nothing_below_a_program_that_may_be_overridden(group: Path) -> None:
    """A program of the container never takes the place of the one that holds the container."""
    loaded = load_device_program(DENY, b"GPL", b"", flags=0, log_level=0, log_size=0)
    fd = os.open(group.parent, os.O_RDONLY)
    try:
        attach_program(fd, loaded.value, 1, 0)
        assert attached_programs(fd) == (1, 1)
        code = _CODE + "say(attach(sub, load(ALLOW)))"
        with handled(RULE) as (supervisor, _):
            assert attempt(supervisor, code, group) == "EPERM"
    finally:
        os.close(loaded.value)
        os.close(fd)


def test_numbers_of_errors_are_the_kernel_s() -> None:
    """A bad descriptor is EBADF to us, too."""
    with pytest.raises(Refused) as caught:
        attach_program(9999, 9999, 2, 0)
    assert caught.value.errno == 9


def test_without_a_cgroup_namespace(group: Path) -> None:
    """Whoever sees the control groups of the host has none of its own to attach a program to."""
    code = (
        _CODE.replace("0x32020000", "0x30020000")
        + """
program = load()
say([attach(sub, program), attach(here, program), attach(sys.argv[2], program)])
"""
    )
    other = group.parent / "other"
    other.mkdir()
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code, group, other)
        assert notes.faults == []
    assert found == ["EPERM", "EPERM", "EPERM"]
