"""`unotify.policy.spelling`: names, and the numbers that architectures have for them."""

from __future__ import annotations

import pytest

from unotify.abi.arch import Arch
from unotify.policy.spelling import field_of, homes, is_choice, members, native, spelling, value


@pytest.mark.parametrize(
    ("name", "kind", "arch", "number"),
    [
        ("O_CREAT", "OpenFlags", Arch.X86_64, 0x40),
        ("O_CREAT", "OpenFlags", Arch.MIPS64, 0x100),
        ("O_ACCMODE", "OpenFlags", Arch.MIPS64, 3),
        ("MAP_32BIT", "MmapFlags", Arch.I386, 0x40),
        ("MAP_32BIT", "MmapFlags", Arch.PPC64, None),
        ("SIGSTKFLT", "Signal", Arch.MIPS, None),
        ("SIGSTKFLT", "Signal", Arch.PARISC, 7),
        ("TCGETS", "ioctl", Arch.AARCH64, 0x5401),
        ("TCGETS", "ioctl", Arch.PPC64LE, None),
        ("FS_IOC_GETFLAGS", "ioctl", Arch.AARCH64, 0x80086601),
        ("FS_IOC_GETFLAGS", "ioctl", Arch.ARM, 0x80046601),
        ("AT_FDCWD", "descriptor", Arch.S390X, -100),
    ],
)
def test_native(name: str, kind: str, arch: Arch, number: int | None) -> None:
    """A name is the number of the architecture's headers, or none."""
    assert native(name, kind, arch) == number


def test_each_native_number_is_the_translated_one() -> None:
    """Names and numbers are translated alike, wherever the name exists."""
    for arch in Arch:
        for name, kinds in homes().items():
            for kind in kinds:
                number = native(name, kind, arch)
                if number is not None:
                    assert spelling(kind, arch).number(members(kind)[name]) == number, (arch, name)


def test_a_name_means_one_number() -> None:
    """Where several classes have a name, it is the same number in all of them."""
    for name, kinds in homes().items():
        assert {members(kind)[name] for kind in kinds} == {value(name)}


def test_fields() -> None:
    """What a class has several bits for is known, and what its mask is called."""
    assert field_of("OpenFlags") == (3, "O_ACCMODE")
    assert field_of("mode") == (0o170000, "S_IFMT")
    assert field_of("MempolicyMode") == (0xFF, "0xff")
    assert field_of("MountFlags")[0] == 0
    assert is_choice("Signal")
    assert not is_choice("MountFlags")
