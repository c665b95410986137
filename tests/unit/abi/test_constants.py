"""Flags and choices: the kernel's values, unknown bits, and other architectures' bits."""

from __future__ import annotations

import mmap
import os
import re
import resource
import select
import signal
import socket
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from unotify.abi import constants as c
from unotify.abi import model
from unotify.abi.arch import Arch

HEADERS = Path("/usr/include")

CLASSES = [name for name in dir(c) if name not in ("Flags", "Choice", "FilterFlag", "Operation")]


def members(name: str) -> dict[str, int]:
    """All names of a class, aliases included."""
    return {key: int(value) for key, value in getattr(c, name).__members__.items()}


@pytest.mark.parametrize("name", CLASSES)
def test_members_are_named_as_the_kernel_names_them(name: str) -> None:
    """Capital names, as in headers; at least one in each class."""
    found = members(name)
    assert found
    assert all(re.fullmatch(r"_*[A-Z][A-Za-z0-9_]*", key) for key in found)


def test_the_model_uses_the_classes() -> None:
    """What is here is for arguments, for structs' fields (open_how, mode, dqblk) or for people."""
    used = {arg.enum for name in model.names() for arg in model.spec(name).args if arg.enum}
    assert set(CLASSES) - used == {"FileType", "QuotaCommand", "ResolveFlags"}


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("OpenFlags", os),
        ("AccessMode", os),
        ("WaitOptions", os),
        ("IdType", os),
        ("SchedPolicy", os),
        ("XattrFlags", os),
        ("SeekWhence", os),
        ("GetrandomFlags", os),
        ("MemfdFlags", os),
        ("SpliceFlags", os),
        ("RwFlags", os),
        ("SocketDomain", socket),
        ("SocketType", socket),
        ("MsgFlags", socket),
        ("ShutdownHow", socket),
        ("Signal", signal),
        ("SigprocmaskHow", signal),
        ("ItimerWhich", signal),
        ("ClockId", time),
        ("MmapFlags", mmap),
        ("MmapProt", mmap),
        ("MadviseAdvice", mmap),
        ("RlimitResource", resource),
        ("RusageWho", resource),
        ("FileType", stat),
        ("EpollCreateFlags", select),
    ],
)
def test_python_has_the_same_values(name: str, module: Any) -> None:
    """The standard library's constants agree, as far as it has them (x86-64 and its likes)."""
    if os.uname().machine not in ("x86_64", "riscv64", "loongarch64"):
        pytest.skip("this machine's own values are not the generic ones")
    # libc hides O_LARGEFILE from 64-bit programs, which need none.
    shared = {
        key: int(value)
        for key, value in members(name).items()
        if hasattr(module, key) and key != "O_LARGEFILE"
    }
    assert shared
    assert {key: int(getattr(module, key)) for key in shared} == shared


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("MountFlags", "linux/mount.h"),
        ("MountAttr", "linux/mount.h"),
        ("MoveMountFlags", "linux/mount.h"),
        ("FsmountFlags", "linux/mount.h"),
        ("FsopenFlags", "linux/mount.h"),
        ("FspickFlags", "linux/mount.h"),
        ("FsconfigCommand", "linux/mount.h"),
        ("AtFlags", "linux/fcntl.h"),
        ("CloneFlags", "linux/sched.h"),
        ("CloseRangeFlags", "linux/close_range.h"),
        ("ResolveFlags", "linux/openat2.h"),
        ("RenameFlags", "linux/fs.h"),
        ("FallocateMode", "linux/falloc.h"),
        ("StatxMask", "linux/stat.h"),
        ("InotifyMask", "linux/inotify.h"),
        ("FanotifyMask", "linux/fanotify.h"),
        ("FanotifyInitFlags", "linux/fanotify.h"),
        ("FanotifyMarkFlags", "linux/fanotify.h"),
        ("PrctlOption", "linux/prctl.h"),
        ("KeyctlOperation", "linux/keyctl.h"),
        ("LandlockRuleType", "linux/landlock.h"),
        ("MempolicyMode", "linux/mempolicy.h"),
        ("PtraceRequest", "linux/ptrace.h"),
        ("QuotaCommand", "linux/quota.h"),
        ("RebootCommand", "linux/reboot.h"),
        ("KexecFileFlags", "linux/kexec.h"),
        ("ModuleFlags", "linux/module.h"),
        ("MemfdFlags", "linux/memfd.h"),
        ("OpenFlags", "asm-generic/fcntl.h"),
        ("FcntlCommand", "asm-generic/fcntl.h"),
        ("MmapFlags", "asm-generic/mman-common.h"),
        ("MadviseAdvice", "asm-generic/mman-common.h"),
    ],
)
def test_this_machines_headers_agree(name: str, header: str) -> None:
    """What /usr/include defines as a plain number has that value here; read in another way."""
    file = HEADERS / header
    if not file.exists():
        pytest.skip(f"no {header} on this machine")
    plain = re.findall(
        r"^#\s*define\s+(\w+)\s+\(?(0[xX][0-9a-fA-F]+|\d+)[uUlL]*\)?\s*(?:/\*.*)?$",
        file.read_text(),
        re.M,
    )
    shifts = re.findall(r"^#\s*define\s+(\w+)\s+\(\s*1[UL]*\s*<<\s*(\d+)\)", file.read_text(), re.M)
    there = {key: int(text, 8 if re.fullmatch(r"0[0-7]+", text) else 0) for key, text in plain} | {
        key: 1 << int(bit) for key, bit in shifts
    }
    here = members(name)
    shared = there.keys() & here.keys()
    if name not in ("FsconfigCommand", "LandlockRuleType", "MempolicyMode"):  # enums in C
        assert shared
    assert {key: there[key] for key in shared} == {key: here[key] for key in shared}


@pytest.mark.parametrize("name", CLASSES)
def test_decoding_never_fails(name: str) -> None:
    """Whatever a target puts in a register has a decoded form."""
    for arch in (Arch.X86_64, Arch.MIPS, Arch.PARISC):
        for value in (0, 1, 0xDEADBEEF, -1, -100, 1 << 63, -(1 << 31)):
            assert isinstance(getattr(c, name).from_abi(value, arch), int)


def test_unknown_bits_are_kept() -> None:
    """A newer kernel's flags are shown as a number beside the known ones."""
    flags = c.MountFlags.from_abi(0x1000 | 1 << 40, Arch.X86_64)
    assert flags == 0x1000 | 1 << 40
    assert flags.name == "MS_BIND|0x10000000000"
    assert flags & c.MountFlags.MS_BIND


def test_an_unknown_choice_stays_a_number() -> None:
    """Nothing is guessed."""
    assert c.BpfCommand.from_abi(9999, Arch.X86_64) == 9999
    assert c.BpfCommand.from_abi(5, Arch.X86_64) is c.BpfCommand.BPF_PROG_LOAD


def test_a_negative_register_is_its_bits() -> None:
    """``int flags`` of -1 is 32 bits, of a long -1 is still as many as it takes."""
    assert c.OpenFlags.from_abi(-1, Arch.X86_64) == 0xFFFFFFFF
    assert c.MountFlags.from_abi(-(1 << 62), Arch.X86_64) == (1 << 64) - (1 << 62)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (c.OpenFlags(0), "O_RDONLY"),
        (c.OpenFlags(0o2101), "O_WRONLY|O_CREAT|O_APPEND"),
        (c.OpenFlags(3), "0x3"),
        (c.OpenFlags(0x80000 | 0x40), "O_CREAT|O_CLOEXEC"),
        (c.SocketType(3), "SOCK_RAW"),
        (c.SocketType(3 | 0x80000), "SOCK_RAW|SOCK_CLOEXEC"),
        (c.SocketType(0x80801), "SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC"),
        (c.FutexOperation(0x89), "FUTEX_WAIT_BITSET|FUTEX_PRIVATE_FLAG"),
        (c.CloneFlags(0x20000 | 17), "0x11|CLONE_NEWNS"),
        (c.MountFlags(0), ""),
        (c.UnlinkFlags(0x200), "AT_REMOVEDIR"),
        (c.AtFlags(0x200), "AT_EACCESS"),
        (c.SchedPolicy(0x40000001), "SCHED_FIFO|SCHED_RESET_ON_FORK"),
    ],
)
def test_names_of_combinations(value: Any, name: str) -> None:
    """A value in the lower bits is one word, the bits beside it are further ones."""
    assert value.name == name


def test_a_target_cannot_fill_the_memory() -> None:
    """Python remembers each combination of flags; here there is an end to it."""
    remembered = c.FallocateMode._value2member_map_
    for value in range(1 << 20, (1 << 20) + 6000):
        assert c.FallocateMode(value) == value
    assert len(remembered) <= 4100
    assert c.FallocateMode(1) is c.FallocateMode.FALLOC_FL_KEEP_SIZE


@pytest.mark.parametrize(
    ("arch", "theirs", "ours"),
    [
        (Arch.X86_64, 0x10000, "O_DIRECTORY"),
        (Arch.I386, 0x10000, "O_DIRECTORY"),
        (Arch.ARM, 0x4000, "O_DIRECTORY"),
        (Arch.ARM, 0x10000, "O_DIRECT"),
        (Arch.ARM, 0x4000 | 0x8000, "O_DIRECTORY|O_NOFOLLOW"),
        (Arch.AARCH64, 0x404002, "O_RDWR|O_DIRECTORY|__O_TMPFILE"),
        (Arch.PPC64LE, 0x20000, "O_DIRECT"),
        (Arch.MIPS, 0x100, "O_CREAT"),
        (Arch.MIPS, 0x4010, "O_SYNC"),
        (Arch.PARISC, 0x100000, "O_NOATIME"),
        (Arch.S390X, 0x10000, "O_DIRECTORY"),
        (Arch.M68K, 0x8000, "O_NOFOLLOW"),
        (Arch.SH4, 0x80000, "O_CLOEXEC"),
        (Arch.RISCV64, 0x40, "O_CREAT"),
    ],
)
def test_open_flags_of_other_architectures(arch: Arch, theirs: int, ours: str) -> None:
    """The bits of arm, ppc, mips, parisc and m68k are not the generic ones."""
    generic = 0
    for word in ours.split("|"):
        generic |= 0x400000 if word == "__O_TMPFILE" else int(c.OpenFlags[word])
    assert c.OpenFlags.from_abi(theirs, arch) == generic
    assert c.OpenFlags.to_abi(generic, arch) == theirs


@pytest.mark.parametrize(
    ("name", "arch", "theirs", "ours"),
    [
        ("SocketType", Arch.MIPS, 1, "SOCK_DGRAM"),
        ("SocketType", Arch.MIPS, 2, "SOCK_STREAM"),
        ("SocketType", Arch.MIPS, 5, "SOCK_SEQPACKET"),
        ("SocketType", Arch.MIPS, 0x82, "SOCK_STREAM|SOCK_NONBLOCK"),
        ("SocketType", Arch.PARISC, 0x40000001, "SOCK_STREAM|SOCK_NONBLOCK"),
        ("MmapFlags", Arch.MIPS, 0x802, "MAP_PRIVATE|MAP_ANONYMOUS"),
        ("MmapFlags", Arch.PARISC, 0x12, "MAP_PRIVATE|MAP_ANONYMOUS"),
        ("MmapFlags", Arch.PPC64, 0x22, "MAP_PRIVATE|MAP_ANONYMOUS"),
        ("EventfdFlags", Arch.MIPS64, 0x80, "EFD_NONBLOCK"),
        ("Signal", Arch.MIPS, 16, "SIGUSR1"),
        ("Signal", Arch.MIPS, 18, "SIGCHLD"),
        ("Signal", Arch.X86_64, 17, "SIGCHLD"),
        ("Signal", Arch.PARISC, 16, "SIGUSR1"),
        ("RlimitResource", Arch.MIPS, 5, "RLIMIT_NOFILE"),
        ("RlimitResource", Arch.X86_64, 7, "RLIMIT_NOFILE"),
        ("SigprocmaskHow", Arch.MIPS, 1, "SIG_BLOCK"),
        ("FcntlCommand", Arch.MIPS, 14, "F_GETLK"),
    ],
)
def test_other_values_of_other_architectures(name: str, arch: Arch, theirs: int, ours: str) -> None:
    """One mechanism serves all classes: a name is right on every architecture."""
    made = getattr(c, name).from_abi(theirs, arch)
    assert made.name == ours
    assert getattr(c, name).to_abi(made, arch) == theirs


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_translated_comes_back(name: str) -> None:
    """from_abi undoes to_abi, for each name."""
    made = getattr(c, name)
    for arch in (Arch.X86_64, Arch.AARCH64, Arch.RISCV64, Arch.I386):
        for key, value in members(name).items():
            assert made.from_abi(made.to_abi(value, arch), arch) == value, key


@pytest.mark.parametrize("name", ["OpenFlags", "SocketType", "FcntlCommand", "RlimitResource"])
@pytest.mark.parametrize("arch", Arch, ids=lambda arch: arch.label)
def test_what_is_translated_comes_back_from_everywhere(name: str, arch: Arch) -> None:
    """The same on each architecture for classes whose names all architectures have."""
    made = getattr(c, name)
    for key, value in members(name).items():
        assert made.from_abi(made.to_abi(value, arch), arch) == value, key


def test_the_classes_of_seccomp_are_there_too() -> None:
    """The model names them like all others."""
    assert c.FilterFlag.NEW_LISTENER == 8
    assert c.Operation.GET_NOTIF_SIZES == 3


def test_an_unknown_class_gets_a_hint() -> None:
    """The nearest name is suggested."""
    with pytest.raises(AttributeError, match="did you mean OpenFlags"):
        c.OpenFlag  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError):
        getattr(c, "OpenFlags@arm")
