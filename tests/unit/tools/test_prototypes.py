"""Prototypes read out of kernel source."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.prototypes import TABLES, Source, clean_type


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("const char __user *", "const char *"),
        ("const char __user *const __user *", "const char * const *"),
        ("const clockid_t", "clockid_t"),
        ("struct stat  __user*", "struct stat *"),
        ("const struct x __user *const", "const struct x *"),
        ("unsigned   int", "unsigned int"),
    ],
)
def test_c_types_are_normalised(before: str, after: str) -> None:
    """What says nothing about the ABI goes; what is pointed to keeps its const."""
    assert clean_type(before) == after


def test_prototypes_are_found_through_the_kernels_tables(tmp_path: Path) -> None:
    """The table says which function serves a name, its definition says what it takes."""
    for table in TABLES.values():
        file = tmp_path / table.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "include/linux").mkdir(parents=True)
    (tmp_path / "include/linux/syscalls.h").write_text(
        "asmlinkage long sys_old(const char __user *library);\n"
    )
    (tmp_path / TABLES["x86_64"].path).write_text(
        "0 common read sys_read\n1 64 old sys_old\n2 x32 other sys_read\n3 common gone\n"
        "4 common never sys_ni_syscall\n5 common split sys_read # comment\n"
    )
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs/read.c").write_text(
        "SYSCALL_DEFINE3(read, unsigned int, fd, char __user *, buf, /* bytes */\n size_t, count)"
    )
    source = Source(tmp_path)
    read = (("unsigned int", "fd"), ("char *", "buf"), ("size_t", "count"))
    assert source.prototype("read", "x86_64") == read
    assert source.prototype("split", "x86_64") == read
    assert source.prototype("old", "x86_64") == (("const char *", "library"),)
    for name in ("other", "gone", "never", "nonsense"):
        assert source.prototype(name, "x86_64") is None
