"""Perform: each family of calls, made natively and by the supervisor, with the same results."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.acting_support import family, policy_of, supervised
from unotify.abi.arch import Arch
from unotify.kernel import default_kernel

MADE = {
    "files": "open openat creat openat2",
    "names": "mkdir mkdirat rmdir link linkat symlink symlinkat rename renameat renameat2 unlink "
    "unlinkat mknod mknodat",
    "attributes": "chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat truncate ftruncate "
    "fallocate utime utimes futimesat utimensat",
    "attached": "setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr "
    "flistxattr setxattrat getxattrat listxattrat removexattrat removexattr lremovexattr "
    "fremovexattr",
    "answers": "access faccessat faccessat2 stat lstat fstat statx statfs fstatfs readlink "
    "readlinkat",
    "sockets": "connect bind sendto sendmsg sendmmsg",
}
MORE = {
    "attributes": "chown32 lchown32 fchown32 truncate64 ftruncate64 utimensat_time64",
    "answers": "stat64 lstat64 fstat64 fstatat64 statfs64 fstatfs64",
}


@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.I386], ids=lambda arch: arch.label)
@pytest.mark.parametrize("name", MADE)
def test_a_family(name: str, arch: Arch, tmp_path: Path) -> None:
    """Results, errors, answers in memory and the files that are left are those of the kernel."""
    if arch not in default_kernel().architectures:
        missing(f"this kernel runs no {arch.label} programs")
    native = family(subprocess.run, name, arch, tmp_path / "native")
    with supervised(policy_of('"perform"')) as (supervisor, notes):
        performed = family(supervisor.run, name, arch, tmp_path / "performed")
    assert performed[0].splitlines() == native[0].splitlines()
    assert performed[1] == native[1]
    assert notes.faults == []
    calls = MADE[name] + " " + (MORE.get(name, "") if arch is Arch.I386 else "")
    assert {f"{call}@{arch.label}" for call in calls.split()} - notes.calls.keys() == set()
