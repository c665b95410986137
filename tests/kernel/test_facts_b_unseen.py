"""Calls that look different, or are not seen at all: B1, B5, B6, B8, B9."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.targets import Target, notifying, nr, until
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.abi.structs import NOTIF, RESPONSE
from unotify.bpf import compile_filter
from unotify.kernel import default_kernel
from unotify.kernel._libc import NATIVE
from unotify.kernel.spawn import spawn
from unotify.protocol import Exchange

MAP_32BIT = 0x40
VSYSCALL_TIME = 0xFFFFFFFFFF600400

needs_x86 = pytest.mark.skipif(NATIVE is not Arch.X86_64, reason="a matter of x86-64")


@pytest.fixture(name="i386")
def _i386() -> None:
    if Arch.I386 not in default_kernel().architectures:
        missing("this kernel runs no i386 code")


@pytest.mark.parametrize("number", [-1, 9999, 2**30 - 1, -(2**31)])
def test_numbers_that_are_no_calls_arrive(number: int) -> None:
    """B1, V6: nr is signed and unchecked; what is answered is what the target gets."""
    register = number & 0xFFFFFFFF
    program = compile_filter(
        {NATIVE: {register: int(Action.USER_NOTIF)}}, default=Action.ALLOW
    ).encode()
    with Target(program=program) as target:
        target.start("call", nr=number)
        exchange = target.receive()
        assert exchange.nr == number
        target.send(exchange, value=42)
        assert target.answer()["ret"] == 42


def int80(*registers: int) -> int:
    """A 32-bit system call of this process: number and up to three arguments."""
    # push rbx; mov rax,rdi; mov rbx,rsi; mov rcx,rdx; mov rdx,r8; int 0x80; pop rbx; ret
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("534889f84889f34889d14c89c2cd805bc3"))
    kind = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_ulong] * 5)
    number, ebx, ecx, edx = registers
    result = kind(ctypes.addressof(ctypes.c_char.from_buffer(code)))(number, ebx, ecx, 0, edx)
    return ctypes.c_int32(result).value


@needs_x86
def test_a_32_bit_supervisor_sees_the_same_structs(i386: None) -> None:
    """B5: RECV and SEND as 32-bit calls: the same numbers, the same 80 and 24 bytes."""
    anonymous = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT
    with Target("getppid") as target:
        target.call("getppid")
        until(target.listener.pending)
        low = mmap.mmap(-1, mmap.PAGESIZE, flags=anonymous)
        address = ctypes.addressof(ctypes.c_char.from_buffer(low))
        ioctl, fd = nr("ioctl", Arch.I386), target.listener.fileno()
        assert int80(ioctl, fd, NATIVE.ioctls.recv, address) == 0
        exchange = Exchange(low[: NOTIF.size])
        assert (exchange.tid, exchange.nr) == (target.pid, nr("getppid"))
        low[:24] = exchange.id.to_bytes(8, "little") + (42).to_bytes(8, "little") + bytes(8)
        assert int80(ioctl, fd, NATIVE.ioctls.send, address) == 0
        assert target.answer()["ret"] == 42


@needs_x86
def test_64_bit_values_of_32_bit_calls_come_in_halves(i386: None) -> None:
    """B6: a length of 64 bits fills two arguments, the low half first."""
    with Target("ftruncate64") as target:
        target.start("int80", nr=nr("ftruncate64", Arch.I386), args=[3, 0x89ABCDEF, 0x01234567])
        exchange = target.receive()
        assert exchange.args[:3] == (3, 0x89ABCDEF, 0x01234567)
        target.send(exchange, error=-errno.EBADF)
        assert ctypes.c_int32(target.answer()["ret"]).value == -errno.EBADF


@needs_x86
def test_calls_multiplexed_on_one_number(i386: None) -> None:
    """B6: socketcall says by its first argument which call it is; the others are in memory."""
    with Target("socketcall") as target:
        target.start("int80", nr=nr("socketcall", Arch.I386), args=[1, 0x1000])
        exchange = target.receive()
        assert exchange.args[:2] == (1, 0x1000)
        target.send(exchange, value=9)
        assert target.answer()["ret"] == 9


@needs_x86
@pytest.mark.parametrize("value", [None, 77])
def test_the_vsyscall_page_is_seen(value: int | None) -> None:
    """B8: a jump to its time() is notified as that call; it can be answered or continued."""
    if "[vsyscall]" not in Path("/proc/self/maps").read_text():
        missing("this kernel has no vsyscall page")
    with Target("time") as target:
        target.start("jump", address=VSYSCALL_TIME)
        until(target.listener.pending)
        buffer = bytearray(target.listener.sizes.notif)
        assert target.listener.receive_into(buffer)
        exchange = Exchange(buffer)
        assert exchange.nr == nr("time")
        assert NOTIF.unpack(buffer)[5] & ~0xFFF == VSYSCALL_TIME & ~0xFFF
        if value is None:
            target.let_go(exchange)
            assert target.answer()["ret"] > 1_600_000_000
        else:
            target.send(exchange, value=value)
            assert target.answer()["ret"] == value


def test_io_uring_passes_by() -> None:
    """B9: openat2 through a ring is not seen, where the plain one is refused."""
    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, 0o644)
        python = getattr(sys, "_base_executable", None) or sys.executable
        main = str(Path(__file__).with_name("uring_target.py"))
        spawned = spawn(
            # A call that the interpreter itself never makes.
            notifying("openat2"),
            [python, "-I", "-S", main, file.name, str(nr("openat2"))],
            popen_options={"stdout": subprocess.PIPE},
        )
        with spawned.listener as listener:
            until(listener.pending)
            buffer = bytearray(listener.sizes.notif)
            assert listener.receive_into(buffer)
            exchange = Exchange(buffer)
            listener.send(RESPONSE.pack(exchange.id, 0, -errno.EPERM, 0))
            answer = json.loads(spawned.process.communicate()[0])
        if answer["setup"] != 0:
            missing(f"io_uring is not available: errno {-answer['setup']}")
        assert answer["ring"] >= 0
        assert answer["plain"] == -errno.EPERM
