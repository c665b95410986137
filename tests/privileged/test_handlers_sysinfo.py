"""`emulate-sysinfo`: the limits of a container, not those of the machine."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.targets import until
from tests.privileged.handlers_support import attempt, handled
from unotify.handlers import sysinfo as module
from unotify.handlers.cgroups import hierarchies

RULE = 'sysinfo: "emulate-sysinfo"'
LIMIT = 300 << 20

_CODE = """
NR = 99
def info():
    buffer = ctypes.create_string_buffer(b"\\xff" * 128, 128)
    done = called(NR, buffer)
    words = struct.unpack("q3Q6QHH4x2QI4x", buffer.raw[:112])
    return [done, list(words), buffer.raw[112:] == b"\\xff" * 16]
"""


@pytest.fixture(name="group")
def _group() -> Iterator[Path]:
    """A control group with a limit of memory, and one below it without."""
    known = hierarchies()
    v1 = known.by_controller.get("memory")
    top = Path(v1 or known.unified or "/nonexistent") / f"unotify-{os.getpid()}"
    if not os.access(top.parent, os.W_OK):
        missing("this needs control groups that can be made")
    try:
        below = top / "below"
        below.mkdir(parents=True)
        if not v1:
            (top.parent / "cgroup.subtree_control").write_text("+memory")
            (top / "cgroup.subtree_control").write_text("+memory")
        (top / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(LIMIT))
        yield below
    finally:
        until(lambda: not (below / "cgroup.procs").read_text())
        below.rmdir()
        top.rmdir()


def test_limits_above_count_for_all_below(group: Path, tmp_path: Path) -> None:
    """The least limit of all groups above; what the group uses is not free."""
    code = (
        _CODE
        + """
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
filled = bytearray(os.urandom(40 << 20))
contain()
say(info())
"""
    )
    with handled(RULE) as (supervisor, notes):
        done, words, intact = attempt(supervisor, code, group)
    assert (done, intact) == (0, True)
    uptime, _, _, _, total, free, _, _, swap, free_swap, procs, *_, unit = words
    assert (total, unit) == (LIMIT, 1)
    assert 0 < free < LIMIT - (35 << 20)
    assert uptime < 60  # of a pid namespace that was made just now
    assert free_swap <= swap
    assert procs > 0
    assert notes.faults == []


def expected() -> module.SysInfo:
    """What we get ourselves, and whoever is in our control group."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    groups = {
        name: line.split(":", 2)[2] for line in lines for name in line.split(":")[1].split(",")
    }
    return module.machine().limited(hierarchies().usage(groups))


def test_in_our_own_group_it_is_what_we_have() -> None:
    """Where no limit is, the answer is as the kernel's."""
    with handled(RULE) as (supervisor, _):
        done, words, intact = attempt(supervisor, _CODE + "say(info())")
    assert (done, intact) == (0, True)
    assert words[4] == expected().totalram
    assert words[0] >= 1


def test_wild_pointers_are_bad_addresses() -> None:
    """EFAULT where the caller itself could not write; the next call is answered all the same."""
    code = (
        _CODE
        + """
page = mmap.mmap(-1, 8192)
start = ctypes.addressof(ctypes.c_char.from_buffer(page))
assert libc.mprotect(ctypes.c_void_p(start + 4096), 4096, 1) == 0
say([called(NR, at) for at in (0, 8, start + 4096, start + 4096 - 50, -8, 1 << 62)]
    + [called(NR, start)])
"""
    ).replace("import ctypes,", "import ctypes, mmap,")
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, "import mmap\n" + code)
    assert found == ["EFAULT"] * 6 + [0]
    assert notes.faults == []


def test_a_32_bit_caller_gets_its_own_layout(tmp_path: Path) -> None:
    """64 bytes, for int $0x80 in a 64-bit program too."""
    code = """
import mmap
page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40, prot=7)
start = ctypes.addressof(ctypes.c_char.from_buffer(page))
if start >> 32:
    say("high")
    sys.exit(0)
page[:16] = bytes.fromhex("53b874000000" "89fb" "cd80" "5b" "c3") + bytes(4)
page[1024:1200] = b"\\xff" * 176
done = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long)(start)(start + 1024)
say([done & 0xffffffff, list(struct.unpack("i3I6IHH2II8x", page[1024:1088])),
     page[1088:1200] == b"\\xff" * 112])
"""
    with handled(RULE) as (supervisor, _):
        if supervisor.kernel.arch.label != "x86_64" or len(supervisor.kernel.architectures) < 2:
            missing("this needs an x86-64 kernel that runs 32-bit calls")
        found = attempt(supervisor, code)
    done, words, intact = found
    assert (done, intact) == (0, True)
    assert words[4] == expected().totalram // words[-1]


def test_it_is_read_ten_times_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that ask in a loop do not make the supervisor read files in a loop."""
    read = []
    machine = module.machine

    def counted() -> module.SysInfo:
        read.append(1)
        return machine()

    monkeypatch.setattr(module, "machine", counted)
    monkeypatch.setattr(module, "_FRESH", 1000.0)
    monkeypatch.setattr(module, "_known", type(module._known)())
    with handled(RULE) as (supervisor, _):
        attempt(supervisor, _CODE + "say([info() for _ in range(50)][0])")
    assert len(read) == 1


def test_an_answer_that_cannot_be_written_safely_is_none() -> None:
    """Without WAIT_KILLABLE_RECV the memory may be somebody else's by then (M8)."""
    with handled(RULE) as (supervisor, notes):
        process = supervisor.popen(
            ["/usr/bin/env", "python3", "-c", "import ctypes; print(ctypes.CDLL(None).sysinfo(0))"],
            wait_killable=False,
        )
        process.wait()
    assert {type(fault.__cause__).__name__ for fault in notes.faults} == {"Unsupported"}


assert struct.calcsize("q3Q6QHH4x2QI4x") == 112
