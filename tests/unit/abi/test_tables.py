"""Call numbers: known ones, unknown ones, and what the kernel's headers on this machine say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unotify.abi import tables
from unotify.abi.arch import X32_BIT, Arch

ARCHS = pytest.mark.parametrize("arch", Arch, ids=lambda arch: arch.label)

# What systems that run these architectures say, not what the generator printed.
OPENAT = {
    Arch.X86_64: 257,
    Arch.X32: X32_BIT | 257,
    Arch.I386: 295,
    Arch.AARCH64: 56,
    Arch.ARM: 322,
    Arch.RISCV64: 56,
    Arch.RISCV32: 56,
    Arch.LOONGARCH64: 56,
    Arch.PPC: 286,
    Arch.PPC64: 286,
    Arch.PPC64LE: 286,
    Arch.S390: 288,
    Arch.S390X: 288,
    Arch.MIPS: 4288,
    Arch.MIPSEL: 4288,
    Arch.MIPS64: 5247,
    Arch.MIPSEL64: 5247,
    Arch.MIPS64N32: 6251,
    Arch.MIPSEL64N32: 6251,
    Arch.PARISC: 275,
    Arch.SH4: 295,
    Arch.M68K: 288,
}

# The numbers that mips adds to what is the same everywhere; kernel-facts 1.1.
BASES = {
    Arch.X32: X32_BIT,
    Arch.MIPS: 4000,
    Arch.MIPSEL: 4000,
    Arch.MIPS64: 5000,
    Arch.MIPSEL64: 5000,
    Arch.MIPS64N32: 6000,
    Arch.MIPSEL64N32: 6000,
}


@ARCHS
def test_openat_has_its_well_known_number(arch: Arch) -> None:
    """Each architecture's table is that architecture's."""
    assert tables.number("openat", arch) == OPENAT[arch]


@ARCHS
def test_the_number_of_seccomp_is_the_one_that_arch_knows(arch: Arch) -> None:
    """`Arch.seccomp_nr` and the generated table agree."""
    assert tables.number("seccomp", arch) == arch.seccomp_nr


@ARCHS
@pytest.mark.parametrize(
    ("name", "nr"),
    [
        ("pidfd_send_signal", 424),
        ("io_uring_setup", 425),
        ("pidfd_open", 434),
        ("openat2", 437),
        ("pidfd_getfd", 438),
        ("landlock_create_ruleset", 444),
        ("mseal", 462),
    ],
)
def test_newer_calls_have_one_number_everywhere(arch: Arch, name: str, nr: int) -> None:
    """Since 5.1 a call has the same number on all architectures, plus mips's and x32's base."""
    assert tables.number(name, arch) == BASES.get(arch, 0) + nr


@pytest.mark.parametrize(
    ("name", "arch", "nr"),
    [
        ("mount", Arch.X86_64, 165),
        ("finit_module", Arch.X86_64, 313),
        ("mount", Arch.I386, 21),
        ("socketcall", Arch.I386, 102),
        ("ipc", Arch.I386, 117),
        ("umount", Arch.I386, 22),
        ("umount2", Arch.I386, 52),
        ("connect", Arch.I386, 362),
        ("readv", Arch.X32, X32_BIT | 515),
        ("fstat", Arch.RISCV64, 80),
        ("mmap", Arch.RISCV64, 222),
        ("riscv_flush_icache", Arch.RISCV64, 259),
        ("clock_gettime64", Arch.RISCV32, 403),
        ("mmap", Arch.AARCH64, 222),
        ("syscall", Arch.MIPS, 4000),
        ("breakpoint", Arch.ARM, 0xF0001),
        ("cacheflush", Arch.ARM, 0xF0002),
        ("usr26", Arch.ARM, 0xF0003),
        ("usr32", Arch.ARM, 0xF0004),
        ("set_tls", Arch.ARM, 0xF0005),
        ("get_tls", Arch.ARM, 0xF0006),
        ("lchown", Arch.S390, 16),
        ("lchown", Arch.S390X, 198),
        ("spu_run", Arch.PPC64, 278),
    ],
)
def test_some_peculiar_numbers(name: str, arch: Arch, nr: int) -> None:
    """Multiplexers, private calls and twin names are in the tables, both ways."""
    assert tables.number(name, arch) == nr
    assert tables.name(nr, arch) == name


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("open", Arch.AARCH64),
        ("fork", Arch.RISCV64),
        ("mmap2", Arch.X86_64),
        ("clock_gettime", Arch.RISCV32),
        ("nonsense", Arch.X86_64),
        ("", Arch.X86_64),
    ],
)
def test_a_call_that_an_architecture_lacks_has_no_number(name: str, arch: Arch) -> None:
    """``None``, not an error: rules name calls that only some architectures have."""
    assert tables.number(name, arch) is None


@ARCHS
def test_names_and_numbers_are_each_others_inverse(arch: Arch) -> None:
    """Every number has one name, and leads back to itself."""
    numbers = tables.numbers(arch)
    assert {numbers[name] for name in numbers} == set(tables.names(arch))
    assert all(numbers[name] == nr for nr, name in tables.names(arch).items())
    assert len(numbers) > 300


def test_only_one_name_is_an_alias() -> None:
    """The header of arm says sync_file_range2, the kernel's table another name."""
    aliases = [
        (arch, name)
        for arch in Arch
        for name, nr in tables.numbers(arch).items()
        if tables.name(nr, arch) != name
    ]
    assert aliases == [(Arch.ARM, "sync_file_range2")]
    assert tables.name(341, Arch.ARM) == "arm_sync_file_range"


def test_tables_cannot_be_changed() -> None:
    """They are shared by everybody in the process."""
    with pytest.raises(TypeError):
        tables.numbers(Arch.X86_64)["openat"] = 1  # type: ignore[index]


@pytest.mark.parametrize("nr", [-1, -101, -(1 << 31), 9999, X32_BIT - 1])
def test_numbers_that_nobody_has_are_identified_without_a_name(nr: int) -> None:
    """B1: -1, negative and unknown numbers stay with the ABI of the audit value."""
    assert tables.identify(Arch.X86_64.audit, nr) == tables.CallId(None, Arch.X86_64, nr)


def test_the_x32_bit_selects_x32() -> None:
    """B4: x86-64's audit value with the bit set is x32, whose name has its own number."""
    found = tables.identify(Arch.X86_64.audit, X32_BIT | 257)
    assert found == tables.CallId("openat", Arch.X32, X32_BIT | 257)
    assert tables.identify(Arch.X86_64.audit, X32_BIT | 515).name == "readv"
    assert tables.identify(Arch.X86_64.audit, X32_BIT | 9999) == tables.CallId(
        None, Arch.X32, X32_BIT | 9999
    )


def test_the_x32_bit_means_nothing_elsewhere() -> None:
    """Only x86-64 has it."""
    assert tables.identify(Arch.I386.audit, X32_BIT | 5) == tables.CallId(
        None, Arch.I386, X32_BIT | 5
    )


def test_the_abi_is_of_the_call_not_of_the_process() -> None:
    """B2: the same number means another call under i386's audit value."""
    assert tables.identify(0x40000003, 5).name == "open"
    assert tables.identify(0xC000003E, 5).name == "fstat"


def test_an_unknown_audit_value_is_nobody() -> None:
    """Neither name nor ABI; the number is kept."""
    assert tables.identify(0xDEAD, 1) == tables.CallId(None, None, 1)


@ARCHS
def test_each_call_of_each_architecture_is_identified(arch: Arch) -> None:
    """What a notification says leads back to name and architecture."""
    for nr, name in tables.names(arch).items():
        assert tables.identify(arch.audit, nr) == (name, arch, nr)


def test_what_socketcall_multiplexes() -> None:
    """B6: its first argument selects one of twenty calls, all of which have a row and a number."""
    assert len(tables.SOCKET_CALLS) == 20
    assert tables.subcall("socketcall", 3) == "connect"
    assert tables.subcall("socketcall", 18) == "accept4"
    assert tables.subcall("socketcall", 20) == "sendmmsg"
    assert tables.subcall("socketcall", 0) is None
    assert tables.subcall("socketcall", 21) is None


def test_what_ipc_multiplexes() -> None:
    """B6: the lower half of its first argument selects, the upper half is a version."""
    assert tables.subcall("ipc", 24) == "shmctl"
    assert tables.subcall("ipc", (1 << 16) | 12) == "msgrcv"
    assert tables.subcall("ipc", 5) is None


def test_other_calls_multiplex_nothing() -> None:
    """A selector means something to multiplexers only."""
    assert tables.subcall("openat", 1) is None


@ARCHS
def test_the_headers_version_is_told(arch: Arch) -> None:
    """Users see how new the table is; 31-bit s390 left the kernel after 6.12."""
    version = tables.headers_version(arch)
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", version)
    assert version.startswith("6.12") == (arch is Arch.S390)


@pytest.mark.parametrize(
    ("header", "arch"),
    [("unistd_64.h", Arch.X86_64), ("unistd_x32.h", Arch.X32), ("unistd_32.h", Arch.I386)],
)
def test_this_machines_headers_agree(header: str, arch: Arch) -> None:
    """Every number that /usr/include has is in the table; read here in another way."""
    for root in ("/usr/include/x86_64-linux-gnu/asm", "/usr/include/asm"):
        file = Path(root, header)
        if file.exists():
            break
    else:
        pytest.skip(f"no {header} on this machine")
    found = re.findall(
        r"^#define\s+__NR_(\w+)\s+\(?(__X32_SYSCALL_BIT \+ )?(\d+)", file.read_text(), re.M
    )
    assert len(found) > 300
    for name, bit, nr in found:
        assert tables.number(name, arch) == int(nr) + (X32_BIT if bit else 0)
